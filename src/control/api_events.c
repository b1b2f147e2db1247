/* SPDX-License-Identifier: BSD-3-Clause */
/* Events for clients of the API. */
#include "control/api_events.h"

#include <stdlib.h>
#include <string.h>

#include "control/api_query.h"
#include "control/api_request.h"
#include "control/api_stream.h"
#include "control/event_feed.h"
#include "control/events_internal.h"
#include "util/byte_ring.h"
#include "util/error.h"
#include "util/mailbox.h"

enum {
	GATHER_MS = 10,				/* more come meanwhile, and are sent as one */
	TAKE_MAX = 64,
};

struct kept {					/* a line */
	uint64_t at_ns;
	size_t len;
	char text[];
};

struct api_events {
	struct api_context *context;
	struct mailbox *mailbox;
	struct mail wake;			/* there is something in the feed */
	struct loop_timer gather;
	struct byte_budget *budget;		/* of all queues */
	struct list clients;			/* client::node */
	unsigned n_clients;
	struct kept *kept[API_EVENTS_KEPT];	/* owned; circular */
	size_t n_kept;				/* since the beginning */
};

struct client {
	struct api_stream stream;
	struct api_events *events;
	struct list node;			/* api_events::clients */
	struct byte_ring queue;			/* whole lines, but for what was sent of the first */
	unsigned n_lost;			/* since it was told */
	uint64_t since_ns;			/* what was told before it came, from then on, it gets */
	bool is_over;
};

/* ---- queues ---- */

/* With the note, if one is due; both or neither. */
static bool enqueue(struct client *c, const char *line, size_t len)
{
	char note[EVENTS_LINE_MAX];
	size_t n = c->n_lost ? events_format_lost(note, c->n_lost) : 0;
	const struct iovec iov[] = {
		{ note, n }, { (char *)(uintptr_t)line, len },
	};

	if (n + len > c->queue.size - c->queue.len || byte_ring_append(&c->queue, iov, 2, 0))
		return false;
	c->n_lost = 0;
	api_stream_wake(&c->stream);
	return true;
}

static void note_lost(struct client *c, unsigned n)
{
	c->n_lost += n;
	event_feed_note_lost(n);
}

static void put(struct client *c, const char *line, size_t len)
{
	if (!enqueue(c, line, len))
		note_lost(c, 1);
}

/* Those that the feed has lost have been counted there. */
static void put_all(struct api_events *e, const char *line, size_t len, unsigned n_lost)
{
	list_for_each(node, &e->clients) {
		struct client *c = container_of(node, struct client, node);

		c->n_lost += n_lost;
		if (len)
			put(c, line, len);
	}
}

/* ---- what comes ---- */

static void on_gathered(struct loop_timer *timer)
{
	struct api_events *e = container_of(timer, struct api_events, gather);
	struct event_record records[TAKE_MAX];
	char line[EVENTS_LINE_MAX];
	unsigned n_lost;
	size_t n = event_feed_take(records, TAKE_MAX, &n_lost);

	for (size_t i = 0; i < n; i++)
		put_all(e, line, events_format(line, &records[i]), 0);
	put_all(e, NULL, 0, n_lost);
	if (n == TAKE_MAX)			/* others have their turn before the rest */
		loop_timer_set(e->context->loop, timer, loop_now_ms(e->context->loop));
}

static void on_wake(struct mail *mail)
{
	struct api_events *e = container_of(mail, struct api_events, wake);

	if (!e->gather.is_set)
		loop_timer_set(e->context->loop, &e->gather,
			       loop_now_ms(e->context->loop) + GATHER_MS);
}

static void wake(void *ctx)
{
	struct api_events *e = ctx;

	mailbox_post(e->mailbox, &e->wake);
}

/* Without memory, nobody hears of it later. */
static void keep(struct api_events *e, uint64_t at_ns, const char *line, size_t len)
{
	struct kept **place = &e->kept[e->n_kept % API_EVENTS_KEPT];
	struct kept *kept = malloc(sizeof *kept + len);

	if (!kept)
		return;
	kept->at_ns = at_ns;
	kept->len = len;
	memcpy(kept->text, line, len);
	free(*place);
	*place = kept;
	e->n_kept++;
}

void api_events_tell(struct api_events *e, uint64_t at_ns, bool was_before, const char *line,
		     size_t len)
{
	keep(e, at_ns, line, len);
	list_for_each(node, &e->clients) {
		struct client *c = container_of(node, struct client, node);

		if (!was_before || at_ns > c->since_ns)
			put(c, line, len);
	}
}

/* ---- a client ---- */

