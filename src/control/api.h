/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The control API: HTTP/1.1 with JSON over a unix socket (src/data/openapi.json says what it
 * answers), and /metrics.
 *
 * It is served by libmicrohttpd in one thread of its own, in the sandbox. Who may connect is
 * said by the socket's mode; whoever does may be slow, silent or hostile all the same, and must
 * not cost the data path anything: there are API_CLIENTS_MAX of them at a time, each with a
 * bounded piece of memory and API_REQUEST_MS for a request and its answer, however either is
 * dripped; so many bytes wait for all of them to be read, and more is refused. Workers are
 * asked by mail (snapshots.h), and what the engine may not do itself is asked of its supervisor
 * as an order (protocol/supervise.h), whose outcome is what the client is told; the client
 * waits for that without holding up the others.
 *
 * Built without libmicrohttpd (api_none.c) nobody can ask for it: the option is refused.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "control/api_captures.h"
#include "protocol/supervise.h"

struct api;
struct snapshots;

enum {
	API_CLIENTS_MAX = 64,
	API_REQUEST_MS = 15 * 1000,		/* from its connection, or the answer before */
	API_FDS = API_CLIENTS_MAX + API_CAPTURES_MAX * API_CAPTURE_FDS + 8,	/* that all of it needs */
};

struct api_config {
	int fd;					/* listens, does not block; taken over in any case */
	bool is_supervised;
	/*
	 * Passes an order on: its outcome comes by api_answer(), with the id that is in it; @fd,
	 * borrowed, goes with it, or is -1. From the API's thread; must not block. 0 or -errno.
	 */
	int (*order)(struct supervise_msg *m, const void *text, size_t len, int fd);
};

/* Before the sandbox is entered: 0 or -errno. Nobody is served yet. */
int api_new(struct api **out, const struct api_config *config);

/* Starts the thread, which serves. @snapshots: borrowed until api_free(). 0 or -errno. */
int api_start(struct api *api, struct snapshots *snapshots);

/* While it is held nobody is served, and clients wait. Also when it has not been started; NULL:
 * nothing. From one thread; does not wait for the API's. */
void api_hold(struct api *api);
void api_go_on(struct api *api);

/* The outcome of an order. From any thread; a late one is forgotten. */
void api_answer(struct api *api, uint32_t id, enum supervise_outcome outcome, const void *text,
		size_t len);

/* An event of the supervisor, see api_events_tell(). From any thread. NULL: nothing. */
void api_tell_event(struct api *api, uint64_t at_ns, bool was_before, const char *line, size_t len);

/* To the client of an engine before, which has asked for an upgrade: it has worked. Takes
 * @fd over. */
void api_tell_upgraded(int fd);

/* Who waits is told that the daemon ends; then ends the thread. NULL: nothing. */
void api_free(struct api *api);
