/* SPDX-License-Identifier: BSD-3-Clause */
/* Who watches: see observer.h. */
#include "bench/observer.h"

#include <inttypes.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "support/host.h"
#include "support/must.h"

enum { EVERY_MS = 1000 };

size_t observer_get(const char *socket, const char *path, FILE *copy)
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
		must(!copy || fwrite(bytes, 1, (size_t)n, copy) == (size_t)n);
	}
	must(n == 0 && total);
	close(fd);
	return total;
}

void observer_get_turns(const char *socket, struct observer_turns *out)
{
	char *text = NULL, *line, *save;
	size_t size;
	FILE *f = open_memstream(&text, &size);

	must(f);
	observer_get(socket, "/metrics", f);
	must(fclose(f) == 0);
	out->n_bounds = 0;
	for (line = strtok_r(text, "\n", &save); line; line = strtok_r(NULL, "\n", &save)) {
		unsigned i = out->n_bounds;
		char bound[32];

		if (sscanf(line, "vhost_vsock_turn_seconds_bucket{vm=\"%*u\",le=\"%31[^\"]\"} %"
			   SCNu64, bound, &out->n[i]) != 2)
			continue;
		out->bounds_us[i] = strtod(bound, NULL) * 1e6;
		must(++out->n_bounds < OBSERVER_BOUNDS);
	}
	free(text);
	must(out->n_bounds);
}

double observer_turns_us(const struct observer_turns *before, const struct observer_turns *after,
			 double share)
{
	unsigned last = after->n_bounds - 1, i = 0;
	double all = (double)(after->n[last] - before->n[last]);

	must(all > 0);
	while ((double)(after->n[i] - before->n[i]) < share * all)
		i++;
	return i < last ? after->bounds_us[i] : 4 * after->bounds_us[last - 1];
}

static void *watch(void *arg)
{
	struct observer *o = arg;
	struct pollfd p = { .fd = o->stop, .events = POLLIN };

	do {
		observer_get(o->socket, "/metrics", NULL);
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
