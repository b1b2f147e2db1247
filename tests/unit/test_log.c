/* SPDX-License-Identifier: BSD-3-Clause */
/* Log lines: nobody writes to the terminal through them, or fills the disk. */
#include "util/log.h"
#include "util/log_limit.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "unit.h"

enum { TEXT_MAX = 1 << 16 };

static char path[64];
static char text[TEXT_MAX];

static void setup(void)
{
	int fd = memfd_create("log", MFD_CLOEXEC);

	ck_assert_int_ge(fd, 0);
	snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
	ck_assert_int_eq(log_init(LEVEL_INFO, path), 0);
}

static void teardown(void)
{
	log_deinit();
}

/* What has been logged so far. */
static const char *logged(void)
{
	FILE *file = fopen(path, "re");

	ck_assert_ptr_nonnull(file);
	text[fread(text, 1, sizeof text - 1, file)] = '\0';
	fclose(file);
	return text;
}

struct line_case {
	const char *tag, *message, *line;	/* behind time and level */
};

static const struct line_case line_cases[] = {
	{ "vm0", "hello", " info vm0: hello\n" },
	{ "", "hello", " info hello\n" },
	{ NULL, "hello", " info hello\n" },
	{ "t", "", " info t: \n" },
	{ "a\nb", "c", " info a\\x0ab: c\n" },
	{ "t", "one\ntwo", " info t: one\\x0atwo\n" },
	{ "t", "\r\t\x01\x1f\x7f", " info t: \\x0d\\x09\\x01\\x1f\\x7f\n" },
	{ "t", "\x1b[2J", " info t: \\x1b[2J\n" },
	{ "t", "gr\xc3\xbc\xc3\x9f", " info t: gr\xc3\xbc\xc3\x9f\n" },
	{ "t", "100% \\x0a", " info t: 100% \\x0a\n" },
};

START_TEST(lines)
{
	const struct line_case *c = &line_cases[_i];
	const char *line;

	errno = EBADF;
	log_info(c->tag, "%s", c->message);
	ck_assert_int_eq(errno, EBADF);
	line = logged();
	ck_assert_uint_gt(strlen(line), 24);	/* 2024-01-01T00:00:00.000Z */
	ck_assert_int_eq(line[10], 'T');
	ck_assert_int_eq(line[23], 'Z');
	ck_assert_str_eq(line + 24, c->line);
}
END_TEST

/* _i: 0 plain, 1 all escaped. Cut, but still one line. */
START_TEST(long_lines)
{
	char message[4096];
	const char *line;
	size_t len;

	memset(message, _i ? '\n' : 'x', sizeof message - 1);
	message[sizeof message - 1] = '\0';
	log_info(message, "%s", message);
	line = logged();
	len = strlen(line);
	ck_assert_uint_le(len, 1024);
	ck_assert_ptr_eq(strchr(line, '\n'), line + len - 1);
}
END_TEST

START_TEST(levels)
{
	log_level = LEVEL_WARN;
	log_info("t", "not this");
	log_warn("t", "this");
	log_err("t", "and this");
	logged();
	ck_assert_ptr_null(strstr(text, "not this"));
	ck_assert_ptr_nonnull(strstr(text, " warn t: this\n"));
	ck_assert_ptr_nonnull(strstr(text, " error t: and this\n"));
}
END_TEST

static void complain_of(const char *tag, int i)
{
	log_limited(LEVEL_WARN, tag, "bad %d", i);
}

static void complain(int i)
{
	complain_of("t", i);
}

static int count_lines(const char *what)
{
	int n = 0;

	logged();
	for (const char *at = text; (at = strstr(at, what)); at++)
		n++;
	return n;
}

START_TEST(limited_per_call_site)
{
	for (int i = 0; i < 1000; i++)
		complain(i);
	ck_assert_int_eq(count_lines("bad "), LOG_LIMIT_BURST);
	log_limited(LEVEL_WARN, "t", "elsewhere");
	ck_assert_int_eq(count_lines("elsewhere"), 1);
}
END_TEST

/* The tag's text counts, not where it is kept. */
START_TEST(limited_per_tag)
{
	char tag[8] = "t", other[8] = "u";

	for (int i = 0; i < 1000; i++)
		complain(i);
	complain_of(tag, 1000);
	ck_assert_int_eq(count_lines(" warn t: bad "), LOG_LIMIT_BURST);
	for (int i = 0; i < 1000; i++)
		complain_of(other, i);
	ck_assert_int_eq(count_lines(" warn u: bad "), LOG_LIMIT_BURST);
}
END_TEST

