/* SPDX-License-Identifier: BSD-3-Clause */
/* The pipe between two threads: what goes in comes out, and nobody sleeps on. */
#include "backend/spsc_pipe.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "unit.h"

enum { SIZE = 8, BIG = 64 * 1024, PIECES = 5 };

static struct spsc_pipe p;
static bool wake;

static void setup(void)
{
	spsc_pipe_init(&p);
	ck_assert_int_eq(spsc_pipe_resize(&p, SIZE), 0);
}

static void teardown(void)
{
	spsc_pipe_deinit(&p);
}

/* Moves @len bytes at once; what the pipe said, and *@n 0 unless it moved any. */
static int put(const char *text, size_t len, size_t *n)
{
	char copy[2 * SIZE];
	struct iovec iov = { copy, len };

	memcpy(copy, text, len);
	*n = 0;
	return spsc_pipe_write(&p, &iov, 1, n, &wake);
}

static int get(char *to, size_t len, size_t *n)
{
	struct iovec iov = { to, len };

	*n = 0;
	return spsc_pipe_read(&p, &iov, 1, n, &wake);
}

/* _i: where it begins; every length, in and out over the edge. */
START_TEST(wraps)
{
	static const char text[] = "abcdefghijklmnop";
	char got[SIZE];
	size_t n;

	for (int i = 0; i < _i; i++) {
		ck_assert_int_eq(put("x", 1, &n), 0);
		ck_assert_int_eq(get(got, 1, &n), 0);
	}
	for (size_t len = 1; len <= SIZE; len++) {
		ck_assert(spsc_pipe_is_empty(&p));
		ck_assert_int_eq(put(text + len, len, &n), 0);
		ck_assert_uint_eq(n, len);
		ck_assert(!spsc_pipe_is_empty(&p));
		ck_assert_int_eq(get(got, SIZE, &n), 0);
		ck_assert_uint_eq(n, len);
		ck_assert_mem_eq(got, text + len, len);
	}
}
END_TEST

/* The counters pass 2^32. */
START_TEST(counts_modulo_2_32)
{
	char got[SIZE];
	size_t n;

	atomic_store(&p.read, UINT32_MAX - 2);
	atomic_store(&p.written, UINT32_MAX - 2);
	ck_assert_int_eq(put("abcdefghij", 10, &n), 0);
	ck_assert_uint_eq(n, SIZE);
	ck_assert_int_eq(put("k", 1, &n), SPSC_PIPE_E_WAIT);
	ck_assert_int_eq(get(got, 3, &n), 0);
	ck_assert_mem_eq(got, "abc", 3);
	ck_assert_int_eq(put("ijk", 3, &n), 0);
	ck_assert_uint_eq(n, 3);
	ck_assert_int_eq(get(got, SIZE, &n), 0);
	ck_assert_mem_eq(got, "defghijk", SIZE);
	ck_assert_int_eq(get(got, 1, &n), SPSC_PIPE_E_WAIT);
}
END_TEST

/* Pieces, empty ones too, cut where the pipe is full or the reader's end is. */
START_TEST(pieces)
{
	char in[] = "abcdefghij", got[SIZE + 1] = "";
	struct iovec from[] = { { in, 0 }, { in, 3 }, { in + 3, 0 }, { in + 3, 6 }, { in, 1 } };
	struct iovec to[] = { { got, 1 }, { got + 1, 0 }, { got + 1, 5 }, { got + 6, 2 } };
	size_t n;

	ck_assert_int_eq(spsc_pipe_write(&p, from, COUNT(from), &n, &wake), 0);
	ck_assert_uint_eq(n, SIZE);
	ck_assert_int_eq(spsc_pipe_read(&p, to, 3, &n, &wake), 0);
	ck_assert_uint_eq(n, 6);
	ck_assert_int_eq(spsc_pipe_read(&p, to + 3, 1, &n, &wake), 0);
	ck_assert_uint_eq(n, 2);
	ck_assert_str_eq(got, "abcdefgh");
}
END_TEST

