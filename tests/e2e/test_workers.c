/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Which worker a VM is given to: that with the fewest, whoever has come and gone before. A
 * worker has no name that could be asked for; but of two that have nothing else to do it is the
 * one that wakes up when the VM's guest says something.
 */
#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "e2e/e2e.h"
#include "e2e/reloads.h"

enum { WORKERS_MAX = 8, TIMES = 3 };		/* the same one, in a row */

#define VM5	"  - { guest-cid: 5, socket: $/5.vhost, uds-path: $/5.sock }\n"
#define VM6	"  - { guest-cid: 6, socket: $/6.vhost, uds-path: $/6.sock }\n"
#define VM7	"  - { guest-cid: 7, socket: $/7.vhost, uds-path: $/7.sock }\n"

static const char *const two_workers[] = { "--threads=2", "--log-level=info", NULL };

struct workers {
	unsigned n;
	int tids[WORKERS_MAX];
	uint64_t switches[WORKERS_MAX];
};

/* Of a thread that is a worker; false: it is none. */
static bool count_switches(const char *status, uint64_t *sum)
{
	FILE *f = fopen(status, "re");
	char line[128], name[32] = "";

	*sum = 0;
	while (f && fgets(line, sizeof line, f)) {
		sscanf(line, "Name:\t%31[^\n]", name);
		if (strstr(line, "ctxt_switches:"))
			*sum += strtoull(strchr(line, ':') + 1, NULL, 10);
	}
	if (f)
		fclose(f);
	return strcmp(name, "worker") == 0;
}

static struct workers look(void)
{
	pid_t engine = daemon_engine(&vhd);
	struct workers w = { .n = 0 };
	struct dirent *e;
	char path[300];
	DIR *dir;

	snprintf(path, sizeof path, "/proc/%d/task", (int)engine);
	dir = opendir(path);
	must(dir);
	while ((e = readdir(dir))) {
		snprintf(path, sizeof path, "/proc/%d/task/%.20s/status", (int)engine, e->d_name);
		must(w.n < WORKERS_MAX);
		if (e->d_name[0] == '.' || !count_switches(path, &w.switches[w.n]))
			continue;
		w.tids[w.n++] = atoi(e->d_name);
	}
	closedir(dir);
	return w;
}

/* The only one that has had something to do in between; 0: there was none, or several. */
static int the_one(const struct workers *before, const struct workers *after)
{
	int found = 0;

	for (unsigned i = 0; i < after->n && i < before->n; i++) {
		if (before->tids[i] == after->tids[i] && before->switches[i] == after->switches[i])
			continue;
		if (found)
			return 0;
		found = after->tids[i];
	}
	return found;
}

/* The worker of @d. What another one had to do before may be counted late, so one look is not
 * enough. */
static int worker_of(struct driver *d, const char *uds)
{
	struct pair p = e2e_guest_connects(d, uds);
	int64_t deadline = deadline_in(DEADLINE_MS);
	int found = 0, times = 0;

	while (times < TIMES) {
		struct workers before = look(), after;
		int one;

		e2e_check_talks(p);
		after = look();
		one = the_one(&before, &after);
		times = one && one == found ? times + 1 : one != 0;
		found = one;
		ck_assert_msg(deadline_left(deadline), "no worker of VM %u", (unsigned)d->opt.cid);
	}
	e2e_close(p);
	return found;
}

static void bring_up(struct driver *d, const char *name, uint64_t cid)
{
	const struct driver_options opt = { .cid = cid };

	ck_assert(daemon_wait_listening(&vhd, reloads_path(name)));
	driver_up(d, reloads_path(name), &opt);
}

/* VMs 4 and 6 are the second worker's, then nobody is: what comes is its own. */
START_TEST(the_emptiest_gets_the_next)
{
	static struct driver seven;
	int three;

	reloads_spawn("vms:\n" VM3 VM4(VM4_PATHS) VM5 VM6, two_workers);
	bring_up(&vm, "vhost.sock", 3);
	three = worker_of(&vm, vhd.uds);
	reloads_do("vms:\n" VM3 VM5 VM6, "main: vm 4: removed\n");
	reloads_do("vms:\n" VM3 VM5, "main: vm 6: removed\n");
	reloads_do("vms:\n" VM3 VM5 VM7, "main: vm 7: added\n");
	bring_up(&seven, "7.vhost", 7);
	ck_assert_int_ne(worker_of(&seven, reloads_path("7.sock")), three);
	ck_assert_int_eq(worker_of(&vm, vhd.uds), three);
	driver_deinit(&seven);
}
END_TEST

/* A file is read in its order, so that VMs are spread as they are listed. */
START_TEST(neighbours_of_a_file_are_spread)
{
	static struct driver four, five;
	int three;

	reloads_spawn("vms:\n" VM3 VM4(VM4_PATHS) VM5, two_workers);
	bring_up(&vm, "vhost.sock", 3);
	bring_up(&four, "4.vhost", 4);
	bring_up(&five, "5.vhost", 5);
	three = worker_of(&vm, vhd.uds);
	ck_assert_int_ne(worker_of(&four, reloads_path("4.sock")), three);
	ck_assert_int_eq(worker_of(&five, reloads_path("5.sock")), three);
	driver_deinit(&four);
	driver_deinit(&five);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("workers");
	TCase *tc = e2e_case(s, "spread", e2e_setup_bare, 60);

	tcase_add_test(tc, the_emptiest_gets_the_next);
	tcase_add_test(tc, neighbours_of_a_file_are_spread);
	return e2e_run(s);
}
