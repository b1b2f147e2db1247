/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Daemon, guests and their traffic: see vm.h.
 */
#include "bench/vm.h"

#include <signal.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "bench/clock.h"
#include "support/deadline.h"
#include "support/host.h"
#include "support/host_messages.h"
#include "support/must.h"

enum { ARGS_MAX = 2048, ARG_LEN = 320, CLOCK_EVERY = 16 * 1024, BACKLOG = 16,
       CONNS_MAX = 4096 };			/* of a VM, for a daemon that is told nothing */

/* "PROGRAM OPTION...": the name goes where daemon_spawn() looks for it. */
static unsigned split_program(const char *program, char *copy, size_t size,
			      const char **args)
{
	unsigned n = 0;
	char *word, *save;

	must(strlen(program) < size);
	strcpy(copy, program);
	word = strtok_r(copy, " ", &save);
	must(word);
	setenv("VHOST_DEVICE_VSOCK", word, 1);
	while ((word = strtok_r(NULL, " ", &save)) && n < 16)
		args[n++] = word;
	return n;
}

/* What a daemon that is watched has; returns how many words that is. */
static unsigned add_observed(struct host *h, const struct run *r, const char **args)
{
	static char events[128], api[128];
	unsigned n = 0;

	snprintf(h->api, sizeof h->api, "%s/api", h->daemon.dir);
	snprintf(events, sizeof events, "--event-monitor=path=%s/events", h->daemon.dir);
	snprintf(api, sizeof api, "--api-socket=path=%s", h->api);
	if (r->is_observed)
		args[n++] = events;
	if (r->is_observed || r->what->has_api)
		args[n++] = api;
	return n;
}

static unsigned add_threads(const struct run *r, const char **args)
{
	static char threads[32];

	if (!r->what->threads || r->is_foreign)
		return 0;
	snprintf(threads, sizeof threads, "--threads=%u", r->what->threads);
	args[0] = threads;
	return 1;
}

/* Where one of its VMs may get more connections than it would allow. */
static const char *more_connections(const struct run *r)
{
	static char words[40];
	unsigned n = r->what->count + r->what->n_idle;

	if (n <= CONNS_MAX || r->is_foreign)
		return "";
	snprintf(words, sizeof words, ",max-connections=%u", n);
	return words;
}

static void spawn(struct host *h, const struct run *r)
{
	char words[1024], (*vm_args)[ARG_LEN] = calloc(h->n_vms, sizeof *vm_args);
	const char *args[ARGS_MAX] = { NULL };
	unsigned n = split_program(r->program, words, sizeof words, args);
	char polls[32] = "";

	must(vm_args);
	n += add_observed(h, r, args + n);
	n += add_threads(r, args + n);
	if (r->poll_us)
		snprintf(polls, sizeof polls, ",poll-us=%u", r->poll_us);
	for (unsigned i = 0; i < h->n_vms; i++) {
		struct vm *v = &h->vms[i];

		snprintf(v->socket, sizeof v->socket, "%s/%u.vhost", h->daemon.dir, i);
		snprintf(v->uds, sizeof v->uds, "%s/%u.vm", h->daemon.dir, i);
		snprintf(vm_args[i], ARG_LEN,
			 "guest-cid=%u,socket=%s,uds-path=%s,tx-buffer-size=%u%s%s",
			 VM_CID + i, v->socket, v->uds, (unsigned)VM_CREDIT,
			 more_connections(r), polls);
		must(n + 3 < ARGS_MAX);
		args[n++] = "--vm";
		args[n++] = vm_args[i];
	}
	daemon_spawn(&h->daemon, args);
	free(vm_args);
}

static struct vm *vm_of(struct driver *d)
{
	return (struct vm *)((char *)d - offsetof(struct vm, d));
}

/* Payload memory is used again: a slot gets the pattern once, then stamps. */
static void fill(struct driver *d, uint16_t slot, uint8_t *to, size_t len)
{
	struct vm *v = vm_of(d);

	if (v->filled[slot] < len) {
		memcpy(to, check_pattern(), len);
		v->filled[slot] = len;
	}
	check_stamp(to, len, v->next_number);
}

