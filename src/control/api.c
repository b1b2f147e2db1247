/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The API's thread: libmicrohttpd in a loop of ours, so that outcomes come by mail and there is
 * no lock.
 *
 * libmicrohttpd looks at its connections when we say so (MHD_run), which is when its epoll
 * set has something, when it wants to be called, and when a request that waited has its answer.
 * It bounds their number and memory, and ends those that say nothing; what it cannot see is a
 * client that drips a byte now and then, so each has a deadline of ours for a whole request.
 */
#include "control/api.h"

#include <microhttpd.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>

#include "control/api_internal.h"
#include "util/error.h"
#include "util/fd.h"
#include "util/log.h"
#include "util/mailbox.h"

enum {
	SWEEP_MS = 1000,			/* between two looks at clients' deadlines */
	FAREWELL_MS = 500,			/* for answers, when the daemon ends */
	STEP_MS = 20,
	HTTP_TOO_LARGE = 413,			/* which the library calls one thing or another */
	DROPPED_MAX = 64 * API_BODY_MAX,	/* of a body that is too large: then it is cut off */
};

struct client {
	struct MHD_Connection *connection;
	int fd;					/* borrowed */
	uint64_t since_ms;			/* its deadline runs */
	bool waits;				/* ... not: the answer is not there */
	bool is_busy;				/* a request has begun, and is not answered in full */
	struct list node;			/* api::clients */
};

struct api {
	struct api_config config;
	struct snapshots *snapshots;
	struct loop *loop;
	struct mailbox *mailbox;
	struct MHD_Daemon *http;
	struct loop_source source;		/* libmicrohttpd's epoll set */
	struct loop_work run;
	struct loop_timer due, sweep;
	struct list clients, waiting;
	uint32_t last_id;
	pthread_t thread;
	bool has_thread;
	atomic_bool is_held;
	struct mail go_on, stop;
	bool ends;
	uint64_t ends_ms;
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

void api_reply_json(struct api_request *r, unsigned status, json_t *json)
{
	char *text = json ? json_dumps(json, JSON_COMPACT) : NULL;

	json_decref(json);
	if (!text) {
		text = strdup("{\"error\":\"no memory\"}");
		status = MHD_HTTP_INTERNAL_SERVER_ERROR;
	}
	reply(r, status, type_json, text, text ? strlen(text) : 0);
}

void api_reply_text(struct api_request *r, const char *type, char *text, size_t len)
{
	reply(r, MHD_HTTP_OK, type, text, len);
}

/* What a peer has said may be in it, in any encoding. */
void api_reply_error(struct api_request *r, unsigned status, const char *fmt, ...)
{
	char text[2048];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(text, sizeof text, fmt, ap);
	va_end(ap);
	for (char *c = text; *c; c++)
		if ((unsigned char)*c < ' ' || (unsigned char)*c > '~')
			*c = '?';
	api_reply_json(r, status, json_pack("{s:s}", "error", text));
}

static enum MHD_Result send_answer(struct api_request *r)
{
	char allowed[API_ALLOWED_MAX];
	struct MHD_Response *response =
		MHD_create_response_from_buffer(r->text_len, r->text, MHD_RESPMEM_MUST_FREE);
	enum MHD_Result result;

	if (!response)
		return MHD_NO;			/* closes it; the text stays ours */
	r->text = NULL;
	MHD_add_response_header(response, MHD_HTTP_HEADER_CONTENT_TYPE, r->type);
	MHD_add_response_header(response, MHD_HTTP_HEADER_CACHE_CONTROL, "no-store");
	if (r->allowed) {
		api_routes_str_allowed(r->allowed, allowed);
		MHD_add_response_header(response, MHD_HTTP_HEADER_ALLOW, allowed);
	}
	result = MHD_queue_response(r->connection, r->status, response);
	MHD_destroy_response(response);
	return result;
}

/* ---- orders ---- */

static struct client *client_of(struct MHD_Connection *connection)
{
	const union MHD_ConnectionInfo *info =
		MHD_get_connection_info(connection, MHD_CONNECTION_INFO_SOCKET_CONTEXT);

