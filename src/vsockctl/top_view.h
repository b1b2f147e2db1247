/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What vsockctl top shows: samples of VMs and connections, two of which make rates, and a
 * frame of them for a terminal. No terminal, clock or socket here.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

enum { TOP_ID_MAX = 96, TOP_TEXT_MAX = 48 };

struct top_row {
	uint64_t cid;
	char id[TOP_ID_MAX];			/* of a connection; "": it is the VM's row */
	char name[TOP_TEXT_MAX];		/* of a connection, as it is shown */
	char text[TOP_TEXT_MAX];		/* state, or what it waits for; as it came */
	uint64_t n_connections;			/* of a VM */
	uint64_t to_guest, to_host, buffered;	/* bytes */
	uint64_t to_guest_rate, to_host_rate;	/* bytes per second: top_sample_rate() */
};

struct top_sample {
	uint64_t ms;				/* when it was taken */
	struct top_row *rows;			/* owned */
	size_t n, room;
};

/* A row more, all zero but for its name; NULL: no memory, or more than a bound. */
struct top_row *top_sample_add(struct top_sample *s, uint64_t cid, const char *id);
void top_sample_deinit(struct top_sample *s);

/* Fills in the rates of @now and puts the busiest first, VMs before connections. What @before
 * has not, and whose counters went back, has none. Puts the rows of @before in another order. */
void top_sample_rate(struct top_sample *now, struct top_sample *before);

/* Writes a frame of @lines lines, each cut at @columns: no byte of it but printable ASCII and
 * what moves the cursor. @trouble: instead of the rows; NULL: none. */
void top_view_put(FILE *f, const struct top_sample *s, unsigned columns, unsigned lines,
		  const char *trouble);
