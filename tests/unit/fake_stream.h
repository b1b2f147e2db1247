/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A stream and a backend that do what a test tells them, and write down what
 * the core does to them. Streams live in the test, so that one that was closed
 * can still be looked at; the core may not touch it any more.
 */
#pragma once

#include <stdarg.h>

#include "vsock/backend.h"

#define FAKE_TAG 0x454b4146			/* "FAKE" */

/* Words, each with a blank in front but the first. */
struct trace {
	char text[8192];
	size_t len;
};

void trace_add(struct trace *trace, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

enum { FAKE_MESSAGES = 32 };

struct fake_message {				/* of one of type SEQPACKET */
	size_t len;				/* bytes, in fake_stream::give */
	uint32_t flags;				/* VSOCK_SEQ_EOR */
};

struct fake_stream {
	struct stream base;
	struct trace *trace;			/* or NULL */
	const char *prefix;			/* of its words: "" or "b." */
	uint32_t id;				/* its place in its backend */
	bool is_pending;
	/* What it will do. */
	char give[1024];			/* read gives these, */
	size_t n_give;
	size_t n_more;				/* then as many 'x', */
	struct fake_message messages[FAKE_MESSAGES];	/* or, of them, one after the other */
	size_t n_messages;
	int end;				/* then that: 0 is STREAM_E_AGAIN */
	size_t takes;				/* bytes, or messages, until write says STREAM_E_AGAIN */
	size_t message_max;			/* bytes; 0: any */
	int write_error;			/* what it says then, if not 0 */
	/* What it has seen. */
	size_t n_read, n_written;		/* bytes */
	_Atomic uint32_t by_peer;		/* stream::consumed, where its peer is a guest */
	size_t read_calls, write_calls, largest_read;
	unsigned waits_for;
	bool is_closed, is_orderly;
};

void fake_stream_init(struct fake_stream *f, struct trace *trace, const char *prefix);

/* Another message to read. */
void fake_stream_give_message(struct fake_stream *f, const char *bytes, size_t len, uint32_t flags);

struct fake_backend {
	struct backend base;
	uint64_t cid;				/* that it serves */
	int result;				/* of the next connects */
	int load_result;			/* of the next loads, if not 0 */
	unsigned ready_after_load;		/* STREAM_*, added */
	struct fake_stream *streams;		/* taken in order */
	size_t n_streams, n_connects;
};

void fake_backend_init(struct fake_backend *b, uint64_t cid, struct fake_stream *streams,
		       size_t n_streams);
