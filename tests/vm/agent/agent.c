/* SPDX-License-Identifier: BSD-3-Clause
 *
 * The agent of the real-guest tests: runs little socket scripts.
 *
 * The same static program runs in the guest, as its first process, and on the
 * host. In the guest its orders come over the second serial port, so the control
 * channel does not depend on what is tested; on the host over standard input. A
 * test is then a pair of scripts, one for each end of a connection.
 *
 *	run ID N STEP; STEP; ...	run the steps in N threads, each its own socket
 *	go ID				release threads that stand in `wait`
 *	status ID			report how far they are
 *	kill ID				end them by SIGKILL
 *	quit				end (on the host) or power off (in the guest)
 *
 * and the answers, one line each:
 *
 *	ready				at start; a second one tells of a reboot
 *	ID event NAME key=value ...
 *	ID done key=value ...		all threads did all steps
 *	ID failed step=K verb=V error=E ...
 *
 * The steps are in the table at the end of verbs.c.
 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/reboot.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <termios.h>
#include <unistd.h>

#include "agent.h"

static int out_fd = 1;

void answer(const char *fmt, ...)
{
	char line[512];
	va_list ap;
	ssize_t r;
	size_t n, done = 0;

	va_start(ap, fmt);
	vsnprintf(line, sizeof line - 1, fmt, ap);
	va_end(ap);
	n = strlen(line);
	line[n++] = '\n';
	while (done < n) {
		r = write(out_fd, line + done, n - done);
		if (r < 0 && errno != EINTR)
			return;
		done += r > 0 ? (size_t)r : 0;
	}
}

struct job {
	char id[32];
	pid_t pid;		/* 0: free */
	int orders;
};

static struct job jobs[JOBS_MAX];

static struct job *find_job(const char *id)
{
	for (int i = 0; i < JOBS_MAX; i++)
		if (jobs[i].pid && strcmp(jobs[i].id, id) == 0)
			return &jobs[i];
	return NULL;
}

static void start_job(const char *id, int n_threads, char *text)
{
	struct job *j = jobs;
	int p[2];

	while (j < jobs + JOBS_MAX && j->pid)
		j++;
	if (j == jobs + JOBS_MAX || n_threads < 1 || pipe2(p, O_CLOEXEC) < 0) {
		answer("%s failed step=0 verb=run error=TOO_MANY", id);
		return;
	}
	snprintf(j->id, sizeof j->id, "%s", id);
	j->pid = fork();
	if (j->pid == 0) {
		dup2(p[0], 0);
		for (int fd = 3; fd < 256; fd++)
			if (fd != out_fd)
				close(fd);
		_exit(run_job(id, n_threads, text));
	}
	close(p[0]);
	j->orders = p[1];
}

static void reap(void)
{
	int status;
	pid_t pid;

	while ((pid = waitpid(-1, &status, WNOHANG)) > 0)
		for (int i = 0; i < JOBS_MAX; i++) {
			if (jobs[i].pid != pid)
				continue;
			if (WIFSIGNALED(status))
				answer("%s failed step=0 verb=run error=KILLED signal=%d",
				       jobs[i].id, WTERMSIG(status));
			close(jobs[i].orders);
			jobs[i].pid = 0;
		}
}

static void __attribute__((noreturn)) quit(void)
{
	if (getpid() == 1) {
		sync();
		reboot(RB_POWER_OFF);
	}
	for (int i = 0; i < JOBS_MAX; i++)
		if (jobs[i].pid)
			kill(jobs[i].pid, SIGKILL);
	exit(0);
}

static void obey(char *line)
{
	char id[32] = "", *text;
	int n_threads, at = 0;
	struct job *j;

	if (strcmp(line, "quit") == 0)
		quit();
	if (sscanf(line, "run %31s %d %n", id, &n_threads, &at) == 2 && at > 0) {
		text = line + at;
		start_job(id, n_threads, text);
	} else if (sscanf(line, "%*s %31s", id) == 1 && (j = find_job(id))) {
		if (strncmp(line, "kill ", 5) == 0)
			kill(j->pid, SIGKILL);
		else if (write(j->orders, line, 1) < 0)
			answer("%s event gone", id);
	}
}

static void on_child(int sig)
{
	(void)sig;	/* only to end poll() */
}

static void __attribute__((noreturn)) serve(int in_fd)
{
	static char line[LINE_MAX_LEN];
	struct pollfd p = { .fd = in_fd, .events = POLLIN };
	struct sigaction sa = { .sa_handler = on_child };
	sigset_t blocked, open;
	size_t n = 0;
	ssize_t r;

	/* SIGCHLD comes only inside ppoll: none is missed, none disturbs. */
	sigemptyset(&blocked);
	sigaddset(&blocked, SIGCHLD);
	sigprocmask(SIG_BLOCK, &blocked, &open);
	sigaction(SIGCHLD, &sa, NULL);
	answer("ready");
	for (;;) {
		char *end;

		reap();
		if (ppoll(&p, 1, NULL, &open) < 0)
			continue;
		r = read(in_fd, line + n, sizeof line - 1 - n);
		if (r <= 0)
			quit();
		n += (size_t)r;
		line[n] = 0;
		while ((end = strchr(line, '\n'))) {
			*end = 0;
			obey(line);
			n -= (size_t)(end + 1 - line);
			memmove(line, end + 1, n + 1);
		}
		if (n == sizeof line - 1)
			n = 0;
	}
}

static int open_console(const char *path)
{
	int fd = open(path, O_RDWR | O_NOCTTY);
	struct termios t;

	if (fd < 0 || tcgetattr(fd, &t) < 0)
		return -1;
	cfmakeraw(&t);
	cfsetspeed(&t, B115200);
	tcsetattr(fd, TCSANOW, &t);
	return fd;
}

/* agent [TTY | - | 'STEP; STEP ...'] */
int main(int argc, char **argv)
{
	struct rlimit files = { 4096, 4096 };
	int in_fd = 0;

	setrlimit(RLIMIT_NOFILE, &files);
	signal(SIGPIPE, SIG_IGN);
	if (argc > 1 && strchr(argv[1], ' '))
		return run_job("demo", 1, strdup(argv[1]));
	if (argc > 1 && strcmp(argv[1], "-") != 0) {
		in_fd = out_fd = open_console(argv[1]);
		if (in_fd < 0) {
			perror(argv[1]);
			return 1;
		}
	}
	serve(in_fd);
}