static void vm_up(struct vm *v, const struct run *r, uint64_t cid)
{
	struct driver_options opt = {
		.cid = cid, .queue_size = r->what->queue_size,
		.buf_alloc = VM_CREDIT, .tx_shape = TX_INDIRECT_TWO,
		.without = UINT64_C(1) << VIRTIO_F_IN_ORDER |
			   UINT64_C(1) << VIRTIO_F_NOTIFY_ON_EMPTY,
	};

	if (r->is_kernels) {
		/* Of each measurement its own: what the last one left is in the kernel for seconds. */
		opt.cid = (uint64_t)VM_CID + (uint64_t)getpid();
		opt.habits = &START_QEMU;
		v->is_kernels = true;
		driver_init(&v->d, &opt);
		kernel_up(&v->kernel, &v->d);
	} else {
		driver_up(&v->d, v->socket, &opt);
	}
	if (!has_feature(v->d.fe.features, VIRTIO_F_INDIRECT_DESC))
		v->d.opt.tx_shape = TX_TWO;
	v->d.fill = fill;
	v->filled = calloc(v->d.n_tx_slots, sizeof *v->filled);
	must(v->filled);
}

static void daemon_up(struct host *h, const struct run *r)
{
	daemon_init(&h->daemon);
	h->daemon.is_foreign = r->is_foreign;
	spawn(h, r);
	for (unsigned i = 0; i < h->n_vms; i++)
		if (!daemon_wait_listening(&h->daemon, h->vms[i].socket))
			die("the daemon did not start: %s", daemon_log(&h->daemon));
}

void host_up(struct host *h, const struct run *r, unsigned n_vms)
{
	*h = (struct host){
		.n_vms = n_vms, .has_kernel = r->is_kernels, .observer.stop = -1,
	};
	h->vms = calloc(n_vms, sizeof *h->vms);
	must(h->vms);
	if (!h->has_kernel)
		daemon_up(h, r);
	for (unsigned i = 0; i < n_vms; i++)
		vm_up(&h->vms[i], r, VM_CID + i);
	if (r->is_observed || r->what->has_api)
		must(daemon_wait_listening(&h->daemon, h->api));
	if (r->is_observed)
		observer_start(&h->observer, h->api);
}

static void daemon_down(struct host *h)
{
	int status = daemon_stop(&h->daemon, DEADLINE_MS);

	if (status != 0 && status != -SIGTERM)
		die("the daemon ended with %d", status);
	daemon_deinit(&h->daemon);
}

void host_down(struct host *h)
{
	observer_stop(&h->observer);
	for (unsigned i = 0; i < h->n_vms; i++) {
		if (h->has_kernel)
			kernel_down(&h->vms[i].kernel);
		driver_deinit(&h->vms[i].d);
		free(h->vms[i].filled);
	}
	if (!h->has_kernel)
		daemon_down(h);
	free(h->vms);
}

int vm_host_listen(struct vm *v)
{
	if (v->is_kernels)
		return kernel_listen(SOCK_STREAM, VM_PORT, BACKLOG);
	return host_listen(v->uds, VM_PORT, BACKLOG);
}

static int listen_for_messages(struct vm *v)
{
	if (v->is_kernels)
		return kernel_listen(SOCK_SEQPACKET, VM_PORT, BACKLOG);
	return host_messages_listen(v->uds, VM_PORT, BACKLOG);
}

void vm_host_unlisten(struct vm *v, int listener)
{
	if (v->is_kernels)
		close(listener);
	else
		host_unlisten(listener, v->uds, VM_PORT);
}

/* What the hybrid protocol asks of a client, read and written at once. */
static int connect_to_uds(const char *uds)
{
	int fd = host_connect(uds), len;
	char line[32];

	must(fd >= 0);
	len = snprintf(line, sizeof line, "CONNECT %u\n", (unsigned)VM_PORT);
	must(write(fd, line, (size_t)len) == len);
	must(read(fd, line, sizeof line) > 3 && memcmp(line, "OK ", 3) == 0);
	return fd;
}

int vm_host_connect(struct vm *v)
{
	int fd;

	if (!v->is_kernels)
		return connect_to_uds(v->uds);
	fd = kernel_connect(SOCK_STREAM, (uint32_t)v->d.opt.cid, VM_PORT);
	must(fd >= 0);
	return fd;
}

