/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The AF_VSOCK backend's messages, by sockets of AF_UNIX: which fill up, block and end as those of
 * AF_VSOCK do, whose own behaviour is for vm/test_afvsock.py.
 */
#include "backend/afvsock_stream.h"

#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <string.h>
#include <sys/socket.h>

#include "fake_core.h"
#include "support/deadline.h"
#include "unit.h"
#include "util/blob.h"
#include "util/closer.h"
#include "util/error.h"
#include "util/fd.h"
#include "util/log.h"
#include "util/mailbox.h"
#include "util/sender.h"

enum { BIG = 30000 };

static struct mailbox *box;
static struct senders *senders;
static struct stream *s;			/* core.streams[0] */
static int theirs, fds_before;
static char text[BIG];

static struct afvsock_stream_config config(void)
{
	return (struct afvsock_stream_config){
		.loop = core.loop, .mux = &core, .senders = senders, .tag = "vm 3", .port = 80,
	};
}

static void add_stream(void)
{
	struct afvsock_stream_config with = config();
	struct afvsock_stream *made;
	int fds[2];

	ck_assert_int_eq(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, fds), 0);
	theirs = fds[1];
	ck_assert_int_eq(afvsock_stream_new(&made, &with, VSOCK_TYPE_SEQPACKET, fds[0], false), 0);
	s = core.streams[core.n_streams++] = &made->sock.base;
}

static void setup(void)
{
	log_level = LEVEL_ERR;
	ck_assert_int_eq(closer_init(), 0);
	closer_start();
	fds_before = unit_count_fds();
	core_begin();
	ck_assert_int_eq(mailbox_new(&box, core.loop), 0);
	ck_assert_int_eq(senders_new(&senders, box, "vm 3"), 0);
	add_stream();
}

static void teardown(void)
{
	int64_t deadline = deadline_in(DEADLINE_MS);

	core_close_all();
	fd_close(&theirs);
	senders_free(senders);
	while (mailbox_deliver(box))
		;
	mailbox_free(box);
	core_end();
	while (unit_count_fds() != fds_before && deadline_left(deadline))
		poll(NULL, 0, 1);
	ck_assert_int_eq(unit_count_fds(), fds_before);
}

static int write_message(const char *bytes, size_t len, uint32_t flags)
{
	struct iovec v = { .iov_len = len };

	memcpy(&v.iov_base, &bytes, sizeof bytes);
	return s->ops->write_message(s, &v, 1, flags);
}

static int read_message(char *to, size_t size, size_t *n, uint32_t *flags)
{
	struct iovec v = { to, size };

	return s->ops->read_message(s, &v, 1, n, flags);
}

/* As the core does: the same message again, when an event says so. */
static int write_until_done(const char *bytes, size_t len)
{
	int64_t deadline = deadline_in(DEADLINE_MS);
	int r;

	while ((r = write_message(bytes, len, 0)) == STREAM_E_AGAIN) {
		ck_assert_uint_eq(s->ready & STREAM_OUT, 0);
		s->ops->wait_for(s, STREAM_IN | STREAM_OUT);
		while (!(s->ready & STREAM_OUT)) {
			ck_assert_int_gt(deadline_left(deadline), 0);
			ck_assert_int_eq(loop_step(core.loop, 20), 0);
		}
	}
	return r;
}

static void expect_theirs(const char *bytes, size_t len)
{
	char got[BIG];

	ck_assert_int_eq(recv(theirs, got, sizeof got, MSG_DONTWAIT), (ssize_t)len);
	ck_assert_mem_eq(got, bytes, len);
}

/* Messages that the peer does not read: how many. The next one has begun. */
static int fill(void)
{
	int n = 0;

	for (;;) {
		int64_t deadline = deadline_in(QUIET_MS);

		ck_assert_int_eq(write_message(text, BIG, 0), STREAM_E_AGAIN);
		while (!(s->ready & STREAM_OUT) && deadline_left(deadline))
			ck_assert_int_eq(loop_step(core.loop, 5), 0);
		if (!(s->ready & STREAM_OUT))
			return n;
		ck_assert_int_eq(write_message(text, BIG, 0), 0);
		n++;
	}
}

