/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What the rounds of a row come to, for people and for programs. A ratio is
 * taken in each round, of neighbours in time; its median is not the ratio of the
 * medians, and says more.
 */
#pragma once

#include <stdio.h>

#include "bench/bench.h"

enum { ROUNDS_MAX = 64 };

enum side { SIDE_LIMIT, SIDE_OURS, SIDE_OTHER, SIDES };

struct row {
	const struct scenario *what;
	const char *rival;			/* who SIDE_OTHER is, without limits; or NULL */
	unsigned n_rounds;
	struct measure rounds[SIDES][ROUNDS_MAX];
	struct measure syscalls[SIDES];		/* their own run; maybe not done */
};

struct spread {
	double median, min, max;
	unsigned n;				/* rounds that were done */
};

struct spread row_values(const struct row *row, enum side side);
/* Of the values of two sides, round by round. */
struct spread row_ratios(const struct row *row, enum side of, enum side to);
/* The median over the rounds, or of the run of its own; false: none. */
bool row_figure(const struct row *row, enum side side, const char *name, double *value);

void report_head(bool has_other);
void report_rival_head(const char *rival);
void report_row(const struct row *row);		/* to standard output */

/* A JSON document, begun and ended around its rows. */
void report_json_begin(FILE *f, const char *ours, const char *other, double seconds);
void report_json_row(FILE *f, const struct row *row, bool is_first);
void report_json_end(FILE *f);
