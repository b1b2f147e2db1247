/* SPDX-License-Identifier: BSD-3-Clause */
/* Times of day: as the C library has them. */
#include "util/calendar.h"

#include <string.h>

#include "unit.h"

static const struct {
	time_t sec;
	long nsec;
	const char *text;
} moments[] = {
	{ 0, 0, "1970-01-01T00:00:00.000Z" },
	{ 0, 999999, "1970-01-01T00:00:00.000Z" },
	{ 59, 999999999, "1970-01-01T00:00:59.999Z" },
	{ 951782399, 0, "2000-02-28T23:59:59.000Z" },
	{ 951782400, 0, "2000-02-29T00:00:00.000Z" },
	{ 978307199, 0, "2000-12-31T23:59:59.000Z" },
	{ 1795267688, 42000000, "2026-11-21T13:28:08.042Z" },
	{ 2147483648, 0, "2038-01-19T03:14:08.000Z" },
	{ 4107542399, 0, "2100-02-28T23:59:59.000Z" },
	{ 4107542400, 0, "2100-03-01T00:00:00.000Z" },
	{ 253402300799, 999000000, "9999-12-31T23:59:59.999Z" },
};

START_TEST(known_moments)
{
	struct timespec ts = { .tv_sec = moments[_i].sec, .tv_nsec = moments[_i].nsec };
	char text[CALENDAR_TEXT_MAX];

	ck_assert_uint_eq(calendar_put_utc(text, sizeof text, &ts), strlen(moments[_i].text));
	ck_assert_str_eq(text, moments[_i].text);
}
END_TEST

/* Each day of 400 years, after which the calendar repeats, at another time of day. */
START_TEST(every_day)
{
	struct timespec ts = { .tv_nsec = 7999999 };
	char text[CALENDAR_TEXT_MAX], expected[CALENDAR_TEXT_MAX];
	struct tm tm;

	for (long day = 0; day < 146097; day++) {
		ts.tv_sec = day * 86400 + day * 7919 % 86400;
		strftime(expected, sizeof expected, "%Y-%m-%dT%H:%M:%S.007Z",
			 gmtime_r(&ts.tv_sec, &tm));
		ck_assert_uint_eq(calendar_put_utc(text, sizeof text, &ts), strlen(expected));
		ck_assert_str_eq(text, expected);
	}
}
END_TEST

START_TEST(short_of_room)
{
	static const char whole[] = "1970-01-01T00:00:00.000Z";
	struct timespec ts = { 0 };

	for (size_t size = 0; size <= sizeof whole; size++) {
		size_t len = size < sizeof whole ? size : sizeof whole, n;
		char text[sizeof whole + 1];

		memset(text, '#', sizeof text);
		n = calendar_put_utc(text, size, &ts);
		ck_assert_uint_eq(n, len ? len - 1 : 0);
		ck_assert_mem_eq(text, whole, n);
		ck_assert_int_eq(text[len], '#');
	}
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("calendar");
	TCase *tc = tcase_create("calendar");

	tcase_add_loop_test(tc, known_moments, 0, COUNT(moments));
	tcase_add_test(tc, every_day);
	tcase_add_test(tc, short_of_room);
	suite_add_tcase(suite, tc);
	return unit_main(suite);
}
