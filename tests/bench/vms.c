/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Several VMs of one daemon at once, guest to host: the sum of their rates
 * beside the rate of one alone; and what a VM costs in memory whose guest runs and
 * has said nothing yet.
 */
#include <pthread.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include "bench/clock.h"
#include "bench/cost.h"
#include "bench/flow.h"
#include "bench/stream.h"
#include "support/must.h"

enum { QUICK_VMS = 4 };

struct guest_thread {
	struct vm *v;
	const struct run *r;
	struct sock *s;
	struct stream reader;
	uint64_t sent;
	pthread_t thread;
};

static void *guest(void *arg)
{
	struct guest_thread *t = arg;

	t->sent = vm_send(t->v, t->s, t->r->what->size, t->r->seconds);
	return NULL;
}

/* Returns the bytes of all. */
static uint64_t all_at_once(struct run *r, struct guest_thread *t, unsigned n)
{
	int64_t start = now_ns(), end = start;
	uint64_t bytes = 0;

	for (unsigned i = 0; i < n; i++) {
		stream_start_reader(&t[i].reader);
		must(pthread_create(&t[i].thread, NULL, guest, &t[i]) == 0);
	}
	for (unsigned i = 0; i < n; i++) {
		must(pthread_join(t[i].thread, NULL) == 0);
		flow_join_reader(r, &t[i].reader, t[i].sent);
		bytes += t[i].sent;
		end = t[i].reader.end_ns > end ? t[i].reader.end_ns : end;
	}
	r->out->value = flow_rate(bytes, start, end);
	return bytes;
}

static double fairness(const struct guest_thread *t, unsigned n)
{
	uint64_t min = UINT64_MAX, max = 0;

	for (unsigned i = 0; i < n; i++) {
		min = t[i].sent < min ? t[i].sent : min;
		max = t[i].sent > max ? t[i].sent : max;
	}
	return (double)min / (double)max;
}

void run_vms(struct run *r)
{
	unsigned n = r->is_quick ? QUICK_VMS : r->what->count;
	unsigned n_idle = r->is_quick && r->what->n_idle ? QUICK_VMS : r->what->n_idle;
	struct guest_thread *t = calloc(n, sizeof *t);
	struct daemon_usage usage;
	struct cost cost;
	struct host h;
	int fd;

	must(t);
	host_up(&h, r, n + n_idle);
	for (unsigned i = 0; i < n; i++) {
		t[i] = (struct guest_thread){ .v = &h.vms[i], .r = r };
		t[i].s = vm_connect(t[i].v, &fd);
		t[i].reader = flow_stream(r, fd, 0);
	}
	cost_start(&cost, r, &h);
	cost_stop_bytes(&cost, r, all_at_once(r, t, n));
	usage = daemon_usage(&h.daemon);
	figure_add(r->out, "min/max VM", fairness(t, n));
	figure_add(r->out, "threads", usage.threads);
	figure_add(r->out, "anon KiB/VM", (double)cost_anon_bytes(&h.daemon) / 1024 / n);
	for (unsigned i = 0; i < n; i++)
		close(t[i].reader.fd);
	host_down(&h);
	free(t);
}

static double anon_with(const struct run *r, unsigned n)
{
	struct host h;
	double bytes;

	host_up(&h, r, n);
	bytes = (double)cost_anon_bytes(&h.daemon);
	host_down(&h);
	return bytes;
}

void run_vms_idle(struct run *r)
{
	unsigned n = r->is_quick ? QUICK_VMS : r->what->count;

	r->out->value = (anon_with(r, 1 + n) - anon_with(r, 1)) / n;
	figure_add(r->out, "idle B/VM", r->out->value);
}

/* As many raw unix streams, each with a thread that writes and one that reads: how the kernel
 * shares the CPUs among these. */
void run_uds_vms(struct run *r)
{
	unsigned n = r->is_quick ? QUICK_VMS : r->what->count;
	struct stream *ends = calloc(2 * n, sizeof *ends);
	struct guest_thread *t = calloc(n, sizeof *t);
	int64_t start = now_ns(), end = start;
	uint64_t bytes = 0;

	must(ends && t);
	for (unsigned i = 0; i < n; i++) {
		int pair[2];

		must(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) == 0);
		ends[2 * i] = flow_stream(r, pair[0], r->seconds);
		ends[2 * i + 1] = flow_stream(r, pair[1], 0);
		stream_start_reader(&ends[2 * i + 1]);
		stream_start_writer(&ends[2 * i]);
	}
	for (unsigned i = 0; i < 2 * n; i++) {
		stream_join(&ends[i]);
		if (i % 2 == 0)
			continue;
		t[i / 2].sent = ends[i].bytes;
		bytes += ends[i].bytes;
		end = ends[i].end_ns > end ? ends[i].end_ns : end;
	}
	r->out->value = flow_rate(bytes, start, end);
	figure_add(r->out, "min/max VM", fairness(t, n));
	for (unsigned i = 0; i < 2 * n; i++)
		close(ends[i].fd);
	free(ends);
	free(t);
}
