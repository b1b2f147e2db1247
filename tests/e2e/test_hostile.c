/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Guests that mean harm: random packets, rings of random bytes, memory that is
 * taken away. Whatever they do, the daemon, the neighbour and the next guest are well.
 */
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "e2e/neighbour.h"

enum { ROUNDS = 8 };

static uint32_t state;

static uint32_t pick(uint32_t n)
{
	uint64_t w;

	pattern_fill(&w, sizeof w, 8 * (uint64_t)state++, (uint32_t)n);
	return (uint32_t)((w >> 32) % n);
}

/* Fields that are mostly right, so that they get far. */
static struct driver_pkt random_pkt(void)
{
	static const uint32_t odd[] = { 0, 1, 44, 0x7fffffff, 0x80000000, 0xffffffff };
	struct driver_pkt p = driver_pkt(&vm, (uint16_t)pick(9), 2000 + pick(8),
					 PORT + pick(3));

	if (pick(4) == 0)
		p.dst_port = (1u << 30) + pick(64);
	if (pick(20) == 0)
		p.type = (uint16_t)pick(4);
	if (pick(20) == 0)
		p.src_cid = pick(6);
	if (pick(20) == 0)
		p.dst_cid = pick(6);
	p.flags = pick(5);
	if (pick(4) == 0)
		p.buf_alloc = odd[pick(6)];
	if (pick(4) == 0)
		p.fwd_cnt = odd[pick(6)];
	p.len = pick(3) ? 0 : pick(5000);
	return p;
}

static void drain(void)
{
	driver_turn(&vm);
	vm.n_inbox = 0;
}

START_TEST(random_packets)
{
	int listener = host_listen(vhd.uds, PORT, 100);
	struct driver_pkt p;

	state = (uint32_t)_i * 1000000;
	driver_keep_packets(&vm);
	for (int i = 0; i < 20000; i++) {
		p = random_pkt();
		if (i % 100 == 0)
			host_dial(vhd.uds, 2000 + pick(8));
		ck_assert(driver_send(&vm, &p, NULL));
		drain();
		if (deadline_poll(listener, POLLIN, 0))
			close(host_accept(listener));
	}
	host_unlisten(listener, vhd.uds, PORT);
	driver_reboot(&vm);
	vm.input = sock_input;
	e2e_check_alive();
}
END_TEST

/* Everything a ring consists of, overwritten; sometimes nearly right. */
static void scramble(struct guest_ring *r)
{
	pattern_fill(r->desc, virtq_desc_size(r->num), 0, state++);
	if (pick(2))
		for (uint32_t i = 0; i < r->num; i++)
			guest_ring_raw_desc(r, i, vm.tx_gpa + pick(100000), pick(5000),
					    (uint16_t)pick(4), (uint16_t)pick(r->num));
	for (uint32_t i = 0; i < r->num; i++)
		r->avail->ring[i] = le16_of((uint16_t)pick(r->num + pick(2)));
	guest_ring_raw_avail_idx(r, (uint16_t)(guest_ring_used_idx(r) + pick(r->num + 2)));
}

START_TEST(random_rings)
{
	state = (uint32_t)_i * 1000000;
	for (int i = 0; i < 100; i++) {
		driver_keep_packets(&vm);
		host_dial(vhd.uds, 99);
		for (int q = 0; q < 3; q++)
			scramble(&vm.vq[q]);
		for (int q = 0; q < 3; q++)
			guest_ring_kick(&vm.vq[q]);
		for (int q = 0; q < 3; q++) {	/* it may lie anywhere now */
			uint32_t base;

			ck_assert_int_eq(vmm_get_vring_base(&vm.fe, (uint32_t)q,
							    &base), 0);
		}
		driver_rewind(&vm, 0);
		ck_assert_int_eq(driver_program(&vm), 0);
	}
	driver_reboot(&vm);
	vm.input = sock_input;
	e2e_check_alive();
}
END_TEST

/* The guest changes everything while the daemon reads it. */
START_TEST(rings_that_change_while_they_are_read)
{
	int64_t end = deadline_in(500);

	state = (uint32_t)_i * 1000000;
	driver_keep_packets(&vm);
	while (deadline_left(end)) {
		for (int i = 0; i < 50; i++) {
			scramble(&vm.vq[VSOCK_TXQ]);
			guest_ring_kick(&vm.vq[VSOCK_TXQ]);
		}
		driver_deinit(&vm);
		driver_up(&vm, vhd.socket, NULL);
		driver_keep_packets(&vm);
	}
	vm.input = sock_input;
	e2e_check_alive();
}
END_TEST

