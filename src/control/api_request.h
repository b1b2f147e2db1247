/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * One request to the control API: its body comes, its route serves it, and it has an answer, at
 * once or when an order has had its outcome. All of this happens in the API's thread.
 */
#pragma once

#include <jansson.h>
#include <microhttpd.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "control/api_context.h"
#include "control/api_routes.h"
#include "protocol/supervise.h"
#include "util/list.h"
#include "util/loop.h"

struct api_stream;

struct api_client {				/* its connection, by the library's context of it */
	int fd;					/* borrowed */
	uint64_t since_ms;			/* its deadline runs */
	bool waits;				/* ... not: for an outcome, or what a stream brings */
	bool is_busy;				/* a request has begun, and is not answered in full */
	const char *uri;			/* of the request, in the library's buffer; or NULL */
	size_t uri_len;				/* before anything was cut off and decoded */
	struct list node;			/* the API's */
};

/* Its deadline runs from now on, or not. */
static inline void api_client_set_waits(struct api_client *c, const struct loop *loop, bool waits)
{
	c->waits = waits;
	c->since_ms = loop_now_ms(loop);
}

enum api_request_state {
	API_RECEIVING,				/* its body comes */
	API_WAITING,				/* an order was passed on: no outcome yet */
	API_ANSWERED,				/* ... is what is sent next, or has been */
};

struct api_request {
	struct api_context *context;
	struct MHD_Connection *connection;
	struct api_client *client;
	enum api_request_state state;
	const struct api_route *route;
	bool is_head;				/* nobody wants the body of the answer */
	struct api_args args;
	char *body;				/* owned; NULL: it has none */
	size_t len;
	size_t n_received;			/* of it, also what was thrown away */

	/* The answer. */
	unsigned status;
	char *text;				/* owned */
	size_t text_len;
	size_t n_unread;			/* of api_context::n_unread */
	const char *type;			/* of the text */
	struct api_stream *stream;		/* in place of it; owned until it is sent */
	uint64_t capture_id;			/* of the capture that it is of; 0: of none */
	unsigned allowed;			/* methods, with 405 */

	/* The order that it waits for. */
	uint32_t id;				/* 0: none */
	unsigned done_status;			/* HTTP's, if it works */
	void (*done)(struct api_request *r);	/* answers then, in place of us; or NULL */
	struct loop_timer patience;
	struct list node;			/* api_context::waiting */
};

/* ---- for routes: each request gets one answer, once ---- */

/* Takes @json's reference; NULL: no memory, which is what the client hears. */
void api_request_reply(struct api_request *r, unsigned status, json_t *json);

/* The answer to an order that worked and has nothing else to say. */
void api_request_reply_done(struct api_request *r, unsigned status);
/* Takes @text, of malloc(). */
void api_request_reply_text(struct api_request *r, const char *type, char *text, size_t len);
/* Takes @stream. */
void api_request_reply_stream(struct api_request *r, const char *type, struct api_stream *stream);
void api_request_refuse(struct api_request *r, unsigned status, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));

/* @m gets an id and goes to the supervisor, and the client hears the outcome: @done_status and
 * {"outcome": "done"}, or why not; 504 after @wait_ms. @with_client: its socket goes along. */
void api_request_order(struct api_request *r, struct supervise_msg *m, const void *text, size_t len,
		       unsigned done_status, uint32_t wait_ms, bool with_client);

/* ---- for the API ---- */

/* As the library calls them; the context is a struct api_context. */
void *api_request_on_uri(void *context, const char *uri, struct MHD_Connection *connection);
enum MHD_Result api_request_on_access(void *context, struct MHD_Connection *connection,
				      const char *path, const char *method, const char *version,
				      const char *body, size_t *n, void **request);
void api_request_on_completed(void *context, struct MHD_Connection *connection, void **request,
			      enum MHD_RequestTerminationCode why);

/* The outcome of an order; nobody may wait for it any more. */
void api_request_conclude(struct api_context *context, uint32_t id, enum supervise_outcome outcome,
			  const char *text, size_t len);

/* Whoever waits is told that the daemon ends, as is whoever asks from now on. */
void api_request_end_all(struct api_context *context);
