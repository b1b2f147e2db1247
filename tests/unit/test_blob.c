/* SPDX-License-Identifier: BSD-3-Clause */
/* State as bytes: what is put is got, and nothing beyond it. */
#include "util/blob.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "unit.h"

#define TAG BLOB_TAG('T', 'E', 'S', 'T')
#define INNER_TAG BLOB_TAG('I', 'N', 'N', 'R')

enum { ROOM = 1 << 20, FDS = 8 };

static struct blob blob;

static void setup(void)
{
	blob_init(&blob, ROOM, FDS);
}

static void teardown(void)
{
	blob_deinit(&blob);
	blob_deinit(&blob);			/* twice is once */
}

/* One of each, in a section with another in it, and something after it. */
static void put_all(int fd)
{
	size_t outer = blob_open(&blob, TAG, 3), inner;

	blob_put_u8(&blob, 0xab);
	blob_put_u16(&blob, 0xabcd);
	blob_put_u32(&blob, 0x89abcdef);
	blob_put_u64(&blob, UINT64_C(0x0123456789abcdef));
	inner = blob_open(&blob, INNER_TAG, 1);
	blob_put_string(&blob, "a name");
	blob_put_string(&blob, "");
	blob_put_string(&blob, NULL);
	blob_close(&blob, inner);
	blob_put_u8(&blob, 1);
	blob_put_fd(&blob, -1);
	blob_put_fd(&blob, fd);
	blob_put_bytes(&blob, "xyz", 3);
	blob_put_bytes(&blob, NULL, 0);
	blob_close(&blob, outer);
	blob_put_u8(&blob, 0x5a);
}

/* Reads what put_all() put; true if it was all there, and right. Leaks nothing. */
static bool get_all(struct blob_reader *r)
{
	struct blob_reader outer, inner;
	char *name = NULL, *empty = NULL, *none = NULL;
	uint32_t version;
	const void *bytes;
	int no_fd, fd;
	bool good;

	good = blob_enter(r, &outer, TAG, 3, &version) && version == 3;
	good &= blob_get_u8(&outer) == 0xab && blob_get_u16(&outer) == 0xabcd;
	good &= blob_get_u32(&outer) == 0x89abcdef;
	good &= blob_get_u64(&outer) == UINT64_C(0x0123456789abcdef);
	good &= blob_peek_tag(&outer) == INNER_TAG;
	good &= blob_enter(&outer, &inner, INNER_TAG, 9, &version) && version == 1;
	ck_assert_int_eq(blob_get_string(&inner, 6, &name), 0);
	ck_assert_int_eq(blob_get_string(&inner, 6, &empty), 0);
	ck_assert_int_eq(blob_get_string(&inner, 6, &none), 0);
	good &= name && strcmp(name, "a name") == 0 && empty && !*empty && !none;
	good &= blob_is_whole(&inner) && blob_has_more(&outer);
	good &= blob_get_bool(&outer);
	no_fd = blob_get_fd(&outer);
	fd = blob_get_fd(&outer);
	good &= no_fd == -1 && fd >= 0;
	bytes = blob_get_bytes(&outer, 3);
	good &= bytes && memcmp(bytes, "xyz", 3) == 0;
	good &= blob_is_whole(&outer) && !blob_has_more(&outer);
	good &= blob_get_u8(r) == 0x5a && blob_is_whole(r);
	free(name);
	free(empty);
	free(none);
	if (fd >= 0)
		close(fd);
	return good;
}

START_TEST(round_trip)
{
	int fd = open("/dev/null", O_RDONLY | O_CLOEXEC), came;
	struct blob_fds fds = { &came, 1 };
	struct blob_reader r;

	put_all(fd);
	ck_assert_int_eq(blob_error(&blob), 0);
	ck_assert_uint_eq(blob.n_fds, 1);
	ck_assert_int_eq(blob.fds[0], fd);
	came = fd;
	blob_read(&r, blob.bytes, blob.len, &fds);
	ck_assert(get_all(&r));
	ck_assert_int_eq(came, -1);		/* given away */
	ck_assert_int_eq(fcntl(fd, F_GETFD), -1);
}
END_TEST

/* The layout is that of other versions, on machines of either order. */
START_TEST(layout)
{
	static const uint8_t bytes[] = {
		'T', 'E', 'S', 'T', 2, 0, 0, 0, 7, 0, 0, 0, 0, 0, 0, 0,
		0x34, 0x12, 1, 0, 0, 0, 'x',
	};
	size_t section = blob_open(&blob, TAG, 2);

	blob_put_u16(&blob, 0x1234);
	blob_put_string(&blob, "x");
	blob_close(&blob, section);
	ck_assert_uint_eq(blob.len, sizeof bytes);
	ck_assert_mem_eq(blob.bytes, bytes, sizeof bytes);
}
END_TEST

