/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What a guest notices when another engine takes over (SIGUSR2): the longest of its round
 * trips to a host program and back, of one byte, while that happens; beside other VMs, which
 * have guests that stand idle. The median of several times.
 */
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "bench/clock.h"
#include "bench/rr.h"
#include "support/must.h"

enum { TIMES = 11, QUICK_TIMES = 2, QUICK_VMS = 3 };

static int by_value(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;

	return (x > y) - (x < y);
}

static double once_ms(struct rr_client *c, uint64_t *n)
{
	int64_t before = now_ns();

	rr_guest_once(c, (*n)++);
	return (double)(now_ns() - before) / 1e6;
}

/* The longest round trip until one began after the old engine had gone. */
static double upgrade_ms(struct host *h, struct rr_client *c, uint64_t *n)
{
	pid_t engine = daemon_engine(&h->daemon);
	struct pollfd gone = { .fd = (int)syscall(SYS_pidfd_open, engine, 0), .events = POLLIN };
	double longest = 0, took;
	bool was_gone;

	must(gone.fd >= 0);
	must(kill(h->daemon.pid, SIGUSR2) == 0);
	do {
		was_gone = poll(&gone, 1, 0) == 1;
		took = once_ms(c, n);
		longest = took > longest ? took : longest;
	} while (!was_gone);
	close(gone.fd);
	return longest;
}

void run_pause(struct run *r)
{
	unsigned n_vms = r->is_quick && r->what->count > 1 ? QUICK_VMS : r->what->count;
	int times = r->is_quick ? QUICK_TIMES : TIMES;
	struct rr_client c = { .size = r->what->size };
	struct check check = { .size = r->what->size, .all = r->is_quick };
	struct echo e = { .size = r->what->size };
	double ms[TIMES];
	struct host h;
	uint64_t n = 0;

	if (r->is_foreign)
		die("it cannot be replaced while it serves");
	host_up(&h, r, n_vms);
	c.v = &h.vms[0];
	c.s = vm_connect(c.v, &e.fd);
	vm_sink(c.s, &check);
	echo_start(&e);
	for (int i = 0; i < times; i++)
		ms[i] = upgrade_ms(&h, &c, &n);
	qsort(ms, (size_t)times, sizeof *ms, by_value);
	r->out->value = ms[times / 2];
	figure_add(r->out, "p50 ms", ms[times / 2]);
	figure_add(r->out, "max ms", ms[times - 1]);
	sock_shutdown(c.s, VSOCK_SHUTDOWN_SEND);
	echo_join(&e);
	sock_close(c.s);
	close(e.fd);
	host_down(&h);
}
