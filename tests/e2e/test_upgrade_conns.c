/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Another engine takes over (SIGUSR2) while connections begin, move bytes and end: no byte is
 * lost, none comes twice or in another order.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "e2e/flow.h"
#include "e2e/upgrade.h"

#define COUNT(array) ((int)(sizeof (array) / sizeof *(array)))

enum { UPGRADES = 5, MIB = 1 << 20, PAIRS = 4 };

/* ---- in the middle of transfers ---- */

static const struct driver_options guests[] = {
	{ .rx_buf_len = 0 },
	{ .rx_buf_len = 100, .rx_shape = RX_SPLIT_HEADER },
	{ .rx_buf_len = 65536 + 44 },
	{ .queue_size = 4, .rx_buf_len = 256 },
	{ .buf_alloc = 5000, .tx_shape = TX_MANY },
	{ .rx_buf_len = 300, .rx_shape = RX_INDIRECT, .tx_shape = TX_INDIRECT },
};

/* Each pair moves @len bytes each way. The host's ends of one in two take small bites. */
static void move(struct pair *pairs, uint64_t len, uint32_t seed)
{
	struct host_job jobs[PAIRS];
	struct flow flows[PAIRS];

	for (uint32_t i = 0; i < PAIRS; i++) {
		jobs[i] = (struct host_job){
			.fd = pairs[i].host, .to_write = len, .to_read = len,
			.write_seed = seed + i, .read_seed = ~seed - i, .chunk = i & 1 ? 3000 : 0,
		};
		flows[i] = (struct flow){
			.sock = pairs[i].guest, .to_send = len, .to_recv = len,
			.send_seed = ~seed - i, .recv_seed = seed + i,
		};
		host_job_start(&jobs[i]);
	}
	flow_run(&vm, flows, PAIRS);
	for (int i = 0; i < PAIRS; i++)
		ck_assert_msg(host_job_finish(&jobs[i]), "%s", jobs[i].error);
}

START_TEST(in_the_middle_of_transfers)
{
	struct upgrades u;
	struct pair pairs[PAIRS];
	uint64_t len = guests[_i].rx_buf_len && guests[_i].rx_buf_len < 1000 ? MIB / 4 : 2 * MIB;
	uint32_t round = 0;

	e2e_start(NULL, &guests[_i]);
	for (int i = 0; i < PAIRS; i++)
		pairs[i] = i < PAIRS / 2 ? e2e_guest_connects(&vm, vhd.uds) :
			e2e_host_connects(&vm, vhd.uds);
	upgrades_start(&u, UPGRADES);
	while (upgrades_go_on(&u))
		move(pairs, len, 100 * ++round);
	upgrades_finish(&u);
	move(pairs, len, 7);
	for (int i = 0; i < PAIRS; i++)
		e2e_close(pairs[i]);
	e2e_check_alive();
	ck_assert_uint_eq(vm.n_strangers, 0);
}
END_TEST

/* ---- what waits in the daemon ---- */

/* Sends until nothing is taken any more. */
static size_t fill_to_host(struct pair p, uint32_t seed)
{
	static uint8_t bytes[64 * 1024];
	size_t sent = 0, n;

	do {
		pattern_fill(bytes, sizeof bytes, sent, seed);
		n = sock_send_some(p.guest, bytes, sizeof bytes);
		sent += n;
	} while (n || driver_wait(&vm, deadline_in(QUIET_MS), true));
	return sent;
}

static size_t fill_to_guest(struct pair p, uint32_t seed)
{
	static uint8_t bytes[64 * 1024];
	size_t sent = 0;
	ssize_t n;

	do {
		pattern_fill(bytes, sizeof bytes, sent, seed);
		n = send(p.host, bytes, sizeof bytes, MSG_DONTWAIT | MSG_NOSIGNAL);
		sent += n > 0 ? (size_t)n : 0;
	} while (n > 0 || driver_wait(&vm, deadline_in(QUIET_MS), false));
	return sent;
}

static void drain_to_host(struct pair p, size_t from, size_t len, uint32_t seed)
{
	uint8_t got[1000];

	for (size_t at = from; at < from + len; at += sizeof got) {
		size_t want = from + len - at < sizeof got ? from + len - at : sizeof got;

		ck_assert_uint_eq(host_read(p.host, got, want), want);
		ck_assert_uint_eq(pattern_check(got, want, at, seed), want);
	}
}

static void drain_to_guest(struct pair p, size_t from, size_t len, uint32_t seed)
{
	uint8_t got[1000];

	for (size_t at = from; at < from + len; at += sizeof got) {
		size_t want = from + len - at < sizeof got ? from + len - at : sizeof got;

		ck_assert_uint_eq(sock_recv_full(p.guest, got, want), want);
		ck_assert_uint_eq(pattern_check(got, want, at, seed), want);
	}
}

