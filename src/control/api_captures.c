/* SPDX-License-Identifier: BSD-3-Clause */
/* Captures by clients of the API. */
#include "control/api_captures.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <unistd.h>

#include "control/api_query.h"
#include "control/api_reads.h"
#include "control/api_request.h"
#include "control/api_stream.h"
#include "control/events.h"
#include "control/live_capture.h"
#include "control/snapshots.h"
#include "protocol/pcap.h"
#include "util/error.h"
#include "util/fd.h"
#include "util/log_limit.h"

struct api_captures {
	struct api_context *context;
	struct list all;			/* running::node */
	unsigned n;
	uint64_t last_id;
};

struct running {
	struct api_stream stream;
	struct api_captures *captures;
	struct list node;			/* api_captures::all */
	struct capture_settings settings;
	uint64_t cid, id, since_ms;
	struct api_client *client;
	struct live_capture *live;		/* owned */
	struct loop_source readable;		/* the pipe; in the loop while it is empty */
	int fd;					/* of it; owned */
};

static const char content_type[] = "application/vnd.tcpdump.pcap";

/* ---- what is asked for ---- */

struct asked {
	struct api_request *r;
	struct capture_settings *settings;
	bool is_wrong;				/* it has been answered what is */
};

/* Of a key that may be there, with a value: see api_table.c. */
static enum MHD_Result take_value(void *ctx, enum MHD_ValueKind kind, const char *key,
				  const char *value)
{
	struct asked *a = ctx;
	struct capture_settings *s = a->settings;
	bool is_port = strcmp(key, "port") == 0;
	uint64_t n;

	(void)kind;
	if (!is_port && api_query_number(value, PCAP_PACKET_HEADERS, PCAP_SNAPLEN_MAX, &n)) {
		s->snaplen = (uint32_t)n;
		return MHD_YES;
	} else if (is_port && s->n_ports == CAPTURE_PORTS_MAX) {
		api_request_refuse(a->r, MHD_HTTP_BAD_REQUEST, "at most %d ports", CAPTURE_PORTS_MAX);
	} else if (is_port && api_query_number(value, 0, UINT32_MAX, &n)) {
		s->ports[s->n_ports++] = (uint32_t)n;
		return MHD_YES;
	} else if (is_port) {
		api_request_refuse(a->r, MHD_HTTP_BAD_REQUEST, "port: a number from 0 to %u is wanted",
				   UINT32_MAX);
	} else {
		api_request_refuse(a->r, MHD_HTTP_BAD_REQUEST, "snaplen: a number from %d to %d is "
				   "wanted", PCAP_PACKET_HEADERS, PCAP_SNAPLEN_MAX);
	}
	a->is_wrong = true;
	return MHD_NO;
}

/* False: it has been answered. */
static bool read_settings(struct api_request *r, struct capture_settings *out)
{
	struct asked a = { .r = r, .settings = out };

	*out = (struct capture_settings){ .snaplen = PCAP_SNAPLEN_MAX };
	snprintf(out->name, sizeof out->name, "by the API");
	MHD_get_connection_values(r->connection, MHD_GET_ARGUMENT_KIND, take_value, &a);
	return !a.is_wrong;
}

/* The worker of the VM. False: there is none, and it has been answered. */
static bool find_worker(struct api_request *r, unsigned *worker)
{
	struct snapshots_answer answer;

	if (!api_reads_take(r, r->args.cid, 0, &answer))
		return false;
	*worker = answer.vms[0].worker;
	snapshots_answer_deinit(&answer);
	return true;
}

/* ---- the stream ---- */

static void on_readable(struct loop_source *source, uint32_t events)
{
	struct running *c = container_of(source, struct running, readable);

	(void)events;
	loop_remove(c->captures->context->loop, source);
	api_stream_wake(&c->stream);
}

/* Of a pipe that cannot be waited for, nothing more is known. */
static ssize_t read_pipe(struct api_stream *stream, char *to, size_t max)
{
	struct running *c = container_of(stream, struct running, stream);
	ssize_t n;

	do
		n = read(c->fd, to, max);
	while (n < 0 && errno == EINTR);
	if (n > 0)
		return n;
	if (n == 0 || errno != EAGAIN)
		return API_STREAM_END;
	loop_remove(c->captures->context->loop, &c->readable);	/* it was woken by something else */
	return loop_add(c->captures->context->loop, &c->readable, c->fd, EPOLLIN) ?
		API_STREAM_END : 0;
}

static void finish(struct api_stream *stream)
{
	live_capture_end(container_of(stream, struct running, stream)->live);
}

static void leave(struct api_stream *stream)
{
	struct running *c = container_of(stream, struct running, stream);

	api_stream_deinit(stream);
	loop_remove(c->captures->context->loop, &c->readable);
	list_remove(&c->node);
	c->captures->n--;
	live_capture_free(c->live);
	fd_close(&c->fd);
	free(c);
}

