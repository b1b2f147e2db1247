/* SPDX-License-Identifier: BSD-3-Clause */
/* A pcap stream, cut where its records end, however it comes. */
#include "vsockctl/pcap_split.h"

#include <byteswap.h>
#include <stdlib.h>
#include <string.h>

#include "unit.h"

enum { HEADER = 24, RECORD = 16 };

static uint8_t stream[4096], put[4096];
static size_t n_stream, n_put, fail_at;

static bool on_put(void *ctx, const void *bytes, size_t len)
{
	(void)ctx;
	if (fail_at && n_put + len > fail_at)
		return false;
	memcpy(put + n_put, bytes, len);
	n_put += len;
	return true;
}

static void begin(uint32_t magic)
{
	n_put = fail_at = 0;
	memset(stream, 0, sizeof stream);
	memcpy(stream, &magic, sizeof magic);
	n_stream = HEADER;
}

static void add_record(uint32_t len, bool is_swapped)
{
	uint32_t word = is_swapped ? bswap_32(len) : len;

	memcpy(stream + n_stream + 8, &word, sizeof word);
	memset(stream + n_stream + RECORD, (int)len, len <= 1000 ? len : 0);
	n_stream += RECORD + (len <= 1000 ? len : 0);
}

/* In exactly sized pieces. */
static int take(struct pcap_split *s, size_t from, size_t to)
{
	uint8_t *piece = malloc(to - from + 1);
	int r;

	memcpy(piece, stream + from, to - from);
	r = pcap_split_take(s, piece, to - from, on_put, NULL);
	free(piece);
	return r;
}

static const uint32_t magics[] = { 0xa1b2c3d4, 0xa1b23c4d, 0xd4c3b2a1, 0x4d3cb2a1 };

/* Pieces of every size: the same comes out, and at no time half a record. */
START_TEST(pieces)
{
	static const size_t ends[] = { 0, HEADER, HEADER + RECORD + 5, HEADER + 2 * RECORD + 5,
				       HEADER + 3 * RECORD + 305 };

	for (size_t step = 1; step < 400; step++) {
		struct pcap_split s = { .held = NULL };

		begin(magics[_i]);
		add_record(5, _i >= 2);
		add_record(0, _i >= 2);
		add_record(300, _i >= 2);
		for (size_t at = 0; at < n_stream; at += step) {
			size_t to = at + step < n_stream ? at + step : n_stream, whole = 0;

			ck_assert_int_eq(take(&s, at, to), 0);
			for (int i = 0; i < COUNT(ends); i++)
				if (ends[i] <= to)
					whole = ends[i];
			ck_assert_uint_eq(n_put, whole);
		}
		ck_assert_mem_eq(put, stream, n_stream);
		ck_assert_uint_eq(s.n_records, 3);
		pcap_split_deinit(&s);
	}
}
END_TEST

START_TEST(no_pcap)
{
	struct pcap_split s = { .held = NULL };

	begin(0x0a0d0d0a);			/* pcapng */
	ck_assert_int_eq(take(&s, 0, HEADER - 1), 0);
	ck_assert_int_eq(take(&s, HEADER - 1, HEADER), PCAP_SPLIT_E_FORMAT);
	ck_assert_uint_eq(n_put, 0);
	pcap_split_deinit(&s);
}
END_TEST

/* A stream that is cut off, wherever, and another one: one file. */
START_TEST(another_stream)
{
	for (size_t cut = 0; cut <= HEADER + 2 * RECORD + 12; cut++) {
		struct pcap_split s = { .held = NULL };
		size_t whole;

		begin(magics[_i]);
		add_record(5, _i >= 2);
		add_record(7, _i >= 2);
		ck_assert_int_eq(take(&s, 0, cut), 0);
		whole = n_put;
		pcap_split_go_on(&s);
		ck_assert_int_eq(take(&s, 0, n_stream), 0);
		ck_assert_uint_eq(n_put, whole + n_stream - (whole ? HEADER : 0));
		ck_assert_mem_eq(put, stream, HEADER);
		ck_assert_mem_eq(put + (whole ? whole : HEADER), stream + HEADER, n_stream - HEADER);
		pcap_split_deinit(&s);
	}
}
END_TEST

START_TEST(another_stream_of_another_kind)
{
	struct pcap_split s = { .held = NULL };

	begin(magics[0]);
	ck_assert_int_eq(take(&s, 0, HEADER), 0);
	pcap_split_go_on(&s);
	begin(magics[2]);			/* the other byte order */
	ck_assert_int_eq(take(&s, 0, HEADER), PCAP_SPLIT_E_FORMAT);
	ck_assert_uint_eq(n_put, 0);
	pcap_split_deinit(&s);
}
END_TEST

START_TEST(long_records)
{
	struct pcap_split s = { .held = NULL };

	begin(magics[0]);
	add_record(PCAP_SPLIT_RECORD_MAX + 1, false);
	ck_assert_int_eq(take(&s, 0, n_stream), PCAP_SPLIT_E_FORMAT);
	ck_assert_uint_eq(n_put, HEADER);
	pcap_split_deinit(&s);
	begin(magics[0]);
	add_record(PCAP_SPLIT_RECORD_MAX, false);
	ck_assert_int_eq(take(&s, 0, n_stream), 0);
	pcap_split_deinit(&s);
}
END_TEST

START_TEST(full_disk)
{
	struct pcap_split s = { .held = NULL };

	begin(magics[0]);
	add_record(5, false);
	fail_at = HEADER;
	ck_assert_int_eq(take(&s, 0, n_stream), PCAP_SPLIT_E_PUT);
	ck_assert_uint_eq(n_put, HEADER);
	pcap_split_deinit(&s);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("pcap_split");
	TCase *tc = tcase_create("pcap_split");

	tcase_add_loop_test(tc, pieces, 0, COUNT(magics));
	tcase_add_test(tc, no_pcap);
	tcase_add_loop_test(tc, another_stream, 0, COUNT(magics));
	tcase_add_test(tc, another_stream_of_another_kind);
	tcase_add_test(tc, long_records);
	tcase_add_test(tc, full_disk);
	suite_add_tcase(suite, tc);
	return unit_main(suite);
}
