/* SPDX-License-Identifier: BSD-3-Clause */
/* The daemon as the kernel sees it, and a lesser kernel: see confined.h. */
#include "e2e/confined.h"

#include <dirent.h>
#include <fcntl.h>
#include <sched.h>
#include <seccomp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <linux/capability.h>

#ifndef OPEN_TREE_CLONE				/* glibc before 2.36 */
#define OPEN_TREE_CLONE		1
#define MOVE_MOUNT_F_EMPTY_PATH	4
#endif

/* ---- what the kernel has ---- */

static bool write_file(const char *path, const char *text)
{
	int fd = open(path, O_WRONLY | O_CLOEXEC);
	bool done = fd >= 0 && write(fd, text, strlen(text)) == (ssize_t)strlen(text);

	if (fd >= 0)
		close(fd);
	return done;
}

static bool become_ourselves(uid_t uid, gid_t gid)
{
	char uids[32], gids[32];

	snprintf(uids, sizeof uids, "%u %u 1", uid, uid);
	snprintf(gids, sizeof gids, "%u %u 1", gid, gid);
	return write_file("/proc/self/setgroups", "deny") &&
		write_file("/proc/self/uid_map", uids) && write_file("/proc/self/gid_map", gids);
}

/* A tree of one folder, as the sandbox makes one. */
static bool can_change_root(void)
{
	int tree = (int)syscall(SYS_open_tree, AT_FDCWD, "/tmp", OPEN_TREE_CLONE);

	return tree >= 0 && mount("none", "/tmp", "tmpfs", 0, NULL) == 0 && chdir("/tmp") == 0 &&
		mkdir("tmp", 0700) == 0 &&
		syscall(SYS_move_mount, tree, "", AT_FDCWD, "tmp", MOVE_MOUNT_F_EMPTY_PATH) == 0 &&
		(syscall(SYS_pivot_root, ".", ".") == 0 || errno == EINVAL);
}

static const char *enter_namespace(void)
{
	uid_t uid = geteuid();
	gid_t gid = getegid();

	if (unshare(CLONE_NEWNS) == 0)
		return NULL;
	if (errno != EPERM)
		return "no mount namespaces";
	if (unshare(CLONE_NEWUSER | CLONE_NEWNS) < 0)
		return "no user namespaces";
	return become_ourselves(uid, gid) ? NULL : "no user namespaces of one's own";
}

/* In a process that ends with it. */
static const char *find_lack(void)
{
	struct __user_cap_header_struct hdr = { _LINUX_CAPABILITY_VERSION_3, 0 };
	struct __user_cap_data_struct none[2] = { { 0 } };
	const char *lack = enter_namespace();

	if (lack)
		return lack;
	if (mount(NULL, "/", NULL, MS_REC | MS_SLAVE, NULL) < 0)
		return "no mounts in a namespace of one's own";
	if (!can_change_root())
		return "no file tree of one's own";
	if (syscall(SYS_landlock_create_ruleset, NULL, 0, 1) < 1)
		return "no landlock";
	if (syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, 0, NULL) == 0 || errno != EFAULT)
		return "no system call filters";
	if (syscall(SYS_capset, &hdr, none) < 0)
		return "capabilities cannot be given up";
	return NULL;
}

const char *confined_lack(void)
{
	static char text[128];
	int ends[2];
	ssize_t n;
	pid_t pid;

	must(pipe2(ends, O_CLOEXEC) == 0);
	pid = fork();
	must(pid >= 0);
	if (pid == 0) {
		const char *lack = find_lack();

		if (lack)
			dprintf(ends[1], "%s: %s", lack, strerror(errno));
		_exit(0);
	}
	close(ends[1]);
	n = read(ends[0], text, sizeof text - 1);
	text[n > 0 ? n : 0] = '\0';
	close(ends[0]);
	must(waitpid(pid, NULL, 0) == pid);
	return *text ? text : NULL;
}

void confined_skip_without(const char *lack)
{
	if (!lack)
		return;
	printf("1..0 # SKIP %s\n", lack);
	exit(EXIT_SUCCESS);
}

/* ---- the daemon as the kernel sees it ---- */

const char *confined_status(const char *task, const char *key)
{
	return confined_status_of(daemon_engine(&vhd), task, key);
}

const char *confined_status_of(pid_t pid, const char *task, const char *key)
{
	static char line[256];
	char path[64];
	FILE *f;

	if (task)
		snprintf(path, sizeof path, "/proc/%d/task/%s/status", (int)pid, task);
	else
		snprintf(path, sizeof path, "/proc/%d/status", (int)pid);
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

/* Others come and go, and one that is gone has no name. */
static bool has_name(pid_t pid, const char *task, const char *wanted)
{
	char path[64], name[20] = "";
	FILE *f;

	snprintf(path, sizeof path, "/proc/%d/task/%.20s/comm", (int)pid, task);
	f = fopen(path, "re");
	if (!f)
		return false;
	if (!fgets(name, sizeof name, f))
		name[0] = '\0';
	fclose(f);
	name[strcspn(name, "\n")] = '\0';
	return strcmp(name, wanted) == 0;
}

unsigned confined_for_each_thread_of(pid_t pid, const char *name, void (*check)(const char *task))
{
	char path[64];
	struct dirent *e;
	unsigned n = 0;
	DIR *dir;

	snprintf(path, sizeof path, "/proc/%d/task", (int)pid);
	dir = opendir(path);
	must(dir);
	while ((e = readdir(dir))) {
		if (e->d_name[0] == '.' || (atoi(e->d_name) != pid &&
					    !has_name(pid, e->d_name, name)))
			continue;
		check(e->d_name);
		n++;
	}
	closedir(dir);
	return n;
}

unsigned confined_for_each_thread(void (*check)(const char *task))
{
	return confined_for_each_thread_of(daemon_engine(&vhd), "worker", check);
}

bool confined_can_look(void)
{
	char root[64];

	snprintf(root, sizeof root, "/proc/%d/root", (int)daemon_engine(&vhd));
	return access(root, X_OK) == 0;
}

bool confined_sees(const char *path)
{
	char through[256];
	struct stat st;

	snprintf(through, sizeof through, "/proc/%d/root%s", (int)daemon_engine(&vhd), path);
	return lstat(through, &st) == 0;
}

void confined_check_log(const char *text)
{
	if (!daemon_wait_log(&vhd, text))
		ck_abort_msg("no \"%s\" in: %s", text, daemon_log(&vhd));
}

char *confined_log(void)
{
	char *log = daemon_log(&vhd), *to = log, *line, *next;

	for (line = log; *line; line = next) {
		size_t len = strcspn(line, "\n");

		next = line + len + (line[len] == '\n');
		if (memmem(line, len, " warn main: only ", 17))
			continue;
		memmove(to, line, (size_t)(next - line));
		to += next - line;
	}
	*to = '\0';
	return log;
}

void confined_check_log_is_empty(void)
{
	char *log = confined_log();

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
