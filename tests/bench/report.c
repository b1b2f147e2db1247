/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Medians, text and JSON: see report.h.
 */
#include "bench/report.h"

#include <stdlib.h>
#include <string.h>
#include <sys/utsname.h>
#include <unistd.h>

static const char *const side_names[SIDES] = { "limit", "ours", "other" };

void figure_add(struct measure *m, const char *name, double value)
{
	struct figure *f = &m->figures[m->n_figures];

	if (m->n_figures == FIGURES_MAX)
		return;
	snprintf(f->name, sizeof f->name, "%s", name);
	f->value = value;
	m->n_figures++;
}

const struct figure *figure_find(const struct measure *m, const char *name)
{
	for (unsigned i = 0; i < m->n_figures; i++)
		if (strcmp(m->figures[i].name, name) == 0)
			return &m->figures[i];
	return NULL;
}

static int by_value(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;

	return (x > y) - (x < y);
}

static struct spread spread_of(double *v, unsigned n)
{
	struct spread s = { .n = n };

	if (!n)
		return s;
	qsort(v, n, sizeof *v, by_value);
	s.min = v[0];
	s.max = v[n - 1];
	s.median = n % 2 ? v[n / 2] : (v[n / 2 - 1] + v[n / 2]) / 2;
	return s;
}

struct spread row_values(const struct row *row, enum side side)
{
	double v[ROUNDS_MAX];
	unsigned n = 0;

	for (unsigned i = 0; i < row->n_rounds; i++)
		if (row->rounds[side][i].is_done)
			v[n++] = row->rounds[side][i].value;
	return spread_of(v, n);
}

struct spread row_ratios(const struct row *row, enum side of, enum side to)
{
	const struct measure *a, *b;
	double v[ROUNDS_MAX];
	unsigned n = 0;

	for (unsigned i = 0; i < row->n_rounds; i++) {
		a = &row->rounds[of][i];
		b = &row->rounds[to][i];
		if (a->is_done && b->is_done && b->value > 0)
			v[n++] = a->value / b->value;
	}
	return spread_of(v, n);
}

bool row_figure(const struct row *row, enum side side, const char *name, double *value)
{
	const struct figure *f;
	double v[ROUNDS_MAX];
	unsigned n = 0;

	for (unsigned i = 0; i < row->n_rounds; i++)
		if ((f = figure_find(&row->rounds[side][i], name)))
			v[n++] = f->value;
	if (!n && (f = figure_find(&row->syscalls[side], name)))
		v[n++] = f->value;
	if (n)
		*value = spread_of(v, n).median;
	return n;
}

/* The figures of a side, each name once: the first round's, then strace's. */
static void each_figure(const struct row *row, enum side side,
			void (*show)(void *arg, const char *name, double value),
			void *arg)
{
	const struct measure *of[2] = { NULL, &row->syscalls[side] };
	double value;

	for (unsigned i = 0; i < row->n_rounds && !of[0]; i++)
		if (row->rounds[side][i].is_done)
			of[0] = &row->rounds[side][i];
	for (unsigned k = 0; k < 2; k++)
		for (unsigned i = 0; of[k] && i < of[k]->n_figures; i++)
			if ((k == 0 || !of[0] ||
			     !figure_find(of[0], of[k]->figures[i].name)) &&
			    row_figure(row, side, of[k]->figures[i].name, &value))
				show(arg, of[k]->figures[i].name, value);
}

static void print_figure(void *arg, const char *name, double value)
{
	(void)arg;
	printf("  %s %.4g", name, value);
}

void report_head(bool has_other)
{
	printf("%-16s %-6s %29s %29s %22s%s\n", "scenario", "unit",
	       "median [min max]", "limit [min max]", "ratio [min max]",
	       has_other ? "   to other" : "");
}

static void print_spread(struct spread s, int width, int digits)
{
	char text[64];

	snprintf(text, sizeof text, "%.*f [%.*f %.*f]", digits, s.median, digits,
		 s.min, digits, s.max);
	printf(" %*s", width, s.n ? text : "-");
}

