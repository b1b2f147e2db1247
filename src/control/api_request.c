/* SPDX-License-Identifier: BSD-3-Clause */
/* One request to the control API. */
#include "control/api_request.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "control/api_head.h"
#include "control/api_query.h"
#include "control/api_stream.h"
#include "util/error.h"

enum {
	BODY_MAX = SUPERVISE_PIECE_MAX,
	DROPPED_MAX = 64 * BODY_MAX,		/* of a body that is too large: then it is cut off */
	ANSWERS_MAX = 32 * 1024 * 1024,		/* bytes that wait to be read; or one answer */
	SMALL_ANSWER = 16 * 1024,		/* as large may be any */
	HTTP_TOO_LARGE = 413,			/* which the library calls one thing or another */
};

/* ---- answers ---- */

static void reply(struct api_request *r, unsigned status, const char *type, char *text, size_t len)
{
	free(r->text);
	r->status = status;
	r->type = type;
	r->text = text;
	r->text_len = text ? len : 0;
	r->state = API_ANSWERED;
}

static const char type_json[] = "application/json";

void api_request_reply(struct api_request *r, unsigned status, json_t *json)
{
	char *text = json ? json_dumps(json, JSON_COMPACT) : NULL;

	json_decref(json);
	if (!text) {
		text = strdup("{\"error\":\"no memory\"}");
		status = MHD_HTTP_INTERNAL_SERVER_ERROR;
	}
	reply(r, status, type_json, text, text ? strlen(text) : 0);
}

void api_request_reply_done(struct api_request *r, unsigned status)
{
	api_request_reply(r, status, json_pack("{s:s}", "outcome", "done"));
}

void api_request_reply_text(struct api_request *r, const char *type, char *text, size_t len)
{
	reply(r, MHD_HTTP_OK, type, text, len);
}

void api_request_reply_stream(struct api_request *r, const char *type, struct api_stream *stream)
{
	reply(r, MHD_HTTP_OK, type, NULL, 0);
	if (r->is_head) {
		stream->ops->free(stream);
		return;
	}
	r->stream = stream;
	r->client->waits = true;		/* it takes as long as it takes */
}

/* What a peer has said may be in it, in any encoding. */
void api_request_refuse(struct api_request *r, unsigned status, const char *fmt, ...)
{
	char text[2048];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(text, sizeof text, fmt, ap);
	va_end(ap);
	for (char *c = text; *c; c++)
		if ((unsigned char)*c < ' ' || (unsigned char)*c > '~')
			*c = '?';
	api_request_reply(r, status, json_pack("{s:s}", "error", text));
}

/* One that is alone may be as large as it has to be. */
static bool has_room(const struct api_request *r)
{
	size_t n = r->context->n_unread;

	return r->text_len <= SMALL_ANSWER || !n || (n < ANSWERS_MAX && r->text_len <= ANSWERS_MAX - n);
}

static enum MHD_Result send_answer(struct api_request *r)
{
	char allowed[API_ALLOWED_MAX], id[24];
	struct MHD_Response *response;
	enum MHD_Result result;

	if (!has_room(r))
		api_request_refuse(r, MHD_HTTP_SERVICE_UNAVAILABLE,
				   "other clients have not read their answers yet");
	response = r->stream ? api_stream_respond(r->stream) :
		MHD_create_response_from_buffer(r->text_len, r->text, MHD_RESPMEM_MUST_FREE);
	if (!response)
		return MHD_NO;			/* closes it; what there is to say stays ours */
	r->text = NULL;
	r->stream = NULL;
	r->n_unread = r->text_len;
	r->context->n_unread += r->n_unread;
	MHD_add_response_header(response, MHD_HTTP_HEADER_CONTENT_TYPE, r->type);
	MHD_add_response_header(response, MHD_HTTP_HEADER_CACHE_CONTROL, "no-store");
	if (r->capture_id) {
		snprintf(id, sizeof id, "%" PRIu64, r->capture_id);
		MHD_add_response_header(response, "Capture-Id", id);
	}
	if (r->allowed) {
		api_routes_str_allowed(r->allowed, allowed);
		MHD_add_response_header(response, MHD_HTTP_HEADER_ALLOW, allowed);
	}
	result = MHD_queue_response(r->connection, r->status, response);
	MHD_destroy_response(response);
	return result;
}

/* ---- orders ---- */

static void set_waits(struct api_request *r, bool waits)
{
	api_client_set_waits(r->client, r->context->loop, waits);
}

static void stop_waiting(struct api_request *r)
{
	if (!r->id)
		return;
	loop_timer_cancel(r->context->loop, &r->patience);
	list_remove(&r->node);
	r->id = 0;
}

/* It has its answer: it is served again, and finds that. */
static void wake(struct api_request *r)
{
	struct api_context *context = r->context;

	stop_waiting(r);
	set_waits(r, false);
	MHD_resume_connection(r->connection);
	loop_work_schedule(context->loop, context->run);
}

static void on_impatient(struct loop_timer *timer)
{
	struct api_request *r = container_of(timer, struct api_request, patience);

	api_request_refuse(r, MHD_HTTP_GATEWAY_TIMEOUT, "no outcome in time; it may still come");
	wake(r);
}

