/* SPDX-License-Identifier: BSD-3-Clause */
/* What the files of the supervisor share: supervisor.c (its life), supervisor_feed.c (what an
 * engine is told at its start). */
#pragma once

#include <signal.h>
#include <stdatomic.h>

#include "daemon/channel.h"
#include "daemon/connects.h"
#include "daemon/held_vm.h"
#include "daemon/supervisor.h"
#include "util/loop.h"

enum supervisor_state {
	SUPERVISOR_STARTING,			/* an engine is there, and not ready yet */
	SUPERVISOR_SERVING,
	SUPERVISOR_WAITING,			/* there is none; the restart timer runs */
	SUPERVISOR_ENDING,
};

struct supervisor {
	struct plan *plan;			/* borrowed */
	struct loop *loop;
	struct loop_source signals, from_engine, pings;
	int signal_fd, program, shared_fd, ping_fd;	/* owned, as the next */
	int channel;				/* to the engine; -1: there is none */
	pid_t engine;				/* 0: there is none */
	enum supervisor_state state;
	struct supervise_shared *shared;	/* mapped; NULL: there is none */
	struct held_vm *vms;			/* owned, one for each of the plan */
	size_t n_vms, n_served;
	struct connects connects;
	struct loop_timer restart;
	struct loop_timer patience;		/* with an engine that ends, or is stopped */
	uint64_t started_ms;			/* the engine */
	uint32_t pause_ms;			/* before the next one, if they die too fast */
	unsigned n_restarts;			/* since one lived for long */
	bool has_served;			/* some engine was ready */
	bool has_failed;			/* the first one was not, and has said why */
	bool is_killed;				/* the engine, by us */
	bool is_hung;				/* for it hung */
	_Atomic uint64_t ping, pong;		/* asked, answered */
	int status;				/* of the process, 0 or -errno */
};

/* The VM if it is served; NULL: no such one. */
struct held_vm *supervisor_find(struct supervisor *s, uint64_t cid);

/* Handles all that the engine has said. */
void supervisor_hear(struct supervisor *s);

/* ---- supervisor_feed.c ---- */

/* Memory that engines share with us; 0 or -errno: it is not known what they are busy with. */
int supervisor_share(struct supervisor *s);
void supervisor_unshare(struct supervisor *s);

/* Tells the new engine all that it needs to know; its channel does not block from then on. 0,
 * or as channel_send(). */
int supervisor_feed(struct supervisor *s);

/* A message without anything in it. 0, or as channel_send(). */
int supervisor_say(struct supervisor *s, enum supervise_type type, uint64_t number);

/* The engine keeps a front-end's socket: one that we were passed for it is no longer ours, or
 * the front-end would not see it closed. */
void supervisor_passed_on(struct held_vm *h);
