/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * An answer without an end: what comes is sent as it comes, until its source or the daemon ends,
 * or the client leaves. All of this happens in the API's thread, which waits for none of them: a
 * stream that has nothing to say is suspended, and one whose client does not read is left alone
 * until its socket takes more. What is lost meanwhile is its source's business.
 *
 * A stream may be idle for as long as it likes, so it has no deadline; each kind of them is
 * bounded in number, to less than API_CLIENTS_MAX.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

#include "util/list.h"
#include "util/loop.h"

struct api_context;
struct api_stream;
struct MHD_Connection;

enum { API_STREAM_END = -1 };

struct api_stream_ops {
	/* What is there, up to @max bytes, at least one: how many. 0: nothing just now;
	 * api_stream_wake() follows. API_STREAM_END: nothing will be any more. */
	ssize_t (*read)(struct api_stream *s, char *to, size_t max);
	/* The daemon ends: from now on there is what has come, and then the end. */
	void (*finish)(struct api_stream *s);
	void (*free)(struct api_stream *s);
};

struct api_stream {				/* part of what it is a stream of */
	const struct api_stream_ops *ops;
	struct api_context *context;
	struct MHD_Connection *connection;
	bool is_suspended;			/* there was nothing to say */
	bool is_gone;				/* its client has left */
	struct loop_source hangup;		/* tells that */
	struct list node;			/* api_context::streams */
};

/* @fd: the client's socket, borrowed until api_stream_deinit(). 0 or -errno. */
int api_stream_init(struct api_stream *s, const struct api_stream_ops *ops,
		    struct api_context *context, struct MHD_Connection *connection, int fd);
void api_stream_deinit(struct api_stream *s);

void api_stream_wake(struct api_stream *s);	/* there is something, or the end */

/* ---- for the request that it answers ---- */

struct MHD_Response;

/* NULL: no memory; else it frees the stream. */
struct MHD_Response *api_stream_respond(struct api_stream *s);

void api_stream_finish_all(struct api_context *context);

/* None of them waits any more: the library may be stopped. */
void api_stream_drop_all(struct api_context *context);