void vm_connect_many(struct vm *v, unsigned n, struct sock **socks, int *fds)
{
	int listener = vm_host_listen(v);

	for (unsigned i = 0; i < n; i++) {
		socks[i] = sock_connect(&v->d, VM_PORT);
		fds[i] = host_accept(listener);
	}
	vm_host_unlisten(v, listener);
}

struct sock *vm_connect(struct vm *v, int *fd)
{
	struct sock *s;

	vm_connect_many(v, 1, &s, fd);
	return s;
}

struct sock *vm_connect_messages(struct vm *v, int *fd)
{
	int listener = listen_for_messages(v);
	struct sock *s = sock_dial_as(&v->d, VSOCK_TYPE_SEQPACKET, VSOCK_CID_HOST, VM_PORT);

	must(sock_wait_open(s));
	*fd = v->is_kernels ? host_accept(listener) : host_messages_accept(listener);
	vm_host_unlisten(v, listener);
	return s;
}

void vm_wait(struct vm *v)
{
	bool was_full = !v->d.n_tx_free, for_tx = !driver_can_send(&v->d);

	if (was_full && !for_tx)
		return;				/* room has come since the caller looked */
	if (!driver_wait(&v->d, deadline_in(DEADLINE_MS), for_tx))
		die("nothing moved for %d s", DEADLINE_MS / 1000);
}

bool vm_send_one(struct vm *v, struct sock *s, size_t size, uint64_t number)
{
	if (sock_room(s) < size || !driver_can_send(&v->d))
		return false;
	v->next_number = number;
	return sock_send_some(s, NULL, size) == size;
}

uint64_t vm_send(struct vm *v, struct sock *s, size_t size, double seconds)
{
	int64_t until = now_ns() + ns_of(seconds);
	uint64_t often = size < CLOCK_EVERY ? CLOCK_EVERY / size : 1, n = 0;

	while (n % often || now_ns() < until) {
		if (vm_send_one(v, s, size, n)) {
			n++;
			continue;
		}
		if (s->state != SOCK_OPEN && v->is_kernels)
			return n * size;	/* the host program is told why */
		if (s->state != SOCK_OPEN)
			die("the connection was reset");
		vm_wait(v);
	}
	sock_shutdown(s, VSOCK_SHUTDOWN_SEND);
	return n * size;
}

static void on_data(struct sock *s, const uint8_t *data, size_t len)
{
	check_take(s->arg, data, len);
}

void vm_sink(struct sock *s, struct check *c)
{
	s->arg = c;
	s->sink = on_data;
}

static void on_accepted_data(struct sock *s, const uint8_t *data, size_t len)
{
	check_take(vm_of(s->d)->accepts, data, len);
}

void vm_listen_as(struct vm *v, uint16_t type, struct check *c)
{
	v->accepts = c;
	v->d.accept_sink = on_accepted_data;
	if (!v->d.n_listening)
		sock_listen_as(&v->d, type, VM_PORT);
}

void vm_listen(struct vm *v, struct check *c)
{
	vm_listen_as(v, VSOCK_TYPE_STREAM, c);
}

uint64_t vm_receive(struct vm *v, struct sock *s)
{
	while (s->state == SOCK_OPEN && !(s->peer_shutdown & VSOCK_SHUTDOWN_SEND))
		vm_wait(v);
	return s->total;
}

static bool bury_first(struct dying *dying)
{
	struct sock *s = dying->socks[dying->first];

	if (!dying->n || s->state != SOCK_RESET)
		return false;
	sock_free(s);
	dying->first = (dying->first + 1) % VM_DYING_MAX;
	dying->n--;
	return true;
}

void vm_close_later(struct vm *v, struct dying *dying, struct sock *s)
{
	if (s->state == SOCK_OPEN)
		sock_shutdown(s, VSOCK_SHUTDOWN_BOTH);
	while (bury_first(dying))
		;
	while (dying->n == VM_DYING_MAX && !bury_first(dying))
		vm_wait(v);
	dying->socks[(dying->first + dying->n++) % VM_DYING_MAX] = s;
}

void vm_bury(struct vm *v, struct dying *dying)
{
	while (dying->n)
		if (!bury_first(dying))
			vm_wait(v);
}
