/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What the end-to-end tests share: see e2e.h.
 */
#include "e2e/e2e.h"

#include <dirent.h>
#include <fcntl.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include "support/scratch.h"

struct daemon vhd;
struct driver vm;

static void on_must(const char *file, int line, const char *text)
{
	ck_abort_msg("%s:%d: %s", file, line, text);
}

void e2e_setup_bare(void)
{
	must_hook = on_must;
	daemon_init(&vhd);
}

void e2e_setup_daemon(void)
{
	e2e_setup_bare();
	daemon_start(&vhd, NULL);
}

void e2e_setup_vm(void)
{
	e2e_setup_daemon();
	driver_up(&vm, vhd.socket, NULL);
}

void e2e_teardown_ended(void)
{
	driver_deinit(&vm);
	daemon_deinit(&vhd);
}

void e2e_teardown(void)
{
	if (vhd.pid) {
		ck_assert_msg(daemon_is_running(&vhd), "the daemon has ended");
		ck_assert_int_eq(daemon_stop(&vhd, DEADLINE_MS), 0);
	}
	e2e_teardown_ended();
}

void e2e_start(const char *const *extra, const struct driver_options *opt)
{
	daemon_start(&vhd, extra);
	driver_up(&vm, vhd.socket, opt);
}

void e2e_preload(const char *variable)
{
	const char *library = variable ? getenv(variable) : NULL, *asan = getenv("ASAN_OPTIONS");
	char options[256];

	unsetenv("LD_PRELOAD");
	if (!variable)
		return;
	if (!library)
		die("%s does not name a library", variable);
	snprintf(options, sizeof options, "%s:verify_asan_link_order=0", asan ? asan : "");
	setenv("ASAN_OPTIONS", options, 1);
	setenv("LD_PRELOAD", library, 1);
}

static int our_pids = -1;

bool e2e_leave_pids(void)
{
	our_pids = open("/proc/self/ns/pid", O_RDONLY | O_CLOEXEC);
	must(our_pids >= 0);
	return unshare(CLONE_NEWPID) == 0;
}

void e2e_return_to_pids(void)
{
	must(setns(our_pids, CLONE_NEWPID) == 0);
	close(our_pids);
}

struct pair e2e_guest_connects(struct driver *d, const char *uds)
{
	int listener = host_listen(uds, PORT, 16);
	struct pair p = { .guest = sock_connect(d, PORT) };

	p.host = host_accept(listener);
	host_unlisten(listener, uds, PORT);
	return p;
}

struct pair e2e_host_connects(struct driver *d, const char *uds)
{
	struct pair p;

	sock_listen(d, PORT);
	p.host = host_dial(uds, PORT);
	p.guest = sock_accept(d, PORT);
	ck_assert_uint_eq(host_read_ok(p.host), PORT);
	return p;
}

void e2e_check_guest_to_host(struct pair p, size_t len, uint32_t seed)
{
	uint8_t *bytes = malloc(len);

	pattern_fill(bytes, len, 0, seed);
	ck_assert(sock_send(p.guest, bytes, len));
	memset(bytes, 0, len);
	ck_assert_uint_eq(host_read(p.host, bytes, len), len);
	ck_assert_uint_eq(pattern_check(bytes, len, 0, seed), len);
	free(bytes);
}

void e2e_check_host_to_guest(struct pair p, size_t len, uint32_t seed)
{
	uint8_t *bytes = malloc(len);

	pattern_fill(bytes, len, 0, seed);
	ck_assert(host_write(p.host, bytes, len));
	memset(bytes, 0, len);
	ck_assert_uint_eq(sock_recv_full(p.guest, bytes, len), len);
	ck_assert_uint_eq(pattern_check(bytes, len, 0, seed), len);
	free(bytes);
}

void e2e_check_talks(struct pair p)
{
	e2e_check_guest_to_host(p, 1, 1);
	e2e_check_host_to_guest(p, 1, 2);
	e2e_check_guest_to_host(p, 60000, 3);
	e2e_check_host_to_guest(p, 60000, 4);
}

void e2e_close(struct pair p)
{
	close(p.host);
	ck_assert(sock_wait_shutdown(p.guest, VSOCK_SHUTDOWN_BOTH, DEADLINE_MS));
	sock_close(p.guest);
}

