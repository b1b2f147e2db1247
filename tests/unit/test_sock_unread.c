/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What a peer has written that answers at once stays in its socket until it is awake: each byte is
 * read once all the same, in its order, and none stays for long.
 */
#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>
#include <linux/sockios.h>

#include "backend/sock_stream.h"
#include "support/deadline.h"
#include "unit.h"
#include "util/fd.h"

enum {
	TURNS = 17,				/* after which an answer stays */
	STAY = 4,				/* answers; the next write takes them out */
	ANSWER = 8,				/* bytes */
};

struct mux {
	unsigned n_ready;
};

static struct mux mux;
static struct loop *loop;
static struct sock_stream s;
static int peer;

void mux_stream_ready(struct mux *m, struct stream *stream, uint64_t now_ms)
{
	ck_assert_ptr_eq(stream, &s.base);
	ck_assert_uint_eq(now_ms, loop_now_ms(loop));
	m->n_ready++;
}

static bool is_closed(struct sock_stream *stream, uint32_t events)
{
	(void)stream;
	(void)events;
	return false;
}

static void on_close(struct sock_stream *stream)
{
	sock_stream_drop_unread(stream);
	sock_stream_deinit(stream);
}

static const struct sock_kind kind = {
	.short_read_empties = true, .is_closed = is_closed, .close = on_close,
};

static void begin(void)
{
	int socks[2];

	ck_assert_int_eq(loop_new(&loop), 0);
	ck_assert_int_eq(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, socks), 0);
	peer = socks[1];
	sock_stream_init(&s, &kind, VSOCK_TYPE_STREAM, loop, &mux, socks[0]);
	ck_assert_int_eq(sock_stream_register(&s, false), 0);
	sock_stream_go_live(&s, true);
	s.may_leave = true;
}

static void close_stream(void)
{
	s.base.ops->close(&s.base, true);
}

static void end(void)
{
	fd_close(&peer);
	loop_free(loop);
}

/* Bytes of what the peer has written that are still in the socket. */
static int n_left(void)
{
	int n;

	ck_assert_int_eq(ioctl(s.fd, SIOCINQ, &n), 0);
	return n;
}

static bool is_left(void)
{
	return n_left() > 0;
}

static void peer_writes(const char *text)
{
	ck_assert_int_eq(write(peer, text, strlen(text)), (ssize_t)strlen(text));
}

static void expect(const char *text)
{
	char got[100];
	struct iovec v[2] = { { got, 4 }, { got + 4, sizeof got - 4 } };
	size_t n;

	ck_assert_int_eq(s.base.ops->read(&s.base, v, 2, &n), 0);
	ck_assert_uint_eq(n, strlen(text));
	ck_assert_mem_eq(got, text, n);
}

static void ask(void)
{
	char question[] = "question", got[sizeof question];
	size_t n;

	ck_assert_int_eq(s.base.ops->write(&s.base, &(struct iovec){ question, 8 }, 1, &n), 0);
	ck_assert_uint_eq(n, 8);
	ck_assert_int_eq(read(peer, got, sizeof got), 8);
}

/* Time passes in the loop alone, so they are quick. */
static void talk(int turns)
{
	char answer[32];

	for (int i = 0; i < turns; i++) {
		ask();
		snprintf(answer, sizeof answer, "answer%02d", i);
		peer_writes(answer);
		expect(answer);
	}
}

START_TEST(an_answer_stays)
{
	begin();
	talk(TURNS - 1);
	ck_assert(!is_left());
	talk(1);
	ck_assert(is_left());
	talk(5);
	ck_assert(is_left());
	close_stream();
	end();
}
END_TEST

/* What a host program says first, after its OK. */
START_TEST(first_answer_stays)
{
	begin();
	sock_unread_note_greeted(&s.unread, loop_now_ms(loop));
	peer_writes("first");
	expect("first");
	ck_assert(is_left());
	talk(1);
	ck_assert_int_eq(n_left(), 5 + ANSWER);
	close_stream();
	end();
}
END_TEST

/* On one CPU that is all that stays: later answers are read before their program waits. */
START_TEST(first_answer_alone_on_one_cpu)
{
	cpu_set_t set, one;
	int cpu = 0;

	ck_assert_int_eq(sched_getaffinity(0, sizeof set, &set), 0);
	while (!CPU_ISSET(cpu, &set))
		cpu++;
	CPU_ZERO(&one);
	CPU_SET(cpu, &one);
	ck_assert_int_eq(sched_setaffinity(0, sizeof one, &one), 0);
	ck_assert(!sock_unread_pays());
	begin();
	sock_unread_note_greeted(&s.unread, loop_now_ms(loop));
	peer_writes("first");
	expect("first");
	ck_assert(is_left());
	talk(TURNS);
	ck_assert(!is_left());
	close_stream();
	end();
}
END_TEST

