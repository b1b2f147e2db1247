/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A pcap stream, cut where its records end: so a file that is interrupted ends with a whole
 * one. The bytes come from a daemon that is not trusted; a record has a bound.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { PCAP_SPLIT_RECORD_MAX = 1 << 20 };

struct pcap_split {
	uint8_t *held;				/* what is not whole so far */
	size_t n_held;
	bool has_header, is_swapped;		/* of the file; of the other byte order */
	bool goes_on;				/* the header was put already */
	uint64_t n_records;
};

void pcap_split_deinit(struct pcap_split *s);

/* Another stream goes on: half a record is forgotten, and the next header is not put. */
void pcap_split_go_on(struct pcap_split *s);

/*
 * Takes @len bytes more; gives all that is whole now to @put, which returns false if it fails.
 * 0; PCAP_SPLIT_E_*.
 */
enum {
	PCAP_SPLIT_E_FORMAT = 1,		/* it is no pcap, or has too long a record */
	PCAP_SPLIT_E_PUT,
	PCAP_SPLIT_E_MEMORY,
};
typedef bool pcap_split_put(void *ctx, const void *bytes, size_t len);
int pcap_split_take(struct pcap_split *s, const void *bytes, size_t len, pcap_split_put *put,
		    void *ctx);
