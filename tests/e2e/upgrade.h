/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Another engine that takes over (SIGUSR2), while nobody looks or in the middle of
 * everything.
 */
#pragma once

#include <pthread.h>
#include <stdatomic.h>

#include "e2e/e2e.h"

/* The daemon that is started next is a copy of the program, in the test's folder: its path. */
const char *upgrade_install(void);
/* Puts another build of it in its place. */
void upgrade_install_another(void);

/* Returns when the other one serves. */
void upgrade(void);

/* Asks for it, and returns when there is another engine besides @engine, which one may end
 * now, or stop. */
pid_t upgrade_begin(pid_t engine);

int upgrade_count_logged(const char *text);	/* how often it is in the daemon's log */

/* Several, one after the other, by a thread. */
struct upgrades {
	unsigned n;
	atomic_bool are_done;
	pthread_t thread;
};

void upgrades_start(struct upgrades *u, unsigned n);
bool upgrades_go_on(struct upgrades *u);	/* not all are done yet */
void upgrades_finish(struct upgrades *u);
