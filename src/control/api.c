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
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>

#include "control/api_captures.h"
#include "control/api_events.h"
#include "control/api_head.h"
#include "control/api_query.h"
#include "control/api_request.h"
#include "control/api_stream.h"
#include "control/api_table.h"
#include "util/error.h"
#include "util/fd.h"
#include "util/log.h"
#include "util/mailbox.h"

enum {
	SWEEP_MS = 1000,			/* between two looks at clients' deadlines */
	FAREWELL_MS = 500,			/* for answers, when the daemon ends */
	STEP_MS = 20,
};

struct api {
	int fd;					/* listens; -1: it is the library's */
	struct api_context context;
	struct loop *loop;
	struct mailbox *mailbox;
	struct MHD_Daemon *http;
	struct loop_source source;		/* libmicrohttpd's epoll set */
	struct loop_work run;
	struct loop_timer due, sweep;
	struct list clients;			/* api_client::node */
	pthread_t thread;
	bool has_thread;
	atomic_bool is_held;
	struct mail go_on, stop;
	uint64_t ends_ms;
};

/* ---- outcomes of orders ---- */

struct answer {
	struct mail mail;
	struct api *api;
	uint32_t id;
	enum supervise_outcome outcome;
	size_t len;
	char text[];
};

static void on_answer(struct mail *mail)
{
	struct answer *a = container_of(mail, struct answer, mail);

	api_request_conclude(&a->api->context, a->id, a->outcome, a->text, a->len);
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

/* ---- events ---- */

struct told {
	struct mail mail;
	struct api *api;
	uint64_t at_ns;
	bool was_before;
	size_t len;
	char line[];
};

static void on_told(struct mail *mail)
{
	struct told *t = container_of(mail, struct told, mail);

	api_events_tell(t->api->context.events, t->at_ns, t->was_before, t->line, t->len);
	free(t);
}

void api_tell_event(struct api *api, uint64_t at_ns, bool was_before, const char *line, size_t len)
{
	struct told *t = api ? calloc(1, sizeof *t + len) : NULL;

	if (!t)
		return;				/* nobody hears of it */
	t->mail.deliver = on_told;
	t->api = api;
	t->at_ns = at_ns;
	t->was_before = was_before;
	t->len = len;
	memcpy(t->line, line, len);
	mailbox_post(api->mailbox, &t->mail);
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

/* ---- clients ---- */

static void on_connection(void *ctx, struct MHD_Connection *connection, void **context,
			  enum MHD_ConnectionNotificationCode code)
{
	struct api *api = ctx;
	struct api_client *c = *context;

	if (code == MHD_CONNECTION_NOTIFY_CLOSED && c) {
		list_remove(&c->node);
		free(c);
		*context = NULL;
		loop_work_schedule(api->loop, &api->run);	/* it looks for others then */
	} else if (code == MHD_CONNECTION_NOTIFY_STARTED && (c = calloc(1, sizeof *c))) {
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
		struct api_client *c = container_of(node, struct api_client, node);

		if (!c->waits && now_ms - c->since_ms >= API_REQUEST_MS)
			shutdown(c->fd, SHUT_RDWR);
	}
	if (!list_is_empty(&api->clients))
		loop_timer_set(api->loop, timer, now_ms + SWEEP_MS);
}

static size_t on_decode(void *ctx, struct MHD_Connection *connection, char *text)
{
	(void)ctx, (void)connection;
	return api_query_decode(text);
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
	if (!api->context.ends)
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
		0, NULL, NULL,
		api_request_on_access, &api->context,
		MHD_OPTION_LISTEN_SOCKET, api->fd,
		MHD_OPTION_CONNECTION_LIMIT, (unsigned)API_CLIENTS_MAX,
		MHD_OPTION_CONNECTION_MEMORY_LIMIT, (size_t)API_HEAD_BYTES,
		MHD_OPTION_CONNECTION_TIMEOUT, (unsigned)API_REQUEST_MS / 1000,
		MHD_OPTION_URI_LOG_CALLBACK, api_request_on_uri, &api->context,
		MHD_OPTION_UNESCAPE_CALLBACK, on_decode, NULL,
		MHD_OPTION_NOTIFY_COMPLETED, api_request_on_completed, &api->context,
		MHD_OPTION_NOTIFY_CONNECTION, on_connection, api,
		MHD_OPTION_END);
	if (!api->http)
		return errno > 0 ? error_last() : -EINVAL;
	api->fd = -1;			/* it closes it */
	info = MHD_get_daemon_info(api->http, MHD_DAEMON_INFO_EPOLL_FD);
	return info ? loop_add(api->loop, &api->source, info->epoll_fd, EPOLLIN) : -EINVAL;
}

static int make_streams(struct api *api)
{
	api->context.events = api_events_new(&api->context, api->mailbox);
	api->context.captures = api_captures_new(&api->context);
	return api->context.events && api->context.captures ? 0 : -ENOMEM;
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
		.fd = config->fd, .source = { .dispatch = on_epoll, .fd = -1 },
		.due.expire = on_due, .sweep.expire = on_sweep, .go_on.deliver = on_go_on,
		.stop.deliver = on_stop,
	};
	list_init(&api->clients);
	api->context = (struct api_context){
		.routes = api_table, .run = &api->run, .order = config->order,
		.is_supervised = config->is_supervised,
	};
	list_init(&api->context.waiting);
	list_init(&api->context.streams);
	loop_work_init(&api->run, on_run);
	json_object_seed(0);			/* from a file, which is out of reach later */
	r = loop_new(&api->loop);
	api->context.loop = api->loop;
	if (!r)
		r = mailbox_new(&api->mailbox, api->loop);
	if (!r)
		r = make_streams(api);
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

	api->context.snapshots = snapshots;
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

	api->ends_ms = loop_now_ms(api->loop) + FAREWELL_MS;
	api_request_end_all(&api->context);
	list_for_each(each, &api->clients) {
		struct api_client *c = container_of(each, struct api_client, node);

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
	api_stream_drop_all(&api->context);
	if (api->http)
		MHD_stop_daemon(api->http);
	loop_work_cancel(&api->run);
	if (api->mailbox) {
		mailbox_deliver(api->mailbox);
		mailbox_free(api->mailbox);
	}
	api_events_free(api->context.events);
	api_captures_free(api->context.captures);
	loop_free(api->loop);
	fd_close(&api->fd);
	free(api);
}
