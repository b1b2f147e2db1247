/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The host's side of connect-request-close, and both sides on a bare unix
 * socket: see crr.h.
 */
#include "bench/crr.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "bench/rr.h"
#include "support/host.h"
#include "support/must.h"

static void *serve(void *arg)
{
	struct crr_server *s = arg;
	char byte;
	int fd;

	while ((fd = accept4(s->listener, NULL, NULL, SOCK_CLOEXEC)) >= 0) {
		must(read(fd, &byte, 1) == 1);
		must(write(fd, &byte, 1) == 1);
		close(fd);
	}
	return NULL;
}

void crr_server_start(struct crr_server *s, int listener)
{
	s->listener = listener;
	must(pthread_create(&s->thread, NULL, serve, s) == 0);
}

void crr_server_join(struct crr_server *s)
{
	shutdown(s->listener, SHUT_RDWR);	/* accept() fails */
	must(pthread_join(s->thread, NULL) == 0);
}

void crr_client(const char *path, unsigned port)
{
	int fd = host_connect(path), len;
	char line[32], byte = 'x';

	must(fd >= 0);
	if (port) {
		len = snprintf(line, sizeof line, "CONNECT %u\n", port);
		must(write(fd, line, (size_t)len) == len);
		must(read(fd, line, sizeof line) > 3 && memcmp(line, "OK ", 3) == 0);
	}
	must(write(fd, &byte, 1) == 1);
	must(read(fd, &byte, 1) == 1 && byte == 'x');
	close(fd);
}

static void uds_once(void *arg, uint64_t number)
{
	(void)number;
	crr_client(arg, 0);
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
