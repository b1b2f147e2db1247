/* SPDX-License-Identifier: BSD-3-Clause */
/* What vsockctl shows: escapes, JSON, numbers for people. */
#include "vsockctl/text.h"

#include <stdlib.h>
#include <string.h>

#include "unit.h"

static const struct {
	const char *from, *shown, *json;
} texts[] = {
	{ "", "", "\"\"" },
	{ "plain text ~", "plain text ~", "\"plain text ~\"" },
	{ "\x1b[2J\a", "\\x1b[2J\\x07", "\"\\u001b[2J\\u0007\"" },
	{ "a\nb\r\t", "a\\x0ab\\x0d\\x09", "\"a\\u000ab\\u000d\\u0009\"" },
	{ "\x7f", "\\x7f", "\"\\u007f\"" },
	{ "\\x1b", "\\\\x1b", "\"\\\\x1b\"" },
	{ "say \"x\"", "say \"x\"", "\"say \\\"x\\\"\"" },
	{ "\xc3\xa9", "\\xc3\\xa9", "\"\\u00e9\"" },
	{ "\xc2\x9b", "\\xc2\\x9b", "\"\\u009b\"" },		/* CSI of 8 bits, in UTF-8 */
	{ "\x9b", "\\x9b", "\"\\ufffd\"" },
	{ "\xe2\x82\xac", "\\xe2\\x82\\xac", "\"\\u20ac\"" },
	{ "\xf0\x9f\x98\x80", "\\xf0\\x9f\\x98\\x80", "\"\\ud83d\\ude00\"" },
	{ "\xc0\x80", "\\xc0\\x80", "\"\\ufffd\\ufffd\"" },	/* overlong */
	{ "\xed\xa0\x80", "\\xed\\xa0\\x80", "\"\\ufffd\\ufffd\\ufffd\"" },	/* a surrogate */
	{ "\xf4\x90\x80\x80", "\\xf4\\x90\\x80\\x80", "\"\\ufffd\\ufffd\\ufffd\\ufffd\"" },
	{ "\xe2\x82", "\\xe2\\x82", "\"\\ufffd\\ufffd\"" },	/* cut off */
	{ "\xff" "a", "\\xffa", "\"\\ufffda\"" },
};

/* What @put writes. */
static char *written(void (*put)(FILE *f, const char *s), const char *s)
{
	char *out = NULL, *copy = strdup(s);
	size_t len;
	FILE *f = open_memstream(&out, &len);

	put(f, copy);				/* exact size */
	fclose(f);
	free(copy);
	return out;
}

START_TEST(escaped)
{
	char shown[64], *put = written(text_put, texts[_i].from);

	ck_assert_str_eq(text_escape(shown, sizeof shown, texts[_i].from), texts[_i].shown);
	ck_assert_str_eq(put, texts[_i].shown);
	free(put);
}
END_TEST

START_TEST(as_json)
{
	char *put = written(text_put_json, texts[_i].from);

	ck_assert_str_eq(put, texts[_i].json);
	free(put);
}
END_TEST

START_TEST(as_a_line_of_json)
{
	char *put = written(text_put_ascii, "{\"a\": \"\x1b[2J \xc3\xa9\x9b \\n\"}");

	ck_assert_str_eq(put, "{\"a\": \"\\u001b[2J \\u00e9\\ufffd \\n\"}");
	free(put);
}
END_TEST

/* Cut at any size: ends, has no half escape, and is a start of the whole. */
START_TEST(cut)
{
	static const char from[] = "ab\x1b" "cd\\ef";
	static const char whole[] = "ab\\x1bcd\\\\ef";
	size_t size = (size_t)_i;
	char *to = malloc(size);

	text_escape(to, size, from);
	if (size >= sizeof whole) {
		ck_assert_str_eq(to, whole);
	} else if (size >= 4) {
		size_t kept = strlen(to) - 3;

		ck_assert_str_eq(to + kept, "...");
		ck_assert_mem_eq(to, whole, kept);
		ck_assert_uint_lt(strlen(to), size);
		ck_assert(kept <= 2 || kept == 6 || kept == 7 || kept == 8);
	} else {
		ck_assert_mem_eq(to, whole, strlen(to));
	}
	free(to);
}
END_TEST

static const struct { uint64_t n; const char *shown; } sizes[] = {
	{ 0, "0" }, { 999, "999" }, { 1000, "0.9K" }, { 1024, "1K" }, { 1536, "1.5K" },
	{ 10 * 1024 + 1, "10K" }, { 999 * 1024, "999K" }, { 1000 * 1024, "0.9M" },
	{ 1 << 20, "1M" }, { (5ull << 30) + (1 << 29), "5.5G" }, { 1ull << 50, "1P" },
	{ UINT64_MAX, "15E" },
};

START_TEST(bytes)
{
	char to[TEXT_SHORT_MAX];

	ck_assert_str_eq(text_bytes(to, sizes[_i].n), sizes[_i].shown);
}
END_TEST

static const struct { uint64_t ms; const char *shown; } ages[] = {
	{ 0, "0.0s" }, { 99, "0.0s" }, { 400, "0.4s" }, { 9999, "9.9s" }, { 10000, "10s" },
	{ 119999, "119s" }, { 120000, "2m" }, { 7199999, "119m" }, { 7200000, "2h" },
	{ 172800000, "2d" }, { UINT64_MAX, "213503982334d" },
};

START_TEST(age)
{
	char to[TEXT_SHORT_MAX];

	ck_assert_str_eq(text_age(to, ages[_i].ms), ages[_i].shown);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("ctl_text");
	TCase *tc = tcase_create("ctl_text");

	tcase_add_loop_test(tc, escaped, 0, COUNT(texts));
	tcase_add_loop_test(tc, as_json, 0, COUNT(texts));
	tcase_add_test(tc, as_a_line_of_json);
	tcase_add_loop_test(tc, cut, 1, 20);
	tcase_add_loop_test(tc, bytes, 0, COUNT(sizes));
	tcase_add_loop_test(tc, age, 0, COUNT(ages));
	suite_add_tcase(suite, tc);
	return unit_main(suite);
}
