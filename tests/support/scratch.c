/* SPDX-License-Identifier: BSD-3-Clause */
/* A folder that does not outlive its program: see scratch.h. */
#include "support/scratch.h"

#include <fcntl.h>
#include <ftw.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <unistd.h>

enum { BASE_MAX = 28 };

static char path[BASE_MAX + sizeof "/t-XXXXXX"];
static int alive[2] = { -1, -1 };		/* [1] is open in all that we fork */

static int on_entry(const char *name, const struct stat *st, int type, struct FTW *ftw)
{
	(void)st, (void)type, (void)ftw;
	return remove(name);
}

static void remove_all(void)
{
	nftw(path, on_entry, 16, FTW_DEPTH | FTW_PHYS);
}

/* In a session of its own: what is sent to us is not for it. Closes @ready once it would
 * outlive us. */
static _Noreturn void wait_and_remove(int ready)
{
	char c;
	int null = open("/dev/null", O_RDWR | O_CLOEXEC);

	prctl(PR_SET_PDEATHSIG, 0);
	setsid();
	for (int fd = 0; fd <= 2; fd++)		/* somebody may wait for their end */
		dup2(null, fd);
	signal(SIGINT, SIG_IGN);
	signal(SIGTERM, SIG_IGN);
	signal(SIGHUP, SIG_IGN);
	close(ready);
	close(alive[1]);
	while (read(alive[0], &c, 1) > 0)
		;
	remove_all();
	_exit(0);
}

static _Noreturn void give_up(const char *what)
{
	perror(what);
	exit(EXIT_FAILURE);
}

void scratch_begin(void)
{
	const char *base = getenv("TMPDIR");
	int ready[2];
	pid_t pid;
	char c;

	if (!base || strlen(base) > BASE_MAX)
		base = "/tmp";
	snprintf(path, sizeof path, "%s/t-XXXXXX", base);
	if (!mkdtemp(path) || setenv("TMPDIR", path, 1) < 0)
		give_up(path);
	fflush(NULL);
	if (pipe2(alive, O_CLOEXEC) < 0 || pipe2(ready, O_CLOEXEC) < 0 || (pid = fork()) < 0)
		give_up("scratch");
	if (pid == 0)
		wait_and_remove(ready[1]);
	close(ready[1]);
	while (read(ready[0], &c, 1) < 0)
		;				/* interrupted */
	close(ready[0]);
	close(alive[0]);
}

void scratch_end(void)
{
	remove_all();
	close(alive[1]);
}

const char *scratch_path(void)
{
	return path;
}