/* Cut anywhere, it is short, and no byte beyond the cut is read. */
START_TEST(cut_at_every_byte)
{
	put_all(STDIN_FILENO);
	for (size_t n = 0; n < blob.len; n++) {
		uint8_t *copy = malloc(n ? n : 1);
		int fd = open("/dev/null", O_RDONLY | O_CLOEXEC), given = fd;
		struct blob_fds fds = { &given, 1 };
		struct blob_reader r;

		ck_assert_ptr_nonnull(copy);
		memcpy(copy, blob.bytes, n);
		blob_read(&r, copy, n, &fds);
		ck_assert_msg(!get_all(&r), "cut to %zu bytes it was whole", n);
		if (given >= 0)
			close(given);
		ck_assert_int_eq(fcntl(fd, F_GETFD), -1);
		free(copy);
	}
}
END_TEST

START_TEST(short_is_for_good)
{
	static const uint8_t bytes[] = { 1, 2 };
	struct blob_reader r;

	blob_read(&r, bytes, sizeof bytes, NULL);
	ck_assert_uint_eq(blob_get_u32(&r), 0);
	ck_assert_uint_eq(blob_get_u8(&r), 0);	/* though there is one */
	ck_assert_ptr_null(blob_get_bytes(&r, 0));
	ck_assert(!blob_is_whole(&r) && !blob_has_more(&r));
	ck_assert_int_eq(blob_get_fd(&r), -1);
}
END_TEST

/* As a blob is to which nothing was added. */
START_TEST(nothing)
{
	struct blob_reader r, inner;
	uint32_t version;

	blob_read(&r, blob.bytes, blob.len, NULL);
	ck_assert(blob_is_whole(&r) && !blob_has_more(&r));
	ck_assert_uint_eq(blob_peek_tag(&r), 0);
	ck_assert(!blob_enter(&r, &inner, TAG, 1, &version));
	ck_assert(inner.is_short && !blob_has_more(&inner));
	blob_put_bytes(&blob, NULL, 0);
	ck_assert_uint_eq(blob.len, 0);
}
END_TEST

struct section_case {
	const char *name;
	uint8_t bytes[20];
	size_t n;
	bool is_good;
};

#define HEAD(version, len) 'T', 'E', 'S', 'T', version, 0, 0, 0, len, 0, 0, 0, 0, 0, 0, 0

static const struct section_case section_cases[] = {
	{ "empty", { HEAD(1, 0) }, 16, true },
	{ "highest version", { HEAD(2, 0) }, 16, true },
	{ "version 0", { HEAD(0, 0) }, 16, false },
	{ "version of a later one", { HEAD(3, 0) }, 16, false },
	{ "just as long", { HEAD(1, 4) }, 20, true },
	{ "a byte too long", { HEAD(1, 5) }, 20, false },
	{ "shorter than the rest", { HEAD(1, 3) }, 20, true },
	{ "another tag", { 't', 'e', 's', 't', 1 }, 16, false },
	{ "a length that wraps", { 'T', 'E', 'S', 'T', 1, 0, 0, 0, 255, 255, 255, 255, 255, 255,
				   255, 255 }, 16, false },
	{ "a cut head", { HEAD(1, 0) }, 15, false },
	{ "nothing", { 0 }, 0, false },
};

START_TEST(sections)
{
	const struct section_case *c = &section_cases[_i];
	struct blob_reader r, inner;
	uint32_t version;

	blob_read(&r, c->bytes, c->n, NULL);
	ck_assert_msg(blob_enter(&r, &inner, TAG, 2, &version) == c->is_good, "%s", c->name);
	ck_assert_int_eq(r.is_short, !c->is_good);
	ck_assert_int_eq(inner.is_short, !c->is_good);
	ck_assert_uint_eq((size_t)(inner.end - inner.at), c->is_good ? c->bytes[8] : 0u);
	blob_get_u64(&inner);			/* whatever the inner one reads, ... */
	ck_assert_int_eq(r.is_short, !c->is_good);	/* ... the outer one goes on after it */
	if (c->is_good)
		ck_assert_uint_eq((size_t)(r.end - r.at), c->n - 16 - c->bytes[8]);
}
END_TEST

START_TEST(tags_ahead)
{
	struct blob_reader r;

	blob_close(&blob, blob_open(&blob, TAG, 1));
	blob_read(&r, blob.bytes, blob.len, NULL);
	ck_assert_uint_eq(blob_peek_tag(&r), TAG);
	ck_assert_uint_eq(blob_peek_tag(&r), TAG);	/* it stays */
	blob_read(&r, blob.bytes, 3, NULL);
	ck_assert_uint_eq(blob_peek_tag(&r), 0);
	ck_assert(!r.is_short);
}
END_TEST

struct string_case {
	const char *name;
	uint8_t bytes[12];
	size_t n;
	const char *text;			/* NULL: it is short */
};

static const struct string_case string_cases[] = {
	{ "as long as may be", { 4, 0, 0, 0, 'a', 'b', 'c', 'd' }, 8, "abcd" },
	{ "longer", { 5, 0, 0, 0, 'a', 'b', 'c', 'd', 'e' }, 9, NULL },
	{ "with a NUL", { 3, 0, 0, 0, 'a', 0, 'c' }, 7, NULL },
	{ "cut", { 4, 0, 0, 0, 'a', 'b', 'c' }, 7, NULL },
	{ "endless", { 0xfe, 0xff, 0xff, 0xff, 'a' }, 5, NULL },
	{ "without a length", { 1, 0, 0 }, 3, NULL },
};

