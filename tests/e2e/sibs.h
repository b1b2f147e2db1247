/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Several VMs on one daemon, each other's siblings, and pairs of sockets between
 * them. All are driven by the test's own thread, one after the other, unless it
 * gives each a thread of its own: nothing here is shared between two VMs.
 */
#pragma once

#include "e2e/e2e.h"
#include "e2e/flow.h"

enum { SIBS_MAX = 4 };

struct sib {
	struct driver d;
	uint64_t cid;
	char socket[128], uds[128];
};

extern struct sib sibs[SIBS_MAX];		/* CIDs 3, 4, ... */

/* CID and paths of VM @i; and in @words, as for --vm. @groups: NULL: none named. */
void sibs_name(unsigned i, const char *groups, char *words, size_t size);

/* A daemon for @n VMs, from the bare fixture; @groups as for --vm, NULL (of all or
 * one): none named. No guest is up yet. */
void sibs_spawn(unsigned n, const char *const *groups);
void sibs_spawn_with(unsigned n, const char *const *groups, const char *const *extra);
void sib_up(struct sib *s, const struct driver_options *opt);	/* @opt: but for the CID */
/* Fixture's end: the guests, then the daemon. */
void sibs_teardown(void);

struct sib_pair {
	struct sock *from, *to;
};

/* Connects at PORT; both sides agree on the names. */
struct sib_pair sibs_connect(struct sib *from, struct sib *to);
/* Some patterned bytes, fewer than are taken before the receiver reads. */
void sibs_check_moves(struct sock *from, struct sock *to, size_t len, uint32_t seed);
void sibs_check_talks(struct sib_pair p);
/* ->from closes, both see it. */
void sibs_close(struct sib_pair p);
/* Both ends talk, in a new connection in each direction, and with the host. */
void sibs_check_alive(struct sib *a, struct sib *b);
void sib_check_host(struct sib *s);
/* Sends until nothing is taken any more, and says how much that was. */
uint64_t sibs_fill(struct sock *s, uint32_t seed);
/* What is there and comes, up to the end, has the pattern; returns how much. */
uint64_t sibs_drain(struct sock *s, uint32_t seed);

/* The flows of one guest in a thread. */
struct sib_run {
	struct driver *d;
	struct flow *flows;
	unsigned n;
	pthread_t thread;
};

void sib_run_start(struct sib_run *r);
void sib_run_finish(struct sib_run *r);

/* The end of a flow between two guests, of @len bytes each way. */
struct flow sibs_flow(struct sock *s, uint64_t len, uint32_t send_seed, uint32_t recv_seed);

/* A guest and a program of the host, moving @len bytes each way. */
struct sib_host_flow {
	struct flow flow;
	struct host_job job;
};

void sib_host_flow_start(struct sib_host_flow *h, struct sib *s, uint64_t len, uint32_t seed);
void sib_host_flow_finish(struct sib_host_flow *h);
