/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The daemon under test as a child process: see daemon.h.
 */
#include "support/daemon.h"

#include <fcntl.h>
#include <ftw.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/inotify.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include "support/deadline.h"
#include "support/must.h"

enum { ARGS_MAX = 2048, LOOK_MS = 50 };

void daemon_init(struct daemon *d)
{
	const char *tmp = getenv("TMPDIR");

	*d = (struct daemon){ .pidfd = -1 };
	d->can_count_fds = getenv("TEST_SANDBOX") || daemon_can_count_fds();
	snprintf(d->dir, sizeof d->dir, "%.40s/vsock-XXXXXX", tmp ? tmp : "/tmp");
	must(mkdtemp(d->dir));
	snprintf(d->socket, sizeof d->socket, "%s/vhost.sock", d->dir);
	snprintf(d->uds, sizeof d->uds, "%s/vm.sock", d->dir);
	snprintf(d->log, sizeof d->log, "%s/log", d->dir);
}

static int on_entry(const char *path, const struct stat *st, int type,
		    struct FTW *ftw)
{
	(void)st, (void)type, (void)ftw;
	return remove(path);
}

void daemon_deinit(struct daemon *d)
{
	if (!d->dir[0])
		return;
	daemon_kill(d);
	nftw(d->dir, on_entry, 16, FTW_DEPTH | FTW_PHYS);
	d->dir[0] = '\0';
}

static void run_child(const struct daemon *d, const char *program,
		      const char **argv, pid_t parent)
{
	/* The test may have been started with some of them ignored. */
	static const int signals[] = { SIGPIPE, SIGHUP, SIGINT, SIGQUIT, SIGTERM };
	int log = open(d->log, O_WRONLY | O_CREAT | O_APPEND, 0600);
	sigset_t none;

	sigemptyset(&none);
	sigprocmask(SIG_SETMASK, &none, NULL);
	for (size_t i = 0; i < sizeof signals / sizeof *signals; i++)
		signal(signals[i], SIG_DFL);
	umask(022);
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	/* 0: the parent is out of sight, in the PID namespace around this one. */
	if ((getppid() && getppid() != parent) || log < 0 || dup2(log, STDERR_FILENO) < 0 ||
	    dup2(log, STDOUT_FILENO) < 0)
		_exit(126);
	if (d->prepare)
		d->prepare();
	execv(program, (char *const *)(uintptr_t)argv);
	_exit(127);
}

/* For tests that do not ask for a sandbox themselves. NULL: the daemon's default. */
static const char *sandbox_option(const struct daemon *d, const char *const *args)
{
	static char option[32];
	const char *mode = getenv("TEST_SANDBOX");

	for (; *args; args++)
		if (strncmp(*args, "--sandbox", 9) == 0)
			return NULL;
	if (!mode)
		mode = d->can_count_fds ? "" : "off";
	if (!*mode)
		return NULL;
	snprintf(option, sizeof option, "--sandbox=%s", mode);
	return option;
}

/* As the test says, or else TEST_SUPERVISE. NULL: the daemon's default. */
static const char *supervise_option(struct daemon *d, const char *const *args)
{
	static const char off[] = "--supervise=off";
	const char *mode = getenv("TEST_SUPERVISE");

	for (; *args; args++)
		if (strncmp(*args, "--supervise", 11) == 0) {
			d->is_supervised = strcmp(*args, off) != 0;
			return NULL;
		}
	d->is_supervised = !mode || strcmp(mode, "off") != 0;
	return d->is_supervised ? NULL : off;
}

/* As the test says, or else TEST_THREADS. NULL: the daemon's default. */
static const char *threads_option(const char *const *args)
{
	static char option[32];
	const char *n = getenv("TEST_THREADS");

	for (; *args; args++)
		if (strncmp(*args, "--threads", 9) == 0)
			return NULL;
	if (!n)
		return NULL;
	snprintf(option, sizeof option, "--threads=%s", n);
	return option;
}

void daemon_spawn(struct daemon *d, const char *const *args)
{
	const char *program = getenv("VHOST_DEVICE_VSOCK");
	const char *argv[ARGS_MAX] = { program }, *option;
	pid_t parent = getpid();
	unsigned n = 1;

	if (!program)
		die("VHOST_DEVICE_VSOCK does not name the daemon");
	must(!d->pid);
	if (!d->is_foreign && (option = sandbox_option(d, args)))
		argv[n++] = option;
	if (!d->is_foreign && (option = supervise_option(d, args)))
		argv[n++] = option;
	if (!d->is_foreign && (option = threads_option(args)))
		argv[n++] = option;
	while (*args && n + 1 < ARGS_MAX)
		argv[n++] = *args++;
	must(!*args);
	d->pid = fork();
	must(d->pid >= 0);
	if (d->pid == 0)
		run_child(d, program, argv, parent);
	d->pidfd = (int)syscall(SYS_pidfd_open, d->pid, 0);
	must(d->pidfd >= 0);
}

void daemon_start(struct daemon *d, const char *const *extra)
{
	const char *args[ARGS_MAX] = {
		"--guest-cid", "3", "--socket", d->socket, "--uds-path", d->uds,
	};

	for (unsigned n = 6; extra && *extra; n++) {
		must(n + 1 < ARGS_MAX);
		args[n] = *extra++;
	}
	daemon_spawn(d, args);
	if (!daemon_wait_listening(d, d->socket) ||
	    !daemon_wait_listening(d, d->uds))
		die("the daemon did not start: %s", daemon_log(d));
}

