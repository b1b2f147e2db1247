/* SPDX-License-Identifier: BSD-3-Clause */
/* Another engine that takes over: see upgrade.h. */
#include "e2e/upgrade.h"

#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

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