	return info ? info->socket_context : NULL;
}

static void set_waits(struct api_request *r, bool waits)
{
	struct client *c = client_of(r->connection);

	if (!c)
		return;
	c->waits = waits;
	c->since_ms = loop_now_ms(r->api->loop);
}

static void stop_waiting(struct api_request *r)
{
	if (!r->id)
		return;
	loop_timer_cancel(r->api->loop, &r->patience);
	list_remove(&r->node);
	r->id = 0;
}

/* It has its answer: it is served again, and finds that. */
static void wake(struct api_request *r)
{
	struct api *api = r->api;

	stop_waiting(r);
	set_waits(r, false);
	MHD_resume_connection(r->connection);
	loop_work_schedule(api->loop, &api->run);
}

static void on_impatient(struct loop_timer *timer)
{
	struct api_request *r = container_of(timer, struct api_request, patience);

	api_reply_error(r, MHD_HTTP_GATEWAY_TIMEOUT, "no outcome in time; it may still come");
	wake(r);
}

void api_order(struct api_request *r, struct supervise_msg *m, const void *text, size_t len,
	       unsigned done_status, uint32_t wait_ms, bool with_client)
{
	struct api *api = r->api;
	struct client *client = client_of(r->connection);
	int result;

	if (!++api->last_id)			/* which is nobody's */
		api->last_id++;
	m->u.order.id = r->id = api->last_id;
	r->done_status = done_status;
	r->patience.expire = on_impatient;
	list_append(&api->waiting, &r->node);
	loop_timer_set(api->loop, &r->patience, loop_now_ms(api->loop) + wait_ms);
	result = api->config.order(m, text, len, with_client && client ? client->fd : -1);
	if (result) {
		stop_waiting(r);
		api_reply_error(r, MHD_HTTP_SERVICE_UNAVAILABLE, "the supervisor does not listen: %s",
				error_str(result));
		return;
	}
	r->state = API_WAITING;
	set_waits(r, true);
	MHD_suspend_connection(r->connection);
}

struct answer {
	struct mail mail;
	struct api *api;
	uint32_t id;
	enum supervise_outcome outcome;
	size_t len;
	char text[];
};

static unsigned status_of(enum supervise_outcome outcome, unsigned done_status)
{
	switch (outcome) {
	case SUPERVISE_OK:
		return done_status;
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
	case SUPERVISE_ERROR:
	case SUPERVISE_NUM_OUTCOMES:
		break;
	}
	return MHD_HTTP_INTERNAL_SERVER_ERROR;
}

static void conclude(struct api_request *r, const struct answer *a)
{
	if (a->outcome == SUPERVISE_OK)
		api_reply_json(r, r->done_status, json_pack("{s:s}", "outcome", "done"));
	else
		api_reply_error(r, status_of(a->outcome, 0), "%.*s", (int)a->len,
				a->len ? a->text : "no reason was given");
	wake(r);
}

static void on_answer(struct mail *mail)
{
	struct answer *a = container_of(mail, struct answer, mail);

	list_for_each(node, &a->api->waiting) {
		struct api_request *r = container_of(node, struct api_request, node);

		if (r->id == a->id) {
			conclude(r, a);
			break;
		}
	}
	free(a);
}

void api_answer(struct api *api, uint32_t id, enum supervise_outcome outcome, const void *text,
		size_t len)
{
	struct answer *a = api ? calloc(1, sizeof *a + len + 1) : NULL;

	if (!a)
		return;				/* who waits runs into its deadline */
	a->mail.deliver = on_answer;
	a->api = api;
	a->id = id;
	a->outcome = outcome;
	a->len = len;
	memcpy(a->text, text, len);
	mailbox_post(api->mailbox, &a->mail);
}

/* A socket whose client has read nothing yet of an answer has room for this one. */
void api_tell_upgraded(int fd)
{
	static const char text[] =
		"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Type: application/json\r\n"
		"Content-Length: 18\r\n\r\n{\"outcome\":\"done\"}";

	if (send(fd, text, sizeof text - 1, MSG_NOSIGNAL | MSG_DONTWAIT) >= 0)
		shutdown(fd, SHUT_WR);
	fd_close(&fd);
}

struct snapshots *api_snapshots(const struct api_request *r)
{
	return r->api->snapshots;
}

bool api_is_supervised(const struct api_request *r)
{
	return r->api->config.is_supervised;
}

/* ---- requests ---- */

static void request_free(struct api_request *r)
{
	stop_waiting(r);
	free(r->body);
	free(r->text);
	free(r);
}

/* What the headers alone decide. */
static void find_route(struct api_request *r, const char *method, const char *path)
{
	const char *length = MHD_lookup_connection_value(r->connection, MHD_HEADER_KIND,
							 MHD_HTTP_HEADER_CONTENT_LENGTH);

	switch (api_routes_find(method, path, &r->route, &r->args, &r->allowed)) {
	case 0:
		r->allowed = 0;
		break;
	case API_ROUTES_E_ARGS:
		r->allowed = 0;
		api_reply_error(r, MHD_HTTP_BAD_REQUEST, "%s: the CID, or the id, is none", path);
		return;
	case API_ROUTES_E_METHOD:
		api_reply_error(r, MHD_HTTP_METHOD_NOT_ALLOWED, "%s: not with %s", path, method);
		return;
	default:
		api_reply_error(r, MHD_HTTP_NOT_FOUND, "%s: there is no such path", path);
		return;
	}
	if (length && strtoull(length, NULL, 10) > API_BODY_MAX)
		api_reply_error(r, HTTP_TOO_LARGE, "the body is larger than %d bytes",
				API_BODY_MAX);
}

static enum MHD_Result begin(struct api *api, struct MHD_Connection *connection,
			     const char *method, const char *path, struct api_request **out)
{
	struct api_request *r = calloc(1, sizeof *r);
	struct client *c = client_of(connection);

	if (!r || !c) {
		free(r);
		return MHD_NO;
	}
	c->is_busy = true;
	*r = (struct api_request){ .api = api, .connection = connection, .state = API_RECEIVING };
	*out = r;
	find_route(r, method, path);
	return r->state == API_ANSWERED ? send_answer(r) : MHD_YES;
}

/* Of one that is too large the rest is thrown away, so that its client hears that. */
static enum MHD_Result take_body(struct api_request *r, const char *bytes, size_t n)
{
	char *body;

