/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Options, rounds and the order of things: limit, daemon, other daemon, and the
 * other way round in every second round, so that a drift of the machine does not
 * favour one of them. A peer takes the limit's place; what it cannot do is said in
 * its row, and is no failure of ours.
 */
#include <errno.h>
#include <fnmatch.h>
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "bench/isolate.h"
#include "bench/kernel.h"
#include "bench/report.h"

enum { PEER_TRIES = 2,				/* of a row that the peer fails */
       KERNEL_TRIES = 4 };			/* of a round that the kernel ends by its own rule */

struct options {
	const char *daemon, *against, *peer, *json, *only;
	unsigned rounds, poll_us;
	double seconds;
	bool is_quick, no_syscalls, no_limits, is_observed, has_kernel;
};

static void usage(FILE *f)
{
	fputs(
"usage: bench [OPTION]...\n"
"  --daemon 'PROGRAM [OPTION]...'   the daemon (default: $VHOST_DEVICE_VSOCK)\n"
"  --against 'PROGRAM [OPTION]...'  another one, in alternating rounds\n"
"  --peer 'PROGRAM [OPTION]...'     not ours, but it takes our --vm; instead of limits\n"
"                                   (tests/bench.sh --peer: Debian's Rust daemon)\n"
"  --observed                       the same daemon with API and events on, and a client\n"
"                                   that reads all metrics each second, in alternating rounds\n"
"  --poll-us US                     our VMs have this key; beside the same daemon without it, in\n"
"                                   alternating rounds, if there is no --against\n"
"  --kernel                         the kernel's vhost-vsock, inside a guest; instead of limits\n"
"                                   (tests/bench.sh --kernel starts one)\n"
"  --only NAME,...                  these rows; shell patterns\n"
"  --rounds N                       of each row (default 5)\n"
"  --seconds S                      of each measurement (default 0.5)\n"
"  --no-syscalls                    no extra run under strace\n"
"  --no-limits                      no limits beside the rows\n"
"  --json FILE                      the results once more\n"
"  --quick                          prove that it runs and nothing is lost\n"
"  --list                           the rows\n", f);
}

static void list(void)
{
	for (const struct scenario *s = scenarios; s->name; s++)
		printf("%-18s %s%s%s\n", s->name, s->says, s->limit ? "; beside " : "",
		       s->limit ? s->limit : "");
}

static void set_number(const char *text, double min, double max, double *to)
{
	char *end;
	double v;

	errno = 0;
	v = strtod(text, &end);
	if (errno || end == text || *end || !(v >= min && v <= max)) {
		fprintf(stderr, "bench: not a number from %g to %g: %s\n", min, max,
			text);
		exit(2);
	}
	*to = v;
}

static struct options parse(int argc, char **argv)
{
	static const struct option table[] = {
		{ "daemon", required_argument, NULL, 'd' },
		{ "against", required_argument, NULL, 'a' },
		{ "peer", required_argument, NULL, 'p' },
		{ "observed", no_argument, NULL, 'O' },
		{ "poll-us", required_argument, NULL, 'P' },
		{ "kernel", no_argument, NULL, 'k' },
		{ "only", required_argument, NULL, 'o' },
		{ "rounds", required_argument, NULL, 'r' },
		{ "seconds", required_argument, NULL, 's' },
		{ "json", required_argument, NULL, 'j' },
		{ "no-syscalls", no_argument, NULL, 'n' },
		{ "no-limits", no_argument, NULL, 'L' },
		{ "quick", no_argument, NULL, 'q' },
		{ "list", no_argument, NULL, 'l' },
		{ "help", no_argument, NULL, 'h' },
		{ 0 },
	};
	struct options o = { .rounds = 5, .seconds = 0.5 };
	double n;
	int c;

	o.daemon = getenv("VHOST_DEVICE_VSOCK");
	while ((c = getopt_long(argc, argv, "", table, NULL)) != -1) {
		switch (c) {
		case 'd': o.daemon = optarg; break;
		case 'a': o.against = optarg; break;
		case 'p': o.peer = optarg; break;
		case 'O': o.is_observed = true; break;
		case 'P':
			set_number(optarg, 1, 1000, &n);
			o.poll_us = (unsigned)n;
			break;
		case 'k': o.has_kernel = true; break;
		case 'o': o.only = optarg; break;
		case 'j': o.json = optarg; break;
		case 'n': o.no_syscalls = true; break;
		case 'L': o.no_limits = true; break;
		case 'r':
			set_number(optarg, 1, ROUNDS_MAX, &n);
			o.rounds = (unsigned)n;
			break;
		case 's': set_number(optarg, 0.001, 30, &o.seconds); break;
		case 'q':
			o.is_quick = o.no_syscalls = true;
			o.rounds = 1;
			o.seconds = 0.02;
			break;
		case 'l': list(); exit(0);
		case 'h': usage(stdout); exit(0);
		default: usage(stderr); exit(2);
		}
	}
	if (optind < argc || !o.daemon ||
	    !!o.against + !!o.peer + o.is_observed + o.has_kernel > 1) {
		usage(stderr);
		exit(2);
	}
	if (o.is_observed || (o.poll_us && !o.against && !o.peer && !o.has_kernel))
		o.against = o.daemon;
	return o;
}

/* Named by --only, or, without it, all but the limits; beside a peer, what has a daemon; beside
 * the kernel, what it has, too. */