START_TEST(writes)
{
	for (int i = 0; i < 3; i++) {
		ck_assert_int_eq(write_message("hello", 5, 0), STREAM_E_AGAIN);
		ck_assert_int_eq(write_until_done("hello", 5), 0);
		expect_theirs("hello", 5);
		ck_assert_int_eq(recv(theirs, text, 1, MSG_DONTWAIT), -1);
	}
}
END_TEST

START_TEST(a_peer_that_does_not_read)
{
	int n = fill();

	ck_assert_int_eq(write_message(text, BIG, 0), STREAM_E_AGAIN);
	ck_assert_int_eq(write_message(text, BIG, 0), STREAM_E_AGAIN);
	for (int i = 0; i < n; i++)
		expect_theirs(text, BIG);
	ck_assert_int_eq(write_until_done(text, BIG), 0);
	expect_theirs(text, BIG);		/* once */
	ck_assert_int_eq(recv(theirs, text, 1, MSG_DONTWAIT), -1);
}
END_TEST

START_TEST(closed_while_it_is_sent)
{
	int64_t begin;
	int n = fill();

	begin = deadline_in(DEADLINE_MS);
	core_close(0);
	ck_assert_int_gt(deadline_left(begin), DEADLINE_MS - 1000);
	for (int i = 0; i < n; i++)
		expect_theirs(text, BIG);
	while (recv(theirs, text, BIG, 0) > 0)	/* AF_UNIX tears nothing */
		;
	core_run_for(QUIET_MS);
	ck_assert_uint_eq(core.n_ready, (unsigned)n);
}
END_TEST

START_TEST(an_empty_one)
{
	ck_assert_int_eq(write_message("", 0, 0), -EOPNOTSUPP);
	ck_assert_int_eq(recv(theirs, text, 1, MSG_DONTWAIT), -1);
}
END_TEST

START_TEST(nobody_reads_any_more)
{
	int r;

	if (_i)
		fill();
	fd_close(&theirs);
	r = write_until_done(text, BIG);
	ck_assert(r == STREAM_E_NO_READER || r == STREAM_E_RESET);
}
END_TEST

START_TEST(longer_than_can_be)
{
	static char huge[8 << 20];

	ck_assert_int_eq(write_until_done(huge, sizeof huge), STREAM_E_TOO_LONG);
}
END_TEST

/* ---- reading ---- */

START_TEST(reads)
{
	uint32_t flags = 7;
	char got[100];
	size_t n;

	ck_assert_int_eq(read_message(got, sizeof got, &n, &flags), STREAM_E_AGAIN);
	ck_assert_uint_eq(s->ready & STREAM_IN, 0);
	ck_assert_int_eq(send(theirs, "hello", 5, 0), 5);
	ck_assert_int_eq(send(theirs, "", 0, 0), 0);
	ck_assert_int_eq(send(theirs, "you", 3, 0), 3);
	ck_assert_int_eq(read_message(got, sizeof got, &n, &flags), 0);
	ck_assert_uint_eq(n, 5);
	ck_assert_uint_eq(flags, 0);
	ck_assert_int_eq(read_message(got, sizeof got, &n, &flags), 0);
	ck_assert_uint_eq(n, 0);		/* no end */
	ck_assert_int_eq(read_message(got, 2, &n, &flags), STREAM_E_TOO_LONG);
	ck_assert_uint_eq(n, 0);
	ck_assert_int_eq(shutdown(theirs, SHUT_WR), 0);
	ck_assert_int_eq(read_message(got, sizeof got, &n, &flags), STREAM_E_EOF);
}
END_TEST

/* The peer has read all and is gone, before the last message is known to be sent. */
START_TEST(an_end_waits_for_the_message)
{
	uint32_t flags;
	char got[100];
	size_t n;

	ck_assert_int_eq(write_message("hello", 5, 0), STREAM_E_AGAIN);
	while (recv(theirs, got, sizeof got, 0) != 5)
		;
	fd_close(&theirs);
	ck_assert_int_eq(read_message(got, sizeof got, &n, &flags), STREAM_E_AGAIN);
	ck_assert_uint_eq(s->ready & (STREAM_IN | STREAM_HUP), 0);
	for (int64_t deadline = deadline_in(DEADLINE_MS); !(s->ready & STREAM_HUP); ) {
		ck_assert_int_gt(deadline_left(deadline), 0);
		ck_assert_int_eq(loop_step(core.loop, 20), 0);
	}
	ck_assert_uint_eq(s->ready & (STREAM_IN | STREAM_OUT | STREAM_HUP),
			  STREAM_IN | STREAM_OUT | STREAM_HUP);
	ck_assert_int_eq(write_message("hello", 5, 0), 0);
	ck_assert_int_eq(read_message(got, sizeof got, &n, &flags), STREAM_E_CLOSED);
}
END_TEST

