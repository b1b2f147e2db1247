/* SPDX-License-Identifier: BSD-3-Clause */
/* The engine as a child of the supervisor. */
#include "daemon/engine_process.h"

#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/auxv.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "daemon/channel.h"
#include "sandbox/launch.h"
#include "util/error.h"
#include "util/fd.h"

/* Shown by ps(1); the option is not for users. */
#define NAME	"vhost-device-vsock: engine"
#define OPTION	"--engine-channel="

int engine_process_open(int *program)
{
	int fd = open("/proc/self/exe", O_PATH | O_CLOEXEC);

	if (fd < 0) {				/* there is no /proc */
		const char *path = (const char *)(uintptr_t)getauxval(AT_EXECFN);

		fd = path ? open(path, O_PATH | O_CLOEXEC) : -1;
	}
	if (fd < 0)
		return error_last();
	*program = fd;
	return 0;
}

/* A file that is gone has this behind its name. */
#define DELETED	" (deleted)"

char *engine_process_path(void)
{
	char path[PATH_MAX + sizeof DELETED];
	ssize_t len = readlink("/proc/self/exe", path, sizeof path - 1);
	char *end;

	if (len < 0)
		return NULL;
	path[len] = '\0';
	end = path + len - (sizeof DELETED - 1);
	if (len >= (ssize_t)sizeof DELETED && strcmp(end, DELETED) == 0)
		*end = '\0';
	return strdup(path);
}

/* In the child of a process with threads: system calls alone. */
static void run(int program, char *const argv[], int passed, pid_t parent)
{
	sigset_t none;

	launch_limit_engine();
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	if (getppid() != parent)
		_exit(1);
	sigemptyset(&none);
	sigprocmask(SIG_SETMASK, &none, NULL);
	syscall(SYS_close_range, 3, ~0U, CLOSE_RANGE_CLOEXEC);	/* also what was passed to us */
	if (fcntl(passed, F_SETFD, 0) == 0)
		syscall(SYS_execveat, program, "", argv, environ, AT_EMPTY_PATH);
	_exit(127);
}

int engine_process_spawn(int program, char *const argv[], int passed, pid_t *pid)
{
	pid_t parent = getpid(), child = fork();

	if (child == 0)
		run(program, argv, passed, parent);
	if (child < 0)
		return error_last();
	*pid = child;
	return 0;
}

int engine_process_start(int program, pid_t *pid, int *channel)
{
	char option[32], name[] = NAME;
	char *argv[] = { name, option, NULL };
	int pair[2], r = channel_pair(pair);

	if (r < 0)
		return r;
	snprintf(option, sizeof option, OPTION "%d", pair[1]);
	r = engine_process_spawn(program, argv, pair[1], pid);
	fd_close(&pair[1]);
	if (r < 0)
		fd_close(&pair[0]);
	*channel = pair[0];
	return r;
}

int engine_process_channel(int argc, char **argv)
{
	int channel, len = (int)strlen(OPTION);

	if (argc != 2 || strncmp(argv[1], OPTION, (size_t)len) != 0)
		return -1;
	channel = atoi(argv[1] + len);
	if (channel < 3 || fcntl(channel, F_SETFD, FD_CLOEXEC) < 0)
		return -1;
	prctl(PR_SET_NAME, "vsock-engine");
	return channel;
}