/* The writer exchanges the memory of an empty pipe; bytes go on in order. */
START_TEST(memory_comes_and_goes)
{
	static const uint32_t sizes[] = { 0, 4, 0, 16, 2, 0 };
	char got[SIZE];
	size_t n;

	for (size_t i = 0; i < COUNT(sizes); i++) {
		ck_assert_int_eq(spsc_pipe_resize(&p, sizes[i]), 0);
		ck_assert_int_eq(p.data != NULL, sizes[i] != 0);
		ck_assert(!spsc_pipe_wait_writable(&p));
		ck_assert(!spsc_pipe_wait_empty(&p));
		ck_assert_int_eq(get(got, 1, &n), SPSC_PIPE_E_WAIT);
		ck_assert_int_eq(put("xyz", 3, &n), sizes[i] ? 0 : SPSC_PIPE_E_WAIT);
		ck_assert_uint_eq(n, sizes[i] < 3 ? sizes[i] : 3);
		ck_assert_int_eq(spsc_pipe_wait_empty(&p), n != 0);
		ck_assert_int_eq(get(got, SIZE, &n), sizes[i] ? 0 : SPSC_PIPE_E_WAIT);
		ck_assert_mem_eq(got, "xyz", n);
	}
}
END_TEST

/* ---- messages ---- */

enum { ROOM = 32, HEAD = SPSC_PIPE_MESSAGE_BYTES };

static const char letters[] = "abcdefghijklmnopqrstuvwxyz";

/* Of the first @len letters, in two pieces and an empty one. */
static int put_message(size_t len, uint32_t flags)
{
	char copy[sizeof letters];
	struct iovec iov[] = { { copy, len / 2 }, { copy, 0 }, { copy + len / 2, len - len / 2 } };

	memcpy(copy, letters, sizeof letters);
	wake = false;
	return spsc_pipe_write_message(&p, iov, COUNT(iov), flags, &wake);
}

/* The next one has @len letters; to a place in pieces, with @room for so many. */
static int get_message(size_t len, size_t room, uint32_t flags)
{
	char got[2 * sizeof letters];
	struct iovec iov[] = { { got, room / 3 }, { got, 0 }, { got + room / 3, room - room / 3 } };
	uint32_t got_flags = 4711;
	size_t n = 4711;
	int r;

	wake = false;
	memset(got, '#', sizeof got);
	r = spsc_pipe_read_message(&p, iov, COUNT(iov), &n, &got_flags, &wake);
	if (r == SPSC_PIPE_E_WAIT)
		return r;
	ck_assert_uint_eq(n, len);
	if (r == 0) {
		ck_assert_uint_eq(got_flags, flags);
		ck_assert_mem_eq(got, letters, len);
	}
	ck_assert_int_eq(got[r ? room : len], '#');	/* nothing behind it */
	return r;
}

static void set_room(uint32_t size)
{
	ck_assert_int_eq(spsc_pipe_resize(&p, size), 0);
}

/* _i: where they begin; every length goes over the edge, as do all bytes of a head. */
START_TEST(messages_wrap)
{
	set_room(ROOM);
	atomic_store(&p.read, UINT32_MAX - ROOM / 2 + (uint32_t)_i);	/* past 2^32, too */
	atomic_store(&p.written, UINT32_MAX - ROOM / 2 + (uint32_t)_i);
	for (size_t len = 0; len <= ROOM - HEAD; len++) {
		ck_assert_int_eq(put_message(len, (uint32_t)len % 3), 0);
		ck_assert(!spsc_pipe_is_empty(&p));
		ck_assert_int_eq(get_message(len, len, (uint32_t)len % 3), 0);
		ck_assert(spsc_pipe_is_empty(&p));
		ck_assert_int_eq(get_message(0, 1, 0), SPSC_PIPE_E_WAIT);
	}
}
END_TEST

