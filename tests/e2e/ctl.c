/* SPDX-License-Identifier: BSD-3-Clause */
/* vsockctl as a child of the test: see ctl.h. */
#include "e2e/ctl.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "support/deadline.h"
#include "support/driver.h"
#include "support/must.h"

enum { ARGS_MAX = 32, STEP_MS = 5 };

void (*ctl_prepare)(void);

static void run_child(const char *const *args, int in, int out, int err)
{
	const char *argv[ARGS_MAX] = { getenv("VSOCKCTL") };
	unsigned n = 1;
	int program;

	while (*args && n + 1 < ARGS_MAX)
		argv[n++] = *args++;
	signal(SIGPIPE, SIG_DFL);
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	if (dup2(in, STDIN_FILENO) < 0 || dup2(out, STDOUT_FILENO) < 0 ||
	    dup2(err, STDERR_FILENO) < 0)
		_exit(126);
	program = open(argv[0], O_RDONLY | O_CLOEXEC);	/* where nobody else may look, too */
	if (ctl_prepare)
		ctl_prepare();
	fexecve(program, (char *const *)(uintptr_t)argv, environ);
	_exit(127);
}

static void make_pipe(int ends[2])
{
	must(pipe2(ends, O_CLOEXEC) == 0);
}

void ctl_start(struct ctl *c, const char *const *args, int in, int out)
{
	int in_pipe[2] = { in, -1 }, out_pipe[2] = { -1, out }, err_pipe[2];

	must(getenv("VSOCKCTL"));
	if (in < 0)
		make_pipe(in_pipe);
	if (out < 0)
		make_pipe(out_pipe);
	make_pipe(err_pipe);
	*c = (struct ctl){ .in = in_pipe[1], .out = out_pipe[0], .err = err_pipe[0] };
	c->pid = fork();
	must(c->pid >= 0);
	if (c->pid == 0)
		run_child(args, in_pipe[0], out_pipe[1], err_pipe[1]);
	if (in < 0)
		close(in_pipe[0]);
	if (out < 0)
		close(out_pipe[1]);
	close(err_pipe[1]);
}

void ctl_end_input(struct ctl *c)
{
	close(c->in);
	c->in = -1;
}

/* What has come of @fd, behind what is in @to already; closes it at its end. */
static void take_some(int *fd, char *to, size_t size, size_t *len)
{
	ssize_t n;

	while (*fd >= 0 && deadline_poll(*fd, POLLIN, now_ms())) {
		must(*len + 1 < size);
		n = read(*fd, to + *len, size - 1 - *len);
		must(n >= 0);
		if (n == 0) {
			close(*fd);
			*fd = -1;
			return;
		}
		*len += (size_t)n;
	}
}

static void turn(struct ctl *c, struct driver *guest)
{
	size_t n_complained = strlen(c->complained);

	if (!guest)
		poll(NULL, 0, STEP_MS);
	else if (!driver_turn(guest))
		driver_wait(guest, deadline_in(STEP_MS), false);
	take_some(&c->out, c->said, sizeof c->said, &c->n_said);
	take_some(&c->err, c->complained, sizeof c->complained, &n_complained);
}

int ctl_finish(struct ctl *c, struct driver *guest)
{
	int64_t deadline = deadline_in(DEADLINE_MS);
	int status;
	pid_t pid;

	while ((pid = waitpid(c->pid, &status, WNOHANG)) == 0) {
		if (!deadline_left(deadline)) {
			kill(c->pid, SIGKILL);
			die("vsockctl has not ended; it complained: %s", c->complained);
		}
		turn(c, guest);
	}
	must(pid == c->pid);
	turn(c, guest);
	if (c->in >= 0)
		close(c->in);
	if (c->out >= 0)
		close(c->out);
	if (c->err >= 0)
		close(c->err);
	c->in = c->out = c->err = -1;
	c->status = WIFEXITED(status) ? WEXITSTATUS(status) : -WTERMSIG(status);
	return c->status;
}

bool ctl_has_said(struct ctl *c, struct driver *guest, const char *text)
{
	turn(c, guest);
	return strstr(c->said, text);
}

void ctl_wait_said(struct ctl *c, struct driver *guest, const char *text)
{
	int64_t deadline = deadline_in(DEADLINE_MS);

	while (!strstr(c->said, text) && !strstr(c->complained, text)) {
		if (!deadline_left(deadline))
			die("it has not said \"%s\" but \"%s\", and complained: %s", text, c->said,
			    c->complained);
		turn(c, guest);
	}
}

int ctl_run(struct ctl *c, struct driver *guest, const char *const *args)
{
	int null = open("/dev/null", O_RDONLY | O_CLOEXEC);

	must(null >= 0);
	ctl_start(c, args, null, -1);
	close(null);
	return ctl_finish(c, guest);
}