/* SIGBUS in the daemon: that device alone ends. */
START_TEST(guest_memory_shrinks)
{
	struct pair p = e2e_guest_connects(&vm, vhd.uds);

	e2e_check_talks(p);
	ck_assert(driver_flush(&vm));
	ck_assert_int_eq(ftruncate(vm.guest.regions[_i].fd, 0), 0);
	ck_assert(host_write(p.host, "x", 1));
	guest_ring_kick(&vm.vq[VSOCK_TXQ]);
	guest_ring_kick(&vm.vq[VSOCK_RXQ]);
	ck_assert(host_is_closed(p.host, DEADLINE_MS));
	ck_assert(daemon_is_running(&vhd));
	driver_deinit(&vm);
	driver_up(&vm, vhd.socket, NULL);
	e2e_check_alive();
}
END_TEST

/* ---- the log ---- */

enum { FLOOD = 40, LIMIT_LINES = 10, LIMIT_MS = 5000 };	/* the limits of a call site */

static void take_memory_away(void)
{
	ck_assert_int_eq(ftruncate(vm.guest.regions[0].fd, 0), 0);
	guest_ring_kick(&vm.vq[VSOCK_TXQ]);
	guest_ring_kick(&vm.vq[VSOCK_RXQ]);
	ck_assert(deadline_poll(vm.fe.sock, POLLIN | POLLHUP, deadline_in(DEADLINE_MS)));
	driver_deinit(&vm);
	driver_up(&vm, vhd.socket, NULL);
}

static void reset_with_a_connection(void)
{
	struct pair p = e2e_guest_connects(&vm, vhd.uds);

	driver_reboot(&vm);
	ck_assert(host_is_closed(p.host, DEADLINE_MS));
	close(p.host);
}

static void send_as_somebody_else(void)
{
	struct driver_pkt p = driver_pkt(&vm, VSOCK_OP_RST, 1, 2);

	p.src_cid = 77;
	ck_assert(driver_send(&vm, &p, NULL));
	ck_assert(driver_flush(&vm));
}

static void connect_to_nobody(void)
{
	static uint32_t port = 2000;		/* another one: who asks again has given up before */
	struct driver_pkt p = driver_pkt(&vm, VSOCK_OP_REQUEST, port++, 4);

	ck_assert(driver_send(&vm, &p, NULL));
	ck_assert(driver_flush(&vm));
}

static void send_an_unknown_request(void)
{
	ck_assert_int_ne(vmm_send_acked(&vm.fe, 1000, NULL, 0, NULL, 0), 0);
}

static const struct flood {
	void (*act)(void);
	const char *line;
} floods[] = {
	{ take_memory_away, "guest memory vanished" },
	{ take_memory_away, "vm 3: front-end connected" },
	{ reset_with_a_connection, "guest was reset" },
	{ send_as_somebody_else, "packet from cid 77 dropped" },
	{ send_an_unknown_request, "(1000) refused" },
	{ connect_to_nobody, "nobody listens there" },
};

static unsigned count_lines(const char *text)
{
	char *log = daemon_log(&vhd);
	unsigned n = 0;

	for (const char *at = log; (at = strstr(at, text)); at++)
		n++;
	free(log);
	return n;
}

START_TEST(log_cannot_be_flooded)
{
	static const char *const info[] = { "--log-level=info", NULL };
	const struct flood *c = &floods[_i];
	int64_t start = now_ms();
	unsigned n, windows;

	neighbour_start_daemon(NULL, info);
	driver_up(&vm, vhd.socket, NULL);
	for (int i = 0; i < FLOOD; i++)
		c->act();
	neighbour_judge();
	neighbour_down();
	ck_assert_int_eq(daemon_stop(&vhd, DEADLINE_MS), 0);	/* all is written */
	n = count_lines(c->line);
	windows = (unsigned)((now_ms() - start) / LIMIT_MS) + 1;
	ck_assert_uint_ge(n, 1);
	ck_assert_uint_le(n, LIMIT_LINES * windows);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("hostile");
	TCase *tc = neighbour_case(s, "hostile", neighbour_setup_vm, neighbour_teardown, 120);

	tcase_add_loop_test(tc, random_packets, 0, ROUNDS);
	tcase_add_loop_test(tc, random_rings, 0, ROUNDS);
	tcase_add_loop_test(tc, rings_that_change_while_they_are_read, 0, 2);
	tcase_add_loop_test(tc, guest_memory_shrinks, 0, 2);
	tc = neighbour_case(s, "log", e2e_setup_bare, neighbour_teardown, 120);
	tcase_add_loop_test(tc, log_cannot_be_flooded, 0, sizeof floods / sizeof *floods);
	return e2e_run(s);
}
