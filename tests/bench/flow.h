/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Throughput of one connection, for scenarios that do something beside it.
 */
#pragma once

#include "bench/stream.h"
#include "bench/vm.h"

/* A connection, messages for @seconds, the end. Returns the bytes; *@mib_s is
 * the rate at which the receiver had them. */
typedef uint64_t flow_fn(struct vm *v, const struct run *r, double seconds,
			 double *mib_s);

flow_fn flow_to_host, flow_to_guest;

/* Once to warm up, once with its costs: value and figures of r->out. */
void flow_measure(struct run *r, struct host *h, flow_fn *flow);

/* The host's end of it; a reader is joined when @sent bytes are on their way. */
struct stream flow_stream(const struct run *r, int fd, double seconds);
void flow_join_reader(const struct run *r, struct stream *reader, uint64_t sent);

double flow_rate(uint64_t bytes, int64_t start_ns, int64_t end_ns);	/* MiB/s */
void flow_expect_equal(uint64_t sent, uint64_t received);
