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
	suite_add_tcase(suite, tc);
	tcase_set_timeout(threads, 120);
	tcase_add_loop_test(threads, threads_move_64_mib, 0, COUNT(thread_cases));
	suite_add_tcase(suite, threads);
	return unit_main(suite);
}
