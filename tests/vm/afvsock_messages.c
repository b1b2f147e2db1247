/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * SOCK_SEQPACKET of the AF_VSOCK backend, inside a guest: each message arrives whole and alone,
 * or the connection is reset. The kernel's own calls do not keep that promise where they must not
 * wait: they pass on what there is room for.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <linux/vm_sockets.h>

#include "e2e/upgrade.h"
#include "support/host_messages.h"
#include "vm/afvsock.h"

enum {
	ROOM = 65536,				/* bytes, of a host program that is started small */
	BIG = 50000,				/* one fits into that, two do not */
	PAIRS = 6,
};

static uint8_t bytes[256 * 1024];

static struct pair guest_connects_to(uint64_t room)
{
	int listener = vsock_listen(SOCK_SEQPACKET, PORT, room);
	struct pair p = { .guest = sock_dial_as(&vm, VSOCK_TYPE_SEQPACKET, 2, PORT) };

	ck_assert(sock_wait_open(p.guest));
	p.host = host_accept(listener);
	close(listener);
	return p;
}

static struct pair host_connects(void)
{
	struct pair p;

	sock_listen_as(&vm, VSOCK_TYPE_SEQPACKET, FORWARDED_SEQPACKET);
	p.host = vsock_dial(SOCK_SEQPACKET, FORWARDED_SEQPACKET);
	p.guest = sock_accept(&vm, FORWARDED_SEQPACKET);
	ck_assert_int_eq(p.guest->type, VSOCK_TYPE_SEQPACKET);
	return p;
}

static struct pair connects(bool from_guest)
{
	return from_guest ? guest_connects_to(0) : host_connects();
}

static void guest_sends(struct pair p, size_t len, uint32_t seed, bool is_record)
{
	pattern_fill(bytes, len, 0, seed);
	ck_assert(sock_send_msg(p.guest, bytes, len, is_record ? VSOCK_SEQ_EOR : 0));
}

static void host_gets(struct pair p, size_t len, uint32_t seed, bool is_record)
{
	struct iovec iov = { bytes, sizeof bytes };
	struct msghdr mh = { .msg_iov = &iov, .msg_iovlen = 1 };
	int64_t deadline = deadline_in(DEADLINE_MS);
	ssize_t n;

	do
		ck_assert(deadline_poll(p.host, POLLIN, deadline));
	while ((n = recvmsg(p.host, &mh, MSG_DONTWAIT)) < 0 && errno == EAGAIN);
	ck_assert_int_eq(n, (ssize_t)len);
	ck_assert_uint_eq(pattern_check(bytes, len, 0, seed), len);
	ck_assert_int_eq(mh.msg_flags, is_record ? MSG_EOR : 0);
}

static void host_sends(struct pair p, size_t len, uint32_t seed, bool is_record)
{
	pattern_fill(bytes, len, 0, seed);
	ck_assert_int_eq(send(p.host, bytes, len, MSG_NOSIGNAL | (is_record ? MSG_EOR : 0)),
			 (ssize_t)len);
}

static void guest_gets(struct pair p, size_t len, uint32_t seed, bool is_record)
{
	uint32_t flags;

	ck_assert_int_eq(sock_recv_msg(p.guest, bytes, sizeof bytes, &flags, DEADLINE_MS),
			 (ssize_t)len);
	ck_assert_uint_eq(pattern_check(bytes, len, 0, seed), len);
	ck_assert_uint_eq(flags, VSOCK_SEQ_EOM | (is_record ? VSOCK_SEQ_EOR : 0));
}

static void check_talks(struct pair p)
{
	guest_sends(p, 1000, 1, false);
	host_gets(p, 1000, 1, false);
	host_sends(p, 5000, 2, false);
	guest_gets(p, 5000, 2, false);
}

/* The host reads its end, and no part of a message before it. */
static void expect_end(int host)
{
	int64_t deadline = deadline_in(DEADLINE_MS);
	ssize_t n;

	do
		ck_assert(deadline_poll(host, POLLIN, deadline));
	while ((n = recv(host, bytes, sizeof bytes, MSG_DONTWAIT)) < 0 && errno == EAGAIN);
	ck_assert_int_le(n, 0);
}

/* The guest sends what it has credit for. How many messages those are, and some of them wait. */
static uint32_t guest_fills(struct pair p)
{
	uint32_t n = 0;

	while (sock_room(p.guest) >= BIG || driver_wait(&vm, deadline_in(QUIET_MS), false))
		if (sock_room(p.guest) >= BIG)
			guest_sends(p, BIG, n++, false);
	ck_assert_uint_gt(n, 2);
	return n;
}

