/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Who asks the workers, from any other thread: one VM or all, with connections or without.
 *
 * Each worker gets mail, and answers between two turns, a portion in each; the asker waits,
 * with a deadline, and gets memory of its own. A worker that hangs gives no answer, and the
 * others' are there all the same: process_snapshot::silent_workers says so. VMs may come and go meanwhile:
 * one that is there all the time is in the answer. While an engine is parked, for an upgrade,
 * nobody answers; after snapshots_close() nobody does any more, and whoever waits returns.
 *
 *	struct snapshots_want want = { .cid = 3, .max_conns = 1000, .wait_ms = 1000 };
 *	struct snapshots_answer answer;
 *
 *	if (snapshots_take(s, &want, &answer) == 0) {
 *		for (size_t i = 0; i < answer.n_vms; i++)
 *			... answer.vms[i].device, answer.vms[i].conns[0 .. n_conns - 1] ...
 *		snapshots_answer_deinit(&answer);
 *	}
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "device/snapshot.h"

struct snapshots;
struct worker;

enum {
	SNAPSHOTS_E_CLOSED = 1,			/* the engine ends */
	SNAPSHOTS_E_SILENT,			/* no worker has answered in time */
	SNAPSHOTS_E_NO_VM,			/* no worker has such a VM, or one that has is silent */
	SNAPSHOTS_E_NO_CONN,
	SNAPSHOTS_NUM_E,
};

const char *snapshots_str_error(int error);	/* SNAPSHOTS_E_* or -errno, for people */

/* ---- the engine's ---- */

/* What only the supervisor counts, in memory that it shares; NULL: there is none. */
struct snapshots_shared {
	const _Atomic uint64_t *upgrades, *crashes;
};

int snapshots_new(struct snapshots **out, const struct snapshots_shared *shared);	/* 0 or -ENOMEM */

/* Borrowed until snapshots_free(): one that runs. In the engine's thread; also while others ask. 0 or -ENOMEM. */
int snapshots_add_worker(struct snapshots *s, struct worker *w);

/*
 * Devices are about to move from one worker to another: until snapshots_release() whoever asks
 * waits, so that nobody sees a device twice, or not at all. False: somebody is just asking for a
 * worker's number, and will use it (snapshots_pin()). What has been asked before is known by
 * worker_is_watched(). From one thread.
 */
bool snapshots_hold(struct snapshots *s);
void snapshots_release(struct snapshots *s, unsigned n_moved);

/* Until snapshots_unpin() VMs stay where they are, snapshots_hold() is in vain. */
void snapshots_pin(struct snapshots *s);
void snapshots_unpin(struct snapshots *s);

void snapshots_close(struct snapshots *s);	/* NULL: nothing; before workers are stopped */

/* After the workers were stopped, their mail delivered, and all askers have returned. */
void snapshots_free(struct snapshots *s);	/* NULL: nothing */

/* ---- for askers, from any thread but the workers' ---- */

/* As survey_post(), to the worker that vm_snapshot::worker names. 0; SNAPSHOTS_E_CLOSED: it is not
 * posted. */
struct survey;
int snapshots_post(struct snapshots *s, unsigned worker, struct survey *survey);

struct snapshots_want {
	uint64_t cid;				/* of one VM; 0: all */
	size_t max_conns;			/* rows for each VM; 0: none */
	uint32_t wait_ms;
};

struct vm_snapshot {
	struct device_snapshot device;
	unsigned worker;			/* its number */
	struct conn_snapshot *conns;		/* owned; NULL: none */
	size_t n_conns;
	bool is_cut;				/* there are more */
};

struct process_snapshot {
	uint64_t uptime_ms;			/* of the engine */
	uint64_t upgrades, crashes;		/* since the supervisor began */
	uint64_t log_lines_lost;		/* could not be written */
	uint64_t log_lines_swallowed;		/* for their number */
	uint64_t events_lost;			/* on the way to a monitor, or a client of the API */
	uint64_t captured_lost;			/* packets, by captures of this process */
	uint64_t vm_moves;			/* from one worker to another */
	unsigned workers, silent_workers;	/* those that have not answered in time */
};

/* The table of those, as counters_families[] is for VMs. */
struct snapshots_family {
	const char *name;			/* as the member */
	const char *metric;			/* as Prometheus has it, in base units */
	const char *help;
	bool is_counter;			/* else a gauge */
	enum counters_unit unit;
	size_t offset, size;			/* in struct process_snapshot */
};

extern const struct snapshots_family snapshots_families[];
extern const size_t snapshots_num_families;
uint64_t snapshots_process_value(const struct process_snapshot *p,
				 const struct snapshots_family *f);

struct snapshots_answer {
	struct vm_snapshot *vms;		/* owned; in the order of their CIDs */
	size_t n_vms;
	struct process_snapshot process;
};

/* 0, and maybe process.silent_workers; SNAPSHOTS_E_CLOSED, _SILENT, _NO_VM (for want->cid); -ENOMEM. */
int snapshots_take(struct snapshots *s, const struct snapshots_want *want,
		   struct snapshots_answer *out);
void snapshots_answer_deinit(struct snapshots_answer *answer);

struct snapshots_conn {				/* the name of a connection */
	uint64_t cid;				/* of the VM */
	enum vsock_type type;
	uint32_t guest_port;
	struct vsock_addr peer;
};

/* Ends a connection in a reset for both sides. 0; SNAPSHOTS_E_*; -ENOMEM. */
int snapshots_reset_conn(struct snapshots *s, const struct snapshots_conn *conn,
			 uint32_t wait_ms);
