/* SPDX-License-Identifier: BSD-3-Clause */
/* The daemon as the kernel sees it, and a lesser kernel: see confined.h. */
#include "e2e/confined.h"

#include <dirent.h>
#include <seccomp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

const char *confined_status(const char *task, const char *key)
{
	static char line[256];
	char path[64];
	FILE *f;

	if (task)
		snprintf(path, sizeof path, "/proc/%d/task/%s/status", (int)vhd.pid, task);
	else
		snprintf(path, sizeof path, "/proc/%d/status", (int)vhd.pid);
	f = fopen(path, "re");
	must(f);
	while (fgets(line, sizeof line, f)) {
		size_t len = strlen(key);

		if (strncmp(line, key, len) == 0 && line[len] == ':') {
			fclose(f);
			line[strcspn(line, "\n")] = '\0';
			return line + len + 1 + strspn(line + len + 1, " \t");
		}
	}
	fclose(f);
	die("no %s", key);
}

unsigned confined_for_each_thread(void (*check)(const char *task))
{
	char path[64];
	struct dirent *e;
	unsigned n = 0;
	DIR *dir;

	snprintf(path, sizeof path, "/proc/%d/task", (int)vhd.pid);
	dir = opendir(path);
	must(dir);
	while ((e = readdir(dir))) {
		if (e->d_name[0] == '.' || (atoi(e->d_name) != vhd.pid &&
					    strcmp(confined_status(e->d_name, "Name"), "worker") != 0))
			continue;
		check(e->d_name);
		n++;
	}
	closedir(dir);
	return n;
}

bool confined_sees(const char *path)
{
	char through[256];
	struct stat st;

	snprintf(through, sizeof through, "/proc/%d/root%s", (int)vhd.pid, path);
	return lstat(through, &st) == 0;
}

void confined_check_log(const char *text)
{
	if (!daemon_wait_log(&vhd, text))
		ck_abort_msg("no \"%s\" in: %s", text, daemon_log(&vhd));
}

void confined_check_log_is_empty(void)
{
	char *log = daemon_log(&vhd);

	ck_assert_str_eq(log, "");
	free(log);
}

void confined_take_away_if(int call, uint64_t bits, int error)
{
	scmp_filter_ctx filter = seccomp_init(SCMP_ACT_ALLOW);

	must(filter);
	must(seccomp_rule_add(filter, SCMP_ACT_ERRNO((unsigned)error), call, 1,
			      SCMP_A0(SCMP_CMP_MASKED_EQ, bits, bits)) == 0);
	must(seccomp_load(filter) == 0);
	seccomp_release(filter);
}

int confined_landlock_abi(void)
{
	long abi = syscall(SYS_landlock_create_ruleset, NULL, 0, 1 /* VERSION */);

	return abi > 0 ? (int)abi : 0;
}

void confined_take_away(int call, int error)
{
	scmp_filter_ctx filter = seccomp_init(SCMP_ACT_ALLOW);

	must(filter);
	must(seccomp_rule_add(filter, SCMP_ACT_ERRNO((unsigned)error), call, 0) == 0);
	if (call == SYS_seccomp)		/* has an older name too */
		must(seccomp_rule_add(filter, SCMP_ACT_ERRNO((unsigned)error), SYS_prctl, 1,
				      SCMP_A0(SCMP_CMP_EQ, PR_SET_SECCOMP, 0)) == 0);
	must(seccomp_load(filter) == 0);
	seccomp_release(filter);
}
