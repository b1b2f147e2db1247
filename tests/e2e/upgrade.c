/* SPDX-License-Identifier: BSD-3-Clause */
/* Another engine that takes over: see upgrade.h. */
#include "e2e/upgrade.h"

#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static char installed[160];
static const char *original;

/* Under another name first: a program that runs cannot be written to. */
static void copy_original(void)
{
	char command[PATH_MAX + 512];

	snprintf(command, sizeof command, "cp '%s' '%s.new' && mv '%s.new' '%s'", original,
		 installed, installed, installed);
	must(system(command) == 0);
}

const char *upgrade_install(void)
{
	original = strdup(getenv("VHOST_DEVICE_VSOCK"));
	snprintf(installed, sizeof installed, "%s/daemon", vhd.dir);
	copy_original();
	setenv("VHOST_DEVICE_VSOCK", installed, 1);
	return installed;
}

/* Some bytes more make it another one. */
void upgrade_install_another(void)
{
	FILE *f;

	copy_original();
	f = fopen(installed, "ae");
	must(f && fputs("another", f) >= 0 && fclose(f) == 0);
}

int upgrade_count_logged(const char *text)
{
	char *log = daemon_log(&vhd), *at = log;
	int n = 0;

	while ((at = strstr(at, text))) {
		at += strlen(text);
		n++;
	}
	free(log);
	return n;
}

/* One that serves may not have said so yet: then it is asked again. */
pid_t upgrade_begin(pid_t engine)
{
	static const char not_now[] = "SIGUSR2: not now";
	int64_t deadline = deadline_in(DEADLINE_MS);
	int n_not_now = upgrade_count_logged(not_now);
	pid_t next;

	must(kill(vhd.pid, SIGUSR2) == 0);
	while (!(next = daemon_find_other_engine(&vhd, engine))) {
		if (!deadline_left(deadline))
			die("no other engine was made: %s", daemon_log(&vhd));
		if (upgrade_count_logged(not_now) > n_not_now) {
			n_not_now++;
			must(kill(vhd.pid, SIGUSR2) == 0);
		}
	}
	return next;
}

void upgrade(void)
{
	pid_t engine = daemon_engine(&vhd);

	upgrade_begin(engine);
	if (!daemon_wait_gone(engine, DEADLINE_MS))
		die("nobody took over: %s", daemon_log(&vhd));
	must(daemon_engine(&vhd) != engine);
	must(daemon_is_running(&vhd));
}

static void *run(void *arg)
{
	struct upgrades *u = arg;

	for (unsigned i = 0; i < u->n; i++)
		upgrade();
	atomic_store(&u->are_done, true);
	return NULL;
}

void upgrades_start(struct upgrades *u, unsigned n)
{
	u->n = n;
	atomic_store(&u->are_done, false);
	must(pthread_create(&u->thread, NULL, run, u) == 0);
}

bool upgrades_go_on(struct upgrades *u)
{
	return !atomic_load(&u->are_done);
}

void upgrades_finish(struct upgrades *u)
{
	must(pthread_join(u->thread, NULL) == 0);
}
