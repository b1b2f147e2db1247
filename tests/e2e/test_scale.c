/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Scale: what a thousand VMs and thousands of connections cost. The limits are
 * promises, with room for a slow machine where time is concerned; memory and
 * growth are not judged in sanitized builds.
 */
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <unistd.h>

#include "e2e/e2e.h"

enum {
	VMS = 1000, VM_START_MS = 5000, VM_RSS = 64 * 1024,
	CONNS = 10000, CONN_RSS = 1024, STRETCH = 1000,
	QUIET_S = 2,
};

/* The file that asks for @n VMs, in the daemon's folder. */
static void write_config(char *path, size_t size, int n)
{
	FILE *f;

	snprintf(path, size, "%s/vms.yaml", vhd.dir);
	f = fopen(path, "we");
	ck_assert_ptr_nonnull(f);
	fprintf(f, "vms:\n");
	for (int i = 0; i < n; i++)
		fprintf(f, "  - guest_cid: %d\n    socket: %s/v%d\n    uds_path: %s/u%d\n",
			3 + i, vhd.dir, i, vhd.dir, i);
	ck_assert_int_eq(fclose(f), 0);
}

/* Returns when all of them can be connected to. Milliseconds of CPU until the last was there,
 * which are the daemon's own, however busy others are. */
static uint64_t start(int n)
{
	char config[128], path[128];
	const char *args[] = { "--config", config, NULL };
	uint64_t took_ms;
	int fd;

	write_config(config, sizeof config, n);
	daemon_spawn(&vhd, args);
	snprintf(path, sizeof path, "%s/u%d", vhd.dir, n - 1);
	ck_assert(daemon_wait_listening(&vhd, path));
	took_ms = daemon_usage_both(&vhd).cpu_ms;
	for (int i = 0; i < 2 * n; i++) {
		snprintf(path, sizeof path, "%s/%c%d", vhd.dir, i % 2 ? 'u' : 'v', i / 2);
		fd = host_connect(path);
		ck_assert_int_ge(fd, 0);
		close(fd);
	}
	return took_ms;
}

/* Time passes; the daemon stays. */
static void pass(int ms)
{
	ck_assert(!deadline_poll(vhd.pidfd, POLLIN, deadline_in(ms)));
}

static void pass_quiet(void)
{
	pass(QUIET_MS);
}

static void pass_long(void)
{
	pass(QUIET_S * 1000);
}

/* No one has woken for a while: what the start left to do is done. */
static struct daemon_usage settled_usage(void)
{
	ck_assert(daemon_rests(&vhd, daemon_usage_both, pass_quiet, QUIET_MS / 2, E2E_WAKEUPS(1)));
	return daemon_usage_both(&vhd);
}

static unsigned count_cpus(void)
{
	cpu_set_t set;

	ck_assert_int_eq(sched_getaffinity(0, sizeof set, &set), 0);
	return (unsigned)CPU_COUNT(&set);
}

START_TEST(vms_1000)
{
	struct daemon_usage one, many;
	unsigned threads;
	uint64_t took_ms;

	start(1);
	one = settled_usage();
	ck_assert_int_eq(daemon_stop(&vhd, DEADLINE_MS), 0);
	took_ms = start(VMS);
	ck_assert_uint_lt(took_ms, VM_START_MS);
	many = settled_usage();
	threads = daemon_usage(&vhd).threads;
	ck_assert_uint_le(threads, count_cpus() + 2);
	ck_assert_uint_le(many.rss_bytes, one.rss_bytes + (uint64_t)VMS * VM_RSS +
			  SANITIZER_RSS_SLACK);
	ck_assert(daemon_rests(&vhd, daemon_usage_both, pass_long, QUIET_S * 500,
			       E2E_WAKEUPS(QUIET_S + 1)));
	printf("# %d VMs: %u threads, %llu bytes each, there after %llu ms of CPU\n", VMS, threads,
	       (unsigned long long)(many.rss_bytes - one.rss_bytes) / VMS,
	       (unsigned long long)took_ms);
}
END_TEST

