/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What one VM's guest, front-end and host programs can do in great numbers, and another
 * VM on the same worker that must not notice: connects that wait, sockets with much to
 * say, connections that end, descriptors that say nothing, memory that is given back.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include "e2e/flow.h"
#include "e2e/neighbour.h"

enum { MIB = 1 << 20 };

/* A guest of these options; the neighbour does not measure yet. */
static void begin(const char *words, const struct driver_options *opt)
{
	neighbour_start_daemon(words, NULL);
	neighbour_stop();
	driver_up(&vm, vhd.socket, opt);
}

/* Bytes that are of no interest. */
static void ignore(struct sock *s, const uint8_t *data, size_t len)
{
	(void)s, (void)data, (void)len;
}

/* ---- connects that wait for a full backlog ---- */

enum { CONNECTS = 2000 };

static struct sock *connecting[CONNECTS];
static int listener;

/* All at once; and as many as were accepted at the host, of those that are. */
static void dial_many(int accepted[])
{
	int n = 0;

	for (int i = 0; i < CONNECTS; i++) {
		connecting[i] = sock_dial(&vm, PORT);
		driver_turn(&vm);
		if (accepted && deadline_poll(listener, POLLIN, deadline_in(0)))
			accepted[n++] = host_accept(listener);
	}
	while (accepted && n < CONNECTS)
		accepted[n++] = host_accept(listener);
	for (int i = 0; i < CONNECTS; i++)
		sock_wait_open(connecting[i]);
	for (int i = 0; accepted && i < CONNECTS; i++)
		close(accepted[i]);
	for (int i = 0; i < CONNECTS; i++) {
		ck_assert_int_eq(connecting[i]->was_refused, !accepted);
		sock_close(connecting[i]);
	}
}

static void dial_who_accepts(void)
{
	static int accepted[CONNECTS];

	listener = host_listen(vhd.uds, PORT, CONNECTS);
	dial_many(accepted);
	host_unlisten(listener, vhd.uds, PORT);
}

static void dial_who_does_not(void)
{
	int first;

	listener = host_listen(vhd.uds, PORT, 0);
	first = sock_connect(&vm, PORT)->port ? listener : -1;
	dial_many(NULL);
	host_unlisten(first, vhd.uds, PORT);
}

START_TEST(connects_that_wait)
{
	begin(NULL, NULL);
	neighbour_compare(dial_who_accepts, dial_who_does_not);
}
END_TEST

/* ---- many host programs with much to say ---- */

enum { TALKERS = 200, SAID = 200 * 1024 };	/* each, just under its share of a turn */

static struct pair talkers[TALKERS];

/* What each socket takes, while the guest gives no buffers; and then it gives them all. */
static void all_talk_at_once(void)
{
	static const uint8_t bytes[SAID];

	vm.holds_rx = true;
	do
		for (int i = 0; i < TALKERS; i++)
			while (send(talkers[i].host, bytes, sizeof bytes, MSG_DONTWAIT) > 0)
				;
	while (driver_turn(&vm));
	driver_release_rx(&vm);
	while (driver_wait(&vm, deadline_in(20), false))
		;
}

/* As many bytes by one socket. */
static void one_talks(void)
{
	struct host_job job = { .fd = talkers[0].host, .to_write = (uint64_t)TALKERS * SAID };
	uint64_t end = talkers[0].guest->total + (uint64_t)TALKERS * SAID;

	host_job_start(&job);
	while (talkers[0].guest->total < end)
		ck_assert(driver_wait(&vm, deadline_in(DEADLINE_MS), false));
	must(host_job_finish(&job));
}

START_TEST(many_talk_at_once)
{
	const struct driver_options large = {
		.queue_size = 1024, .rx_buf_len = VSOCK_BODY_MAX + sizeof(struct wire_vsock_hdr),
		.buf_alloc = 1u << 30,
	};

	begin(NULL, &large);
	vm.accept_sink = ignore;
	for (int i = 0; i < TALKERS; i++)
		talkers[i] = e2e_host_connects(&vm, vhd.uds);
	neighbour_compare(one_talks, all_talk_at_once);
}
END_TEST

/* ---- many connections that end at once ---- */

enum { CONNS = 4000, FDS_BESIDES = 200 };

static struct pair conns[CONNS];
static int n_conns;

static int count_allowed(void)
{
	struct rlimit limit;

	must(getrlimit(RLIMIT_NOFILE, &limit) == 0);
	limit.rlim_cur = limit.rlim_max;
	must(setrlimit(RLIMIT_NOFILE, &limit) == 0);
	return limit.rlim_max < CONNS + FDS_BESIDES ? (int)limit.rlim_max - FDS_BESIDES : CONNS;
}

static void connect_all(void)
{
	for (int i = 0; i < n_conns; i++) {
		conns[i].host = host_dial(vhd.uds, PORT);
		conns[i].guest = sock_accept(&vm, PORT);
	}
}

static void close_all_one_by_one(void)
{
	connect_all();
	for (int i = 0; i < n_conns; i++) {
		ck_assert(sock_close(conns[i].guest));
		close(conns[i].host);
	}
}

static void lose_all_at_once(void)
{
	connect_all();
	driver_deinit(&vm);
	for (int i = 0; i < n_conns; i++) {
		ck_assert(deadline_poll(conns[i].host, POLLHUP, deadline_in(DEADLINE_MS)));
		close(conns[i].host);
	}
	driver_up(&vm, vhd.socket, NULL);
	sock_listen(&vm, PORT);
}

