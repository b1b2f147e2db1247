/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Captures by clients of the API: what a VM and its device say to each other, as pcap, to who has
 * asked, until he leaves. No file is opened, and those that are configured go on beside them.
 *
 * A capture's thread writes into a pipe (live_capture.h), and that is read as fast as the client
 * takes it. One that is slow has the pipe full, then the capture's ring, and then packets are
 * lost and counted; the guest does not notice.
 */
#pragma once

#include <stdint.h>

struct api_captures;
struct api_context;
struct api_request;

enum {
	API_CAPTURES_MAX = 8,			/* at a time */
	API_CAPTURE_FDS = 3,			/* of each: both ends of its pipe, and what wakes it */
};

struct api_captures *api_captures_new(struct api_context *context);	/* NULL: no memory */
void api_captures_free(struct api_captures *all);	/* there are none any more; NULL: nothing */

/* Each serves a route, see api_routes.h. */
void api_captures_begin(struct api_request *r);
void api_captures_get(struct api_request *r);
void api_captures_end(struct api_request *r);
