/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Round trips from the guest to a host program and back: see rr.h.
 */
#include "bench/rr.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "bench/clock.h"
#include "bench/cost.h"
#include "support/host.h"
#include "support/must.h"

enum { TIMES_MAX = 1 << 20 };

/* As servers with many clients, which know before each read that there is something. */
static int epoll_of(const struct echo *e)
{
	struct epoll_event event = { .events = EPOLLIN };
	int epoll = epoll_create1(EPOLL_CLOEXEC);

	must(epoll >= 0 && epoll_ctl(epoll, EPOLL_CTL_ADD, e->fd, &event) == 0);
	return epoll;
}

static ssize_t next_bytes(const struct echo *e, int epoll, uint8_t *to, size_t size)
{
	struct epoll_event event;

	while (e->waits_in_epoll && epoll_wait(epoll, &event, 1, -1) != 1)
		must(errno == EINTR);
	return read(e->fd, to, size);
}

static void *echo(void *arg)
{
	struct echo *e = arg;
	uint8_t *buffer = malloc(e->size);
	int epoll = e->waits_in_epoll ? epoll_of(e) : -1;
	size_t done = 0;
	ssize_t n;

	must(buffer);
	while ((n = next_bytes(e, epoll, buffer + done, e->size - done)) > 0) {
		done += (size_t)n;
		if (done < e->size)
			continue;
		must(host_write(e->fd, buffer, e->size));
		done = 0;
	}
	if (epoll >= 0)
		close(epoll);
	free(buffer);
	return NULL;
}

void echo_start(struct echo *e)
{
	must(pthread_create(&e->thread, NULL, echo, e) == 0);
}

void echo_join(struct echo *e)
{
	must(pthread_join(e->thread, NULL) == 0);
}

static int by_value(const void *a, const void *b)
{
	float x = *(const float *)a, y = *(const float *)b;

	return (x > y) - (x < y);
}

static void add_percentiles(struct measure *m, float *us, size_t n)
{
	static const struct { const char *name; double at; } points[] = {
		{ "p50 us", 0.5 }, { "p99 us", 0.99 }, { "p99.9 us", 0.999 },
	};

	qsort(us, n, sizeof *us, by_value);
	for (unsigned i = 0; i < 3; i++)
		figure_add(m, points[i].name,
			   (double)us[(size_t)(points[i].at * (double)n)]);
}

uint64_t rr_measure(struct run *r, void (*once)(void *arg, uint64_t number), void *arg)
{
	float *us = malloc(TIMES_MAX * sizeof *us);
	int64_t start, before, now;
	uint64_t n = 0, warm = r->is_quick ? 1 : 1000, until;

	must(us);
	memset(us, 0, TIMES_MAX * sizeof *us);
	for (uint64_t i = 0; i < warm; i++)
		once(arg, i);
	start = now = now_ns();
	until = (uint64_t)(start + ns_of(r->seconds));
	while ((uint64_t)now < until) {
		before = now;
		once(arg, warm + n);
		now = now_ns();
		us[n++ % TIMES_MAX] = (float)(now - before) / 1e3f;
	}
	r->out->value = (double)n / ((double)(now - start) / 1e9);
	add_percentiles(r->out, us, n < TIMES_MAX ? n : TIMES_MAX);
	free(us);
	return warm + n;
}

void rr_guest_once(void *client, uint64_t number)
{
	struct rr_client *c = client;
	uint64_t want = c->s->total + c->size;

	if (!vm_send_one(c->v, c->s, c->size, number))
		die("no room for a request");
	while (c->s->total < want) {
		if (c->s->state != SOCK_OPEN)
			die("the connection was reset");
		vm_wait(c->v);
	}
}

void run_rr(struct run *r)
{
	struct check check = { .size = r->what->size, .all = r->is_quick };
	struct rr_client c = { .size = r->what->size };
	struct echo e = { .size = r->what->size, .waits_in_epoll = r->what->waits_in_epoll };
	struct cost cost;
	struct host h;
	uint64_t n;

	host_up(&h, r, 1);
	c.v = &h.vms[0];
	c.s = vm_connect(c.v, &e.fd);
	vm_sink(c.s, &check);
	echo_start(&e);
	cost_start(&cost, r, &h);
	n = rr_measure(r, rr_guest_once, &c);
	cost_stop_ops(&cost, r, n);
	if (c.s->total != check.offset || c.s->total < n * c.size)
		die("%llu bytes of %llu answers", (unsigned long long)c.s->total,
		    (unsigned long long)n);
	sock_close(c.s);
	echo_join(&e);
	close(e.fd);
	host_down(&h);
}