	r->n_received += n;
	if (r->n_received > API_BODY_MAX)
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
	if (r->api->ends)
		api_reply_error(r, MHD_HTTP_SERVICE_UNAVAILABLE, "the daemon ends");
	else if (r->n_received > API_BODY_MAX)
		api_reply_error(r, HTTP_TOO_LARGE, "the body is larger than %d bytes",
				API_BODY_MAX);
	else
		r->route->serve(r);
}

/* Called with the headers, with each piece of the body, and once more without one. */
static enum MHD_Result on_request(void *ctx, struct MHD_Connection *connection, const char *path,
				  const char *method, const char *version, const char *body,
				  size_t *n, void **request)
{
	struct api_request *r = *request;
	enum MHD_Result result;

	(void)version;
	if (!r) {
		result = begin(ctx, connection, method, path, &r);
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

static void on_completed(void *ctx, struct MHD_Connection *connection, void **request,
			 enum MHD_RequestTerminationCode why)
{
	struct client *c = client_of(connection);
	struct api *api = ctx;

	(void)why;
	if (c) {
		c->waits = c->is_busy = false;
		c->since_ms = loop_now_ms(api->loop);
		if (api->ends)
			shutdown(c->fd, SHUT_RDWR);
	}
	if (*request)
		request_free(*request);
	*request = NULL;
}

/* ---- clients ---- */

static void on_connection(void *ctx, struct MHD_Connection *connection, void **context,
			  enum MHD_ConnectionNotificationCode code)
{
	struct api *api = ctx;
	struct client *c = *context;

	if (code == MHD_CONNECTION_NOTIFY_CLOSED && c) {
		list_remove(&c->node);
		free(c);
		*context = NULL;
		loop_work_schedule(api->loop, &api->run);	/* it looks for others then */
	} else if (code == MHD_CONNECTION_NOTIFY_STARTED && (c = calloc(1, sizeof *c))) {
		c->connection = connection;
		c->fd = MHD_get_connection_info(connection,
						MHD_CONNECTION_INFO_CONNECTION_FD)->connect_fd;
		c->since_ms = loop_now_ms(api->loop);
		list_append(&api->clients, &c->node);
		*context = c;
		if (!api->sweep.is_set)
			loop_timer_set(api->loop, &api->sweep, c->since_ms + SWEEP_MS);
	}
}

static void on_sweep(struct loop_timer *timer)
{
	struct api *api = container_of(timer, struct api, sweep);
	uint64_t now_ms = loop_now_ms(api->loop);

	list_for_each(node, &api->clients) {
		struct client *c = container_of(node, struct client, node);

		if (!c->waits && now_ms - c->since_ms >= API_REQUEST_MS)
			shutdown(c->fd, SHUT_RDWR);
	}
	if (!list_is_empty(&api->clients))
		loop_timer_set(api->loop, timer, now_ms + SWEEP_MS);
}

/* ---- the loop ---- */

static void run_http(struct api *api)
{
	MHD_UNSIGNED_LONG_LONG wait_ms;

	if (atomic_load(&api->is_held))
		return;
	MHD_run(api->http);
	if (MHD_get_timeout(api->http, &wait_ms) != MHD_YES)
		loop_timer_cancel(api->loop, &api->due);
	else if (wait_ms)
		loop_timer_set(api->loop, &api->due, loop_now_ms(api->loop) + wait_ms);
	else
		loop_work_schedule(api->loop, &api->run);
}

static void on_run(struct loop_work *work)
{
	struct api *api = container_of(work, struct api, run);

	run_http(api);
	if (!api->ends)
		return;
	if (list_is_empty(&api->clients) || loop_now_ms(api->loop) >= api->ends_ms)
		loop_stop(api->loop);
	else
		loop_timer_set(api->loop, &api->due, loop_now_ms(api->loop) + STEP_MS);
}

static void on_epoll(struct loop_source *source, uint32_t events)
{
	struct api *api = container_of(source, struct api, source);

	(void)events;
	loop_work_schedule(api->loop, &api->run);
}

static void on_due(struct loop_timer *timer)
{
	struct api *api = container_of(timer, struct api, due);

	loop_work_schedule(api->loop, &api->run);
}

static void on_go_on(struct mail *mail)
{
	struct api *api = container_of(mail, struct api, go_on);

	loop_work_schedule(api->loop, &api->run);
}

static void *run_thread(void *arg)
{
	struct api *api = arg;
	int r;

	pthread_setname_np(pthread_self(), "api");
	r = loop_run(api->loop);
	if (r < 0)
		log_err("api", "event loop: %s: it answers no more", error_str(r));
	return NULL;
}

/* ---- life ---- */

static int start_http(struct api *api)
{
	const union MHD_DaemonInfo *info;

	api->http = MHD_start_daemon(
		MHD_USE_EPOLL | MHD_ALLOW_SUSPEND_RESUME |
			MHD_USE_SUPPRESS_DATE_NO_CLOCK,	/* the zone is in a file, out of reach */
		0, NULL, NULL, on_request, api,
		MHD_OPTION_LISTEN_SOCKET, api->config.fd,
		MHD_OPTION_CONNECTION_LIMIT, (unsigned)API_CLIENTS_MAX,
		MHD_OPTION_CONNECTION_MEMORY_LIMIT, (size_t)API_CLIENT_BYTES,
		MHD_OPTION_CONNECTION_TIMEOUT, (unsigned)API_REQUEST_MS / 1000,
		MHD_OPTION_NOTIFY_COMPLETED, on_completed, api,
		MHD_OPTION_NOTIFY_CONNECTION, on_connection, api,
		MHD_OPTION_END);
	if (!api->http)
		return errno > 0 ? error_last() : -EINVAL;
	api->config.fd = -1;			/* it closes it */
	info = MHD_get_daemon_info(api->http, MHD_DAEMON_INFO_EPOLL_FD);
	return info ? loop_add(api->loop, &api->source, info->epoll_fd, EPOLLIN) : -EINVAL;
}

static void on_stop(struct mail *mail);

int api_new(struct api **out, const struct api_config *config)
{
	struct api *api = calloc(1, sizeof *api);
	int fd = config->fd, r;

	if (!api) {
		fd_close(&fd);
		return -ENOMEM;
	}
	*api = (struct api){
		.config = *config, .source = { .dispatch = on_epoll, .fd = -1 },
		.due.expire = on_due, .sweep.expire = on_sweep, .go_on.deliver = on_go_on,
		.stop.deliver = on_stop,
	};
	list_init(&api->clients);
	list_init(&api->waiting);
	loop_work_init(&api->run, on_run);
	json_object_seed(0);			/* from a file, which is out of reach later */
	r = loop_new(&api->loop);
	if (!r)
		r = mailbox_new(&api->mailbox, api->loop);
	if (!r)
		r = start_http(api);
	if (r)
		api_free(api);
	else
		*out = api;
	return r;
}

int api_start(struct api *api, struct snapshots *snapshots)
{
	int r;

	api->snapshots = snapshots;
	loop_work_schedule(api->loop, &api->run);
	r = pthread_create(&api->thread, NULL, run_thread, api);
	api->has_thread = !r;
	return -r;
}

void api_hold(struct api *api)
{
	if (api)
		atomic_store(&api->is_held, true);
}

void api_go_on(struct api *api)
{
	if (!api)
		return;
	atomic_store(&api->is_held, false);
	mailbox_post(api->mailbox, &api->go_on);
}

/* Outcomes that came before this are on their way. */
static void on_stop(struct mail *mail)
{
	struct api *api = container_of(mail, struct api, stop);
	struct list *node;

	api->ends = true;
	api->ends_ms = loop_now_ms(api->loop) + FAREWELL_MS;
	while (!list_is_empty(&api->waiting)) {
		node = api->waiting.next;
		api_reply_error(container_of(node, struct api_request, node),
				MHD_HTTP_SERVICE_UNAVAILABLE, "the daemon ends");
		wake(container_of(node, struct api_request, node));
	}
	list_for_each(each, &api->clients) {
		struct client *c = container_of(each, struct client, node);

		if (!c->is_busy)
			shutdown(c->fd, SHUT_RDWR);
	}
	loop_work_schedule(api->loop, &api->run);
}

void api_free(struct api *api)
{
	if (!api)
		return;
	if (api->has_thread) {
		atomic_store(&api->is_held, false);
		mailbox_post(api->mailbox, &api->stop);
		pthread_join(api->thread, NULL);
	}
	loop_timer_cancel(api->loop, &api->due);
	loop_timer_cancel(api->loop, &api->sweep);
	if (api->loop)
		loop_remove(api->loop, &api->source);
	if (api->http)
		MHD_stop_daemon(api->http);
	loop_work_cancel(&api->run);
	if (api->mailbox) {
		mailbox_deliver(api->mailbox);
		mailbox_free(api->mailbox);
	}
	loop_free(api->loop);
	fd_close(&api->config.fd);
	free(api);
}
