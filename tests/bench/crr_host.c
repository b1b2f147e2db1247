/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The host's side of connect-request-close, and both sides on a bare unix
 * socket: see crr.h.
 */
#include "bench/crr.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "bench/rr.h"
#include "support/host.h"
#include "support/must.h"

enum { AGAIN_NS = 10 * 1000 * 1000 };

static void *serve(void *arg)
{
	struct crr_server *s = arg;
	char byte;
	int fd;

	for (;;) {
		fd = accept4(s->listener, NULL, NULL, SOCK_CLOEXEC);
		if (fd < 0 && errno == EINTR && atomic_load(&s->is_over))
			return NULL;
		must(fd >= 0);
		must(read(fd, &byte, 1) == 1);
		must(write(fd, &byte, 1) == 1);
		close(fd);
	}
}

static void on_signal(int signum)
{
	(void)signum;
}

void crr_server_start(struct crr_server *s, int listener)
{
	/* A call is interrupted by it, and not begun again. */
	const struct sigaction wake = { .sa_handler = on_signal };

	s->listener = listener;
	atomic_store(&s->is_over, false);
	must(sigaction(SIGUSR1, &wake, NULL) == 0);
	must(pthread_create(&s->thread, NULL, serve, s) == 0);
}

void crr_server_join(struct crr_server *s)
{
	struct timespec until;
	int r;

	atomic_store(&s->is_over, true);
	do {					/* it may just be about to accept */
		must(pthread_kill(s->thread, SIGUSR1) == 0);
		clock_gettime(CLOCK_REALTIME, &until);
		until.tv_nsec += AGAIN_NS;
		until.tv_sec += until.tv_nsec / 1000000000;
		until.tv_nsec %= 1000000000;
		r = pthread_timedjoin_np(s->thread, NULL, &until);
	} while (r == ETIMEDOUT);
	must(r == 0);
}

void crr_client(int fd)
{
	char byte = 'x';

	must(fd >= 0);
	must(write(fd, &byte, 1) == 1);
	must(read(fd, &byte, 1) == 1 && byte == 'x');
	close(fd);
}

static void uds_once(void *arg, uint64_t number)
{
	(void)number;
	crr_client(host_connect(arg));
}

void run_uds_crr(struct run *r)
{
	struct crr_server server;
	const char *dir = getenv("TMPDIR");
	char path[96], full[108];

	snprintf(path, sizeof path, "%.80s/crr", dir ? dir : "/tmp");
	snprintf(full, sizeof full, "%s_1", path);
	crr_server_start(&server, host_listen(path, 1, 16));
	rr_measure(r, uds_once, full);
	crr_server_join(&server);
	host_unlisten(server.listener, path, 1);
}
