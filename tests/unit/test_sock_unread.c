/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What a peer has written that answers at once stays in its socket until it is awake: each byte is
 * read once all the same, in its order, and none stays for long.
 */
#include <errno.h>
#include <poll.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "sock_talk.h"
#include "support/deadline.h"
#include "unit.h"
#include "util/fd.h"

enum {
	TURNS = 17,				/* after which an answer stays */
	STAY = 2,				/* answers; the next write takes them out */
	STAY_BYTES = 512,			/* more are taken out by a write */
	ANSWER = 8,				/* bytes */
	ROOM = 4096,				/* bytes, of most reads */
};

START_TEST(an_answer_stays)
{
	begin_talk();
	talk(TURNS - 1);
	ck_assert(!is_left());
	talk(1);
	ck_assert(is_left());
	talk(5);
	ck_assert(is_left());
	close_stream();
	end_talk();
}
END_TEST

/* What a host program says first, after its OK. */
START_TEST(first_answer_stays)
{
	begin_talk();
	sock_unread_note_greeted(&s.unread, loop_now_ms(loop));
	peer_writes("first");
	expect("first");
	ck_assert(is_left());
	talk(1);
	ck_assert_int_eq(n_left(), 5 + ANSWER);
	close_stream();
	end_talk();
}
END_TEST

/* One call takes several out. */
START_TEST(several_stay)
{
	begin_talk();
	talk(TURNS - 1);
	for (int round = 0; round < 3; round++) {
		for (int i = 1; i <= STAY; i++) {
			talk(1);
			ck_assert_int_eq(n_left(), i * ANSWER);
		}
		ask();
		ck_assert(!is_left());
		peer_writes("answered");
		expect("answered");
		ck_assert_int_eq(n_left(), ANSWER);
		sock_stream_drop_unread(&s);
	}
	close_stream();
	end_talk();
}
END_TEST

/* Answered with @n bytes, which are read into a buffer of @room. */
static void answer_with(size_t n, size_t room)
{
	static char answer[SOCK_UNREAD_MAX], got[SOCK_UNREAD_MAX];
	size_t n_got;

	memset(answer, (int)(n % 251), n);
	ck_assert_int_eq(write(peer, answer, n), (ssize_t)n);
	ck_assert_int_eq(s.base.ops->read(&s.base, &(struct iovec){ got, room }, 1, &n_got), 0);
	ck_assert_uint_eq(n_got, n);
	ck_assert_mem_eq(got, answer, n);
}

/* But not many bytes. */
START_TEST(large_answers_do_not_pile_up)
{
	begin_talk();
	talk(TURNS - 1);
	ask();
	answer_with(STAY_BYTES + 1, ROOM);
	ck_assert_int_eq(n_left(), STAY_BYTES + 1);
	ask();
	ck_assert(!is_left());
	answer_with(STAY_BYTES, ROOM);
	ask();
	ck_assert_int_eq(n_left(), STAY_BYTES);
	close_stream();
	end_talk();
}
END_TEST

/* No more of them than the next engine takes over. */
START_TEST(a_large_answer_beside_another)
{
	begin_talk();
	talk(TURNS - 1);
	ask();
	answer_with(STAY_BYTES, ROOM);
	ask();
	answer_with(SOCK_UNREAD_MAX - 1, SOCK_UNREAD_MAX);
	ck_assert_int_le(n_left(), SOCK_UNREAD_MAX);
	ask();
	answer_with(ANSWER, ROOM);
	close_stream();
	end_talk();
}
END_TEST

static const struct {
	int send_buffer;			/* bytes: SO_SNDBUF */
	size_t answer;				/* bytes */
} polling[] = { { 4096, 1 }, { 4096, 64 }, { 4096, STAY_BYTES }, { 8192, 1000 }, { 16384, 2000 } };

/* A program that polls before it writes need not wait until its last answers are taken out. */
START_TEST(buffer_has_room)
{
	struct pollfd p;

	begin_talk();
	p = (struct pollfd){ .fd = peer, .events = POLLOUT };
	ck_assert_int_eq(setsockopt(peer, SOL_SOCKET, SO_SNDBUF, &polling[_i].send_buffer,
				    sizeof polling[_i].send_buffer), 0);
	talk(TURNS - 1);
	for (int i = 0; i < 3 * STAY; i++) {
		ask();
		ck_assert_int_eq(poll(&p, 1, 0), 1);
		answer_with(polling[_i].answer, ROOM);
		ck_assert(is_left());
	}
	close_stream();
	end_talk();
}
END_TEST

/* As the next engine, which gets the socket as it is. */
START_TEST(another_goes_on)
{
	int fd;

	begin_talk();
	talk(TURNS + 2);
	sock_stream_drop_unread(&s);
	loop_remove(loop, &s.source);
	fd = s.fd;
	sock_stream_init(&s, &kind, VSOCK_TYPE_STREAM, loop, &mux, fd);
	ck_assert_int_eq(sock_stream_register(&s, false), 0);
	sock_stream_go_live(&s, true);
	s.may_leave = true;
	talk(TURNS + 1);
	ck_assert_int_eq(n_left(), STAY * ANSWER);
	close_stream();
	end_talk();
}
END_TEST

/* It comes once: nothing, more, or the end follows it. */
START_TEST(what_follows)
{
	struct iovec v = { (char[8]){ 0 }, 8 };
	size_t n;

	begin_talk();
	talk(TURNS);
	ck_assert_int_eq(s.base.ops->read(&s.base, &v, 1, &n), STREAM_E_AGAIN);
	ck_assert(!is_left());
	talk(1);
	peer_writes("more");
	expect("more");
	ck_assert(!is_left());
	talk(1);
	ck_assert_int_eq(shutdown(peer, SHUT_WR), 0);
	ck_assert_int_eq(s.base.ops->read(&s.base, &v, 1, &n), STREAM_E_EOF);
	close_stream();
	end_talk();
}
END_TEST