/* Neither side reads: all that the daemon may hold is in it, and no credit is left. */
START_TEST(slow_readers)
{
	struct pair p = _i ? e2e_host_connects(&vm, vhd.uds) : e2e_guest_connects(&vm, vhd.uds);
	size_t to_host = fill_to_host(p, 1), to_guest = fill_to_guest(p, 2);

	for (int i = 0; i < UPGRADES; i++) {
		upgrade();
		drain_to_host(p, (size_t)i * 10000, 10000, 1);
		drain_to_guest(p, (size_t)i * 10000, 10000, 2);
	}
	drain_to_host(p, UPGRADES * 10000, to_host - UPGRADES * 10000, 1);
	drain_to_guest(p, UPGRADES * 10000, to_guest - UPGRADES * 10000, 2);
	e2e_check_talks(p);
	e2e_close(p);
}
END_TEST

/* The guest has no RX buffers while it happens. */
START_TEST(no_rx_buffers)
{
	struct pair p = e2e_guest_connects(&vm, vhd.uds);
	size_t sent;

	vm.holds_rx = true;
	sent = fill_to_guest(p, 3);
	upgrade();
	ck_assert(driver_is_quiet(&vm, 50));
	driver_release_rx(&vm);
	drain_to_guest(p, 0, sent, 3);
	e2e_check_talks(p);
	e2e_close(p);
}
END_TEST

/* ---- connections that begin and end ---- */

START_TEST(half_closed_by_the_guest)
{
	struct pair p = e2e_guest_connects(&vm, vhd.uds);
	size_t sent = fill_to_host(p, 4);

	sock_shutdown(p.guest, VSOCK_SHUTDOWN_SEND);
	upgrade();
	drain_to_host(p, 0, sent, 4);
	ck_assert_int_eq(recv(p.host, &(char){ 0 }, 1, 0), 0);
	upgrade();
	e2e_check_host_to_guest(p, 100000, 5);
	close(p.host);
	ck_assert(sock_wait_shutdown(p.guest, VSOCK_SHUTDOWN_BOTH, DEADLINE_MS));
	ck_assert(sock_close(p.guest));
	e2e_check_alive();
}
END_TEST

START_TEST(half_closed_by_the_host)
{
	struct pair p = e2e_host_connects(&vm, vhd.uds);
	size_t sent = fill_to_guest(p, 4);

	shutdown(p.host, SHUT_WR);
	upgrade();
	drain_to_guest(p, 0, sent, 4);
	ck_assert(sock_wait_shutdown(p.guest, VSOCK_SHUTDOWN_SEND, DEADLINE_MS));
	upgrade();
	e2e_check_guest_to_host(p, 100000, 5);
	ck_assert(sock_close(p.guest));
	ck_assert(host_is_closed(p.host, DEADLINE_MS));
	e2e_check_alive();
}
END_TEST

/* The guest has closed, and what it sent waits for a slow reader. */
START_TEST(lingering)
{
	struct pair p = e2e_guest_connects(&vm, vhd.uds);
	size_t sent = fill_to_host(p, 6);

	sock_shutdown(p.guest, VSOCK_SHUTDOWN_BOTH);
	ck_assert(driver_flush(&vm));
	upgrade();
	drain_to_host(p, 0, sent / 2, 6);
	upgrade();
	drain_to_host(p, sent / 2, sent - sent / 2, 6);
	ck_assert(host_is_closed(p.host, DEADLINE_MS));
	ck_assert(sock_wait_reset(p.guest, DEADLINE_MS));
	e2e_check_alive();
}
END_TEST

/* The host has closed; the guest has not answered, and does so to another engine. */
START_TEST(closing)
{
	struct pair p = e2e_guest_connects(&vm, vhd.uds);

	close(p.host);
	ck_assert(sock_wait_shutdown(p.guest, VSOCK_SHUTDOWN_BOTH, DEADLINE_MS));
	upgrade();
	ck_assert(sock_close(p.guest));
	e2e_check_alive();
	ck_assert_uint_eq(vm.n_strangers, 0);
}
END_TEST

/* A host's connect that the guest has not answered. */
START_TEST(requested)
{
	struct driver_pkt answer;
	const struct driver_kept *k;
	struct pair p = { NULL, -1 };

	driver_keep_packets(&vm);
	p.host = host_dial(vhd.uds, PORT);
	k = driver_next(&vm, DEADLINE_MS);
	ck_assert_ptr_nonnull(k);
	ck_assert_uint_eq(k->pkt.op, VSOCK_OP_REQUEST);
	answer = driver_pkt(&vm, VSOCK_OP_RESPONSE, PORT, k->pkt.src_port);
	answer.buf_alloc = 65536;
	upgrade();
	ck_assert(driver_is_quiet(&vm, 50));
	ck_assert(driver_send(&vm, &answer, NULL));
	ck_assert_uint_eq(host_read_ok(p.host), PORT);
	ck_assert(host_write(p.host, "x", 1));
	k = driver_next(&vm, DEADLINE_MS);
	ck_assert(k && k->pkt.op == VSOCK_OP_RW && k->pkt.len == 1);
	close(p.host);
}
END_TEST

