/* SPDX-License-Identifier: BSD-3-Clause */
/* Loaded into the daemon, in the place of sendmsg() and recvmsg(): see halt.h. */
#include "e2e/halt.h"

#include <dlfcn.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "protocol/supervise.h"

static ssize_t (*real_sendmsg)(int fd, const struct msghdr *hdr, int flags);
static ssize_t (*real_recvmsg)(int fd, struct msghdr *hdr, int flags);
static int channel = -1;			/* of an engine, to its supervisor */
static char where[16];

__attribute__((constructor)) static void begin(int argc, char **argv)
{
	const char *path = getenv(HALT_FILE);
	FILE *f = path ? fopen(path, "re") : NULL;

	real_sendmsg = (ssize_t (*)(int, const struct msghdr *, int))dlsym(RTLD_NEXT, "sendmsg");
	real_recvmsg = (ssize_t (*)(int, struct msghdr *, int))dlsym(RTLD_NEXT, "recvmsg");
	if (argc == 2)
		sscanf(argv[1], "--engine-channel=%d", &channel);
	if (f) {
		if (!fgets(where, sizeof where, f))
			where[0] = '\0';
		fclose(f);
	}
}

static void halt_at(const char *point, int fd, const struct msghdr *hdr, uint32_t type)
{
	const struct supervise_msg *m = hdr->msg_iov->iov_base;

	if (fd == channel && strcmp(where, point) == 0 && m->type == type)
		kill(getpid(), SIGSTOP);
}

ssize_t sendmsg(int fd, const struct msghdr *hdr, int flags)
{
	halt_at(HALT_PREPARED, fd, hdr, SUPERVISE_PREPARED);
	return real_sendmsg(fd, hdr, flags);
}

ssize_t recvmsg(int fd, struct msghdr *hdr, int flags)
{
	ssize_t n = real_recvmsg(fd, hdr, flags);

	if (n > 0)
		halt_at(HALT_TOLD, fd, hdr, SUPERVISE_PREPARE);
	return n;
}
