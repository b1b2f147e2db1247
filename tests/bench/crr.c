/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Connect, one byte each way, close, through the daemon: from the guest to a
 * host program and from a host program to the guest. As with close(2) the
 * guest's programs do not wait for the answer to SHUTDOWN.
 */
#include "bench/crr.h"

#include <stdatomic.h>
#include <stdlib.h>
#include <unistd.h>

#include "bench/cost.h"
#include "bench/rr.h"
#include "bench/vm.h"
#include "support/deadline.h"
#include "support/host.h"
#include "support/must.h"

enum { POLL_MS = 20 };

struct guest_side {
	struct vm *v;
	struct dying dying;
	struct run *r;				/* host_client's */
	atomic_bool is_done;
	uint64_t n_served, n_done;
};

static void count_only(struct sock *s, const uint8_t *data, size_t len)
{
	(void)s, (void)data, (void)len;
}

static void guest_once(void *arg, uint64_t number)
{
	struct guest_side *g = arg;
	struct sock *s = sock_connect(&g->v->d, VM_PORT);

	(void)number;
	s->sink = count_only;
	must(sock_send(s, "x", 1));
	while (!s->total) {
		if (s->state != SOCK_OPEN)
			die("reset before the answer");
		vm_wait(g->v);
	}
	must(s->total == 1);
	vm_close_later(g->v, &g->dying, s);
}

void run_crr_guest(struct run *r)
{
	struct guest_side *g = calloc(1, sizeof *g);
	struct crr_server server;
	struct cost cost;
	struct host h;

	must(g);
	host_up(&h, r, 1);
	g->v = &h.vms[0];
	crr_server_start(&server, vm_host_listen(g->v));
	cost_start(&cost, r, &h);
	cost_stop_ops(&cost, r, rr_measure(r, guest_once, g));
	vm_bury(g->v, &g->dying);
	crr_server_join(&server);
	vm_host_unlisten(g->v, server.listener);
	host_down(&h);
	free(g);
}

static void host_once(void *arg, uint64_t number)
{
	(void)number;
	crr_client(vm_host_connect(arg));
}

static void *host_client(void *arg)
{
	struct guest_side *g = arg;

	g->n_done = rr_measure(g->r, host_once, g->v);
	atomic_store(&g->is_done, true);
	return NULL;
}

/* Answers each connection's byte and closes it, in the order they came. */
static void guest_serves(struct guest_side *g)
{
	struct driver *d = &g->v->d;
	struct sock *s = NULL;

	while (!atomic_load(&g->is_done) || d->backlog || s) {
		if (!s && d->backlog)
			s = sock_accept(d, VM_PORT);
		if (s && s->total) {
			must(sock_send(s, "x", 1));
			vm_close_later(g->v, &g->dying, s);
			g->n_served++;
			s = NULL;
		} else if (s && s->state != SOCK_OPEN) {
			die("a client closed before its byte");
		} else if (!d->backlog || s) {
			driver_wait(d, deadline_in(POLL_MS), false);
		}
	}
}

void run_crr_host(struct run *r)
{
	struct guest_side *g = calloc(1, sizeof *g);
	pthread_t client;
	struct cost cost;
	struct host h;

	must(g);
	host_up(&h, r, 1);
	g->v = &h.vms[0];
	g->v->d.accept_sink = count_only;
	g->r = r;
	sock_listen(&g->v->d, VM_PORT);
	cost_start(&cost, r, &h);
	must(pthread_create(&client, NULL, host_client, g) == 0);
	guest_serves(g);
	must(pthread_join(client, NULL) == 0);
	cost_stop_ops(&cost, r, g->n_done);
	vm_bury(g->v, &g->dying);
	must(g->n_served >= g->n_done);
	host_down(&h);
	free(g);
}