/* ---- messages ---- */

static const size_t sizes[] = { 1, 2, 44, 4051, 4052, 4053, 8105, 65535, 65536, 100000, 262144 };

START_TEST(one_of_each_size)
{
	struct pair p = connects(_i);

	for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
		bool is_record = i % 2;

		if (sizes[i] < 262144) {	/* tx-buffer-size: it is sent when it is whole */
			guest_sends(p, sizes[i], 7, is_record);
			host_gets(p, sizes[i], 7, is_record);
		}
		host_sends(p, sizes[i], 8, !is_record);
		guest_gets(p, sizes[i], 8, !is_record);
	}
	close(p.host);
	ck_assert(sock_wait_shutdown(p.guest, VSOCK_SHUTDOWN_BOTH, DEADLINE_MS));
	ck_assert(sock_close(p.guest));
}
END_TEST

/* The second is longer than what is left of the receiver's room. The kernel passes on a part, and
 * the rest when it may. */
START_TEST(longer_than_the_room_that_is_left)
{
	struct pair p = guest_connects_to(ROOM);
	uint32_t n;

	for (int round = 0; round < 3; round++) {
		n = guest_fills(p);
		for (uint32_t i = 0; i < n; i++)
			host_gets(p, BIG, i, false);
		check_talks(p);
	}
	close(p.host);
}
END_TEST

START_TEST(host_sends_ahead)
{
	struct pair p = connects(_i);
	uint32_t sent = 0;

	do {
		pattern_fill(bytes, 3000, 0, sent);
		while (send(p.host, bytes, 3000, MSG_DONTWAIT | MSG_NOSIGNAL) == 3000)
			pattern_fill(bytes, 3000, 0, ++sent);
	} while (sent < 50);			/* the next is torn, by the kernel */
	for (uint32_t i = 0; i < 50; i++)
		guest_gets(p, 3000, i, false);
	close(p.host);
}
END_TEST

/* Of many connections none hears another's, and one that does not read stops none. */
START_TEST(interleaved)
{
	struct pair stuck[PAIRS], p[PAIRS];
	unsigned fds = daemon_usage(&vhd).fds;
	uint32_t n[PAIRS];

	for (int i = 0; i < PAIRS; i++) {
		stuck[i] = guest_connects_to(ROOM);
		n[i] = guest_fills(stuck[i]);
	}
	for (int i = 0; i < PAIRS; i++)
		p[i] = connects(i % 2);
	for (uint32_t round = 0; round < 20; round++) {
		for (uint32_t i = 0; i < PAIRS; i++)
			guest_sends(p[i], 100 * i + round + 1, i, i % 2);
		for (uint32_t i = 0; i < PAIRS; i++)
			host_sends(p[i], 1000 * i + round + 1, ~i, false);
		for (uint32_t i = 0; i < PAIRS; i++) {
			host_gets(p[i], 100 * i + round + 1, i, i % 2);
			guest_gets(p[i], 1000 * i + round + 1, ~i, false);
		}
	}
	for (int i = 0; i < PAIRS; i++) {
		for (uint32_t k = 0; k < n[i]; k++)
			host_gets(stuck[i], BIG, k, false);
		close(stuck[i].host);
		close(p[i].host);
		ck_assert(sock_close(stuck[i].guest));
		ck_assert(sock_close(p[i].guest));
	}
	ck_assert(daemon_wait_fds(&vhd, fds, DEADLINE_MS));
}
END_TEST

START_TEST(half_close)
{
	struct pair p = connects(_i & 1);

	if (_i & 2) {
		guest_sends(p, 100, 1, false);
		sock_shutdown(p.guest, VSOCK_SHUTDOWN_SEND);
		host_gets(p, 100, 1, false);
		expect_end(p.host);
		host_sends(p, 50000, 2, false);
		guest_gets(p, 50000, 2, false);
	} else {
		host_sends(p, 100, 1, false);
		ck_assert_int_eq(shutdown(p.host, SHUT_WR), 0);
		guest_gets(p, 100, 1, false);
		ck_assert_int_eq(sock_recv_msg(p.guest, bytes, 1, NULL, DEADLINE_MS), SOCK_END);
		ck_assert_uint_eq(p.guest->peer_shutdown, VSOCK_SHUTDOWN_SEND);
		guest_sends(p, 50000, 2, false);
		host_gets(p, 50000, 2, false);
	}
	close(p.host);
	ck_assert(sock_close(p.guest));
}
END_TEST

