/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Snapshots as text for Prometheus: each line of it, read again as that would read it.
 * With an argument it prints an example, for promtool (metrics.sh), or all names and helps, for
 * what is written about them.
 */
#include "control/metrics.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "support/sanitized.h"
#include "unit.h"
#include "util/clock.h"

enum { MANY = 1000, SOON_MS = IS_SANITIZED ? 2000 : 100 };

static struct vm_snapshot vms[MANY];
static struct snapshots_answer answer;
static char *text;
static size_t text_len;

/* Each number another one. */
static void fill(struct vm_snapshot *vm, uint64_t cid)
{
	uint64_t *numbers = (uint64_t *)&vm->device.counters;

	vm->device.cid = cid;
	for (size_t i = 0; i < sizeof vm->device.counters / sizeof *numbers; i++)
		numbers[i] = cid * 100000 + i;
}

static void make_answer(size_t n)
{
	answer = (struct snapshots_answer){
		.vms = vms, .n_vms = n,
		.process = {
			.uptime_ms = 61001, .upgrades = 2, .crashes = 1, .log_lines_lost = 3,
			.log_lines_swallowed = 4, .events_lost = 6, .captured_lost = 7, .workers = 5, .vm_moves = 8,
		},
	};
	for (size_t i = 0; i < n; i++)
		fill(&vms[i], 3 + i);
}

static void print(size_t n)
{
	free(text);
	make_answer(n);
	ck_assert_int_eq(metrics_print(&answer, &text, &text_len), 0);
	ck_assert_uint_eq(strlen(text), text_len);
}

static void teardown(void)
{
	free(text);
	text = NULL;
}

static bool has_line(const char *line)
{
	size_t len = strlen(line);

	for (const char *at = text; (at = strstr(at, line)); at += len)
		if ((at == text || at[-1] == '\n') && at[len] == '\n')
			return true;
	return false;
}

static void expect_line(const char *line)
{
	ck_assert_msg(has_line(line), "no line \"%s\"", line);
}

START_TEST(prints_numbers)
{
	const struct vsock_counters *c = &vms[1].device.counters;
	char line[256];

	print(2);
	expect_line("# HELP vhost_vsock_payload_bytes_total Payload taken from the guest, and given "
		    "to it.");
	expect_line("# TYPE vhost_vsock_payload_bytes_total counter");
	snprintf(line, sizeof line, "vhost_vsock_payload_bytes_total{vm=\"4\",direction=\"to_host\"} "
		 "%llu", (unsigned long long)c->payload[COUNTERS_TO_HOST]);
	expect_line(line);
	snprintf(line, sizeof line, "vhost_vsock_connections_opened_total{vm=\"4\","
		 "origin=\"sibling\",type=\"seqpacket\"} %llu", (unsigned long long)
		 c->connections_opened[CONN_FROM_SIBLING * COUNTERS_TYPES + COUNTERS_SEQPACKET]);
	expect_line(line);
	snprintf(line, sizeof line, "vhost_vsock_connections{vm=\"4\",origin=\"host\","
		 "state=\"open\"} %llu", (unsigned long long)
		 c->connections[CONN_FROM_HOST * CONN_DEAD + CONN_OPEN]);
	expect_line(line);
	snprintf(line, sizeof line, "vhost_vsock_front_ends_total{vm=\"4\"} %llu",
		 (unsigned long long)c->front_ends[0]);
	expect_line(line);
}
END_TEST

/* In base units. */
START_TEST(prints_seconds)
{
	print(1);
	vms[0].device.counters.stalled[CONN_WAITS_FOR_CREDIT] = 1234567;
	vms[0].device.counters.turn = (struct histogram){
		.buckets = { 1, 2, 0, 4, [HISTOGRAM_BUCKETS - 1] = 8 }, .sum = 2000003,
	};
	free(text);
	ck_assert_int_eq(metrics_print(&answer, &text, &text_len), 0);
	expect_line("vhost_vsock_stalled_seconds_total{vm=\"3\",waits_for=\"guest_credit\"} "
		    "1234.567");
	expect_line("# TYPE vhost_vsock_turn_seconds histogram");
	expect_line("vhost_vsock_turn_seconds_bucket{vm=\"3\",le=\"0.000001\"} 1");
	expect_line("vhost_vsock_turn_seconds_bucket{vm=\"3\",le=\"0.000004\"} 3");
	expect_line("vhost_vsock_turn_seconds_bucket{vm=\"3\",le=\"0.000016\"} 3");
	expect_line("vhost_vsock_turn_seconds_bucket{vm=\"3\",le=\"1.048576\"} 7");
	expect_line("vhost_vsock_turn_seconds_bucket{vm=\"3\",le=\"+Inf\"} 15");
	expect_line("vhost_vsock_turn_seconds_sum{vm=\"3\"} 2.000003");
	expect_line("vhost_vsock_turn_seconds_count{vm=\"3\"} 15");
}
END_TEST