/* Never a part of one: there is room for all of it, or none. */
START_TEST(messages_fill_it)
{
	set_room(ROOM);
	ck_assert_int_eq(put_message(3, 0), 0);
	ck_assert_int_eq(put_message(ROOM - 2 * HEAD - 2, 0), SPSC_PIPE_E_WAIT);
	ck_assert_int_eq(put_message(ROOM - 2 * HEAD - 3, 2), 0);
	ck_assert_int_eq(put_message(0, 0), SPSC_PIPE_E_WAIT);
	ck_assert_int_eq(get_message(3, 3, 0), 0);
	ck_assert(wake);
	ck_assert_int_eq(put_message(4, 0), SPSC_PIPE_E_WAIT);
	ck_assert_int_eq(put_message(3, 2), 0);
	ck_assert_int_eq(get_message(ROOM - 2 * HEAD - 3, ROOM, 2), 0);
	ck_assert_int_eq(get_message(3, ROOM, 2), 0);
	ck_assert_int_eq(get_message(0, ROOM, 0), SPSC_PIPE_E_WAIT);
}
END_TEST

/* Empty ones take room, and are not nothing. */
START_TEST(empty_messages)
{
	set_room(ROOM);
	for (int i = 0; i < ROOM / HEAD; i++)
		ck_assert_int_eq(put_message(0, (uint32_t)i), 0);
	ck_assert_int_eq(put_message(0, 0), SPSC_PIPE_E_WAIT);
	for (int i = 0; i < ROOM / HEAD; i++)
		ck_assert_int_eq(get_message(0, 0, (uint32_t)i), 0);
	ck_assert_int_eq(get_message(0, 0, 0), SPSC_PIPE_E_WAIT);
}
END_TEST

/* Too long for the reader it is lost, and the next one is whole. */
START_TEST(messages_that_are_too_long)
{
	set_room(ROOM);
	for (size_t room = 0; room < 5; room++) {
		ck_assert_int_eq(put_message(5, 1), 0);
		ck_assert_int_eq(put_message(4, 2), 0);
		ck_assert_int_eq(get_message(5, room, 1), SPSC_PIPE_E_TOO_LONG);
		ck_assert_int_eq(get_message(5, 5, 1), 0);	/* it is still there */
		ck_assert_int_eq(get_message(4, 4, 2), 0);
	}
	ck_assert(spsc_pipe_is_empty(&p));
}
END_TEST

/* Who waits is woken, once, and who does not is not. */
START_TEST(messages_wake)
{
	set_room(ROOM);
	ck_assert_int_eq(put_message(1, 0), 0);
	ck_assert(!wake);
	ck_assert_int_eq(get_message(1, 1, 0), 0);
	ck_assert(!wake);
	ck_assert_int_eq(get_message(1, 1, 0), SPSC_PIPE_E_WAIT);
	ck_assert_int_eq(put_message(0, 0), 0);
	ck_assert(wake);
	ck_assert_int_eq(put_message(ROOM - 2 * HEAD, 0), 0);
	ck_assert(!wake);
	ck_assert_int_eq(put_message(0, 0), SPSC_PIPE_E_WAIT);
	ck_assert_int_eq(get_message(0, 0, 0), 0);
	ck_assert(wake);
	ck_assert_int_eq(put_message(0, 0), 0);
	ck_assert(!wake);
	ck_assert_int_eq(put_message(9, 0), SPSC_PIPE_E_WAIT);
	ck_assert_int_eq(get_message(ROOM - 2 * HEAD, 1, 0), SPSC_PIPE_E_TOO_LONG);
	ck_assert(!wake);			/* one that stays makes no room */
	ck_assert_int_eq(get_message(ROOM - 2 * HEAD, ROOM, 0), 0);
	ck_assert(wake);
	ck_assert_int_eq(get_message(0, 0, 0), 0);
	ck_assert(!wake);
}
END_TEST

START_TEST(no_memory_for_messages)
{
	set_room(0);
	ck_assert_int_eq(put_message(0, 0), SPSC_PIPE_E_WAIT);
	ck_assert_int_eq(get_message(0, 0, 0), SPSC_PIPE_E_WAIT);
}
END_TEST

