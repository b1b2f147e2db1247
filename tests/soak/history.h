/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The last things that happened to a connection or a VM, for who has to find out
 * why it failed.
 */
#pragma once

#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>

enum { HISTORY_LINES = 24, HISTORY_LINE_MAX = 80 };

struct history {
	char lines[HISTORY_LINES][HISTORY_LINE_MAX];
	uint32_t n;				/* ever */
};

/* The step of the script that is being played. */
extern uint64_t soak_step;

static inline void history_add(struct history *h, const char *fmt, va_list ap)
	__attribute__((format(printf, 2, 0)));

static inline void history_add(struct history *h, const char *fmt, va_list ap)
{
	char *to = h->lines[h->n++ % HISTORY_LINES];
	int n = snprintf(to, HISTORY_LINE_MAX, "%llu: ", (unsigned long long)soak_step);

	vsnprintf(to + n, HISTORY_LINE_MAX - (size_t)n, fmt, ap);
}

static inline void history_print(const struct history *h)
{
	uint32_t first = h->n > HISTORY_LINES ? h->n - HISTORY_LINES : 0;

	for (uint32_t i = first; i < h->n; i++)
		printf("#   step %s\n", h->lines[i % HISTORY_LINES]);
}