/* A peer that only writes no more is told of at once. */
START_TEST(half_an_end_does_not_wait)
{
	uint32_t flags;
	char got[100];
	size_t n;

	fill();
	ck_assert_int_eq(shutdown(theirs, SHUT_WR), 0);
	ck_assert_int_eq(read_message(got, sizeof got, &n, &flags), STREAM_E_EOF);
}
END_TEST

/* ---- state: what is said of the message that is being sent ---- */

enum { NOT_SENDING, IS_SENT, MAY_BE_TORN };

static const struct {
	const char *name;
	bool begins, is_full;
	uint8_t saved;
} saves[] = {
	{ "none", false, false, NOT_SENDING },
	{ "one that has been sent", true, false, IS_SENT },
	{ "one that is held up", true, true, MAY_BE_TORN },
};

START_TEST(saved)
{
	int64_t begin = deadline_in(DEADLINE_MS);
	struct blob b;

	if (saves[_i].is_full)
		fill();
	else if (saves[_i].begins)
		ck_assert_int_eq(write_message("hello", 5, 0), STREAM_E_AGAIN);
	blob_init(&b, 1000, 1);
	s->ops->save(s, &b);
	ck_assert_int_gt(deadline_left(begin), DEADLINE_MS - 2000);
	ck_assert_int_eq(blob_error(&b), 0);
	ck_assert_uint_eq(b.bytes[b.len - 1], saves[_i].saved);
	blob_deinit(&b);
	if (saves[_i].begins && !saves[_i].is_full) {	/* it may go on here, too */
		ck_assert_int_eq(write_message("hello", 5, 0), 0);
		expect_theirs("hello", 5);
	}
}
END_TEST

static void *read_late(void *arg)
{
	char got[BIG];

	(void)arg;
	poll(NULL, 0, 30);			/* a slow peer, but not for long */
	while (recv(theirs, got, sizeof got, MSG_DONTWAIT) > 0)
		;
	return NULL;
}

static uint8_t save_while_peer_reads(void)
{
	pthread_t peer;
	struct blob b;
	uint8_t outcome;

	ck_assert_int_eq(pthread_create(&peer, NULL, read_late, NULL), 0);
	blob_init(&b, 1000, 1);
	s->ops->save(s, &b);
	ck_assert_int_eq(pthread_join(peer, NULL), 0);
	ck_assert_int_eq(blob_error(&b), 0);
	outcome = b.bytes[b.len - 1];
	blob_deinit(&b);
	return outcome;
}

/* It is waited for; on a busy machine maybe not for long enough. */
START_TEST(saved_while_it_is_sent)
{
	uint8_t outcome = NOT_SENDING;

	for (int i = 0; i < 3 && outcome != IS_SENT; i++) {
		fill();
		outcome = save_while_peer_reads();
		ck_assert_int_eq(write_until_done(text, BIG), 0);
	}
	ck_assert_uint_eq(outcome, IS_SENT);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("afvsock_messages");
	TCase *tc = tcase_create("afvsock_messages");

	tcase_add_checked_fixture(tc, setup, teardown);
	tcase_set_timeout(tc, 60);
	tcase_add_test(tc, writes);
	tcase_add_test(tc, a_peer_that_does_not_read);
	tcase_add_test(tc, closed_while_it_is_sent);
	tcase_add_test(tc, an_empty_one);
	tcase_add_loop_test(tc, nobody_reads_any_more, 0, 2);
	tcase_add_test(tc, longer_than_can_be);
	tcase_add_test(tc, reads);
	tcase_add_test(tc, an_end_waits_for_the_message);
	tcase_add_test(tc, half_an_end_does_not_wait);
	tcase_add_loop_test(tc, saved, 0, COUNT(saves));
	tcase_add_test(tc, saved_while_it_is_sent);
	suite_add_tcase(suite, tc);
	return unit_main(suite);
}