static void note_of(struct log_once *once, const char *tag, int i)
{
	log_first(once, 1, tag, "noted %d", i);
}

/* The first of each VM is a warning and always shown; the rest have a limit of theirs. */
START_TEST(noted_per_tag)
{
	struct log_once once[2] = { { { 0 } }, { { 0 } } };

	for (int i = 0; i < 1000; i++)
		note_of(&once[0], "t", i);
	ck_assert_int_eq(count_lines(" info t: noted "), LOG_LIMIT_BURST - 1);
	for (int i = 0; i < 3; i++)
		note_of(&once[1], "u", i);
	ck_assert_int_eq(count_lines(" warn t: noted 0\n"), 1);
	ck_assert_int_eq(count_lines(" warn u: noted 0\n"), 1);
	ck_assert_int_eq(count_lines(" info u: noted "), 2);
}
END_TEST

enum { TAGS_MANY = 1000, TAGS_TOO_MANY = 4 * LOG_LIMITS };

static struct log_limit *limit_of(int i)
{
	static const char site;
	char tag[16];

	snprintf(tag, sizeof tag, "vm %d", i);
	return log_limit_of(&site, tag);
}

/* More VMs than the table has places by chance in one spot: each is heard. */
START_TEST(many_tags_are_heard)
{
	unsigned swallowed;

	for (int i = 0; i < TAGS_MANY; i++)
		ck_assert(log_limit_pass(limit_of(i), &swallowed));
	for (int i = 0; i < 2 * LOG_LIMIT_BURST; i++)
		log_limit_pass(limit_of(0), &swallowed);
	ck_assert(!log_limit_pass(limit_of(0), &swallowed));
	for (int i = 1; i < TAGS_MANY; i++)
		ck_assert_int_eq(limit_of(i) == limit_of(0) ||
				 log_limit_pass(limit_of(i), &swallowed), 1);
}
END_TEST

/* All VMs of the world together are bounded; what was swallowed is said when a place
 * in the table becomes another's. */
START_TEST(too_many_tags_are_bounded)
{
	static struct log_limit *limits[TAGS_TOO_MANY];
	unsigned swallowed, passed = 0, told = 0, n;

	log_level = LEVEL_ERR;			/* the lines are counted below, in the table */
	for (int i = 0; i < TAGS_TOO_MANY; i++) {
		limits[i] = limit_of(i);
		for (int k = 0; k < 2 * LOG_LIMIT_BURST; k++)
			passed += log_limit_pass(limits[i], &swallowed);
	}
	ck_assert_uint_le(passed, LOG_LIMITS * LOG_LIMIT_BURST);
	ck_assert_uint_ge(passed, LOG_LIMITS / 2 * LOG_LIMIT_BURST);

	for (int i = 0; i < TAGS_TOO_MANY; i++)	/* some are moved more than once */
		atomic_store(&limits[i]->window_ms, 1);
	log_level = LEVEL_WARN;
	ck_assert_ptr_nonnull(limit_of(TAGS_TOO_MANY));
	for (const char *at = logged(); (at = strstr(at, " warn log: ")); at++) {
		ck_assert_int_eq(sscanf(at, " warn log: %u lines not shown", &n), 1);
		told += n;
	}
	ck_assert_uint_ge(told, LOG_LIMIT_BURST);
}
END_TEST

/* The window is moved into the past instead of waiting for it to end. */
START_TEST(limit_tells_what_it_swallowed)
{
	struct log_limit limit = { .window_ms = 0 };
	uint64_t before = log_limit_count_swallowed();
	unsigned swallowed = 99;

	for (int i = 0; i < LOG_LIMIT_BURST; i++) {
		ck_assert(log_limit_pass(&limit, &swallowed));
		ck_assert_uint_eq(swallowed, 0);
	}
	for (int i = 0; i < 7; i++)
		ck_assert(!log_limit_pass(&limit, &swallowed));
	atomic_fetch_sub(&limit.window_ms, LOG_LIMIT_MS);
	ck_assert(log_limit_pass(&limit, &swallowed));
	ck_assert_uint_eq(swallowed, 7);
	ck_assert(log_limit_pass(&limit, &swallowed));
	ck_assert_uint_eq(swallowed, 0);
	ck_assert_uint_eq(log_limit_count_swallowed() - before, 7);
}
END_TEST

START_TEST(swallowed_are_not_counted_below_the_level)
{
	log_level = LEVEL_ERR;
	for (int i = 0; i < 100; i++)
		complain(i);
	log_level = LEVEL_WARN;
	complain(100);
	ck_assert_int_eq(count_lines("bad 100"), 1);
	ck_assert_int_eq(count_lines("not shown"), 0);
}
END_TEST

