/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * HTTP over the daemon's API socket, by libcurl. What the daemon answers is not trusted:
 * nothing is believed but a status, and no more is kept than a bound.
 */
#pragma once

#include <signal.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { HTTP_BODY_MAX = 64 << 20, HTTP_WHY_MAX = 256 };

struct http_request {
	const char *socket;			/* the API's path */
	const char *method;			/* "GET" */
	const char *path;			/* "/v1/vms"; of plain characters */
	const char *json;			/* the body, or NULL */
	long timeout_ms;			/* for all of it; 0: none, but for connecting */
	/* How many signals have come that are to end it: HTTP_E_STOPPED. NULL: none counts. */
	const volatile sig_atomic_t *is_over;
	/* Asked with the first of them: it has been arranged that the end comes by itself, and soon;
	 * the second one ends it all the same. @capture: of the answer; 0: it says none. NULL: no. */
	bool (*stop)(void *ctx, uint64_t capture);
	void *stop_ctx;
};

struct http_answer {
	long status;				/* 200 */
	uint64_t capture;			/* its header Capture-Id; 0: has none */
	char *body;				/* owned, with a NUL behind it; never NULL */
	size_t len;
	char why[HTTP_WHY_MAX];			/* there is none: why not, for people */
};

enum {
	HTTP_E_NO_DAEMON = 1,			/* nobody is at the socket, or we may not connect */
	HTTP_E_LATE,				/* not accepted, or no answer, in time */
	HTTP_E_FAILED,				/* no HTTP, too much of it, or cut off */
	HTTP_E_STOPPED,				/* a sink took no more, or a signal came */
};

/* 0, whatever the status; HTTP_E_* and @out->why. In any case http_answer_deinit(). */
int http_ask(const struct http_request *request, struct http_answer *out);
int http_ask_aside(const struct http_request *request, struct http_answer *out);	/* from stop() */
void http_answer_deinit(struct http_answer *answer);

/* The same without an end: each piece of a body that comes with status 200 goes to @sink, which
 * returns false to end it. What comes with another status is @out's body. */
typedef bool http_sink(void *ctx, const char *bytes, size_t len);
int http_stream(const struct http_request *request, http_sink *sink, void *ctx,
		struct http_answer *out);
