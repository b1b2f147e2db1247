/* SPDX-License-Identifier: BSD-3-Clause */
/* vsockctl top: rates, order, and frames that fit a terminal. */
#include "vsockctl/top_view.h"

#include <stdlib.h>
#include <string.h>

#include "unit.h"

static struct top_row *add(struct top_sample *s, uint64_t cid, const char *id, uint64_t to_guest,
			   uint64_t to_host)
{
	struct top_row *row = top_sample_add(s, cid, id);

	ck_assert_ptr_nonnull(row);
	row->to_guest = to_guest;
	row->to_host = to_host;
	snprintf(row->name, sizeof row->name, "%s", id);
	snprintf(row->text, sizeof row->text, "state of %d", (int)cid);
	return row;
}

START_TEST(busiest_first)
{
	static const struct { uint64_t cid; const char *id; uint64_t in, out; } wanted[] = {
		{ 5, "", 0, 4000 }, { 4, "", 1000, 0 }, { 3, "", 0, 0 }, { 6, "", 0, 0 },
		{ 7, "", 0, 0 }, { 3, "b", 50, 0 }, { 3, "a", 0, 0 }, { 9, "a", 0, 0 },
	};
	struct top_sample before = { .ms = 1000 }, now = { .ms = 3000 };

	add(&before, 3, "", 100, 0);
	add(&before, 4, "", 0, 0);
	add(&before, 3, "b", 0, 0);
	add(&before, 5, "", 0, 1000);
	add(&before, 6, "", 5000, 0);
	add(&before, 3, "a", 1, 1);
	add(&now, 9, "a", 1 << 30, 0);		/* it is new */
	add(&now, 3, "a", 1, 1);
	add(&now, 3, "b", 100, 0);
	add(&now, 7, "", 1 << 30, 0);		/* it is new, too */
	add(&now, 6, "", 10, 0);		/* it began anew */
	add(&now, 5, "", 0, 9000);
	add(&now, 4, "", 2000, 0);
	add(&now, 3, "", 100, 0);
	top_sample_rate(&now, &before);
	ck_assert_uint_eq(now.n, COUNT(wanted));
	for (int i = 0; i < COUNT(wanted); i++) {
		ck_assert_uint_eq(now.rows[i].cid, wanted[i].cid);
		ck_assert_str_eq(now.rows[i].id, wanted[i].id);
		ck_assert_uint_eq(now.rows[i].to_guest_rate, wanted[i].in);
		ck_assert_uint_eq(now.rows[i].to_host_rate, wanted[i].out);
	}
	top_sample_deinit(&now);
	top_sample_deinit(&before);
}
END_TEST

START_TEST(rates_do_not_overflow)
{
	struct top_sample before = { .ms = 1000 }, now = { .ms = 2000 };

	add(&before, 3, "", 0, 0);
	add(&now, 3, "", UINT64_MAX, 7);
	top_sample_rate(&now, &before);
	ck_assert_uint_eq(now.rows[0].to_guest_rate, UINT64_MAX / 1000 * 1000);
	ck_assert_uint_eq(now.rows[0].to_host_rate, 7);
	now.ms = before.ms;			/* no time has passed */
	top_sample_rate(&now, &before);
	ck_assert_uint_eq(now.rows[0].to_guest_rate, 0);
	top_sample_deinit(&now);
	top_sample_deinit(&before);
}
END_TEST

static const struct { unsigned columns, lines, vms, conns; } sizes[] = {
	{ 80, 24, 0, 0 }, { 80, 24, 3, 2 }, { 80, 24, 1000, 0 }, { 80, 24, 1000, 1000 },
	{ 80, 24, 3, 1000 }, { 80, 24, 19, 2 }, { 20, 5, 10, 10 }, { 1, 1, 10, 10 },
	{ 80, 2, 10, 10 }, { 80, 3, 10, 10 }, { 300, 100, 50, 50 }, { 80, 6, 1, 5 },
};

/* What is between escapes fits, and there is nothing but that. */
static void check_fits(const char *frame, unsigned columns, unsigned lines)
{
	unsigned column = 0, n = 1;

	for (const char *at = frame; *at; at++) {
		if (*at == '\x1b') {
			ck_assert(at[1] == '[' && strchr("HKJ", at[2]));
			at += 2;
		} else if (*at == '\r') {
			ck_assert_int_eq(*++at, '\n');
			column = 0;
			n++;
		} else {
			ck_assert(*at >= ' ' && *at <= '~');
			column++;
		}
		ck_assert_uint_le(column, columns);
	}
	ck_assert_uint_le(n, lines);
}

static char *frame_of(const struct top_sample *s, unsigned columns, unsigned lines,
		      const char *trouble)
{
	char *frame = NULL;
	size_t len;
	FILE *f = open_memstream(&frame, &len);

	top_view_put(f, s, columns, lines, trouble);
	fclose(f);
	return frame;
}

START_TEST(frames_fit)
{
	struct top_sample s = { .ms = 0 }, none = { .ms = 0 };
	char *frame;

	for (unsigned i = 0; i < sizes[_i].vms; i++)
		strcpy(add(&s, 4294967294u - i, "", UINT64_MAX, i)->text, "\x1b[2J\xc2\x9b\n");
	for (unsigned i = 0; i < sizes[_i].conns; i++) {
		char id[TOP_ID_MAX];

		snprintf(id, sizeof id, "\a%u - 4294967295:4294967295", i);
		add(&s, 3, id, 1, 1);
	}
	top_sample_rate(&s, &none);
	frame = frame_of(&s, sizes[_i].columns, sizes[_i].lines, NULL);
	check_fits(frame, sizes[_i].columns, sizes[_i].lines);
	free(frame);
	frame = frame_of(&s, sizes[_i].columns, sizes[_i].lines, "no \x1b[5m answer");
	check_fits(frame, sizes[_i].columns, sizes[_i].lines);
	free(frame);
	top_sample_deinit(&s);
}
END_TEST

/* Both kinds have their part, and what is left out is counted. */
START_TEST(rows_share_the_screen)
{
	struct top_sample s = { .ms = 0 }, none = { .ms = 0 };
	char *frame;

	for (unsigned i = 0; i < 100; i++)
		add(&s, 100 + i, "", 0, 0);
	for (unsigned i = 0; i < 100; i++) {
		char id[TOP_ID_MAX];

		snprintf(id, sizeof id, "%u - 2:1", 1000 + i);
		add(&s, 3, id, 1, 1);
	}
	top_sample_rate(&s, &none);
	frame = frame_of(&s, 80, 24, NULL);
	ck_assert_ptr_nonnull(strstr(frame, "100 VMs, 0 connections"));
	ck_assert_ptr_nonnull(strstr(frame, "state of 113"));
	ck_assert_ptr_nonnull(strstr(frame, "... and 86 more"));
	ck_assert_ptr_nonnull(strstr(frame, "1004 - 2:1"));
	ck_assert_ptr_nonnull(strstr(frame, "... and 95 more"));
	free(frame);
	top_sample_deinit(&s);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("top_view");
	TCase *tc = tcase_create("top_view");

	tcase_add_test(tc, busiest_first);
	tcase_add_test(tc, rates_do_not_overflow);
	tcase_add_loop_test(tc, frames_fit, 0, COUNT(sizes));
	tcase_add_test(tc, rows_share_the_screen);
	suite_add_tcase(suite, tc);
	return unit_main(suite);
}
