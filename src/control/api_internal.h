/* SPDX-License-Identifier: BSD-3-Clause */
/* What the files of the API share: api.c (the thread, clients, requests), api_routes.c (what can
 * be asked), api_reads.c and api_orders.c (who serves that), api_body.c. All of it, but for
 * what api.h says otherwise, happens in the API's thread. */
#pragma once

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "control/api.h"
#include "control/api_routes.h"
#include "util/list.h"
#include "util/loop.h"

struct MHD_Connection;

enum api_request_state {
	API_RECEIVING,				/* its body comes */
	API_WAITING,				/* an order was passed on: no outcome yet */
	API_ANSWERED,				/* ... is what is sent next, or has been */
};

struct api_request {
	struct api *api;
	struct MHD_Connection *connection;
	enum api_request_state state;
	const struct api_route *route;
	struct api_args args;
	char *body;				/* owned; with a NUL behind it */
	size_t len;
	size_t n_received;			/* of it, also what was thrown away */

	/* The answer. */
	unsigned status;
	char *text;				/* owned */
	size_t text_len;
	const char *type;			/* of the text */
	unsigned allowed;			/* methods, with 405 */

	/* The order that it waits for. */
	uint32_t id;
	unsigned done_status;			/* HTTP's, if it works */
	struct loop_timer patience;
	struct list node;			/* api::waiting */
};

/* ---- answers: each request gets one, once ---- */

/* Takes @json's reference; NULL: no memory, which is what the client hears. */
void api_reply_json(struct api_request *r, unsigned status, json_t *json);
/* Takes @text, of malloc(). */
void api_reply_text(struct api_request *r, const char *type, char *text, size_t len);
void api_reply_error(struct api_request *r, unsigned status, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));

/* @m gets an id and goes to the supervisor, and the client the outcome, or @done_status and
 * {"outcome": "done"}; 504 after @wait_ms. @with_client: its socket goes along. */
void api_order(struct api_request *r, struct supervise_msg *m, const void *text, size_t len,
	       unsigned done_status, uint32_t wait_ms, bool with_client);

struct snapshots *api_snapshots(const struct api_request *r);
bool api_is_supervised(const struct api_request *r);

/* ---- api_reads.c ---- */

void api_get_version(struct api_request *r);
void api_get_openapi(struct api_request *r);
void api_get_vms(struct api_request *r);
void api_get_vm(struct api_request *r);
void api_get_connections(struct api_request *r);
void api_get_log_level(struct api_request *r);
void api_get_metrics(struct api_request *r);

/* ---- api_orders.c ---- */

void api_add_vm(struct api_request *r);
void api_delete_vm(struct api_request *r);
void api_reset_connection(struct api_request *r);
void api_set_log_level(struct api_request *r);
void api_upgrade(struct api_request *r);
void api_reload(struct api_request *r);
void api_shutdown(struct api_request *r);