static bool goal_value(const struct row *row, double *value)
{
	const struct goal *g = &row->what->goal;
	double limit;

	if (!g->figure || !row_figure(row, SIDE_OURS, g->figure, value))
		return false;
	if (!g->of_limit)
		return true;
	if (!row_figure(row, SIDE_LIMIT, g->of_limit, &limit) || limit <= 0)
		return false;
	*value /= limit;
	return true;
}

static bool is_met(const struct goal *g, double value)
{
	return g->at_least > 0 ? value >= g->at_least : value <= g->at_most;
}

static void print_goal(const struct row *row)
{
	const struct goal *g = &row->what->goal;
	bool is_floor = g->at_least > 0;
	double value;

	if (!goal_value(row, &value))
		return;
	printf("    %s: %s %.4g%s%s; target %s %.4g\n",
	       is_met(g, value) ? "ok" : "MISS", g->figure, value,
	       g->of_limit ? " x the limit's " : "", g->of_limit ? g->of_limit : "",
	       is_floor ? ">=" : "<=", is_floor ? g->at_least : g->at_most);
}

static const char *name_of(const struct row *row, enum side side)
{
	return row->rival && side == SIDE_OTHER ? row->rival : side_names[side];
}

static void print_errors(const struct row *row)
{
	for (enum side s = 0; s < SIDES; s++)
		for (unsigned i = 0; i < row->n_rounds; i++)
			if (row->rounds[s][i].error[0])
				printf("    %s, round %u %s: %s\n", name_of(row, s), i + 1,
				       row->rounds[s][i].is_overrun ? "void" : "FAILED",
				       row->rounds[s][i].error);
	for (enum side s = 0; s < SIDES; s++)
		for (unsigned i = 0; i < row->n_rounds; i++)
			if (row->rounds[s][i].note[0]) {
				printf("    %s: %s\n", name_of(row, s), row->rounds[s][i].note);
				break;
			}
	if (row->syscalls[SIDE_OURS].error[0])
		printf("    system calls not counted: %s\n",
		       row->syscalls[SIDE_OURS].error);
}

static void print_other(const struct row *row)
{
	struct spread s = row_ratios(row, SIDE_OURS, SIDE_OTHER);

	if (!s.n)
		return;
	printf("    other %.4g; ours to other, round by round:",
	       row_values(row, SIDE_OTHER).median);
	for (unsigned i = 0; i < row->n_rounds; i++) {
		const struct measure *a = &row->rounds[SIDE_OURS][i];
		const struct measure *b = &row->rounds[SIDE_OTHER][i];

		if (a->is_done && b->is_done && b->value > 0)
			printf(" %.2f", a->value / b->value);
	}
	printf("\n");
}

static void print_figures(const struct row *row)
{
	for (enum side s = 0; s < SIDES; s++) {
		if (!row_values(row, s).n)
			continue;
		printf("    %-6s", name_of(row, s));
		each_figure(row, s, print_figure, NULL);
		printf("\n");
	}
}

/* As many digits for all sides of a row. */
static int digits_of(const struct row *row)
{
	return row_values(row, SIDE_OURS).median < 100 ? 2 : 0;
}

void report_rival_head(const char *rival)
{
	char theirs[32], ratio[32];

	snprintf(theirs, sizeof theirs, "%.12s [min max]", rival);
	snprintf(ratio, sizeof ratio, "ours/%.12s [min max]", rival);
	printf("%-16s %-6s %29s %29s %25s\n", "scenario", "unit", "ours [min max]", theirs,
	       ratio);
}

static void report_rival_row(const struct row *row)
{
	const struct scenario *w = row->what;
	int digits = digits_of(row);

	printf("%-16s %-6s", w->name, w->unit);
	print_spread(row_values(row, SIDE_OURS), 29, digits);
	print_spread(row_values(row, SIDE_OTHER), 29, digits);
	print_spread(row_ratios(row, SIDE_OURS, SIDE_OTHER), 25, 3);
	printf("%s\n", w->is_cost ? "  less is better" : "");
	print_figures(row);
	print_errors(row);
	fflush(stdout);
}