START_TEST(strings)
{
	const struct string_case *c = &string_cases[_i];
	struct blob_reader r;
	char *text;

	blob_read(&r, c->bytes, c->n, NULL);
	ck_assert_int_eq(blob_get_string(&r, 4, &text), 0);
	ck_assert_msg(r.is_short == !c->text, "%s", c->name);
	if (c->text)
		ck_assert_str_eq(text, c->text);
	else
		ck_assert_ptr_null(text);
	free(text);
}
END_TEST

START_TEST(bools)
{
	struct blob_reader r;

	for (unsigned v = 0; v < 256; v++) {
		uint8_t byte = (uint8_t)v;

		blob_read(&r, &byte, 1, NULL);
		ck_assert_int_eq(blob_get_bool(&r), v == 1);
		ck_assert_int_eq(r.is_short, v > 1);
	}
}
END_TEST

/* A number that came before, that never came, or without any: none. */
START_TEST(descriptors)
{
	static const uint32_t numbers[] = { 1, 0, 1, 2, UINT32_MAX, UINT32_MAX - 1 };
	static const int expected[] = { 41, 40, -1, -1, -1, -1 };
	int came[] = { 40, 41 };
	struct blob_fds fds = { came, 2 };
	struct blob_reader r;

	for (int i = 0; i < COUNT(numbers); i++)
		blob_put_u32(&blob, numbers[i]);
	blob_read(&r, blob.bytes, blob.len, &fds);
	for (int i = 0; i < COUNT(numbers); i++)
		ck_assert_int_eq(blob_get_fd(&r), expected[i]);
	ck_assert(blob_is_whole(&r));
	blob_read(&r, blob.bytes, blob.len, NULL);
	ck_assert_int_eq(blob_get_fd(&r), -1);
	ck_assert(!r.is_short);
}
END_TEST

/* The first error sticks: what is added after it, is not. */
START_TEST(too_many_bytes)
{
	blob_deinit(&blob);
	blob_init(&blob, 10, 0);
	blob_put_u64(&blob, 1);
	blob_put_u16(&blob, 2);
	ck_assert_int_eq(blob_error(&blob), 0);
	ck_assert_uint_eq(blob.len, 10);
	blob_put_bytes(&blob, "", 0);
	ck_assert_int_eq(blob_error(&blob), 0);
	blob_put_u8(&blob, 3);
	ck_assert_int_eq(blob_error(&blob), BLOB_E_TOO_LARGE);
	ck_assert_uint_eq(blob.len, 10);
	blob_close(&blob, blob_open(&blob, TAG, 1));
	blob_put_string(&blob, "x");
	blob_put_fd(&blob, 0);
	ck_assert_int_eq(blob_error(&blob), BLOB_E_TOO_LARGE);
	ck_assert_uint_eq(blob.len, 10);
	ck_assert_uint_eq(blob.n_fds, 0);
}
END_TEST

START_TEST(too_many_fds)
{
	for (int i = 0; i < FDS; i++)
		blob_put_fd(&blob, i);
	blob_put_fd(&blob, -1);
	ck_assert_int_eq(blob_error(&blob), 0);
	blob_put_fd(&blob, 9);
	ck_assert_int_eq(blob_error(&blob), BLOB_E_TOO_LARGE);
	ck_assert_uint_eq(blob.n_fds, FDS);
}
END_TEST

START_TEST(grows)
{
	static uint8_t bytes[100000];
	struct blob_reader r;

	for (size_t i = 0; i < sizeof bytes; i++)
		bytes[i] = (uint8_t)(i * 7 >> 3);
	for (size_t at = 0, n = 1; at < sizeof bytes; at += n, n = n * 2 + 1) {
		if (n > sizeof bytes - at)
			n = sizeof bytes - at;
		blob_put_bytes(&blob, bytes + at, n);
	}
	ck_assert_uint_eq(blob.len, sizeof bytes);
	blob_read(&r, blob.bytes, blob.len, NULL);
	ck_assert_mem_eq(blob_get_bytes(&r, sizeof bytes), bytes, sizeof bytes);
	ck_assert(blob_is_whole(&r));
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("blob");
	TCase *tc = tcase_create("blob");

	tcase_add_checked_fixture(tc, setup, teardown);
	tcase_add_test(tc, round_trip);
	tcase_add_test(tc, layout);
	tcase_add_test(tc, cut_at_every_byte);
	tcase_add_test(tc, short_is_for_good);
	tcase_add_test(tc, nothing);
	tcase_add_loop_test(tc, sections, 0, COUNT(section_cases));
	tcase_add_test(tc, tags_ahead);
	tcase_add_loop_test(tc, strings, 0, COUNT(string_cases));
	tcase_add_test(tc, bools);
	tcase_add_test(tc, descriptors);
	tcase_add_test(tc, too_many_bytes);
	tcase_add_test(tc, too_many_fds);
	tcase_add_test(tc, grows);
	suite_add_tcase(suite, tc);
	return unit_main(suite);
}