/* _i: so many bytes of three messages: only at their ends they are that. */
START_TEST(bytes_that_are_messages)
{
	static const size_t ends[] = { 0, HEAD + 5, 2 * HEAD + 5, 3 * HEAD + 6 };
	uint8_t bytes[64], *exact = malloc((size_t)_i + !_i);
	struct iovec iov[2];
	bool is_end = false;

	ck_assert_ptr_nonnull(exact);
	set_room(64);
	ck_assert_int_eq(put_message(5, 2), 0);
	ck_assert_int_eq(put_message(0, 0), 0);
	ck_assert_int_eq(put_message(1, 2), 0);
	ck_assert_uint_eq(spsc_pipe_peek(&p, iov), 1);
	ck_assert_uint_eq(iov->iov_len, ends[3]);
	memcpy(bytes, iov->iov_base, iov->iov_len);
	memcpy(exact, bytes, (size_t)_i);
	for (size_t i = 0; i < COUNT(ends); i++)
		is_end |= (size_t)_i == ends[i];
	ck_assert_int_eq(spsc_pipe_are_messages(exact, (size_t)_i, 2), is_end);
	ck_assert_int_eq(spsc_pipe_are_messages(exact, (size_t)_i, UINT32_MAX), is_end);
	ck_assert_int_eq(spsc_pipe_are_messages(exact, (size_t)_i, 1), is_end && _i == 0);
	if (_i >= 4) {
		memset(exact, 0xff, 4);		/* a length beyond all */
		ck_assert(!spsc_pipe_are_messages(exact, (size_t)_i, 2));
	}
	free(exact);
}
END_TEST

/*
 * Words: w and r move bytes, as many as the digit behind says, e expects to be
 * told to wait; "!" behind: the other side must be woken, otherwise it must not.
 * x: spsc_pipe_wait_writable() finds it full; y: it does not.
 */
static const char *const wake_cases[] = {
	"w1 r1 w1 r1",				/* nobody waits */
	"re w1! w1 r2",				/* a reader: once */
	"re re w1! r1 w1 r1",
	"re w1! r1 re w1!",			/* and again */
	"w8 we r1! r1",				/* a writer: once */
	"w8 we we r8! w8 we r1!",
	"re w8! we r8! re w1!",			/* both in turn */
	"w8 x r1! w1 r1",			/* one that wrote just enough */
	"w7 y r1! r1 w1",			/* told that there is room, woken all the same */
	"y w1 w7 x r1!",
	"w8 r1 y r1! r1",
	"w4 r4 re w1!",				/* who moves bytes does not wait */
	"w8 we r4! w4 r4 w4 r8",
};

static void run_wake_word(const char *word)
{
	size_t len = word[1] >= '0' && word[1] <= '8' ? (size_t)(word[1] - '0') : 0, n;
	bool is_woken = strchr(word, '!');
	char got[SIZE];
	int r;

	wake = false;
	switch (word[0]) {
	case 'x':
		ck_assert(spsc_pipe_wait_writable(&p));
		return;
	case 'y':
		ck_assert(!spsc_pipe_wait_writable(&p));
		return;
	case 'w':
		r = put("abcdefgh", len ? len : 1, &n);
		break;
	default:
		r = get(got, len ? len : SIZE, &n);
	}
	ck_assert_int_eq(r, word[1] == 'e' ? SPSC_PIPE_E_WAIT : 0);
	ck_assert_uint_eq(n, len);
	ck_assert_int_eq(wake, is_woken);
}

START_TEST(wake_rules)
{
	char *copy = strdup(wake_cases[_i]), *rest = copy;

	for (char *word; (word = strsep(&rest, " ")); )
		if (*word)
			run_wake_word(word);
	free(copy);
}
END_TEST

/*
 * Two threads, each waiting only when told to, and only for the other's wake:
 * a wake that is lost is a deadlock. Sizes vary, so that the pipe is often
 * empty and often full.
 */
struct job {
	struct spsc_pipe pipe;
	uint32_t total;
};

