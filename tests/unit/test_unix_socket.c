/* SPDX-License-Identifier: BSD-3-Clause */
/* Unix sockets whose peers pass descriptors and urgent bytes. */
#include "util/unix_socket.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "unit.h"
#include "util/closer.h"
#include "util/fd.h"

static int ours, theirs;

static void begin(int type)
{
	int fds[2];

	ck_assert_int_eq(closer_init(), 0);
	closer_start();
	ck_assert_int_eq(socketpair(AF_UNIX, type | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, fds), 0);
	ours = fds[0];
	theirs = fds[1];
}

static void setup(void)
{
	begin(SOCK_STREAM);
}

static void setup_messages(void)
{
	begin(SOCK_SEQPACKET);
	ck_assert_int_eq(unix_tell_empty(ours), 0);
}

static void teardown(void)
{
	fd_close(&ours);
	fd_close(&theirs);
}

static ssize_t send_with(const char *bytes, const int *fds, size_t n)
{
	union {
		struct cmsghdr align;
		char bytes[CMSG_SPACE(253 * sizeof(int))];
	} control;
	union {
		const char *c;
		char *v;
	} text = { .c = bytes };
	struct iovec iov = { text.v, strlen(bytes) };
	struct msghdr mh = {
		.msg_iov = &iov, .msg_iovlen = 1, .msg_control = control.bytes,
		.msg_controllen = CMSG_SPACE(n * sizeof(int)),
	};
	struct cmsghdr *c = CMSG_FIRSTHDR(&mh);

	*c = (struct cmsghdr){ CMSG_LEN(n * sizeof(int)), SOL_SOCKET, SCM_RIGHTS };
	memcpy(CMSG_DATA(c), fds, n * sizeof(int));
	return sendmsg(theirs, &mh, MSG_NOSIGNAL);
}

/* Bytes, or 0. */
static size_t receive(char *to, size_t size, bool *cut)
{
	struct iovec iov = { to, size };
	size_t got;

	return unix_recv(ours, &iov, 1, true, &got, cut) ? 0 : got;
}

/* Nobody holds the writing end any more. */
static bool is_let_go(int pipe_read)
{
	struct pollfd p = { .fd = pipe_read, .events = POLLIN };

	return poll(&p, 1, 20000) == 1 && p.revents & POLLHUP;
}

static const size_t n_passed[] = { 1, 2, 253 };

START_TEST(rights_are_closed)
{
	int p[2], fds[253];
	char got[16] = "";
	bool cut = false;

	ck_assert_int_eq(pipe2(p, O_CLOEXEC), 0);
	for (size_t i = 0; i < n_passed[_i]; i++)
		fds[i] = p[1];
	ck_assert_int_eq(send_with("abc", fds, n_passed[_i]), 3);
	ck_assert_int_eq(send(theirs, "def", 3, 0), 3);
	fd_close(&p[1]);
	ck_assert_int_eq(receive(got, sizeof got, &cut), 3);
	ck_assert(cut);				/* there is more, though less came than fits */
	ck_assert_int_eq(receive(got + 3, sizeof got - 3, &cut), 3);
	ck_assert(!cut);
	ck_assert_str_eq(got, "abcdef");
	ck_assert_uint_eq(receive(got, sizeof got, &cut), 0);
	ck_assert(is_let_go(p[0]));
	fd_close(&p[0]);
}
END_TEST

START_TEST(rights_are_refused)
{
	int p[2];
	char got[16] = "";
	bool cut;

	if (!unix_refuse_rights(ours))
		return;				/* a kernel before 6.16 */
	ck_assert_int_eq(pipe2(p, O_CLOEXEC), 0);
	ck_assert_int_eq(send_with("abc", &p[1], 1), -1);
	ck_assert_int_eq(errno, EPERM);
	ck_assert_int_eq(send(theirs, "def", 3, 0), 3);
	ck_assert_int_eq(receive(got, sizeof got, &cut), 3);
	ck_assert_str_eq(got, "def");
	fd_close(&p[0]);
	fd_close(&p[1]);
}
END_TEST

START_TEST(urgent_bytes_stay_in_place)
{
	char got[16] = "";
	size_t n = 0;
	bool cut;

	unix_keep_urgent_inline(ours);
	ck_assert_int_eq(send(theirs, "ab", 2, 0), 2);
	if (send(theirs, "!", 1, MSG_OOB) != 1)
		return;				/* a kernel before 5.15 */
	ck_assert_int_eq(send(theirs, "cd", 2, 0), 2);
	for (size_t r; (r = receive(got + n, sizeof got - n, &cut)); )
		n += r;
	ck_assert_str_eq(got, "ab!cd");
}
END_TEST

START_TEST(hung_up_on)
{
	char byte;

	ck_assert_int_eq(send(theirs, "not read", 8, 0), 8);
	unix_hang_up(&ours);
	ck_assert_int_eq(ours, -1);
	for (struct pollfd p = { .fd = theirs, .events = POLLIN }; poll(&p, 1, 20000) != 1; )
		;
	ck_assert_int_eq(recv(theirs, &byte, 1, 0), 0);	/* and not ECONNRESET */
}
END_TEST

/* ---- messages ---- */

