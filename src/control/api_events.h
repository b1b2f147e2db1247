/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Events for clients of the API: the lines of the event monitor (events.h), to each that has
 * asked, from then on.
 *
 * Those of the VMs come from this process (event_feed.h); those of the daemon, which happen in its
 * supervisor, from there. Each client has a queue of fixed size. What does not fit is lost, and
 * counted, and the next line that it gets says how many were. Nobody else notices.
 *
 * An engine that dies, or is replaced, ends these streams with it. So that its clients can
 * connect to the next one and hear how that came, the supervisor tells each engine of the last
 * events before it; who says since when he knows nothing gets them.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct api_context;
struct api_events;
struct api_request;
struct mailbox;

enum {
	API_EVENTS_CLIENTS_MAX = 16,
	API_EVENTS_QUEUE_BYTES = 256 * 1024,	/* of each; a thousand lines */
	API_EVENTS_KEPT = 64,			/* events of the daemon, for those who come later */
};

/* All in the API's thread, or while there is none. @mailbox: of it, borrowed. NULL: no memory. */
struct api_events *api_events_new(struct api_context *context, struct mailbox *mailbox);
void api_events_free(struct api_events *e);	/* there are no clients any more; NULL: nothing */

/* One of the supervisor; @was_before: not just now, but told again to an engine that is new. */
void api_events_tell(struct api_events *e, uint64_t at_ns, bool was_before, const char *line,
		     size_t len);

void api_events_get(struct api_request *r);	/* serves a route, see api_routes.h */