void api_request_order(struct api_request *r, struct supervise_msg *m, const void *text, size_t len,
	       unsigned done_status, uint32_t wait_ms, bool with_client)
{
	struct api_context *context = r->context;
	int result;

	if (!++context->last_id)			/* which is nobody's */
		context->last_id++;
	m->u.order.id = r->id = context->last_id;
	r->done_status = done_status;
	r->patience.expire = on_impatient;
	list_append(&context->waiting, &r->node);
	loop_timer_set(context->loop, &r->patience, loop_now_ms(context->loop) + wait_ms);
	result = context->order(m, text, len, with_client ? r->client->fd : -1);
	if (result) {
		stop_waiting(r);
		api_request_refuse(r, MHD_HTTP_SERVICE_UNAVAILABLE,
				   "the supervisor does not listen: %s",
				   error_str(result));
		return;
	}
	r->state = API_WAITING;
	set_waits(r, true);
	MHD_suspend_connection(r->connection);
}

static unsigned status_of(enum supervise_outcome outcome)
{
	switch (outcome) {
	case SUPERVISE_WRONG:
		return MHD_HTTP_BAD_REQUEST;
	case SUPERVISE_DENIED:
		return MHD_HTTP_FORBIDDEN;
	case SUPERVISE_UNKNOWN:
		return MHD_HTTP_NOT_FOUND;
	case SUPERVISE_NOT_NOW:
		return MHD_HTTP_CONFLICT;
	case SUPERVISE_TOO_OFTEN:
		return MHD_HTTP_TOO_MANY_REQUESTS;
	case SUPERVISE_OK:
	case SUPERVISE_ERROR:
	case SUPERVISE_NUM_OUTCOMES:
		break;
	}
	return MHD_HTTP_INTERNAL_SERVER_ERROR;
}

void api_request_conclude(struct api_context *context, uint32_t id, enum supervise_outcome outcome,
			  const char *text, size_t len)
{
	list_for_each(node, &context->waiting) {
		struct api_request *r = container_of(node, struct api_request, node);

		if (r->id != id)
			continue;
		if (outcome == SUPERVISE_OK && r->done)
			r->done(r);
		else if (outcome == SUPERVISE_OK)
			api_request_reply_done(r, r->done_status);
		else
			api_request_refuse(r, status_of(outcome), "%.*s", (int)len,
					   len ? text : "no reason was given");
		wake(r);
		return;
	}
}

void api_request_end_all(struct api_context *context)
{
	context->ends = true;
	while (!list_is_empty(&context->waiting)) {
		struct api_request *r = container_of(context->waiting.next, struct api_request, node);

		api_request_refuse(r, MHD_HTTP_SERVICE_UNAVAILABLE, "the daemon ends");
		wake(r);
	}
	api_stream_finish_all(context);
}

/* ---- requests ---- */

static struct api_client *client_of(struct MHD_Connection *connection)
{
	const union MHD_ConnectionInfo *info =
		MHD_get_connection_info(connection, MHD_CONNECTION_INFO_SOCKET_CONTEXT);

	return info ? info->socket_context : NULL;
}

static void request_free(struct api_request *r)
{
	stop_waiting(r);
	if (r->stream)
		r->stream->ops->free(r->stream);
	r->context->n_unread -= r->n_unread;
	free(r->body);
	free(r->text);
	free(r);
}

/* Before it cuts it in two at the "?", and decodes it. */
void *api_request_on_uri(void *ctx, const char *uri, struct MHD_Connection *connection)
{
	struct api_client *c = client_of(connection);

	(void)ctx;
	if (c) {
		c->uri = uri;
		c->uri_len = uri ? strlen(uri) : 0;
	}
	return NULL;				/* the request begins with its headers */
}

struct head {
	struct api_head so_far;
	const char *wrong;
};

static enum MHD_Result check_field(void *ctx, enum MHD_ValueKind kind, const char *name,
				   const char *value)
{
	struct head *h = ctx;

	(void)kind;
	h->wrong = api_head_check_field(&h->so_far, name, value ? value : "");
	return h->wrong ? MHD_NO : MHD_YES;
}

/* The library may not know where, and say a size that none has. */
static const char *check_end(struct api_request *r, const struct api_head *h, const char *method)
{
	const union MHD_ConnectionInfo *info =
		MHD_get_connection_info(r->connection, MHD_CONNECTION_INFO_REQUEST_HEADER_SIZE);

	if (!info || info->header_size > API_HEAD_BYTES)
		return NULL;
	return api_head_check_end(h, method + info->header_size);
}

/* What follows such a head may be anything: it is not looked at, as after each request that is
 * answered before its body has come. */
static void check_head(struct api_request *r, const char *method, const char *version)
{
	struct head h = { .wrong = NULL };

	h.wrong = api_head_check_line(&h.so_far, method, r->client->uri, r->client->uri_len, version);
	if (!h.wrong)
		MHD_get_connection_values(r->connection, MHD_HEADER_KIND, check_field, &h);
	if (!h.wrong)
		h.wrong = check_end(r, &h.so_far, method);
	if (h.wrong)
		api_request_refuse(r, MHD_HTTP_BAD_REQUEST, "%s", h.wrong);
}

