/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The daemon with its VMs, and what a guest program does on a socket, as Linux
 * does it: queues of 128 (or 256), RX buffers of one 4 KiB descriptor, header
 * and payload of TX in an indirect table of two, EVENT_IDX, 256 KiB of credit
 * each way (the daemon is started with tx-buffer-size=262144), neither IN_ORDER
 * nor NOTIFY_ON_EMPTY, kicks only when they are asked for.
 *
 * Or the kernel's vhost-vsock in the daemon's place, with the same guest: kernel.h.
 *
 * Unlike Linux it asks for a call from the TX ring only when it waits for room
 * there, so that a daemon is measured and not the guest's interrupts.
 */
#pragma once

#include "bench/bench.h"
#include "bench/check.h"
#include "bench/kernel.h"
#include "bench/observer.h"
#include "support/daemon.h"
#include "support/driver.h"
#include "support/sock.h"

enum { VM_PORT = 5000, VM_CID = 3, VM_CREDIT = 256 * 1024 };

struct vm {
	struct driver d;
	char socket[96], uds[96];
	size_t *filled;				/* bytes of the pattern, by TX slot */
	uint64_t next_number;			/* of the message on its way out */
	struct check *accepts;			/* where vm_listen() puts what comes */
	bool is_kernels;			/* and not a daemon's, */
	struct kernel_vsock kernel;		/* but this one's; host programs have AF_VSOCK */
};

struct host {					/* one daemon and its guests */
	bool has_kernel;			/* no daemon but the kernel, and one guest */
	struct daemon daemon;
	char api[96];				/* its API's socket, if it has one */
	struct observer observer;
	unsigned n_vms;
	struct vm *vms;
};

void host_up(struct host *h, const struct run *r, unsigned n_vms);
void host_down(struct host *h);			/* the daemon must end well */

/* A host program's listener for what the guest connects to; closed by the other. */
int vm_host_listen(struct vm *v);
void vm_host_unlisten(struct vm *v, int listener);
/* A host program's connection to the guest's VM_PORT, once it stands. */
int vm_host_connect(struct vm *v);

/* One more connection from the guest to a host program: both its ends. */
struct sock *vm_connect(struct vm *v, int *fd);
struct sock *vm_connect_messages(struct vm *v, int *fd);	/* of SOCK_SEQPACKET */
void vm_connect_many(struct vm *v, unsigned n, struct sock **socks, int *fds);

/* A message of the pattern; false when credit or ring have no room for all. */
bool vm_send_one(struct vm *v, struct sock *s, size_t size, uint64_t number);
/* Messages for so long, then SHUTDOWN(SEND). Returns the bytes. Ends early when the kernel has
 * reset the connection; a daemon must not. */
uint64_t vm_send(struct vm *v, struct sock *s, size_t size, double seconds);
/* What comes is given to @c from now on. */
void vm_sink(struct sock *s, struct check *c);
/* Listens at VM_PORT; what comes on such a connection is given to @c. */
void vm_listen(struct vm *v, struct check *c);
void vm_listen_as(struct vm *v, uint16_t type, struct check *c);	/* enum vsock_type */
/* Until the peer sends no more; returns the bytes. */
uint64_t vm_receive(struct vm *v, struct sock *s);
/* Something happens on the rings, or dies. */
void vm_wait(struct vm *v);

/* close(2) that does not wait: the sockets are freed when RST has come. */
enum { VM_DYING_MAX = 1024 };

struct dying {
	struct sock *socks[VM_DYING_MAX];	/* circular */
	unsigned first, n;
};

void vm_close_later(struct vm *v, struct dying *dying, struct sock *s);
void vm_bury(struct vm *v, struct dying *dying);	/* waits for the rest */