void e2e_check_alive(void)
{
	struct pair p = e2e_guest_connects(&vm, vhd.uds);

	e2e_check_talks(p);
	e2e_close(p);
	p = e2e_host_connects(&vm, vhd.uds);
	e2e_check_talks(p);
	e2e_close(p);
}

unsigned e2e_count_listed(const char *path)
{
	FILE *f = fopen("/proc/net/unix", "re");
	char line[512], name[256];
	unsigned long flags;
	unsigned n = 0;

	must(f);
	while (fgets(line, sizeof line, f))
		n += sscanf(line, "%*s %*s %*s %lx %*s %*s %*s %255s", &flags, name) == 2 &&
			flags & 0x10000 && strcmp(name, path) == 0;
	fclose(f);
	return n;
}

TCase *e2e_case_with(Suite *s, const char *name, void (*setup)(void), void (*teardown)(void),
		     int timeout_s)
{
	TCase *tc = tcase_create(name);

	tcase_add_checked_fixture(tc, setup, teardown);
	tcase_set_timeout(tc, timeout_s);
	suite_add_tcase(s, tc);
	return tc;
}

TCase *e2e_case(Suite *s, const char *name, void (*setup)(void), int timeout_s)
{
	return e2e_case_with(s, name, setup, e2e_teardown, timeout_s);
}

/* Folders that are still there belong to tests that failed. */
static void show_logs(const char *root)
{
	char path[512], line[512];
	struct dirent *e;
	DIR *dir = opendir(root);
	FILE *f;

	while (dir && (e = readdir(dir))) {
		snprintf(path, sizeof path, "%s/%s/log", root, e->d_name);
		f = fopen(path, "re");
		if (!f)
			continue;
		printf("# log of a failed test's daemon:\n");
		while (fgets(line, sizeof line, f))
			printf("# %s%s", line, strchr(line, '\n') ? "" : "\n");
		fclose(f);
	}
	if (dir)
		closedir(dir);
}

void e2e_stay_on_this_cpu(void)
{
	cpu_set_t one;

	CPU_ZERO(&one);
	CPU_SET((size_t)sched_getcpu(), &one);
	must(sched_setaffinity(0, sizeof one, &one) == 0);
}

void e2e_check_growth(struct daemon_usage (*usage)(const struct daemon *d),
		      const struct daemon_usage *before, const struct e2e_growth *allowed)
{
	uint64_t fds = (uint64_t)before->fds + allowed->fds;
	uint64_t rss = before->rss_bytes + allowed->rss_bytes + SANITIZER_RSS_SLACK;
	int64_t deadline = deadline_in(DEADLINE_MS);
	struct daemon_usage now;

	while (now = usage(&vhd), now.fds > fds || now.threads > before->threads ||
	       now.rss_bytes > rss) {
		ck_assert_msg(deadline_left(deadline),
			      "%u descriptors, %u threads, %llu bytes; before: %u, %u, %llu",
			      now.fds, now.threads, (unsigned long long)now.rss_bytes,
			      before->fds, before->threads, (unsigned long long)before->rss_bytes);
		poll(NULL, 0, 5);
	}
}

bool e2e_may_open(unsigned files, const char *what)
{
	struct rlimit limit;

	must(getrlimit(RLIMIT_NOFILE, &limit) == 0);
	if (limit.rlim_cur < files)
		limit.rlim_cur = files;
	if (limit.rlim_max < files)
		limit.rlim_max = files;
	if (setrlimit(RLIMIT_NOFILE, &limit) == 0)
		return true;
	must(getrlimit(RLIMIT_NOFILE, &limit) == 0);
	printf("# left out: %s: %u files have to be open, %llu may be\n", what, files,
	       (unsigned long long)limit.rlim_max);
	fflush(stdout);
	return false;
}

int e2e_run(Suite *s)
{
	SRunner *sr = srunner_create(s);
	int failed;

	scratch_begin();
	srunner_set_tap(sr, "-");
	srunner_run_all(sr, CK_SILENT);
	failed = srunner_ntests_failed(sr);
	srunner_free(sr);
	show_logs(scratch_path());
	scratch_end();
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