static bool has_no_peek_offset;

/* In the place of libc's: a system may know no SO_PEEK_OFF. */
int setsockopt(int fd, int level, int name, const void *value, socklen_t n)
{
	if (name == SO_PEEK_OFF && has_no_peek_offset) {
		errno = EOPNOTSUPP;
		return -1;
	}
	return (int)syscall(SYS_setsockopt, fd, level, name, value, n);
}

/* Then each answer is taken out before the next is looked at. */
START_TEST(looks_from_the_beginning_alone)
{
	has_no_peek_offset = true;
	begin_talk();
	talk(TURNS + STAY);
	ck_assert_int_eq(n_left(), ANSWER);
	close_stream();
	has_no_peek_offset = false;
	end_talk();
}
END_TEST

/* What cannot be taken out would be read twice: nothing is, from then on. */
START_TEST(is_gone)
{
	struct iovec v = { (char[ANSWER + 1]){ 0 }, ANSWER + 1 };
	size_t n;

	has_no_peek_offset = true;
	begin_talk();
	talk(TURNS);
	ask();
	ck_assert_int_eq(read(s.fd, v.iov_base, v.iov_len), ANSWER);
	ck_assert_int_eq(s.base.ops->read(&s.base, &v, 1, &n), -EIO);
	peer_writes("answered");
	ck_assert_int_eq(s.base.ops->read(&s.base, &v, 1, &n), -EIO);
	close_stream();
	has_no_peek_offset = false;
	end_talk();
}
END_TEST

/* The peer reads an end, and not that it was reset. */
START_TEST(closed)
{
	char byte;

	begin_talk();
	talk(TURNS);
	ck_assert(is_left());
	close_stream();
	ck_assert_int_eq(read(peer, &byte, 1), 0);
	end_talk();
}
END_TEST

/* Without another write it is taken out all the same, and is not news for the core; and the next
 * answers are not left until the peer has been quick for a while again. */
START_TEST(reminded)
{
	unsigned n_ready;

	begin_talk();
	talk(TURNS);
	ck_assert_int_eq(loop_step(loop, 0), 0);	/* the events so far */
	n_ready = mux.n_ready;
	for (int64_t deadline = deadline_in(DEADLINE_MS); is_left() && deadline_left(deadline); )
		ck_assert_int_eq(loop_step(loop, 20), 0);
	ck_assert(!is_left());
	ck_assert_uint_eq(mux.n_ready, n_ready);
	talk(2);
	ck_assert(!is_left());
	peer_writes("more");
	expect("more");
	close_stream();
	end_talk();
}
END_TEST

static void may_have_rights(void)
{
	s.may_have_rights = true;
}

static void saw_urgent(void)
{
	s.saw_urgent = true;
}

static void is_others(void)
{
	s.may_leave = false;
}

static void writes_twice(void)
{
	ask();
}

static const struct {
	const char *name;
	void (*before)(void);
} others[] = {
	{ "descriptors may come with it", may_have_rights },
	{ "an urgent byte ends reads", saw_urgent },
	{ "it is not asked in turns", writes_twice },
	{ "reads do not wake it", is_others },
};

START_TEST(others_are_read_at_once)
{
	begin_talk();
	talk(TURNS - 1);
	others[_i].before();
	talk(1);
	ck_assert_msg(!is_left(), "%s", others[_i].name);
	close_stream();
	end_talk();
}
END_TEST

/* So much is not one answer. */
START_TEST(a_large_read)
{
	static char got[SOCK_UNREAD_MAX + 1];
	size_t n;

	begin_talk();
	talk(TURNS - 1);
	ask();
	peer_writes("answer");
	ck_assert_int_eq(s.base.ops->read(&s.base, &(struct iovec){ got, sizeof got }, 1, &n), 0);
	ck_assert_uint_eq(n, 6);
	ck_assert(!is_left());
	close_stream();
	end_talk();
}
END_TEST

/* More may wait behind it, for which its writer may be waiting. */
START_TEST(a_full_read)
{
	char got[6];
	size_t n;

	begin_talk();
	talk(TURNS - 1);
	ask();
	peer_writes("answer");
	ck_assert_int_eq(s.base.ops->read(&s.base, &(struct iovec){ got, 6 }, 1, &n), 0);
	ck_assert_uint_eq(n, 6);
	ck_assert(!is_left());
	close_stream();
	end_talk();
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("sock_unread");
	TCase *tc = tcase_create("all");

	n_cpus = 2;
	tcase_add_test(tc, an_answer_stays);
	tcase_add_test(tc, first_answer_stays);
	tcase_add_test(tc, several_stay);
	tcase_add_test(tc, large_answers_do_not_pile_up);
	tcase_add_test(tc, a_large_answer_beside_another);
	tcase_add_loop_test(tc, buffer_has_room, 0, COUNT(polling));
	tcase_add_test(tc, another_goes_on);
	tcase_add_test(tc, what_follows);
	tcase_add_test(tc, looks_from_the_beginning_alone);
	tcase_add_test(tc, is_gone);
	tcase_add_test(tc, closed);
	tcase_add_test(tc, reminded);
	tcase_add_loop_test(tc, others_are_read_at_once, 0, COUNT(others));
	tcase_add_test(tc, a_large_read);
	tcase_add_test(tc, a_full_read);
	suite_add_tcase(suite, tc);
	return unit_main(suite);
}