/* The host reads all and closes at once, again and again: an end in order, each time. */
START_TEST(reads_and_leaves)
{
	for (uint32_t i = 0; i < 50; i++) {
		struct pair p = guest_connects_to(0);

		guest_sends(p, 1000, i, false);
		host_gets(p, 1000, i, false);
		close(p.host);
		ck_assert(sock_wait_shutdown(p.guest, VSOCK_SHUTDOWN_BOTH, DEADLINE_MS));
		ck_assert_uint_eq(p.guest->peer_shutdown, VSOCK_SHUTDOWN_BOTH);
		ck_assert(sock_close(p.guest));
	}
}
END_TEST

/* ---- ends, while a message is sent that the host has not read ---- */

/* The guest closes: all of it still arrives. */
START_TEST(guest_closes)
{
	struct pair p = guest_connects_to(ROOM);
	unsigned threads = daemon_usage(&vhd).threads;
	uint32_t n = guest_fills(p);

	sock_shutdown(p.guest, VSOCK_SHUTDOWN_BOTH);
	driver_is_quiet(&vm, QUIET_MS);
	for (uint32_t i = 0; i < n; i++)
		host_gets(p, BIG, i, false);
	expect_end(p.host);
	ck_assert(sock_wait_reset(p.guest, DEADLINE_MS));
	close(p.host);
	ck_assert_uint_ge(threads, 1);
}
END_TEST

/* ... and the host does not read on: what is torn never shows, and nothing is left. */
START_TEST(guest_closes_and_nobody_reads)
{
	unsigned fds = daemon_usage(&vhd).fds;
	struct pair p = guest_connects_to(ROOM);

	guest_fills(p);
	sock_shutdown(p.guest, VSOCK_SHUTDOWN_BOTH);
	ck_assert(sock_wait_reset(p.guest, DEADLINE_MS));	/* linger */
	ck_assert(daemon_wait_fds(&vhd, fds, DEADLINE_MS));
	host_gets(p, BIG, 0, false);
	expect_end(p.host);
	close(p.host);
	check_talks(connects(true));
}
END_TEST

START_TEST(host_closes)
{
	unsigned fds = daemon_usage(&vhd).fds;
	struct pair p = guest_connects_to(ROOM);

	guest_fills(p);
	close(p.host);
	ck_assert(sock_wait_reset(p.guest, DEADLINE_MS));
	ck_assert(daemon_wait_fds(&vhd, fds, DEADLINE_MS));
	check_talks(connects(true));
}
END_TEST

START_TEST(front_end_leaves)
{
	unsigned fds = daemon_usage(&vhd).fds;
	struct pair p = guest_connects_to(ROOM);

	guest_fills(p);
	driver_detach(&vm);
	host_gets(p, BIG, 0, false);		/* what it had sent is delivered */
	host_gets(p, BIG, 1, false);
	close(p.host);
	ck_assert(daemon_wait_fds(&vhd, fds, DEADLINE_MS));
}
END_TEST

/* ---- limits ---- */

static void check_reset(struct pair p, const char *why)
{
	ck_assert(sock_wait_reset(p.guest, DEADLINE_MS));
	expect_end(p.host);
	ck_assert(daemon_wait_log(&vhd, why));
	close(p.host);
	check_talks(connects(true));
}

START_TEST(longer_than_the_host_takes)
{
	struct pair p = guest_connects_to(10000);

	guest_sends(p, 10000, 1, false);
	host_gets(p, 10000, 1, false);
	guest_sends(p, 10001, 1, false);
	check_reset(p, "SO_VM_SOCKETS_BUFFER_SIZE");
}
END_TEST

START_TEST(longer_than_the_guest_takes)
{
	struct pair p;

	driver_detach(&vm);
	driver_up(&vm, vhd.socket, &(struct driver_options){ .buf_alloc = 10000 });
	p = connects(_i);
	host_sends(p, 10000, 1, false);
	guest_gets(p, 10000, 1, false);
	host_sends(p, 10001, 1, false);
	check_reset(p, "than what the guest buffers");
}
END_TEST

START_TEST(empty_ones)
{
	struct pair p = connects(_i);

	check_talks(p);
	guest_sends(p, 0, 1, false);
	check_reset(p, "an empty message to AF_VSOCK port");
}
END_TEST

