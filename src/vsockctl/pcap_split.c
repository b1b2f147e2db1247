/* SPDX-License-Identifier: BSD-3-Clause */
/* A pcap stream, cut where its records end. */
#include "vsockctl/pcap_split.h"

#include <byteswap.h>
#include <stdlib.h>
#include <string.h>

enum {
	FILE_HEADER = 24, RECORD_HEADER = 16, LENGTH_AT = 8,
	HELD_MAX = RECORD_HEADER + PCAP_SPLIT_RECORD_MAX,
};

#define MAGIC_US	UINT32_C(0xa1b2c3d4)	/* microseconds; nanoseconds: */
#define MAGIC_NS	UINT32_C(0xa1b23c4d)

void pcap_split_deinit(struct pcap_split *s)
{
	free(s->held);
	*s = (struct pcap_split){ .held = NULL };
}

void pcap_split_go_on(struct pcap_split *s)
{
	s->goes_on |= s->has_header;
	s->has_header = false;
	s->n_held = 0;
}

static uint32_t word_at(const struct pcap_split *s, const uint8_t *at)
{
	uint32_t word;

	memcpy(&word, at, sizeof word);
	return s->is_swapped ? bswap_32(word) : word;
}

/* One that goes on is of the same byte order. */
static bool read_magic(struct pcap_split *s)
{
	uint32_t magic = word_at(s, s->held);

	if (s->goes_on) {
		s->has_header = magic == MAGIC_US || magic == MAGIC_NS;
		return s->has_header;
	}
	s->is_swapped = magic == bswap_32(MAGIC_US) || magic == bswap_32(MAGIC_NS);
	s->has_header = magic == MAGIC_US || magic == MAGIC_NS || s->is_swapped;
	return s->has_header;
}

/* How many bytes what is held begins with, as far as that can be told; 0: it is no pcap. */
static size_t unit_len(const struct pcap_split *s)
{
	uint32_t len;

	if (!s->has_header)
		return FILE_HEADER;
	if (s->n_held < RECORD_HEADER)
		return RECORD_HEADER;
	len = word_at(s, s->held + LENGTH_AT);
	return len <= PCAP_SPLIT_RECORD_MAX ? RECORD_HEADER + (size_t)len : 0;
}

/* What is held is a whole unit. */
static int put_unit(struct pcap_split *s, pcap_split_put *put, void *ctx)
{
	bool is_put = s->has_header || !s->goes_on;

	if (s->has_header)
		s->n_records++;
	else if (!read_magic(s))
		return PCAP_SPLIT_E_FORMAT;
	if (is_put && !put(ctx, s->held, s->n_held))
		return PCAP_SPLIT_E_PUT;
	s->n_held = 0;
	return 0;
}

int pcap_split_take(struct pcap_split *s, const void *bytes, size_t len, pcap_split_put *put,
		    void *ctx)
{
	const uint8_t *at = bytes;
	size_t wanted, n;
	int r;

	if (!s->held)
		s->held = malloc(HELD_MAX);
	if (!s->held)
		return PCAP_SPLIT_E_MEMORY;
	for (;;) {
		wanted = unit_len(s);
		if (wanted == 0)
			return PCAP_SPLIT_E_FORMAT;
		n = wanted - s->n_held < len ? wanted - s->n_held : len;
		memcpy(s->held + s->n_held, at, n);
		s->n_held += n;
		at += n;
		len -= n;
		if (s->n_held < wanted)
			return 0;
		if (s->has_header && unit_len(s) != wanted)
			continue;		/* the header is there, and says how much follows */
		r = put_unit(s, put, ctx);
		if (r)
			return r;
	}
}