/* The first, one in the middle and the last have a guest, and all talk. */
START_TEST(vms_1000_serve)
{
	static const int which[] = { 0, VMS / 2, VMS - 1 };
	struct driver drivers[3];

	start(VMS);
	for (int i = 0; i < 3; i++) {
		const struct driver_options opt = { .cid = 3 + (uint64_t)which[i] };
		char path[128];
		struct pair p;

		snprintf(path, sizeof path, "%s/v%d", vhd.dir, which[i]);
		driver_up(&drivers[i], path, &opt);
		snprintf(path, sizeof path, "%s/u%d", vhd.dir, which[i]);
		p = e2e_guest_connects(&drivers[i], path);
		e2e_check_talks(p);
		e2e_close(p);
	}
	for (int i = 0; i < 3; i++)
		driver_deinit(&drivers[i]);
}
END_TEST

/* _i: who begins; 0 the guest, 1 the host. */
static struct pair connect_one(int listener, int who)
{
	struct pair p;

	if (who) {
		p.host = host_dial(vhd.uds, PORT);
		p.guest = sock_accept(&vm, PORT);
		ck_assert_uint_eq(host_read_ok(p.host), PORT);
	} else {
		p.guest = sock_connect(&vm, PORT);
		p.host = host_accept(listener);
	}
	return p;
}

/* Of the engine. */
static int64_t daemon_cpu_us(void)
{
	struct timespec ts;
	clockid_t clock;

	must(clock_getcpuclockid(daemon_engine(&vhd), &clock) == 0);
	must(clock_gettime(clock, &ts) == 0);
	return ts.tv_sec * INT64_C(1000000) + ts.tv_nsec / 1000;
}

/* What @n connections cost the daemon. */
static int64_t connect_many(struct pair *p, int n, int listener, int who)
{
	int64_t begin = daemon_cpu_us();

	for (int i = 0; i < n; i++)
		p[i] = connect_one(listener, who);
	return daemon_cpu_us() - begin;
}

START_TEST(many_connections)
{
	static const char *const limit[] = { "--max-connections", "10010", NULL };
	struct pair *p = calloc(CONNS, sizeof *p);
	int64_t first, last;
	struct daemon_usage before, after;
	int listener;

	/* Whether two of them share the work or wake each other up is the kernel's mood, and
	 * doubles the cost. */
	e2e_stay_on_this_cpu();
	e2e_start(limit, NULL);
	vm.next_port = 10000;
	listener = host_listen(vhd.uds, PORT, 128);
	sock_listen(&vm, PORT);
	e2e_close(connect_one(listener, _i));
	before = settled_usage();
	first = connect_many(p, STRETCH, listener, _i);
	connect_many(p + STRETCH, CONNS - 2 * STRETCH, listener, _i);
	last = connect_many(p + CONNS - STRETCH, STRETCH, listener, _i);
	after = settled_usage();
	ck_assert_uint_le(after.rss_bytes, before.rss_bytes + (uint64_t)CONNS * CONN_RSS +
			  SANITIZER_RSS_SLACK);
	if (!IS_SANITIZED)
		ck_assert_int_le(last, 2 * first);
	e2e_check_talks(p[0]);
	e2e_check_talks(p[CONNS / 2]);
	e2e_check_talks(p[CONNS - 1]);
	for (int i = 0; i < CONNS; i++)
		e2e_close(p[i]);
	ck_assert(daemon_wait_fds(&vhd, before.fds, DEADLINE_MS));
	printf("# %d connections: %llu bytes each, %lld us CPU for the first %d, "
	       "%lld for the last\n", CONNS,
	       (unsigned long long)(after.rss_bytes - before.rss_bytes) / CONNS,
	       (long long)first, STRETCH, (long long)last);
	host_unlisten(listener, vhd.uds, PORT);
	free(p);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("scale");
	TCase *tc = e2e_case(s, "scale", e2e_setup_bare, 120);

	if (e2e_may_open(4096, "1000 VMs")) {
		tcase_add_test(tc, vms_1000);
		tcase_add_test(tc, vms_1000_serve);
	}
	if (e2e_may_open(16384, "10000 connections"))
		tcase_add_loop_test(tc, many_connections, 0, 2);
	return e2e_run(s);
}