/* ---- types ---- */

static bool is_refused(uint16_t type)
{
	int64_t begin = now_ms();
	struct sock *s = sock_dial_as(&vm, type, 2, PORT);
	bool is_refused = !sock_wait_open(s) && now_ms() - begin < AT_ONCE_MS;

	sock_free(s);
	return is_refused;
}

START_TEST(of_the_other_type)
{
	int listener = vsock_listen(_i ? SOCK_SEQPACKET : SOCK_STREAM, PORT, 0);

	ck_assert(is_refused(_i ? VSOCK_TYPE_STREAM : VSOCK_TYPE_SEQPACKET));
	close(listener);
	ck_assert(is_refused(VSOCK_TYPE_SEQPACKET));	/* nobody listens */
	ck_assert(vsock_is_hung_up_on(_i ? SOCK_SEQPACKET : SOCK_STREAM,
				      _i ? FORWARDED : FORWARDED_SEQPACKET, AT_ONCE_MS));
	check_talks(connects(true));
	check_talks(connects(false));
}
END_TEST

/* ---- another engine takes over ---- */

START_TEST(upgraded)
{
	struct pair p = connects(true), q = connects(false);

	for (uint32_t i = 0; i < 3; i++) {
		guest_sends(p, 20000, i, false);
		host_sends(q, 20000, i, false);
		upgrade();
		host_gets(p, 20000, i, false);
		guest_gets(q, 20000, i, false);
		check_talks(p);
		check_talks(q);
	}
	check_talks(connects(true));
	check_talks(connects(false));
	close(p.host);
	close(q.host);
}
END_TEST

/* No message comes twice, none is lost, however many the engines are that send them. */
START_TEST(upgraded_while_it_sends)
{
	struct pair p = guest_connects_to(ROOM);
	struct upgrades upgrades;
	uint32_t sent = 0, got = 0;

	upgrades_start(&upgrades, 5);
	while (upgrades_go_on(&upgrades) || got < sent) {
		while (sent - got < 3 && upgrades_go_on(&upgrades))
			guest_sends(p, 10000, sent++, false);
		if (got < sent)
			host_gets(p, 10000, got++, false);
	}
	upgrades_finish(&upgrades);
	check_talks(p);
	close(p.host);
}
END_TEST

/* What may be torn is not sent again: a reset, and the log says why. */
START_TEST(upgraded_while_nobody_reads)
{
	struct pair p = guest_connects_to(ROOM), q = connects(true);

	guest_fills(p);
	upgrade();
	ck_assert(sock_wait_reset(p.guest, DEADLINE_MS));
	ck_assert(daemon_wait_log(&vhd, "still being sent when another engine took over"));
	host_gets(p, BIG, 0, false);
	expect_end(p.host);
	close(p.host);
	check_talks(q);
	close(q.host);
}
END_TEST

/* ---- */

void afvsock_messages_add(Suite *s)
{
	TCase *tc = e2e_case(s, "messages", afvsock_setup_vm, 240);

	tcase_add_loop_test(tc, one_of_each_size, 0, 2);
	tcase_add_test(tc, longer_than_the_room_that_is_left);
	tcase_add_loop_test(tc, host_sends_ahead, 0, 2);
	tcase_add_test(tc, interleaved);
	tcase_add_loop_test(tc, half_close, 0, 4);
	tcase_add_test(tc, reads_and_leaves);
	tc = e2e_case(s, "ends of messages", afvsock_setup_vm, 120);
	tcase_add_test(tc, guest_closes);
	tcase_add_test(tc, guest_closes_and_nobody_reads);
	tcase_add_test(tc, host_closes);
	tcase_add_test(tc, front_end_leaves);
	tc = e2e_case(s, "limits of messages", afvsock_setup_vm, 120);
	tcase_add_test(tc, longer_than_the_host_takes);
	tcase_add_loop_test(tc, longer_than_the_guest_takes, 0, 2);
	tcase_add_loop_test(tc, empty_ones, 0, 2);
	tcase_add_loop_test(tc, of_the_other_type, 0, 2);
	tc = e2e_case(s, "messages and another engine", afvsock_setup_vm, 120);
	tcase_add_test(tc, upgraded);
	tcase_add_test(tc, upgraded_while_it_sends);
	tcase_add_test(tc, upgraded_while_nobody_reads);
}
