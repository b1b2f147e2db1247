/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * One measurement in a process of its own: a daemon that fails a check ends the
 * row and not the benchmark, and being pinned ends with it.
 */
#pragma once

#include "bench/bench.h"

/* A folder for all sockets and logs, in TMPDIR; removed at the end. */
void isolate_init(void);
void isolate_deinit(void);
/* Fills r->out, with is_done or the error. */
void isolate_run(struct run *r);