START_TEST(many_end_at_once)
{
	n_conns = count_allowed();
	begin(NULL, NULL);
	sock_listen(&vm, PORT);
	neighbour_compare(close_all_one_by_one, lose_all_at_once);
	e2e_check_alive();
}
END_TEST

/* More connections at once than ever before are nothing special. */
START_TEST(many_for_the_first_time)
{
	int64_t first, again;

	n_conns = count_allowed();
	begin(NULL, NULL);
	sock_listen(&vm, PORT);
	first = neighbour_measure(close_all_one_by_one);
	again = neighbour_measure(close_all_one_by_one);
	ck_assert_msg(neighbour_is_well(first, again), "%lld us, %lld us when done again",
		      (long long)first, (long long)again);
}
END_TEST

/* ---- descriptors that say nothing ---- */

enum { RING = 32768, POSTED = 1000 };

/* So many chains, all the same one of @n descriptors, of which the last has a header that
 * is worth nothing. */
static void post_chains(unsigned n)
{
	struct driver_pkt nothing = driver_pkt(&vm, VSOCK_OP_RST, 1, 2);
	uint64_t at = guest_alloc(&vm.guest, 1, 64, 64);
	struct guest_ring *tx = &vm.vq[VSOCK_TXQ];
	uint16_t idx = tx->avail_idx;

	driver_put_header(&vm, at, &nothing);
	for (unsigned i = 0; i + 1 < n; i++)
		guest_ring_raw_desc(tx, i, at, 0, VIRTQ_DESC_F_NEXT, (uint16_t)(i + 1));
	guest_ring_raw_desc(tx, n - 1, at, sizeof(struct wire_vsock_hdr), 0, 0);
	for (unsigned i = 0; i < POSTED; i++)
		tx->avail->ring[idx++ % RING] = le16_of(0);
	guest_ring_raw_avail_idx(tx, idx);
	guest_ring_kick(tx);
	while (guest_ring_used_idx(tx) != idx && !deadline_poll(tx->err_fd, POLLIN, deadline_in(5)))
		;
}

static void anew(void)
{
	uint64_t n;

	driver_reboot(&vm);
	for (int q = 0; q < VSOCK_NUM_QUEUES; q++)
		if (read(vm.vq[q].err_fd, &n, sizeof n) < 0)
			must(errno == EAGAIN);
}

static unsigned chain_length;

static void post_empty_ones(void)
{
	post_chains(chain_length);
	anew();
}

static void post_short_ones(void)
{
	post_chains(1);
	anew();
}

/* The longest that is taken, and the longest that the ring has. */
START_TEST(descriptors_that_say_nothing)
{
	const struct driver_options opt = { .queue_size = RING, .n_rx_bufs = 128 };

	chain_length = _i ? RING : 1024;
	begin("queue-size=32768", &opt);
	neighbour_compare(post_short_ones, post_empty_ones);
}
END_TEST

/* ---- memory that is given back ---- */

#define FAR	(UINT64_C(1) << 40)

enum { MUCH = 256 * MIB, PAGE = 4096, AT_ONCE = 16 * PAGE };	/* mapped by one fault */

/* A front-end whose guest has much memory, of which the daemon reads @n_read bytes. */
static void come_and_go(uint64_t n_read)
{
	struct driver_pkt nothing;
	uint8_t *bytes;

	driver_deinit(&vm);
	driver_init(&vm, NULL);
	nothing = driver_pkt(&vm, VSOCK_OP_RST, 1, 2);
	guest_add_region(&vm.guest, FAR, MUCH, 0);
	bytes = guest_ptr(&vm.guest, FAR, MUCH);
	for (uint64_t at = 0; at < n_read; at += PAGE)
		bytes[at] = 1;
	ck_assert_int_eq(driver_attach(&vm, vhd.socket), 0);
	for (uint64_t at = 0; at < n_read; at += AT_ONCE) {
		struct guest_ring_buf b = { FAR + at, sizeof(struct wire_vsock_hdr), false };

		driver_put_header(&vm, FAR + at, &nothing);
		ck_assert(guest_ring_add(&vm.vq[VSOCK_TXQ], &b, 1, --vm.n_tx_free));
		if (!vm.n_tx_free) {
			guest_ring_publish(&vm.vq[VSOCK_TXQ]);
			ck_assert(driver_flush(&vm));
		}
	}
	driver_detach(&vm);
}

static void come_and_go_with_much(void)
{
	come_and_go(MUCH);
}

static void come_and_go_with_little(void)
{
	come_and_go(64 * PAGE);
}

START_TEST(memory_that_is_given_back)
{
	begin(NULL, NULL);
	neighbour_compare(come_and_go_with_little, come_and_go_with_much);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("neighbour_load");
	TCase *tc = e2e_case_with(s, "load", e2e_setup_bare, neighbour_teardown, 120);

	tcase_add_test(tc, connects_that_wait);
	tcase_add_test(tc, many_talk_at_once);
	tcase_add_test(tc, many_for_the_first_time);
	tcase_add_test(tc, many_end_at_once);
	tcase_add_loop_test(tc, descriptors_that_say_nothing, 0, 2);
	tcase_add_test(tc, memory_that_is_given_back);
	return e2e_run(s);
}
