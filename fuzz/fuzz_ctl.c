/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What vsockctl takes from a daemon that may have been taken over. Input: a byte, even: a pcap
 * stream, in pieces of as many bytes as the second byte says; odd: text.
 *
 * Asserted: of a stream comes out a prefix, which ends at the end of a record, and is as long as
 * what is whole; what is shown is printable ASCII and fits; a string of JSON ends where it
 * has to, and is one without control characters.
 */
#include <assert.h>
#include <byteswap.h>
#include <stdio.h>

#include "input.h"
#include "vsockctl/pcap_split.h"
#include "vsockctl/text.h"

/* ---- pcap ---- */

struct sink {
	const uint8_t *wanted;			/* the stream */
	size_t len;
};

static bool take(void *ctx, const void *bytes, size_t len)
{
	struct sink *sink = ctx;

	assert(memcmp(bytes, sink->wanted + sink->len, len) == 0);
	sink->len += len;
	return true;
}

/* How much of it is whole, by walking along its records; @is_wrong: and then comes what is none. */
static size_t whole_len(const uint8_t *data, size_t size, bool *is_wrong)
{
	uint32_t magic, len;
	size_t at = 24;
	bool is_swapped;

	*is_wrong = false;
	if (size < at)
		return 0;
	memcpy(&magic, data, sizeof magic);
	is_swapped = magic == 0xd4c3b2a1 || magic == 0x4d3cb2a1;
	if (!is_swapped && magic != 0xa1b2c3d4 && magic != 0xa1b23c4d) {
		*is_wrong = true;
		return 0;
	}
	while (size - at >= 16) {
		memcpy(&len, data + at + 8, sizeof len);
		if (is_swapped)
			len = bswap_32(len);
		if (len > PCAP_SPLIT_RECORD_MAX) {
			*is_wrong = true;
			break;
		}
		if (size - at - 16 < len)
			break;
		at += 16 + (size_t)len;
	}
	return at;
}

static void try_stream(const uint8_t *data, size_t size, size_t step)
{
	struct sink sink = { .wanted = data };
	struct pcap_split s = { .held = NULL };
	size_t whole;
	bool is_wrong;
	int r = 0;

	whole = whole_len(data, size, &is_wrong);
	for (size_t at = 0; at < size && r == 0; at += step) {
		size_t n = size - at < step ? size - at : step;
		void *piece = input_copy(data + at, n);

		r = pcap_split_take(&s, piece, n, take, &sink);
		free(piece);
	}
	assert(sink.len == whole);
	assert(r == (is_wrong ? PCAP_SPLIT_E_FORMAT : 0));
	pcap_split_deinit(&s);
}

/* ---- text ---- */

static void check_json(const char *json)
{
	size_t len = strlen(json);

	assert(len >= 2 && json[0] == '"' && json[len - 1] == '"');
	for (size_t i = 1; i + 1 < len; i++) {
		assert(json[i] >= ' ' && json[i] <= '~' && json[i] != '"');
		if (json[i] == '\\')
			i += json[i + 1] == 'u' ? 5 : 1;
		assert(i + 1 < len);
	}
}

static void try_text(const uint8_t *data, size_t size, size_t room)
{
	char *text = malloc(size + 1), *shown = malloc(room), *json = NULL;
	size_t len;
	FILE *f = open_memstream(&json, &len);

	if (!text || !shown || !f)
		abort();
	memcpy(text, data, size);
	text[size] = '\0';
	text_escape(shown, room, text);
	assert(strlen(shown) < room);
	for (const char *at = shown; *at; at++)
		assert(*at >= ' ' && *at <= '~');
	text_put_json(f, text);
	fclose(f);
	check_json(json);
	free(json);
	free(shown);
	free(text);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct input in = { data, size };
	uint8_t kind = input_u8(&in), step = input_u8(&in);

	if (size < 2)
		return 0;
	if (kind % 2 == 0)
		try_stream(data + 2, size - 2, step + 1u);
	else
		try_text(data + 2, size - 2, step + 1u);
	return 0;
}
