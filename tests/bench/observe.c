/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Questions to a daemon with many VMs and connections: how long an answer takes, and how much
 * longer the longest round trip of a guest is while one is made than it is in a while of the same
 * length without any. Medians of several times.
 */
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <unistd.h>

#include "bench/clock.h"
#include "bench/cost.h"
#include "bench/rr.h"
#include "support/must.h"

enum {
	TIMES = 15, CONNS = 10,			/* of each VM */
	QUICK_TIMES = 2, QUICK_VMS = 3,
	FDS_OF_VM = 36, FDS_OF_DAEMON = 512,	/* what the daemon reckons with */
};

struct question {
	const char *socket, *path;
	atomic_bool is_answered;
	double ms;
	pthread_t thread;
};

static void *ask(void *arg)
{
	struct question *q = arg;
	int64_t start = now_ns();

	observer_get(q->socket, q->path, NULL);
	q->ms = (double)(now_ns() - start) / 1e6;
	atomic_store(&q->is_answered, true);
	return NULL;
}

static double once_ms(struct rr_client *c, uint64_t *n)
{
	int64_t before = now_ns();

	rr_guest_once(c, (*n)++);
	return (double)(now_ns() - before) / 1e6;
}

/* The longest round trip until the answer is there, or for @ms without a question. */
static double longest_ms(struct rr_client *c, uint64_t *n, struct question *q, double ms)
{
	int64_t until = now_ns() + (int64_t)(ms * 1e6);
	double longest = 0, took;

	do {
		took = once_ms(c, n);
		longest = took > longest ? took : longest;
	} while (q ? !atomic_load(&q->is_answered) : now_ns() < until);
	return longest;
}

static int by_value(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;

	return (x > y) - (x < y);
}

static double median(double *values, int n)
{
	qsort(values, (size_t)n, sizeof *values, by_value);
	return values[n / 2];
}

/* Two figures, of the answer and of the delay. Returns the first. */
static double measure(struct run *r, struct host *h, struct rr_client *c, uint64_t *n,
		      const char *path, const char *const names[3])
{
	int times = r->is_quick ? QUICK_TIMES : TIMES;
	double answers[TIMES], delays[TIMES], cpu_ms = 0;

	for (int i = 0; i < times; i++) {
		struct question q = { .socket = h->api, .path = path };
		clockid_t clock;
		double busy;

		must(clock_getcpuclockid(daemon_engine(&h->daemon), &clock) == 0);
		must(pthread_create(&q.thread, NULL, ask, &q) == 0);
		busy = longest_ms(c, n, &q, 0);
		must(pthread_join(q.thread, NULL) == 0);
		answers[i] = q.ms;
		delays[i] = busy - longest_ms(c, n, NULL, q.ms);
		cpu_ms = -(double)clock_ns(clock) / 1e6;
		observer_get(h->api, path, NULL);
		cpu_ms += (double)clock_ns(clock) / 1e6;
	}
	figure_add(r->out, names[0], median(answers, times));
	figure_add(r->out, names[1], median(delays, times));
	figure_add(r->out, names[2], cpu_ms);
	return answers[times / 2];
}

/* As many as asked for, or as may have so many connections. */
static unsigned count_vms(unsigned wanted)
{
	struct rlimit fds;
	unsigned n;

	must(getrlimit(RLIMIT_NOFILE, &fds) == 0);
	must(fds.rlim_cur > FDS_OF_DAEMON + FDS_OF_VM);
	n = (unsigned)((fds.rlim_cur - FDS_OF_DAEMON) / FDS_OF_VM);
	return n < wanted ? n : wanted;
}

void run_observe(struct run *r)
{
	static const char *const list[] = { "list ms", "list delay ms", "list cpu ms" },
		*const metrics[] = { "metrics ms", "metrics delay ms", "metrics cpu ms" };
	unsigned n_vms = count_vms(r->is_quick ? QUICK_VMS : r->what->count);
	struct rr_client c = { .size = 1 };
	struct check check = { .size = 1, .all = r->is_quick };
	struct echo e = { .size = 1 };
	struct sock *socks[CONNS];
	int (*fds)[CONNS] = calloc(n_vms, sizeof *fds);
	struct host h;
	uint64_t n = 0;

	must(fds);
	host_up(&h, r, n_vms);
	figure_add(r->out, "VMs", n_vms);
	for (unsigned i = 0; i < n_vms; i++)
		vm_connect_many(&h.vms[i], CONNS, socks, fds[i]);
	c.v = &h.vms[0];
	c.s = vm_connect(c.v, &e.fd);
	vm_sink(c.s, &check);
	echo_start(&e);
	measure(r, &h, &c, &n, "/v1/vms", list);
	r->out->value = measure(r, &h, &c, &n, "/metrics", metrics);
	sock_shutdown(c.s, VSOCK_SHUTDOWN_SEND);
	echo_join(&e);
	sock_close(c.s);
	close(e.fd);
	for (unsigned i = 0; i < n_vms * CONNS; i++)
		close(fds[i / CONNS][i % CONNS]);
	host_down(&h);
	free(fds);
}
