/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * vsockctl events: a line of JSON for each thing that happens. Lines are passed on whole and
 * at once, and only in printable ASCII: whoever has taken over the daemon may send anything.
 */
#include <stdio.h>
#include <string.h>

#include "util/error.h"
#include "vsockctl/command.h"
#include "vsockctl/exit.h"
#include "vsockctl/follow.h"
#include "vsockctl/text.h"

enum { LINE_MAX_BYTES = 64 << 10 };

struct lines {
	char line[LINE_MAX_BYTES];
	size_t len;
	const char *trouble;			/* why the sink has ended it; NULL: it has not */
};

static bool put_line(struct lines *lines)
{
	lines->line[lines->len] = '\0';
	text_put_ascii(stdout, lines->line);
	putchar('\n');
	lines->len = 0;
	if (fflush(stdout) == 0)
		return true;
	lines->trouble = error_str(error_last());
	return false;
}

static bool take(void *ctx, const char *bytes, size_t n)
{
	struct lines *lines = ctx;

	for (size_t i = 0; i < n; i++) {
		if (bytes[i] == '\n') {
			if (!put_line(lines))
				return false;
		} else if (lines->len + 1 < sizeof lines->line) {
			lines->line[lines->len++] = bytes[i] ? bytes[i] : ' ';
		} else {
			lines->trouble = "a line is too long";
			return false;
		}
	}
	return true;
}

int command_events(const struct args *a)
{
	static struct lines lines;
	int r = follow(a, "/v1/events", take, &lines);

	if (!lines.trouble)
		return r;
	text_complain("%s", lines.trouble);
	return EXIT_FAILED;
}
