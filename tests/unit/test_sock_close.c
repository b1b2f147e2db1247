/* SPDX-License-Identifier: BSD-3-Clause */
/* The end of a socket that somebody may have passed descriptors through: who closes it. */
#include "backend/sock_stream.h"

#include <poll.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>

#include "slow_close.h"
#include "unit.h"
#include "util/closer.h"
#include "util/fd.h"

static struct loop *loop;
static struct sock_stream stream;
static int theirs, threads_before;		/* a sanitizer has one of its own */

static int64_t now_ms(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return ts.tv_sec * 1000 + ts.tv_nsec / 1000000;
}

static bool is_closed(struct sock_stream *s, uint32_t events)
{
	(void)s, (void)events;
	return false;
}

static void setup(void)
{
	static const struct sock_kind kind = { .is_closed = is_closed };
	int fds[2];

	threads_before = unit_count_threads();
	ck_assert_int_eq(closer_init(), 0);
	closer_start();
	ck_assert_int_eq(loop_new(&loop), 0);
	ck_assert_int_eq(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, fds), 0);
	theirs = fds[1];
	sock_stream_init(&stream, &kind, VSOCK_TYPE_STREAM, loop, NULL, fds[0]);
	stream.may_have_rights = true;
	ck_assert_int_eq(sock_stream_register(&stream, false), 0);
}

static void teardown(void)
{
	fd_close(&theirs);
	loop_free(loop);
}

static void pass(int fd)
{
	union {
		struct cmsghdr align;
		char bytes[CMSG_SPACE(sizeof(int))];
	} control;
	char byte = 'x';
	struct iovec iov = { &byte, 1 };
	struct msghdr mh = {
		.msg_iov = &iov, .msg_iovlen = 1, .msg_control = control.bytes,
		.msg_controllen = sizeof control.bytes,
	};
	struct cmsghdr *c = CMSG_FIRSTHDR(&mh);

	*c = (struct cmsghdr){ CMSG_LEN(sizeof fd), SOL_SOCKET, SCM_RIGHTS };
	memcpy(CMSG_DATA(c), &fd, sizeof fd);
	ck_assert_int_eq(sendmsg(theirs, &mh, MSG_NOSIGNAL), 1);
}

static bool is_hung_up(int wait_ms)
{
	struct pollfd p = { .fd = theirs };

	return poll(&p, 1, wait_ms) == 1 && p.revents & POLLHUP;
}

static void read_to_the_end(void)
{
	char byte;
	size_t n;
	int r;

	do
		r = stream.base.ops->read(&stream.base, &(struct iovec){ &byte, 1 }, 1, &n);
	while (r == 0);
	ck_assert_int_eq(r, STREAM_E_EOF);
}

/* A descriptor that waits in it unread is closed with it: that holds up nobody. */
START_TEST(unread_descriptors_are_closed_elsewhere)
{
	int peer, slow = slow_close_new(&peer);
	int64_t began_ms;

	if (slow < 0)
		return;
	pass(slow);
	fd_close(&slow);
	began_ms = now_ms();
	sock_stream_deinit(&stream);
	ck_assert_int_lt(now_ms() - began_ms, SLOW_CLOSE_S * 1000 - 500);
	ck_assert_int_eq(stream.fd, -1);
	ck_assert(is_hung_up(20000));
	fd_close(&peer);
}
END_TEST

/* Nothing waits in it: it is closed when the call returns, by no other thread. _i: its
 * end was read before. */
START_TEST(empty_ones_are_closed_at_once)
{
	if (_i) {
		ck_assert_int_eq(send(theirs, "abc", 3, 0), 3);
		ck_assert_int_eq(shutdown(theirs, SHUT_WR), 0);
		read_to_the_end();
	}
	sock_stream_deinit(&stream);
	ck_assert_int_eq(stream.fd, -1);
	ck_assert(is_hung_up(0));
	ck_assert_int_eq(unit_count_threads(), threads_before);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("sock_stream");
	TCase *tc = tcase_create("sock_stream");

	tcase_add_checked_fixture(tc, setup, teardown);
	tcase_set_timeout(tc, 60);
	tcase_add_test(tc, unread_descriptors_are_closed_elsewhere);
	tcase_add_loop_test(tc, empty_ones_are_closed_at_once, 0, 2);
	suite_add_tcase(suite, tc);
	return unit_main(suite);
}
