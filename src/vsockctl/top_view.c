/* SPDX-License-Identifier: BSD-3-Clause */
/* What vsockctl top shows. */
#include "vsockctl/top_view.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include "vsockctl/text.h"

enum { ROWS_MAX = 1 << 20, LINE_MAX_BYTES = 512 };

struct top_row *top_sample_add(struct top_sample *s, uint64_t cid, const char *id)
{
	struct top_row *more;

	if (s->n == s->room) {
		if (s->room >= ROWS_MAX)
			return NULL;
		more = realloc(s->rows, (s->room ? s->room * 2 : 64) * sizeof *more);
		if (!more)
			return NULL;
		s->rows = more;
		s->room = s->room ? s->room * 2 : 64;
	}
	more = &s->rows[s->n++];
	*more = (struct top_row){ .cid = cid };
	snprintf(more->id, sizeof more->id, "%s", id);
	return more;
}

void top_sample_deinit(struct top_sample *s)
{
	free(s->rows);
	*s = (struct top_sample){ .n = 0 };
}

/* ---- rates and order ---- */

static int by_name(const void *a, const void *b)
{
	const struct top_row *x = a, *y = b;

	if (x->cid != y->cid)
		return x->cid < y->cid ? -1 : 1;
	return strcmp(x->id, y->id);
}

static int by_load(const void *a, const void *b)
{
	const struct top_row *x = a, *y = b;
	uint64_t of_x = x->to_guest_rate + x->to_host_rate;
	uint64_t of_y = y->to_guest_rate + y->to_host_rate;

	if (!x->id[0] != !y->id[0])
		return x->id[0] ? 1 : -1;
	if (of_x != of_y)
		return of_x > of_y ? -1 : 1;
	return by_name(a, b);
}

static uint64_t rate(uint64_t now, uint64_t before, uint64_t ms)
{
	uint64_t more = now - before;

	if (now < before || ms == 0)
		return 0;
	return more > UINT64_MAX / 1000 ? more / ms * 1000 : more * 1000 / ms;
}

void top_sample_rate(struct top_sample *now, struct top_sample *before)
{
	uint64_t ms = now->ms - before->ms;

	if (before->n)
		qsort(before->rows, before->n, sizeof *before->rows, by_name);
	for (size_t i = 0; before->n && i < now->n; i++) {
		struct top_row *row = &now->rows[i];
		const struct top_row *old = bsearch(row, before->rows, before->n, sizeof *row,
						    by_name);

		if (!old)
			continue;
		row->to_guest_rate = rate(row->to_guest, old->to_guest, ms);
		row->to_host_rate = rate(row->to_host, old->to_host, ms);
	}
	if (now->n)
		qsort(now->rows, now->n, sizeof *now->rows, by_load);
}

/* ---- a frame ---- */

struct screen {
	FILE *f;
	unsigned columns, lines;		/* lines: that are left */
};

/* A line, cut where the terminal ends, and what was there before it cleared. */
static void __attribute__((format(printf, 2, 3))) put_line(struct screen *s, const char *fmt, ...)
{
	char line[LINE_MAX_BYTES], shown[LINE_MAX_BYTES * 4];
	va_list args;

	if (!s->lines)
		return;
	va_start(args, fmt);
	vsnprintf(line, sizeof line, fmt, args);
	va_end(args);
	text_escape(shown, sizeof shown, line);
	fprintf(s->f, "%.*s\x1b[K%s", (int)s->columns, shown, --s->lines ? "\r\n" : "");
}

static void put_head(struct screen *s, const struct top_sample *sample)
{
	uint64_t n = 0, conns = 0, to_guest = 0, to_host = 0;
	char in[TEXT_SHORT_MAX], out[TEXT_SHORT_MAX];

	for (; n < sample->n && !sample->rows[n].id[0]; n++) {
		conns += sample->rows[n].n_connections;
		to_guest += sample->rows[n].to_guest_rate;
		to_host += sample->rows[n].to_host_rate;
	}
	put_line(s, "%" PRIu64 " VMs, %" PRIu64 " connections; %s/s to guests, %s/s to hosts; "
		 "q quits", n, conns, text_bytes(in, to_guest), text_bytes(out, to_host));
}

static void put_row(struct screen *s, const struct top_row *row)
{
	char in[TEXT_SHORT_MAX], out[TEXT_SHORT_MAX], buffered[TEXT_SHORT_MAX];

	text_bytes(in, row->to_guest_rate);
	text_bytes(out, row->to_host_rate);
	text_bytes(buffered, row->buffered);
	if (row->id[0])
		put_line(s, "%10" PRIu64 " %-27.27s %6s %6s %6s %s", row->cid, row->name, in, out,
			 buffered, row->text);
	else
		put_line(s, "%10" PRIu64 " %-25.25s %10" PRIu64 " %6s %6s %6s", row->cid, row->text,
			 row->n_connections, in, out, buffered);
}

/* @n rows from @from; those that do not fit are counted in the last line. */
static void put_rows(struct screen *s, const struct top_sample *sample, size_t from, size_t n,
		     size_t lines)
{
	size_t shown = n <= lines ? n : lines ? lines - 1 : 0;

	for (size_t i = 0; i < shown; i++)
		put_row(s, &sample->rows[from + i]);
	if (shown < n && lines)
		put_line(s, "           ... and %zu more", n - shown);
}

void top_view_put(FILE *f, const struct top_sample *sample, unsigned columns, unsigned lines,
		  const char *trouble)
{
	struct screen s = { .f = f, .columns = columns, .lines = lines };
	size_t vms = 0, conns, for_vms;

	while (vms < sample->n && !sample->rows[vms].id[0])
		vms++;
	conns = sample->n - vms;
	fputs("\x1b[H", f);
	if (trouble) {
		put_line(&s, "%s", trouble);
		put_line(&s, "q quits");
	} else {
		put_head(&s, sample);
		put_line(&s, "%10s %-25s %10s %6s %6s %6s", "CID", "STATE", "CONNS", "IN/s", "OUT/s",
			 "BUFFER");
		for_vms = s.lines;
		if (conns && s.lines >= 6)	/* a third of it is the connections' at least */
			for_vms = vms + 1 + conns <= s.lines ? vms : s.lines - s.lines / 3;
		put_rows(&s, sample, 0, vms, for_vms);
		if (conns && s.lines > 1) {
			put_line(&s, "%10s %-27s %6s %6s %6s %s", "CID", "GUEST-PORT - PEER", "IN/s",
				 "OUT/s", "BUFFER", "WAITS FOR");
			put_rows(&s, sample, vms, conns, s.lines);
		}
	}
	fputs("\x1b[J", f);
}
