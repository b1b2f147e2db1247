/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Two VMs of one daemon that talk to each other: two drivers on two threads,
 * neither of which knows that the other is not a host program.
 */
#include <pthread.h>

#include "bench/clock.h"
#include "bench/cost.h"
#include "bench/flow.h"
#include "bench/rr.h"
#include "support/must.h"

struct far {					/* the guest that listens */
	struct vm *v;
	size_t size;
	bool echoes;
	struct check check;
	uint64_t received, echoed;
	int64_t end_ns;
	pthread_t thread;
};

static void *far_guest(void *arg)
{
	struct far *f = arg;
	struct sock *s = sock_accept(&f->v->d, VM_PORT);
	uint64_t n = 0;

	while (s->state == SOCK_OPEN && !(s->peer_shutdown & VSOCK_SHUTDOWN_SEND)) {
		if (f->echoes && s->total >= (n + 1) * f->size &&
		    vm_send_one(f->v, s, f->size, n))
			n++;
		else
			vm_wait(f->v);
	}
	f->end_ns = now_ns();
	f->received = s->total;
	f->echoed = n * f->size;
	sock_close(s);
	return NULL;
}

static uint16_t type_of(const struct run *r)
{
	return r->what->is_messages ? VSOCK_TYPE_SEQPACKET : VSOCK_TYPE_STREAM;
}

static void far_start(struct far *f, struct vm *v, const struct run *r, bool echoes)
{
	*f = (struct far){
		.v = v, .size = r->what->size, .echoes = echoes,
		.check = { .size = r->what->size, .all = r->is_quick },
	};
	vm_listen_as(v, type_of(r), &f->check);
	must(pthread_create(&f->thread, NULL, far_guest, f) == 0);
}

static struct sock *dial(struct vm *v, const struct run *r)
{
	struct sock *s = sock_dial_as(&v->d, type_of(r), VM_CID + 1, VM_PORT);

	if (!sock_wait_open(s))
		die("the sibling refused");
	return s;
}

static uint64_t flow_to_sibling(struct vm *v, const struct run *r, double seconds,
				double *mib_s)
{
	struct sock *s;
	struct far f;
	uint64_t sent;
	int64_t start;

	far_start(&f, v + 1, r, false);
	s = dial(v, r);
	start = now_ns();
	sent = vm_send(v, s, r->what->size, seconds);
	sock_close(s);
	must(pthread_join(f.thread, NULL) == 0);
	flow_expect_equal(sent, f.received);
	*mib_s = flow_rate(sent, start, f.end_ns);
	return sent;
}

void run_sibling(struct run *r)
{
	struct host h;

	host_up(&h, r, 2);
	flow_measure(r, &h, flow_to_sibling);
	host_down(&h);
}

void run_sibling_rr(struct run *r)
{
	struct check check = { .size = r->what->size, .all = r->is_quick };
	struct rr_client c = { .size = r->what->size };
	uint64_t n, received;
	struct cost cost;
	struct host h;
	struct far f;

	host_up(&h, r, 2);
	far_start(&f, &h.vms[1], r, true);
	c.v = &h.vms[0];
	c.s = dial(c.v, r);
	vm_sink(c.s, &check);
	cost_start(&cost, r, &h);
	n = rr_measure(r, rr_guest_once, &c);
	cost_stop_ops(&cost, r, n);
	received = c.s->total;
	sock_close(c.s);
	must(pthread_join(f.thread, NULL) == 0);
	flow_expect_equal(f.echoed, received);
	host_down(&h);
}