static bool is_wanted(const struct scenario *s, const struct options *o)
{
	char copy[1024], *word, *save;

	if (o->peer && (s->is_limit || s->is_bare))
		return false;
	if (o->has_kernel && !s->beside_kernel)
		return false;
	if (!o->only)
		return !s->is_limit;
	snprintf(copy, sizeof copy, "%s", o->only);
	for (word = strtok_r(copy, ",", &save); word; word = strtok_r(NULL, ",", &save))
		if (fnmatch(word, s->name, 0) == 0)
			return true;
	return false;
}

static const char *program_of(const struct options *o, const struct row *row,
			      enum side side)
{
	if (side != SIDE_OTHER || row->what->is_limit)
		return o->daemon;
	return o->peer ? o->peer : o->against;
}

static void measure(const struct options *o, const struct row *row, enum side side,
		    bool counts_syscalls, struct measure *out)
{
	struct run r = {
		.what = row->what, .program = program_of(o, row, side),
		.has_peer = o->peer, .is_foreign = o->peer && side == SIDE_OTHER,
		.is_kernels = o->has_kernel && side == SIDE_OTHER,
		.seconds = o->seconds, .is_quick = o->is_quick,
		.counts_syscalls = counts_syscalls, .out = out,
		.poll_us = side == SIDE_OURS ? o->poll_us : 0,
		.is_observed = o->is_observed && side == SIDE_OTHER,
	};

	if (side == SIDE_LIMIT)
		r.what = scenario_find(row->what->limit);
	isolate_run(&r);
}

static bool has_side(const struct options *o, const struct row *row, enum side side)
{
	switch (side) {
	case SIDE_LIMIT: return row->what->limit && !row->rival;
	case SIDE_OTHER:
		return (o->against || o->peer || o->has_kernel) && !row->what->is_limit;
	case SIDE_OURS:
	case SIDES: break;
	}
	return true;
}

/* A peer that hangs costs much time, and does it again. */
static bool has_given_up(const struct options *o, const struct row *row, enum side side)
{
	unsigned n_failed = 0;

	for (unsigned i = 0; i < row->n_rounds; i++)
		n_failed += row->rounds[side][i].error[0] != 0;
	return o->peer && side == SIDE_OTHER && n_failed >= PEER_TRIES;
}

/* So that a round counts that vhost-vsock has ended by its own rule: kernel.h. */
static void measure_until_done(const struct options *o, const struct row *row, enum side side,
			       struct measure *out)
{
	unsigned n_overruns = 0;

	measure(o, row, side, false, out);
	while (out->is_overrun && ++n_overruns < KERNEL_TRIES)
		measure(o, row, side, false, out);
	if (n_overruns && out->is_done)
		snprintf(out->note, sizeof out->note,
			 "measured again: reset %u times, as too many packets waited", n_overruns);
}

/* False when something failed in it. */
static bool run_row(const struct options *o, struct row *row)
{
	bool all_well = true;
	enum side side;

	for (unsigned i = 0; i < o->rounds; i++) {
		row->n_rounds = i + 1;
		for (unsigned k = 0; k < SIDES; k++) {
			side = i % 2 ? SIDES - 1 - k : k;
			if (!has_side(o, row, side) || has_given_up(o, row, side))
				continue;
			measure_until_done(o, row, side, &row->rounds[side][i]);
			all_well &= row->rounds[side][i].is_done ||
				row->rounds[side][i].is_overrun ||
				(side == SIDE_OTHER && !o->has_kernel);
		}
	}
	for (side = SIDE_OURS; side < SIDES && !o->no_syscalls; side++)
		if (has_side(o, row, side) && !row->what->is_limit &&
		    !has_given_up(o, row, side) && !(o->has_kernel && side == SIDE_OTHER))
			measure(o, row, side, true, &row->syscalls[side]);
	return all_well;
}

static FILE *open_json(const struct options *o)
{
	FILE *f = fopen(o->json, "we");

	if (!f) {
		fprintf(stderr, "bench: %s: %s\n", o->json, strerror(errno));
		exit(1);
	}
	report_json_begin(f, o->daemon, o->has_kernel ? "vhost-vsock" :
			  o->peer ? o->peer : o->against, o->seconds);
	return f;
}

/* Who is beside ours in each row; NULL: a limit, and maybe another daemon. */
static const char *rival_of(const struct options *o)
{
	if (o->peer)
		return "peer";
	if (o->has_kernel)
		return "kernel";
	return o->no_limits ? "other" : NULL;
}

int main(int argc, char **argv)
{
	struct options o = parse(argc, argv);
	const char *rival = rival_of(&o);
	FILE *json = o.json ? open_json(&o) : NULL;
	struct row *row = malloc(sizeof *row);
	bool all_well = row, is_first = true;

	isolate_init();
	if (o.has_kernel)
		kernel_check();
	if (rival)
		report_rival_head(rival);
	else
		report_head(o.against);
	for (const struct scenario *s = scenarios; row && s->name; s++) {
		if (!is_wanted(s, &o))
			continue;
		memset(row, 0, sizeof *row);
		row->what = s;
		row->rival = rival;
		all_well &= run_row(&o, row);
		report_row(row);
		if (json)
			report_json_row(json, row, is_first);
		is_first = false;
	}
	isolate_deinit();
	free(row);
	if (json) {
		report_json_end(json);
		all_well &= fclose(json) == 0;
	}
	if (is_first) {
		fprintf(stderr, "bench: no row of that name; see --list\n");
		return 2;
	}
	return all_well ? 0 : 1;
}
