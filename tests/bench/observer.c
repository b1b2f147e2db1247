/* SPDX-License-Identifier: BSD-3-Clause */
/* Who watches: see observer.h. */
#include "bench/observer.h"

#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "support/host.h"
#include "support/must.h"

enum { EVERY_MS = 1000 };

size_t observer_get(const char *socket, const char *path)
{
	char request[128], bytes[65536];
	int fd = host_connect(socket);
	size_t total = 0;
	ssize_t n;

	must(fd >= 0);
	snprintf(request, sizeof request, "GET %s HTTP/1.1\r\nHost: localhost\r\n"
		 "Connection: close\r\n\r\n", path);
	must(host_write(fd, request, strlen(request)));
	while ((n = read(fd, bytes, sizeof bytes)) > 0) {
		must(total || (n > 12 && memcmp(bytes, "HTTP/1.1 200", 12) == 0));
		total += (size_t)n;
	}
	must(n == 0 && total);
	close(fd);
	return total;
}

static void *watch(void *arg)
{
	struct observer *o = arg;
	struct pollfd p = { .fd = o->stop, .events = POLLIN };

	do {
		observer_get(o->socket, "/metrics");
		o->n_answers++;
	} while (poll(&p, 1, EVERY_MS) == 0);
	return NULL;
}

void observer_start(struct observer *o, const char *socket)
{
	snprintf(o->socket, sizeof o->socket, "%s", socket);
	o->n_answers = 0;
	o->stop = eventfd(0, EFD_CLOEXEC);
	must(o->stop >= 0);
	must(pthread_create(&o->thread, NULL, watch, o) == 0);
}

void observer_stop(struct observer *o)
{
	if (o->stop < 0)
		return;
	must(eventfd_write(o->stop, 1) == 0);
	must(pthread_join(o->thread, NULL) == 0);
	close(o->stop);
	o->stop = -1;
	must(o->n_answers);
}