void report_row(const struct row *row)
{
	const struct scenario *w = row->what;
	struct spread ratio = row_ratios(row, SIDE_OURS, SIDE_LIMIT);
	int digits = digits_of(row);

	if (row->rival) {
		report_rival_row(row);
		return;
	}
	printf("%-16s %-6s", w->name, w->unit);
	print_spread(row_values(row, SIDE_OURS), 29, digits);
	print_spread(row_values(row, SIDE_LIMIT), 29, digits);
	print_spread(ratio, 22, 2);
	if (row_ratios(row, SIDE_OURS, SIDE_OTHER).n)
		printf(" %10.2f", row_ratios(row, SIDE_OURS, SIDE_OTHER).median);
	if (w->target > 0 && ratio.n)
		printf("  %s %.2f x %s", ratio.median >= w->target ? "ok, >=" : "MISS,",
		       w->target, w->limit);
	printf("\n");
	print_figures(row);
	print_goal(row);
	print_other(row);
	print_errors(row);
	fflush(stdout);
}

static void json_text(FILE *f, const char *s)
{
	fputc('"', f);
	for (; *s; s++) {
		if (*s == '"' || *s == '\\')
			fputc('\\', f);
		if ((unsigned char)*s >= ' ')
			fputc(*s, f);
		else
			fputc(' ', f);
	}
	fputc('"', f);
}

static void json_pair(FILE *f, const char *name, const char *text)
{
	json_text(f, name);
	fputs(": ", f);
	json_text(f, text);
}

void report_json_begin(FILE *f, const char *ours, const char *other, double seconds)
{
	struct utsname u;

	uname(&u);
	fputs("{ ", f);
	json_pair(f, "system", u.sysname);
	fputs(", ", f);
	json_pair(f, "release", u.release);
	fputs(", ", f);
	json_pair(f, "machine", u.machine);
	fprintf(f, ", \"cpus\": %ld, \"seconds\": %g,\n  ",
		sysconf(_SC_NPROCESSORS_ONLN), seconds);
	json_pair(f, "ours", ours);
	if (other) {
		fputs(", ", f);
		json_pair(f, "other", other);
	}
	fputs(",\n  \"rows\": [", f);
}

static void json_figure(void *arg, const char *name, double value)
{
	FILE *f = arg;

	fputs(", ", f);
	json_text(f, name);
	fprintf(f, ": %.6g", value);
}

static void json_spread(FILE *f, const char *name, struct spread s)
{
	if (s.n)
		fprintf(f, ",\n      \"%s\": { \"median\": %.6g, \"min\": %.6g, "
			"\"max\": %.6g }", name, s.median, s.min, s.max);
}

static void json_side(FILE *f, const struct row *row, enum side side)
{
	struct spread s = row_values(row, side);
	bool any = false;

	fprintf(f, ",\n      \"%s\": { \"rounds\": [", side_names[side]);
	for (unsigned i = 0; i < row->n_rounds; i++) {
		const struct measure *m = &row->rounds[side][i];

		fputs(i ? ", " : "", f);
		if (m->is_done)
			fprintf(f, "%.6g", m->value);
		else
			fputs("null", f);
		any |= m->error[0];
	}
	fprintf(f, "], \"median\": %.6g, \"min\": %.6g, \"max\": %.6g", s.median,
		s.min, s.max);
	each_figure(row, side, json_figure, f);
	for (unsigned i = 0; any && i < row->n_rounds; i++)
		if (row->rounds[side][i].error[0]) {
			fputs(", ", f);
			json_pair(f, "error", row->rounds[side][i].error);
			any = false;
		}
	fputs(" }", f);
}

void report_json_row(FILE *f, const struct row *row, bool is_first)
{
	const struct scenario *w = row->what;

	fputs(is_first ? "\n    { " : ",\n    { ", f);
	json_pair(f, "name", w->name);
	fputs(", ", f);
	json_pair(f, "unit", w->unit);
	if (w->limit) {
		fputs(", ", f);
		json_pair(f, "beside", w->limit);
	}
	if (w->target > 0)
		fprintf(f, ", \"target\": %g", w->target);
	for (enum side s = 0; s < SIDES; s++)
		if (row_values(row, s).n || row->rounds[s][0].error[0])
			json_side(f, row, s);
	json_spread(f, "to_limit", row_ratios(row, SIDE_OURS, SIDE_LIMIT));
	json_spread(f, "to_other", row_ratios(row, SIDE_OURS, SIDE_OTHER));
	fputs(" }", f);
}

void report_json_end(FILE *f)
{
	fputs("\n  ] }\n", f);
}
