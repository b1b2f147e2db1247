/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The daemon of the running test as the kernel sees it, and a kernel that does
 * less than ours: what the tests of the sandbox share.
 */
#pragma once

#include <stdbool.h>

#include "e2e/e2e.h"

#define COUNT(array) (sizeof (array) / sizeof *(array))

/* Why the sandbox cannot be whole here, for this user; NULL: it can. The kernel is
 * asked, not the daemon, whose fault would go unseen. */
const char *confined_lack(void);
/* Then the program ends here, skipped with that reason. */
void confined_skip_without(const char *lack);

/* Line @key of /proc's status of thread @task (NULL: the main one), behind the
 * blanks; valid until the next call. */
const char *confined_status(const char *task, const char *key);
/* The same of a thread of another process than the engine. */
const char *confined_status_of(pid_t pid, const char *task, const char *key);
/* The engine's main thread and its workers: a sanitizer's own was there before the sandbox. How
 * many they were. */
unsigned confined_for_each_thread(void (*check)(const char *task));
/* The main thread of a process, and those that are named @name. */
unsigned confined_for_each_thread_of(pid_t pid, const char *name, void (*check)(const char *task));
/* Is @path, absolute, there for the daemon? Who may not look over its shoulder, as
 * ordinary users may not once it is in the sandbox, cannot tell. */
bool confined_can_look(void);
bool confined_sees(const char *path);

void confined_check_log(const char *text);	/* somewhere in the daemon's log */
/* The daemon's log but for what it says of a small limit of open files, which a machine
 * may have; the caller frees it. */
char *confined_log(void);
void confined_check_log_is_empty(void);

/* From here on @call fails, in this process and its children; the other one only where
 * @bits are set in its first argument. */
void confined_take_away(int call, int error);
void confined_take_away_if(int call, uint64_t bits, int error);

/* What this kernel's landlock can do, by its ABI; 0: there is none. */
int confined_landlock_abi(void);