/* What the kernel says, for who might take a connection that says nothing for a front-end. */
static bool is_listener(const char *path)
{
	FILE *f = fopen("/proc/net/unix", "re");
	char line[256], name[128];
	unsigned flags;
	bool yes = false;

	must(f);
	while (!yes && fgets(line, sizeof line, f))
		yes = sscanf(line, "%*x: %*x %*x %x %*x %*x %*u %127s", &flags, name) == 2 &&
			flags & 0x10000 && strcmp(name, path) == 0;
	fclose(f);
	return yes;
}

static bool listens(const struct daemon *d, const char *path)
{
	struct sockaddr_un addr = { .sun_family = AF_UNIX };
	int fd;
	bool yes;

	if (d->is_foreign)
		return is_listener(path);
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	snprintf(addr.sun_path, sizeof addr.sun_path, "%s", path);
	must(fd >= 0);
	yes = connect(fd, (struct sockaddr *)&addr, sizeof addr) == 0;
	close(fd);
	return yes;
}

bool daemon_has_logged(const struct daemon *d, const char *text)
{
	char *log = daemon_log(d);
	bool yes = strstr(log, text);

	free(log);
	return yes;
}

/* Some time of the daemon's own clock. */
struct patience {
	int left_ms;
	int64_t then_ms, clock_ms;		/* when last looked at */
};

static struct patience patience_of(const struct daemon *d, int ms)
{
	return (struct patience){
		.left_ms = ms, .then_ms = now_ms(), .clock_ms = daemon_clock_ms(d),
	};
}

static bool is_over(struct patience *p, const struct daemon *d)
{
	int64_t now = now_ms(), clock, passed;

	if (now < p->then_ms + LOOK_MS && p->left_ms > LOOK_MS)
		return false;			/* a look costs a little */
	clock = daemon_clock_ms(d);
	passed = clock - p->clock_ms;
	/* What has ended takes with it what it has waited. */
	p->left_ms -= (int)(passed < 0 ? 0 : passed > now - p->then_ms ? now - p->then_ms : passed);
	p->then_ms = now;
	p->clock_ms = clock;
	return p->left_ms <= 0;
}

/* Asks whenever something happens in its folder, where its log is too, and once
 * more when the daemon has ended; only once if it had before. */
static bool wait_until(const struct daemon *d,
		       bool (*is_so)(const struct daemon *d, const char *what), const char *what)
{
	struct patience patience = patience_of(d, DEADLINE_MS);
	struct pollfd p[2] = {
		{ .fd = inotify_init1(IN_CLOEXEC | IN_NONBLOCK), .events = POLLIN },
		{ .fd = d->pidfd, .events = POLLIN },
	};
	char seen[4096];
	bool yes;

	must(p[0].fd >= 0);
	must(inotify_add_watch(p[0].fd, d->dir, IN_CREATE | IN_MOVED_TO | IN_MODIFY) >= 0);
	while (!(yes = is_so(d, what)) && d->pid && !p[1].revents && !is_over(&patience, d)) {
		poll(p, 2, LOOK_MS);
		while (read(p[0].fd, seen, sizeof seen) > 0)
			;
	}
	close(p[0].fd);
	return yes;
}

bool daemon_wait_listening(const struct daemon *d, const char *path)
{
	return wait_until(d, listens, path);
}

bool daemon_wait_log(const struct daemon *d, const char *text)
{
	return wait_until(d, daemon_has_logged, text);
}

int daemon_wait_exit(struct daemon *d, int ms)
{
	struct patience patience = patience_of(d, ms);
	int status;

	while (!deadline_poll(d->pidfd, POLLIN, deadline_in(ms < LOOK_MS ? ms : LOOK_MS)))
		if (is_over(&patience, d))
			return INT_MIN;
	must(waitpid(d->pid, &status, 0) == d->pid);
	close(d->pidfd);
	d->pid = 0;
	d->pidfd = -1;
	return WIFEXITED(status) ? WEXITSTATUS(status) : -WTERMSIG(status);
}

int daemon_stop(struct daemon *d, int ms)
{
	must(d->pid > 0);
	kill(d->pid, SIGTERM);
	return daemon_wait_exit(d, ms);
}

void daemon_kill(struct daemon *d)
{
	pid_t engine;

	if (d->pid <= 0)
		return;
	engine = d->is_supervised ? daemon_find_engine(d) : 0;
	kill(d->pid, SIGKILL);
	daemon_wait_exit(d, DEADLINE_MS);
	if (engine)
		daemon_wait_gone(engine, DEADLINE_MS);
}

bool daemon_is_running(struct daemon *d)
{
	return d->pid > 0 && !deadline_poll(d->pidfd, POLLIN, 0);
}

void daemon_limit_fds(const struct daemon *d, unsigned n)
{
	pid_t engine = daemon_engine(d);
	struct rlimit limit;

	must(prlimit(engine, RLIMIT_NOFILE, NULL, &limit) == 0);
	limit.rlim_cur = n;
	must(prlimit(engine, RLIMIT_NOFILE, &limit, NULL) == 0);
}

char *daemon_log(const struct daemon *d)
{
	char *text = calloc(1, 65536);
	int fd = open(d->log, O_RDONLY | O_CLOEXEC);
	ssize_t n = 0;

	must(text);
	if (fd >= 0) {
		n = read(fd, text, 65535);
		close(fd);
	}
	text[n > 0 ? n : 0] = '\0';
	return text;
}
