/* SPDX-License-Identifier: BSD-3-Clause */
/* What the files of a capture share: capture.c (what the worker does), capture_writer.c (the
 * thread that writes). */
#pragma once

#include <stdalign.h>
#include <stdatomic.h>

#include "control/capture.h"

struct capture {
	struct capture_settings settings;
	char tag[32];				/* "vm 3" */
	uint64_t cid, id;
	void (*ended)(uint64_t cid, uint64_t id, const struct capture_state *last);
	struct capture_shared *shared;		/* mapped */
	int fds[CAPTURE_FILES_MAX];		/* owned */
	size_t n_files;
	int event_fd;				/* owned: wakes the thread */
	bool may_be_many;			/* as capture_config has it */
	uint8_t *ring;				/* records of a pcap file, one after the other */
	size_t size;				/* of it, a power of two */
	atomic_int n_refs;			/* the owner's, and the thread's */
	atomic_bool is_asleep;			/* the thread, until event_fd tells */
	atomic_bool ends;			/* nobody puts any more: capture_free() */
	atomic_bool has_ended;			/* nobody writes any more */

	alignas(64) _Atomic uint64_t head;	/* the worker's: bytes put since the start */
	uint64_t tail_seen;
	alignas(64) _Atomic uint64_t tail;	/* the thread's: bytes written */

	/* The thread's own. */
	bool is_stream;				/* no file, so what is written is gone */
	size_t file;				/* that it writes to */
	uint64_t offset;			/* behind the last whole packet there */
	uint64_t ends_ms;			/* when it is to give up; 0: not yet */
	uint64_t lost_logged, logged_ms;
};

/* ---- the ring ---- */

void capture_ring_get(const struct capture *c, uint64_t at, void *out, size_t len);

/* ---- capture_writer.c ---- */

void *capture_write_all(void *capture);		/* a thread */
void capture_note_rest_lost(struct capture *c);
void capture_count_more_lost(uint64_t n);
void capture_unref(struct capture *c);