struct side {
	pthread_mutex_t lock;
	pthread_cond_t cond;
	bool is_woken;
};

static struct side reader = { PTHREAD_MUTEX_INITIALIZER, PTHREAD_COND_INITIALIZER, false };
static struct side writer = { PTHREAD_MUTEX_INITIALIZER, PTHREAD_COND_INITIALIZER, false };

static void wake_up(struct side *s)
{
	pthread_mutex_lock(&s->lock);
	s->is_woken = true;
	pthread_cond_signal(&s->cond);
	pthread_mutex_unlock(&s->lock);
}

static void wait_for_wake(struct side *s)
{
	pthread_mutex_lock(&s->lock);
	while (!s->is_woken)
		pthread_cond_wait(&s->cond, &s->lock);
	s->is_woken = false;
	pthread_mutex_unlock(&s->lock);
}

static uint8_t byte_at(uint32_t at)
{
	return (uint8_t)(at ^ at >> 8 ^ at >> 16 ^ at >> 24);
}

static uint32_t next_size(uint32_t *state)
{
	*state = *state * 1103515245 + 12345;
	return 1 + (*state >> 8) % (*state >> 30 ? 5000 : 3 * BIG / 2);
}

/* Cuts @len bytes at @bytes into pieces. */
static int cut(struct iovec *iov, uint8_t *bytes, size_t len)
{
	size_t piece = len / PIECES, at = 0;

	for (int i = 0; i < PIECES - 1; i++, at += piece)
		iov[i] = (struct iovec){ bytes + at, piece };
	iov[PIECES - 1] = (struct iovec){ bytes + at, len - at };
	return PIECES;
}

static void *write_all(void *arg)
{
	static uint8_t bytes[3 * BIG / 2];
	struct job *job = arg;
	uint32_t state = 1, done = 0;
	struct iovec iov[PIECES];
	bool wakes;
	size_t n;

	while (done < job->total) {
		uint32_t len = next_size(&state);

		if (len > job->total - done)
			len = job->total - done;
		for (uint32_t i = 0; i < len; i++)
			bytes[i] = byte_at(done + i);
		if (spsc_pipe_write(&job->pipe, iov, cut(iov, bytes, len), &n, &wakes)) {
			wait_for_wake(&writer);
			continue;
		}
		if (wakes)
			wake_up(&reader);
		done += (uint32_t)n;
		if (n < len && spsc_pipe_wait_writable(&job->pipe))
			wait_for_wake(&writer);
	}
	return NULL;
}

static const struct {
	uint32_t size, total;
} thread_cases[] = { { BIG, 64 << 20 }, { 64, 1 << 20 } };

START_TEST(threads_move_64_mib)
{
	struct job job = { .total = thread_cases[_i].total };
	static uint8_t bytes[3 * BIG / 2];
	uint32_t state = 2, done = 0;
	struct iovec iov[PIECES];
	pthread_t thread;
	bool wakes;
	size_t n;

	spsc_pipe_init(&job.pipe);
	ck_assert_int_eq(spsc_pipe_resize(&job.pipe, thread_cases[_i].size), 0);
	ck_assert_int_eq(pthread_create(&thread, NULL, write_all, &job), 0);
	while (done < job.total) {
		uint32_t len = next_size(&state);

		if (spsc_pipe_read(&job.pipe, iov, cut(iov, bytes, len), &n, &wakes)) {
			wait_for_wake(&reader);
			continue;
		}
		if (wakes)
			wake_up(&writer);
		for (uint32_t i = 0; i < n; i++)
			if (bytes[i] != byte_at(done + i))
				ck_abort_msg("wrong byte at %u", done + i);
		done += (uint32_t)n;
	}
	ck_assert_int_eq(pthread_join(thread, NULL), 0);
	ck_assert(spsc_pipe_is_empty(&job.pipe));
	spsc_pipe_deinit(&job.pipe);
}
END_TEST

