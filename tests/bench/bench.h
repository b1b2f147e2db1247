/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The benchmark: scenarios of traffic through the real daemon, and beside each
 * one a physical limit, the same traffic without a daemon, measured in the same
 * round. Only the ratio of the two says much on a machine that has other work.
 * Or beside each a peer: the same traffic through another program, or through the
 * kernel's own vhost-vsock.
 *
 * A scenario measures once per call, in a process of its own (isolate.h) with a
 * fresh daemon; what fails there fails one row. It plays the guest on the
 * process's first thread and host programs on others. The guest is cheap on
 * purpose: packets are not allocated, payload memory is used again, and of what
 * arrives all bytes are counted but only a sample is compared (check.h); so the
 * time measured is the daemon's, the kernel's and the wake-ups'.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { FIGURES_MAX = 12 };

struct figure {
	char name[28];				/* with its unit */
	double value;
};

struct measure {
	bool is_done;
	bool is_overrun;			/* when not done: by a rule of vhost-vsock's own */
	double value;				/* in the scenario's unit */
	unsigned n_figures;			/* what else was seen */
	struct figure figures[FIGURES_MAX];
	char error[320];			/* when not done */
	char note[96];				/* when done, but not as it should be */
};

struct run {
	const struct scenario *what;
	const char *program;			/* NULL: a limit needs none */
	bool has_peer;				/* ours and a peer in turns, and */
	bool is_foreign;			/* this is the peer */
	bool is_kernels;			/* this is vhost-vsock: kernel.h */
	double seconds;
	bool is_quick;				/* few of everything, all bytes compared */
	bool counts_syscalls;			/* slows the daemon down: value is void */
	unsigned poll_us;			/* a key of its VMs; 0: they have not got it */
	bool is_observed;			/* by an API client each second, and with events */
	struct measure *out;
};

struct goal {
	const char *figure;			/* NULL: none */
	const char *of_limit;			/* of this one; NULL: absolute */
	double at_most, at_least;		/* 0: no bound */
};

struct scenario {
	const char *name, *unit;
	void (*run)(struct run *r);
	const char *limit;			/* another's name, or NULL */
	double target;				/* ratio to the limit, or 0 */
	struct goal goal;			/* of a figure, beside it */
	size_t size;				/* bytes of a message */
	unsigned count;				/* of connections, of VMs */
	unsigned n_idle;			/* of others beside them, which say nothing */
	unsigned queue_size;			/* 0: 128 */
	unsigned threads;			/* of the daemon; 0: as many as it likes */
	bool is_messages;			/* SOCK_SEQPACKET */
	bool polls_first;			/* the host program's writer: stream.h */
	bool waits_in_epoll;			/* the host program that answers */
	bool is_pinned;				/* everything on one CPU */
	bool is_limit;				/* no row of its own unless named */
	bool is_bare;				/* no daemon has a part in it */
	bool is_cost;				/* less is better */
	bool has_api;				/* the daemon has a control API, whoever asks */
	bool beside_kernel;			/* a row of --kernel */
	const char *says;			/* one line for --list */
};

/* All rows in the order of the report, ended by a NULL name. */
extern const struct scenario scenarios[];
const struct scenario *scenario_find(const char *name);

void figure_add(struct measure *m, const char *name, double value);
/* NULL when there is none of that name. */
const struct figure *figure_find(const struct measure *m, const char *name);

/* Scenarios; each file has the limits that are like them at its side. */
void run_flow(struct run *r);			/* flow.c: guest to host */
void run_flow_to_guest(struct run *r);
void run_flow_both(struct run *r);
void run_stalled_reader(struct run *r);		/* stall.c: beside run_flow */
void run_stalled_program(struct run *r);	/* beside run_flow_to_guest */
void run_stalled_guest(struct run *r);
void run_vms(struct run *r);			/* vms.c: many times run_flow */
void run_vms_idle(struct run *r);
void run_uds_vms(struct run *r);
void run_many(struct run *r);			/* many.c: connections of one VM */
void run_many_to_guest(struct run *r);
void run_many_idle(struct run *r);
void run_many_turns(struct run *r);
void run_uds_many(struct run *r);		/* ... without a daemon */
void run_rr(struct run *r);			/* rr.c */
void run_crr_guest(struct run *r);		/* crr.c */
void run_crr_host(struct run *r);
void run_sibling(struct run *r);		/* sibling.c */
void run_sibling_rr(struct run *r);
void run_idle(struct run *r);			/* idle.c */
void run_pause(struct run *r);			/* pause.c */
void run_observe(struct run *r);		/* observe.c */

void run_uds(struct run *r);			/* limit_flow.c */
void run_uds_both(struct run *r);
void run_uds_messages(struct run *r);
void run_memcpy(struct run *r);
void run_relay_rr(struct run *r);		/* limit_rr.c */
void run_relay_sibling_rr(struct run *r);
void run_uds_crr(struct run *r);		/* crr_host.c */