/* The next message, into pieces with room for @room in all. */
static int receive_message(char *to, size_t room, size_t *got)
{
	struct iovec iov[] = { { to, room / 2 }, { to + room / 2, room - room / 2 } };

	*got = 4711;
	return unix_recv_message(ours, iov, COUNT(iov), got);
}

static void expect_message(const char *text)
{
	char got[100];
	size_t n;

	ck_assert_int_eq(receive_message(got, sizeof got, &n), 0);
	ck_assert_uint_eq(n, strlen(text));
	ck_assert_mem_eq(got, text, n);
}

static void expect_none(int why)
{
	char got[100];
	size_t n;

	ck_assert_int_eq(receive_message(got, sizeof got, &n), why);
}

static void send_message(const char *text)
{
	ck_assert_int_eq(send(theirs, text, strlen(text), MSG_NOSIGNAL), (ssize_t)strlen(text));
}

START_TEST(messages)
{
	expect_none(UNIX_E_AGAIN);
	send_message("ab");
	send_message("c");
	expect_message("ab");
	expect_message("c");
	expect_none(UNIX_E_AGAIN);
}
END_TEST

/* _i: shut down, or closed. An empty message before the end is a message still. */
START_TEST(empty_is_not_the_end)
{
	send_message("");
	expect_message("");
	expect_none(UNIX_E_AGAIN);
	send_message("ab");
	send_message("");
	if (_i)
		fd_close(&theirs);
	else
		ck_assert_int_eq(shutdown(theirs, SHUT_WR), 0);
	expect_message("ab");
	expect_message("");
	expect_none(UNIX_E_EOF);
	expect_none(UNIX_E_EOF);
}
END_TEST

/* Sent before anybody said that it wants to know. */
START_TEST(empty_before_it_was_asked_for)
{
	int fds[2];

	fd_close(&ours);
	fd_close(&theirs);
	ck_assert_int_eq(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_NONBLOCK, 0, fds), 0);
	ours = fds[0];
	theirs = fds[1];
	send_message("");
	ck_assert_int_eq(unix_tell_empty(ours), 0);
	expect_message("");
}
END_TEST

START_TEST(just_room_enough)
{
	char got[8] = "";
	size_t n;

	send_message("abcdefg");
	ck_assert_int_eq(receive_message(got, 7, &n), 0);
	ck_assert_uint_eq(n, 7);
	ck_assert_str_eq(got, "abcdefg");
	send_message("");
	ck_assert_int_eq(receive_message(got, 0, &n), 0);
	ck_assert_uint_eq(n, 0);
}
END_TEST

/* It is lost, and nothing of it comes with the next. */
START_TEST(too_long)
{
	char got[8];
	size_t n;

	send_message("abcdefg");
	send_message("h");
	ck_assert_int_eq(receive_message(got, 6, &n), UNIX_E_TOO_LONG);
	expect_message("h");
	send_message("i");
	ck_assert_int_eq(receive_message(got, 0, &n), UNIX_E_TOO_LONG);
	expect_none(UNIX_E_AGAIN);
}
END_TEST

START_TEST(reset)
{
	ck_assert_int_eq(send(ours, "unread", 6, 0), 6);
	fd_close(&theirs);
	expect_none(UNIX_E_RESET);
}
END_TEST

/* However many come along, and where nothing else does: the message is whole, they are closed. */
START_TEST(messages_with_rights)
{
	int p[2], fds[253];

	ck_assert_int_eq(pipe2(p, O_CLOEXEC), 0);
	for (size_t i = 0; i < n_passed[_i]; i++)
		fds[i] = p[1];
	ck_assert_int_eq(send_with("abc", fds, n_passed[_i]), 3);
	ck_assert_int_eq(send_with("", fds, n_passed[_i]), 0);
	ck_assert_int_eq(send_with("defgh", fds, n_passed[_i]), 5);
	send_message("i");
	fd_close(&p[1]);
	expect_message("abc");
	expect_message("");
	ck_assert_int_eq(receive_message((char[4]){ 0 }, 4, &(size_t){ 0 }), UNIX_E_TOO_LONG);
	expect_message("i");
	ck_assert(is_let_go(p[0]));
	fd_close(&p[0]);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("unix_socket");
	TCase *tc = tcase_create("unix_socket"), *mc = tcase_create("messages");

	tcase_add_checked_fixture(tc, setup, teardown);
	tcase_set_timeout(tc, 60);
	tcase_add_loop_test(tc, rights_are_closed, 0, COUNT(n_passed));
	tcase_add_test(tc, rights_are_refused);
	tcase_add_test(tc, urgent_bytes_stay_in_place);
	tcase_add_test(tc, hung_up_on);
	suite_add_tcase(suite, tc);
	tcase_add_checked_fixture(mc, setup_messages, teardown);
	tcase_set_timeout(mc, 60);
	tcase_add_test(mc, messages);
	tcase_add_loop_test(mc, empty_is_not_the_end, 0, 2);
	tcase_add_test(mc, empty_before_it_was_asked_for);
	tcase_add_test(mc, just_room_enough);
	tcase_add_test(mc, too_long);
	tcase_add_test(mc, reset);
	tcase_add_loop_test(mc, messages_with_rights, 0, COUNT(n_passed));
	suite_add_tcase(suite, mc);
	return unit_main(suite);
}