struct query {
	struct api_request *r;
	unsigned given;
};

/* What a route does not know would be asked for in vain, and is refused instead. */
static enum MHD_Result check_key(void *ctx, enum MHD_ValueKind kind, const char *key,
				 const char *value)
{
	struct query *q = ctx;
	int result = api_query_claim(q->r->route->query, key, &q->given);

	(void)kind;
	if (!result && value)
		return MHD_YES;
	api_request_refuse(q->r, MHD_HTTP_BAD_REQUEST, "?%s: %s", key,
			   result == API_QUERY_E_UNKNOWN ? "there is no such parameter here" :
			   result ? "given twice" : "a value is wanted");
	return MHD_NO;
}

static void check_query(struct api_request *r)
{
	struct query q = { .r = r };

	MHD_get_connection_values(r->connection, MHD_GET_ARGUMENT_KIND, check_key, &q);
}

/* What the headers alone decide. */
static void find_route(struct api_request *r, const char *method, const char *path)
{
	const char *length = MHD_lookup_connection_value(r->connection, MHD_HEADER_KIND,
							 MHD_HTTP_HEADER_CONTENT_LENGTH);

	switch (api_routes_find(r->context->routes, method, path, &r->route, &r->args, &r->allowed)) {
	case 0:
		r->allowed = 0;
		break;
	case API_ROUTES_E_ARGS:
		r->allowed = 0;
		api_request_refuse(r, MHD_HTTP_BAD_REQUEST, "%s: %s", path, r->args.wanted);
		return;
	case API_ROUTES_E_METHOD:
		api_request_refuse(r, MHD_HTTP_METHOD_NOT_ALLOWED, "%s: not with %s", path, method);
		return;
	default:
		api_request_refuse(r, MHD_HTTP_NOT_FOUND, "%s: there is no such path", path);
		return;
	}
	if (length && strtoull(length, NULL, 10) > BODY_MAX)
		api_request_refuse(r, HTTP_TOO_LARGE, "the body is larger than %d bytes",
				   BODY_MAX);
}

static enum MHD_Result begin(struct api_context *context, struct MHD_Connection *connection,
			     const char *method, const char *path, const char *version,
			     struct api_request **out)
{
	struct api_request *r = calloc(1, sizeof *r);
	struct api_client *c = client_of(connection);

	if (!r || !c) {
		free(r);
		return MHD_NO;
	}
	c->is_busy = true;
	*r = (struct api_request){
		.context = context, .connection = connection, .client = c, .state = API_RECEIVING,
		.is_head = strcmp(method, MHD_HTTP_METHOD_HEAD) == 0,
	};
	*out = r;
	check_head(r, method, version);
	if (r->state == API_RECEIVING)
		find_route(r, method, path);
	if (r->state == API_RECEIVING)
		check_query(r);
	return r->state == API_ANSWERED ? send_answer(r) : MHD_YES;
}

/* Of one that is too large the rest is thrown away, so that its client hears that. */
static enum MHD_Result take_body(struct api_request *r, const char *bytes, size_t n)
{
	char *body;

	r->n_received += n;
	if (r->n_received > BODY_MAX)
		return r->n_received > DROPPED_MAX ? MHD_NO : MHD_YES;
	body = realloc(r->body, r->len + n + 1);
	if (!body)
		return MHD_NO;
	r->body = body;
	memcpy(body + r->len, bytes, n);
	r->len += n;
	body[r->len] = '\0';
	return MHD_YES;
}

static void serve(struct api_request *r)
{
	if (r->context->ends)
		api_request_refuse(r, MHD_HTTP_SERVICE_UNAVAILABLE, "the daemon ends");
	else if (r->n_received > BODY_MAX)
		api_request_refuse(r, HTTP_TOO_LARGE, "the body is larger than %d bytes",
				   BODY_MAX);
	else
		r->route->serve(r);
}

/* Called with the headers, with each piece of the body, and once more without one. */
enum MHD_Result api_request_on_access(void *context, struct MHD_Connection *connection,
				      const char *path, const char *method, const char *version,
				      const char *body, size_t *n, void **request)
{
	struct api_request *r = *request;
	enum MHD_Result result;

	if (!r) {
		result = begin(context, connection, method, path, version, &r);
		*request = r;
		return result;
	}
	if (*n) {
		result = take_body(r, body, *n);
		*n = 0;
		return result;
	}
	if (r->state == API_RECEIVING)
		serve(r);
	return r->state == API_WAITING ? MHD_YES : send_answer(r);
}

void api_request_on_completed(void *ctx, struct MHD_Connection *connection, void **request,
			      enum MHD_RequestTerminationCode why)
{
	struct api_client *c = client_of(connection);
	struct api_context *context = ctx;

	(void)why;
	if (c) {
		c->waits = c->is_busy = false;
		c->since_ms = loop_now_ms(context->loop);
		if (context->ends)
			shutdown(c->fd, SHUT_RDWR);
	}
	if (*request)
		request_free(*request);
	*request = NULL;
}