START_TEST(bad_file_keeps_the_old_one)
{
	ck_assert_int_eq(log_init(LEVEL_INFO, "/nonexistent/folder/log"), -ENOENT);
	log_info("t", "still here");
	ck_assert_int_eq(count_lines("still here"), 1);
}
END_TEST

START_TEST(full_disk_is_survived)
{
	ck_assert_int_eq(log_init(LEVEL_INFO, "/dev/full"), 0);
	log_info("t", "into the void");
}
END_TEST

enum { STALLED_LINES = 2000, WAIT_MS = 20000 };

/* A pipe that nobody reads, as the log; the end to read from. */
static int log_to_pipe(void)
{
	int ends[2];

	ck_assert_int_eq(pipe2(ends, O_CLOEXEC), 0);
	snprintf(path, sizeof path, "/proc/self/fd/%d", ends[1]);
	ck_assert_int_eq(log_init(LEVEL_INFO, path), 0);
	close(ends[1]);
	ck_assert_int_eq(log_start_thread(), 0);
	return ends[0];
}

static void flood(void)
{
	for (int i = 0; i < STALLED_LINES; i++)
		log_info("t", "line %d %0900d", i, 0);
}

/* Without its newline. */
static void read_line(int fd, char *line, size_t size)
{
	struct pollfd p = { .fd = fd, .events = POLLIN };

	for (size_t n = 0; n < size; n++) {
		ck_assert_int_eq(poll(&p, 1, WAIT_MS), 1);
		ck_assert_int_eq(read(fd, line + n, 1), 1);
		if (line[n] == '\n') {
			line[n] = '\0';
			return;
		}
	}
	ck_abort_msg("a line without end");
}

START_TEST(stalled_reader_stalls_nobody)
{
	int fd = log_to_pipe(), n_read = 0, last = -1, lost = 0, i;
	char line[1100], *at;

	flood();				/* must come back */
	do {
		read_line(fd, line, sizeof line);
		if ((at = strstr(line, " t: line ")) && sscanf(at, " t: line %d", &i) == 1) {
			ck_assert_int_gt(i, last);
			last = i;
			n_read++;
		} else if ((at = strstr(line, " log: "))) {
			ck_assert_int_eq(sscanf(at, " log: %d lines could not", &i), 1);
			lost += i;
		}
		if (n_read == 10)		/* by now there is room again */
			log_info("t", "the end");
	} while (!strstr(line, "the end"));
	ck_assert_int_gt(n_read, 60);		/* what was queued was kept */
	ck_assert_int_gt(lost, 0);
	ck_assert_int_eq(n_read + lost, STALLED_LINES);
	log_deinit();
	ck_assert_int_eq(read(fd, line, 1), 0);
	close(fd);
}
END_TEST

START_TEST(stalled_reader_does_not_stall_the_end)
{
	log_to_pipe();
	flood();
	log_deinit();
}
END_TEST

START_TEST(queued_lines_are_written_at_the_end)
{
	ck_assert_int_eq(log_start_thread(), 0);
	for (int i = 0; i < 50; i++)
		log_info("t", "line %d.", i);
	log_deinit();
	ck_assert_int_eq(count_lines(" t: line "), 50);
	ck_assert_ptr_nonnull(strstr(text, " t: line 49.\n"));
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("log");
	TCase *tc = tcase_create("log");

	tcase_add_checked_fixture(tc, setup, teardown);
	tcase_add_loop_test(tc, lines, 0, COUNT(line_cases));
	tcase_add_loop_test(tc, long_lines, 0, 2);
	tcase_add_test(tc, levels);
	tcase_add_test(tc, limited_per_call_site);
	tcase_add_test(tc, limited_per_tag);
	tcase_add_test(tc, noted_per_tag);
	tcase_add_test(tc, many_tags_are_heard);
	tcase_add_test(tc, too_many_tags_are_bounded);
	tcase_add_test(tc, limit_tells_what_it_swallowed);
	tcase_add_test(tc, swallowed_are_not_counted_below_the_level);
	tcase_add_test(tc, bad_file_keeps_the_old_one);
	tcase_add_test(tc, full_disk_is_survived);
	tcase_set_timeout(tc, 25);		/* a busy machine takes some of it */
	tcase_add_test(tc, stalled_reader_stalls_nobody);
	tcase_add_test(tc, stalled_reader_does_not_stall_the_end);
	tcase_add_test(tc, queued_lines_are_written_at_the_end);
	suite_add_tcase(suite, tc);
	return unit_main(suite);
}
