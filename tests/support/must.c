/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Giving up with a reason: see must.h.
 */
#include "support/must.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

void (*must_hook)(const char *file, int line, const char *text);

void must_fail(const char *file, int line, const char *fmt, ...)
{
	char text[512];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(text, sizeof text, fmt, ap);
	va_end(ap);
	if (must_hook)
		must_hook(file, line, text);
	fprintf(stderr, "%s:%d: %s\n", file, line, text);
	abort();
}