START_TEST(prints_the_process)
{
	print(0);
	expect_line("vhost_vsock_uptime_seconds 61.001");
	expect_line("# TYPE vhost_vsock_upgrades_total counter");
	expect_line("vhost_vsock_upgrades_total 2");
	expect_line("vhost_vsock_crashes_total 1");
	expect_line("vhost_vsock_log_lines_lost_total 3");
	expect_line("vhost_vsock_log_lines_swallowed_total 4");
	expect_line("vhost_vsock_events_lost_total 6");
	expect_line("vhost_vsock_captured_packets_lost_total 7");
	expect_line("vhost_vsock_workers 5");
	expect_line("vhost_vsock_silent_workers 0");
	expect_line("vhost_vsock_vm_moves_total 8");
	expect_line("vhost_vsock_build_info{version=\"" VERSION "\"} 1");
}
END_TEST

static int by_text(const void *a, const void *b)
{
	return strcmp(*(char *const *)a, *(char *const *)b);
}

/* HELP, TYPE, and then all samples of the family: no family comes twice, and no sample. */
START_TEST(each_family_is_one_block)
{
	static char *samples[8192];
	char *copy, *next, *line, family[128] = "";
	size_t n = 0, n_families = 0;

	print(3);
	copy = strdup(text);
	ck_assert_ptr_nonnull(copy);
	for (line = copy; (next = strchr(line, '\n')); line = next + 1) {
		*next = '\0';
		if (!strncmp(line, "# HELP ", 7)) {
			ck_assert_int_eq(sscanf(line + 7, "%127s", family), 1);
			n_families++;
		} else if (!strncmp(line, "# TYPE ", 7)) {
			ck_assert(!strncmp(line + 7, family, strlen(family)) &&
				  line[7 + strlen(family)] == ' ');
		} else {
			ck_assert_msg(!strncmp(line, family, strlen(family)), "%s", line);
			ck_assert_ptr_nonnull(strchr(line, ' '));
			*strchr(line, ' ') = '\0';
			ck_assert_uint_lt(n, COUNT(samples));
			samples[n++] = line;
		}
	}
	ck_assert_str_eq(line, "");
	ck_assert_uint_eq(n_families, counters_num_families + snapshots_num_families + 1);
	qsort(samples, n, sizeof *samples, by_text);
	for (size_t i = 1; i < n; i++)
		ck_assert_str_ne(samples[i - 1], samples[i]);
	free(copy);
}
END_TEST

/* The best of some: others may be busy. */
START_TEST(many_vms_cost_little)
{
	uint64_t best_us = UINT64_MAX;

	for (int i = 0; i < 5; i++) {
		uint64_t begin_us = clock_us(), us;

		print(MANY);
		us = clock_us() - begin_us;
		best_us = us < best_us ? us : best_us;
	}
	ck_assert_msg(best_us < SOON_MS * 1000, "%llu us", (unsigned long long)best_us);
}
END_TEST

/* "; reason: guest, host" */
static void print_values(const struct counters_family *f)
{
	for (int k = 0; k < 2 && f->labels[k]; k++) {
		const char *before = ": ";

		printf("%s%s", k ? "; " : " ", counters_label_name(f->labels[k]));
		for (unsigned i = 0; i < counters_label_size(f->labels[k]); i++) {
			const char *value = counters_label_value(f->labels[k], i);

			if (!value)
				continue;
			printf("%s%s", before, value);
			before = ", ";
		}
	}
	if (f->labels[0])
		putchar('.');
}

/* One family a line, as metrics_print() has it: its name, its help, what its labels can be. */
static void print_names(void)
{
	size_t i = 0;

	for (char *line = strtok(text, "\n"); line; line = strtok(NULL, "\n")) {
		char name[128];
		int end;

		if (sscanf(line, "# HELP %127s %n", name, &end) != 1)
			continue;
		printf("%s\t%s", name, line + end);
		if (i > snapshots_num_families)
			print_values(&counters_families[i - snapshots_num_families - 1]);
		putchar('\n');
		i++;
	}
}

/* For tests/lint/metrics.sh. */
static int print_example(const char *what)
{
	make_answer(2);
	if (metrics_print(&answer, &text, &text_len))
		return 1;
	if (!strcmp(what, "names"))
		print_names();
	else
		fputs(text, stdout);
	teardown();
	return 0;
}

int main(int argc, char **argv)
{
	Suite *suite;
	TCase *tc;

	if (argc > 1)
		return print_example(argv[1]);
	suite = suite_create("metrics");
	tc = tcase_create("metrics");
	tcase_add_checked_fixture(tc, NULL, teardown);
	tcase_add_test(tc, prints_numbers);
	tcase_add_test(tc, prints_seconds);
	tcase_add_test(tc, prints_the_process);
	tcase_add_test(tc, each_family_is_one_block);
	tcase_add_test(tc, many_vms_cost_little);
	suite_add_tcase(suite, tc);
	return unit_main(suite);
}
