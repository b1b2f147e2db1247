/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * All of the soak: the daemon, eight VMs and the connections among them and with
 * host programs, moved by one thread. So the script and what each party makes of
 * it are the same for a seed; when the daemon does its part is not.
 */
#pragma once

#include "soak/link.h"

enum { MUTE_CLIENTS = 16 };

struct mute_client {				/* connected, and says nothing */
	int fd;
	uint64_t until_step;
};

struct world {
	uint64_t seed;
	unsigned n_threads;
	struct daemon daemon;
	struct vm vms[SOAK_VMS];
	struct link links[SOAK_SLOTS];
	uint32_t n_links;			/* ever: makes their names */
	struct mute_client mutes[MUTE_CLIENTS];
	int stalled[SOAK_VMS][2];		/* listener, the one that fills its backlog */
	struct daemon_usage idle;		/* before the first VM came */
	int64_t looked_ms;			/* the last look at all */
	uint64_t done[ACT_COUNT];		/* actions that fitted */
};

extern struct world world;

struct world_options {
	uint64_t seed;
	unsigned threads;
	const char *log_level;
};

/* The daemon with all VMs up. */
void world_init(const struct world_options *o);
/* Everybody looks once at what there is to do. True if anything moved. */
bool world_turn(void);
/* Waits until somebody has something to do, at most @ms. */
void world_wait(int ms);
/* What lasts is over at this step: pauses, dead VMs. */
void world_wake_up(void);
/* All become willing; until nobody is owed anything. */
void world_settle(void);
/* All VMs and programs go: the daemon has to be as it was. */
void world_empty(void);
/* ... and comes back. */
void world_refill(void);
/* SIGTERM, status, log. */
void world_deinit(void);
/* To standard output, for who looks for the reason of a failure. */
void world_print_log(void);

struct link *world_new_link(uint32_t slot);
void world_guest_died(struct vm *v);

/* act.c: performs what fits; false: it did not. */
bool act_perform(const struct act *a);
