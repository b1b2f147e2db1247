/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What somebody in another thread wants to know of a worker's devices, or wants done to a
 * connection: it gets that by mail, and a portion in each batch of the worker's loop, so that
 * no turn of a device waits long for it. Devices may come and go meanwhile.
 */
#pragma once

#include <stdatomic.h>

#include "device/snapshot.h"
#include "device/worker.h"

enum {
	SURVEY_ROWS = 256,			/* of connections: 0.1 ms, if none is in a cache */
	SURVEY_DEVICES = 16,
};

struct survey_rows {				/* of one VM, one after the other */
	struct survey_rows *next;
	size_t n;
	struct conn_snapshot rows[SURVEY_ROWS];
};

struct survey_vm {
	struct survey_vm *next;
	struct device_snapshot device;
	struct survey_rows *first, *last;
	size_t n_conns;
	bool is_cut;				/* there are more */
};

struct survey_conn {				/* the name of a connection */
	enum vsock_type type;
	uint32_t guest_port;
	struct vsock_addr peer;
};

struct survey {
	uint64_t cid;				/* of one VM; 0: all */
	size_t max_conns;			/* rows for each; 0: none */
	const struct survey_conn *reset;	/* to be reset, in place of a look; NULL: none */
	struct device_tap *tap;			/* ... or this is to look on; NULL: none */
	/* It is over: 0; -ENOMEM: some are missing; -ECANCELED: the worker was stopped. In its
	 * thread, or in that which stops it. */
	void (*done)(struct survey *s, int result);
	atomic_bool is_abandoned;		/* nobody wants it any more; set by any thread */

	struct survey_vm *first, *last;		/* owned: in the order of its devices */
	bool was_found, was_reset;		/* the VM, which the tap has; the connection */

	struct worker *worker;			/* the rest is survey.c's */
	struct mail mail;
	struct loop_work work;
	struct worker_watch watch;
	size_t next;				/* of its devices */
	struct survey_vm *vm;			/* whose rows are missing; NULL: none's */
	struct conn_cursor cursor;
};

/* The caller's memory until done() is called; all zeroes but for what is wanted. */
void survey_post(struct survey *s, struct worker *w);

void survey_deinit(struct survey *s);		/* frees what was found */
