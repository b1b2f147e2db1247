/* SPDX-License-Identifier: BSD-3-Clause */
/* What is the same for all requests to the control API. For its thread. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "util/list.h"

struct api_captures;
struct api_events;
struct api_route;
struct loop;
struct loop_work;
struct snapshots;
struct supervise_msg;

struct api_context {
	const struct api_route *routes;
	struct snapshots *snapshots;
	struct api_events *events;
	struct api_captures *captures;
	struct loop *loop;
	struct loop_work *run;			/* of the library: scheduled when an answer is there */
	int (*order)(struct supervise_msg *m, const void *text, size_t len, int fd);
	bool is_supervised;
	bool ends;				/* the daemon: nobody is served any more */
	struct list waiting;			/* api_request::node: for outcomes */
	struct list streams;			/* api_stream::node */
	size_t n_unread;			/* bytes of answers, until their clients have them */
	uint32_t last_id;
};