/* A guest's connects that wait for room in a backlog. */
START_TEST(connecting)
{
	int listener = host_listen(vhd.uds, PORT, 0), n = 0;
	struct sock *socks[8];

	while (n < COUNT(socks)) {
		socks[n++] = sock_dial(&vm, PORT);
		driver_flush(&vm);
	}
	upgrade();
	for (int i = 0; i < COUNT(socks); i++) {
		int host = host_accept(listener);

		close(host);
	}
	for (int i = 0; i < COUNT(socks); i++) {
		ck_assert(sock_wait_shutdown(socks[i], VSOCK_SHUTDOWN_BOTH, DEADLINE_MS));
		ck_assert(!socks[i]->was_refused);
		ck_assert(sock_close(socks[i]));
	}
	host_unlisten(listener, vhd.uds, PORT);
	e2e_check_alive();
}
END_TEST

/* Clients that have said a part of their line, or more than it; cut everywhere. */
START_TEST(handshakes)
{
	static const char text[] = "CONNECT 1234\nearly";
	enum { N = sizeof text };
	const size_t line = strcspn(text, "\n") + 1, want = N - 1 - line;
	struct pair pairs[N];
	char got[16];

	sock_listen(&vm, PORT);
	for (size_t cut = 0; cut < N; cut++) {
		pairs[cut].host = host_connect(vhd.uds);
		ck_assert(host_write(pairs[cut].host, text, cut));
	}
	upgrade();
	for (size_t cut = 0; cut < N; cut++) {
		ck_assert(host_write(pairs[cut].host, text + cut, N - 1 - cut));
		pairs[cut].guest = sock_accept(&vm, PORT);
	}
	for (size_t cut = 0; cut < N; cut++) {
		ck_assert_uint_eq(host_read_ok(pairs[cut].host), PORT);
		ck_assert(host_write(pairs[cut].host, "y", 1));
	}
	for (size_t cut = 0; cut < N; cut++) {	/* whoever came first */
		ck_assert_uint_eq(sock_recv_full(pairs[cut].guest, got, want + 1), want + 1);
		ck_assert_int_eq(memcmp(got, text + line, want), 0);
		ck_assert_int_eq(got[want], 'y');
	}
	for (size_t cut = 0; cut < N; cut++)
		close(pairs[cut].host);
	for (size_t cut = 0; cut < N; cut++) {
		ck_assert(sock_wait_shutdown(pairs[cut].guest, VSOCK_SHUTDOWN_BOTH, DEADLINE_MS));
		ck_assert(sock_close(pairs[cut].guest));
	}
}
END_TEST

/* A thread connects and talks all the time, as host programs do. */
static void *keep_connecting(void *arg)
{
	struct upgrades *u = arg;
	intptr_t n = 0;

	while (upgrades_go_on(u)) {
		int fd = host_dial(vhd.uds, PORT);
		char got[4];

		must(host_read_ok(fd) == PORT);
		must(host_write(fd, "ping", 4) && host_read(fd, got, 4) == 4);
		must(memcmp(got, "ping", 4) == 0);
		close(fd);
		n++;
	}
	return (void *)n;
}

static void echo(struct sock *s, const uint8_t *data, size_t len)
{
	must(sock_send_some(s, data, len) == len);
}

/* None of those that come while it happens is refused, or lost. */
START_TEST(connects_meanwhile)
{
	struct upgrades u;
	pthread_t thread;
	void *n;

	sock_listen(&vm, PORT);
	vm.accept_sink = echo;
	upgrades_start(&u, 2 * UPGRADES);
	must(pthread_create(&thread, NULL, keep_connecting, &u) == 0);
	while (upgrades_go_on(&u)) {
		driver_wait(&vm, deadline_in(5), false);
		for (struct sock *s; (s = vm.backlog); )
			sock_accept(&vm, PORT);
	}
	while (pthread_tryjoin_np(thread, &n))
		driver_wait(&vm, deadline_in(5), false);
	upgrades_finish(&u);
	printf("# %ld connects\n", (long)(intptr_t)n);
	ck_assert_int_gt((intptr_t)n, UPGRADES);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("upgrade_conns");
	TCase *tc = e2e_case(s, "vm", e2e_setup_vm, 60);

	tcase_add_loop_test(tc, slow_readers, 0, 2);
	tcase_add_test(tc, no_rx_buffers);
	tcase_add_test(tc, half_closed_by_the_guest);
	tcase_add_test(tc, half_closed_by_the_host);
	tcase_add_test(tc, lingering);
	tcase_add_test(tc, closing);
	tcase_add_test(tc, requested);
	tcase_add_test(tc, connecting);
	tcase_add_test(tc, handshakes);
	tcase_add_test(tc, connects_meanwhile);
	tc = e2e_case(s, "transfers", e2e_setup_bare, 60);
	tcase_add_loop_test(tc, in_the_middle_of_transfers, 0, COUNT(guests));
	return e2e_run(s);
}
