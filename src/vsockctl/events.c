/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * vsockctl events: a line of JSON for each thing that happens. Lines are passed on whole and
 * at once, and only in printable ASCII: whoever has taken over the daemon may send anything.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "vsockctl/api.h"
#include "vsockctl/command.h"
#include "vsockctl/exit.h"
#include "vsockctl/follow.h"
#include "vsockctl/text.h"

enum { LINE_MAX_BYTES = 64 << 10 };

struct lines {
	char line[LINE_MAX_BYTES];
	size_t len;
	char last[LINE_MAX_BYTES];		/* the last whole one */
	struct timespec began;
	char path[API_PATH_MAX];
	const char *trouble;			/* why the sink has ended it; NULL: it has not */
};

static bool put_line(struct lines *lines)
{
	char *text = NULL;
	size_t len = 0;
	FILE *f = open_memstream(&text, &len);
	int r = -ENOMEM;

	lines->line[lines->len] = '\0';
	memcpy(lines->last, lines->line, lines->len + 1);
	if (f) {
		text_put_ascii(f, lines->line);
		putc('\n', f);
		r = fclose(f) == 0 ? follow_write(STDOUT_FILENO, text, len) : -ENOMEM;
		free(text);
	}
	lines->len = 0;
	if (r)
		lines->trouble = follow_str_error(r);
	return !r;
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

/* With what has happened since the last line, as far as the next engine knows of it. */
static const char *go_on(void *ctx)
{
	struct lines *lines = ctx;
	json_t *last = json_loads(lines->last, 0, NULL);
	uint64_t secs = api_number_in(last, "timestamp", "secs");
	uint64_t nanos = api_number_in(last, "timestamp", "nanos");

	json_decref(last);
	if (!secs || nanos > 999999999) {
		secs = (uint64_t)lines->began.tv_sec;
		nanos = (uint64_t)lines->began.tv_nsec;
	}
	lines->len = 0;
	snprintf(lines->path, sizeof lines->path, "/v1/events?since=%" PRIu64 ".%09" PRIu64, secs,
		 nanos);
	return lines->path;
}

int command_events(const struct args *a)
{
	static struct lines lines;
	const struct follow f = { .sink = take, .again = go_on, .ctx = &lines };
	int r;

	clock_gettime(CLOCK_REALTIME, &lines.began);
	r = follow(a, "/v1/events", &f);
	if (!lines.trouble)
		return r;
	text_complain("%s", lines.trouble);
	return EXIT_FAILED;
}