static const struct api_stream_ops stream_ops = {
	.read = read_pipe, .finish = finish, .free = leave,
};

/* In the capture's thread. */
static void on_ended(uint64_t cid, uint64_t id, const struct capture_state *last)
{
	(void)id;
	events_put(&(struct event){
		.kind = EVENT_CAPTURE_ENDED, .cid = cid, .number = (int64_t)last->packets,
		.lost = last->lost, .error = last->error,
	});
}

/* 0 or -errno. */
static int begin(struct api_captures *all, struct api_request *r, struct running *c, unsigned worker)
{
	const struct capture_config config = {
		.settings = &c->settings, .cid = r->args.cid, .id = all->last_id + 1,
		.ended = on_ended,
	};
	int result = api_stream_init(&c->stream, &stream_ops, all->context, r->connection,
				     r->client->fd);

	if (result)
		return result;
	result = live_capture_new(&c->live, &c->fd, all->context->snapshots, worker, &config);
	if (result) {
		api_stream_deinit(&c->stream);
		return result;
	}
	c->captures = all;
	c->client = r->client;
	c->cid = r->args.cid;
	c->id = ++all->last_id;
	c->since_ms = loop_now_ms(all->context->loop);
	c->readable = (struct loop_source){ .dispatch = on_readable, .fd = -1 };
	list_append(&all->all, &c->node);
	all->n++;
	return 0;
}

static void start(struct api_request *r)
{
	struct api_captures *all = r->context->captures;
	struct capture_settings settings;
	struct running *c;
	unsigned worker;
	int result = -ENOMEM;

	if (!read_settings(r, &settings) || !find_worker(r, &worker))
		return;
	if (all->n == API_CAPTURES_MAX) {
		api_request_refuse(r, MHD_HTTP_TOO_MANY_REQUESTS, "%d captures run already: "
				   "/v1/captures", API_CAPTURES_MAX);
		return;
	}
	if (r->is_head) {			/* of what would be begun */
		api_request_reply_text(r, content_type, NULL, 0);
		return;
	}
	c = calloc(1, sizeof *c);
	if (c) {
		c->settings = settings;
		result = begin(all, r, c, worker);
	}
	if (result) {
		free(c);
		api_request_refuse(r, MHD_HTTP_INTERNAL_SERVER_ERROR, "%s", error_str(result));
		return;
	}
	log_limited(LEVEL_INFO, "main", "vm %" PRIu64 ": capture by the API begins", c->cid);
	events_put_vm(EVENT_CAPTURE_STARTED, c->cid);
	r->capture_id = c->id;
	api_request_reply_stream(r, content_type, &c->stream);
}

void api_captures_begin(struct api_request *r)
{
	snapshots_pin(r->context->snapshots);	/* the VM stays where it is found */
	start(r);
	snapshots_unpin(r->context->snapshots);
}

/* ---- all that run ---- */

static json_t *json_of_ports(const struct capture_settings *s)
{
	json_t *ports = json_array();

	for (size_t i = 0; i < s->n_ports; i++)
		json_array_append_new(ports, json_integer(s->ports[i]));
	return ports;
}

static json_t *json_of(const struct running *c)
{
	struct capture_state state;

	capture_get_state(live_capture_capture(c->live), &state);
	return json_pack("{s:I, s:I, s:i, s:o, s:I, s:I, s:I, s:I}",
		"id", (json_int_t)c->id, "cid", (json_int_t)c->cid, "snaplen", (int)c->settings.snaplen,
		"ports", json_of_ports(&c->settings),
		"age_ms", (json_int_t)(loop_now_ms(c->captures->context->loop) - c->since_ms),
		"packets", (json_int_t)state.packets, "bytes", (json_int_t)state.bytes,
		"lost", (json_int_t)state.lost);
}

void api_captures_get(struct api_request *r)
{
	json_t *rows = json_array();

	list_for_each(node, &r->context->captures->all)
		json_array_append_new(rows, json_of(container_of(node, struct running, node)));
	api_request_reply(r, MHD_HTTP_OK, json_pack("{s:o}", "captures", rows));
}

/* Its client gets what has passed so far, and then the end, if it reads that soon; this one, what
 * that was. */
void api_captures_end(struct api_request *r)
{
	list_for_each(node, &r->context->captures->all) {
		struct running *c = container_of(node, struct running, node);

		if (c->id != r->args.capture)
			continue;
		live_capture_end(c->live);
		api_client_set_waits(c->client, r->context->loop, false);
		api_request_reply(r, MHD_HTTP_OK, json_of(c));
		return;
	}
	api_request_refuse(r, MHD_HTTP_NOT_FOUND, "there is no capture %" PRIu64, r->args.capture);
}

/* ---- life ---- */

struct api_captures *api_captures_new(struct api_context *context)
{
	struct api_captures *all = calloc(1, sizeof *all);

	if (!all)
		return NULL;
	all->context = context;
	list_init(&all->all);
	return all;
}

void api_captures_free(struct api_captures *all)
{
	free(all);
}