/* One call takes several out. */
START_TEST(several_stay)
{
	begin();
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
	end();
}
END_TEST

/* But not many bytes. */
START_TEST(large_answers_do_not_pile_up)
{
	static char large[SOCK_UNREAD_MAX / 2 + 1], got[SOCK_UNREAD_MAX];
	size_t n;

	begin();
	talk(TURNS);
	ask();
	ck_assert_int_eq(write(peer, large, sizeof large), (ssize_t)sizeof large);
	ck_assert_int_eq(s.base.ops->read(&s.base, &(struct iovec){ got, sizeof got }, 1, &n), 0);
	ck_assert_uint_eq(n, sizeof large);
	ck_assert_int_eq(n_left(), ANSWER + (int)sizeof large);
	ask();
	ck_assert(!is_left());
	close_stream();
	end();
}
END_TEST

/* As the next engine, which gets the socket as it is. */
START_TEST(another_goes_on)
{
	int fd;

	begin();
	talk(TURNS + 2);
	sock_stream_drop_unread(&s);
	loop_remove(loop, &s.source);
	fd = s.fd;
	sock_stream_init(&s, &kind, VSOCK_TYPE_STREAM, loop, &mux, fd);
	ck_assert_int_eq(sock_stream_register(&s, false), 0);
	sock_stream_go_live(&s, true);
	s.may_leave = true;
	talk(TURNS + 2);
	ck_assert_int_eq(n_left(), 3 * ANSWER);
	close_stream();
	end();
}
END_TEST

/* It comes once: nothing, more, or the end follows it. */
START_TEST(what_follows)
{
	struct iovec v = { (char[8]){ 0 }, 8 };
	size_t n;

	begin();
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
	end();
}
END_TEST

/* The peer reads an end, and not that it was reset. */
START_TEST(closed)
{
	char byte;

	begin();
	talk(TURNS);
	ck_assert(is_left());
	close_stream();
	ck_assert_int_eq(read(peer, &byte, 1), 0);
	end();
}
END_TEST

/* Without another write it is taken out all the same, and is not news for the core; and the next
 * answers are not left until the peer has been quick for a while again. */
START_TEST(reminded)
{
	unsigned n_ready;

	begin();
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
	end();
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
	begin();
	talk(TURNS - 1);
	others[_i].before();
	talk(1);
	ck_assert_msg(!is_left(), "%s", others[_i].name);
	close_stream();
	end();
}
END_TEST

/* So much is not one answer. */
START_TEST(a_large_read)
{
	static char got[SOCK_UNREAD_MAX + 1];
	size_t n;

	begin();
	talk(TURNS - 1);
	ask();
	peer_writes("answer");
	ck_assert_int_eq(s.base.ops->read(&s.base, &(struct iovec){ got, sizeof got }, 1, &n), 0);
	ck_assert_uint_eq(n, 6);
	ck_assert(!is_left());
	close_stream();
	end();
}
END_TEST

/* More may wait behind it, for which its writer may be waiting. */
START_TEST(a_full_read)
{
	char got[6];
	size_t n;

	begin();
	talk(TURNS - 1);
	ask();
	peer_writes("answer");
	ck_assert_int_eq(s.base.ops->read(&s.base, &(struct iovec){ got, 6 }, 1, &n), 0);
	ck_assert_uint_eq(n, 6);
	ck_assert(!is_left());
	close_stream();
	end();
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("sock_unread");
	TCase *tc = tcase_create("all");

	tcase_add_test(tc, an_answer_stays);
	tcase_add_test(tc, first_answer_stays);
	tcase_add_test(tc, first_answer_alone_on_one_cpu);
	tcase_add_test(tc, several_stay);
	tcase_add_test(tc, large_answers_do_not_pile_up);
	tcase_add_test(tc, another_goes_on);
	tcase_add_test(tc, what_follows);
	tcase_add_test(tc, closed);
	tcase_add_test(tc, reminded);
	tcase_add_loop_test(tc, others_are_read_at_once, 0, COUNT(others));
	tcase_add_test(tc, a_large_read);
	tcase_add_test(tc, a_full_read);
	suite_add_tcase(suite, tc);
	return unit_main(suite);
}
