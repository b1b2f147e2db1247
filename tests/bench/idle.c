/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A VM with open connections that say nothing: a daemon has no reason to wake up.
 */
#include <poll.h>
#include <unistd.h>

#include "bench/clock.h"
#include "bench/vm.h"
#include "support/must.h"

enum { CONNS = 10, SETTLE_MS = 300, WATCH_MS = 2000, QUICK_MS = 50 };

void run_idle(struct run *r)
{
	int ms = r->is_quick ? QUICK_MS : WATCH_MS, fds[CONNS];
	struct sock *socks[CONNS];
	struct daemon_usage before;
	clockid_t clock;
	int64_t cpu_ns;
	struct host h;

	host_up(&h, r, 1);
	vm_connect_many(&h.vms[0], CONNS, socks, fds);
	poll(NULL, 0, r->is_quick ? 1 : SETTLE_MS);
	must(clock_getcpuclockid(daemon_engine(&h.daemon), &clock) == 0);
	before = daemon_usage_both(&h.daemon);
	cpu_ns = clock_ns(clock);
	poll(NULL, 0, ms);
	cpu_ns = clock_ns(clock) - cpu_ns;
	r->out->value = (double)(daemon_usage_both(&h.daemon).wakeups - before.wakeups) *
			1000 / ms;
	figure_add(r->out, "wake-ups/s", r->out->value);
	figure_add(r->out, "cpu us/s", (double)cpu_ns / ms);
	for (unsigned i = 0; i < CONNS; i++)
		close(fds[i]);
	host_down(&h);
}