static ssize_t read_queue(struct api_stream *stream, char *to, size_t max)
{
	struct client *c = container_of(stream, struct client, stream);
	struct iovec iov[2];
	size_t n = 0;

	if (!c->queue.len && c->n_lost)
		enqueue(c, "", 0);
	for (size_t i = 0, pieces = byte_ring_peek(&c->queue, iov); i < pieces; i++) {
		size_t some = iov[i].iov_len < max - n ? iov[i].iov_len : max - n;

		memcpy(to + n, iov[i].iov_base, some);
		n += some;
	}
	if (n)
		byte_ring_drop(&c->queue, n);
	return n ? (ssize_t)n : c->is_over ? API_STREAM_END : 0;
}

static void finish(struct api_stream *stream)
{
	container_of(stream, struct client, stream)->is_over = true;
}

static void leave(struct api_stream *stream)
{
	struct client *c = container_of(stream, struct client, stream);
	struct api_events *e = c->events;

	api_stream_deinit(stream);
	list_remove(&c->node);
	if (!--e->n_clients)
		event_feed_close();
	byte_ring_deinit(&c->queue);
	free(c);
}

static const struct api_stream_ops stream_ops = {
	.read = read_queue, .finish = finish, .free = leave,
};

/* 0 or -errno. */
static int join(struct api_events *e, struct api_request *r, struct client **out)
{
	struct client *c = calloc(1, sizeof *c);
	int result = -ENOMEM;

	if (!c)
		return result;
	c->events = e;
	c->since_ns = UINT64_MAX;
	byte_ring_init(&c->queue, API_EVENTS_QUEUE_BYTES, e->budget);
	result = e->n_clients ? 0 : event_feed_open(sizeof(struct event_record), wake, e);
	if (!result) {
		result = api_stream_init(&c->stream, &stream_ops, e->context, r->connection,
					 r->client->fd);
		if (result && !e->n_clients)
			event_feed_close();
	}
	if (result) {
		free(c);
		return result;
	}
	list_append(&e->clients, &c->node);
	e->n_clients++;
	*out = c;
	return 0;
}

/* What it has missed, as far as that is known. */
static void catch_up(struct api_events *e, struct client *c, uint64_t since_ns)
{
	size_t first = e->n_kept > API_EVENTS_KEPT ? e->n_kept - API_EVENTS_KEPT : 0;

	c->since_ns = since_ns;
	for (size_t i = first; i < e->n_kept; i++) {
		const struct kept *kept = e->kept[i % API_EVENTS_KEPT];

		if (kept->at_ns > since_ns)
			put(c, kept->text, kept->len);
	}
}

void api_events_get(struct api_request *r)
{
	struct api_events *e = r->context->events;
	const char *since = MHD_lookup_connection_value(r->connection, MHD_GET_ARGUMENT_KIND,
							"since");
	uint64_t since_ns;
	struct client *c;

	if (since && !api_query_time(since, &since_ns)) {
		api_request_refuse(r, MHD_HTTP_BAD_REQUEST,
				   "since: SECS.NANOS is wanted, as 1700000000.000000000");
		return;
	}
	if (e->n_clients == API_EVENTS_CLIENTS_MAX) {
		api_request_refuse(r, MHD_HTTP_TOO_MANY_REQUESTS, "%d clients follow events already",
				   API_EVENTS_CLIENTS_MAX);
		return;
	}
	if (join(e, r, &c)) {
		api_request_refuse(r, MHD_HTTP_INTERNAL_SERVER_ERROR, "no memory");
		return;
	}
	if (since)
		catch_up(e, c, since_ns);
	api_request_reply_stream(r, "application/x-ndjson", &c->stream);
}

/* ---- all of them ---- */

struct api_events *api_events_new(struct api_context *context, struct mailbox *mailbox)
{
	struct api_events *e = calloc(1, sizeof *e);

	if (!e)
		return NULL;
	*e = (struct api_events){
		.context = context, .mailbox = mailbox, .wake.deliver = on_wake,
		.gather.expire = on_gathered,
		.budget = byte_budget_new(API_EVENTS_CLIENTS_MAX * API_EVENTS_QUEUE_BYTES),
	};
	list_init(&e->clients);
	if (e->budget)
		return e;
	free(e);
	return NULL;
}

void api_events_free(struct api_events *e)
{
	if (!e)
		return;
	loop_timer_cancel(e->context->loop, &e->gather);
	byte_budget_unref(e->budget);
	for (size_t i = 0; i < API_EVENTS_KEPT; i++)
		free(e->kept[i]);
	free(e);
}