/* The same in messages, empty ones too, now and then one that is too long. */
enum { MESSAGES = 60000, MESSAGE_MAX = 3000, TOO_LONG_EVERY = 17 };

static uint32_t next_message(uint32_t *state)
{
	*state = *state * 1103515245 + 12345;
	return *state >> 29 ? (*state >> 8) % MESSAGE_MAX : 0;
}

static void *write_messages(void *arg)
{
	static uint8_t bytes[MESSAGE_MAX];
	struct job *job = arg;
	uint32_t state = 1, len;
	struct iovec iov[PIECES];
	bool wakes;

	for (uint32_t i = 0; i < MESSAGES; i++) {
		len = next_message(&state);
		memset(bytes, (int)i, len);
		while (spsc_pipe_write_message(&job->pipe, iov, cut(iov, bytes, len), i, &wakes))
			wait_for_wake(&writer);
		if (wakes)
			wake_up(&reader);
	}
	return NULL;
}

START_TEST(threads_move_messages)
{
	static uint8_t bytes[MESSAGE_MAX], expected[MESSAGE_MAX];
	struct job job = { .total = 0 };
	uint32_t state = 1, len, flags;
	struct iovec iov[PIECES];
	pthread_t thread;
	bool wakes;
	size_t n;
	int r;

	spsc_pipe_init(&job.pipe);
	ck_assert_int_eq(spsc_pipe_resize(&job.pipe, 4096), 0);
	ck_assert_int_eq(pthread_create(&thread, NULL, write_messages, &job), 0);
	for (uint32_t i = 0; i < MESSAGES; i++) {
		bool is_too_long = i % TOO_LONG_EVERY == 0;

		len = next_message(&state);
		is_too_long &= len > 0;
		cut(iov, bytes, is_too_long ? len - 1 : MESSAGE_MAX);
		while ((r = spsc_pipe_read_message(&job.pipe, iov, PIECES, &n, &flags, &wakes)) ==
		       SPSC_PIPE_E_WAIT)
			wait_for_wake(&reader);
		ck_assert_int_eq(r, is_too_long ? SPSC_PIPE_E_TOO_LONG : 0);
		ck_assert_uint_eq(n, len);
		if (is_too_long) {		/* it stays */
			cut(iov, bytes, MESSAGE_MAX);
			ck_assert_int_eq(spsc_pipe_read_message(&job.pipe, iov, PIECES, &n, &flags,
								&wakes), 0);
		}
		if (wakes)
			wake_up(&writer);
		ck_assert_uint_eq(flags, i);
		memset(expected, (int)i, len);
		ck_assert_mem_eq(bytes, expected, len);
	}
	ck_assert_int_eq(pthread_join(thread, NULL), 0);
	ck_assert(spsc_pipe_is_empty(&job.pipe));
	spsc_pipe_deinit(&job.pipe);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("pipe");
	TCase *tc = tcase_create("pipe"), *threads = tcase_create("threads");

	tcase_add_checked_fixture(tc, setup, teardown);
	tcase_add_loop_test(tc, wraps, 0, SIZE);
	tcase_add_test(tc, counts_modulo_2_32);
	tcase_add_test(tc, pieces);
	tcase_add_test(tc, memory_comes_and_goes);
	tcase_add_loop_test(tc, wake_rules, 0, COUNT(wake_cases));
	tcase_add_loop_test(tc, messages_wrap, 0, ROOM);
	tcase_add_test(tc, messages_fill_it);
	tcase_add_test(tc, empty_messages);
	tcase_add_test(tc, messages_that_are_too_long);
	tcase_add_test(tc, messages_wake);
	tcase_add_test(tc, no_memory_for_messages);
	tcase_add_loop_test(tc, bytes_that_are_messages, 0, 3 * HEAD + 7);
	suite_add_tcase(suite, tc);
	tcase_set_timeout(threads, 120);
	tcase_add_test(threads, threads_move_messages);
	tcase_add_loop_test(threads, threads_move_64_mib, 0, COUNT(thread_cases));
	suite_add_tcase(suite, threads);
	return unit_main(suite);
}
