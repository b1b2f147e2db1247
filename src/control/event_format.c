/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Events as lines of JSON. Names of events, and of what is in them, are for programs: they stay
 * what they are; others may be added.
 */
#include <string.h>

#include "control/events_internal.h"
#include "device/events.h"
#include "util/decimal.h"
#include "util/error.h"

static const char *const names[] = {
	[EVENT_LOST] = "events-lost",
	[EVENT_DAEMON_STARTED] = "daemon-started", [EVENT_DAEMON_ENDED] = "daemon-ended",
	[EVENT_ENGINE_STARTED] = "engine-started", [EVENT_ENGINE_DIED] = "engine-died",
	[EVENT_UPGRADED] = "upgraded", [EVENT_UPGRADE_FAILED] = "upgrade-failed",
	[EVENT_VM_ADDED] = "vm-added", [EVENT_VM_CHANGED] = "vm-changed",
	[EVENT_VM_REMOVED] = "vm-removed", [EVENT_VM_LEFT_OUT] = "vm-left-out",
	[EVENT_CAPTURE_STARTED] = "capture-started", [EVENT_CAPTURE_ENDED] = "capture-ended",
};

static const char *const device_names[] = {
	[DEVICE_FRONT_END_CONNECTED] = "front-end-connected",
	[DEVICE_FRONT_END_GONE] = "front-end-gone",
	[DEVICE_GUEST_RUNNING] = "guest-running", [DEVICE_GUEST_STOPPED] = "guest-stopped",
	[DEVICE_GUEST_RESET] = "guest-reset",
	[DEVICE_RING_BROKEN] = "ring-broken",
	[DEVICE_CONNECTION_OPENED] = "connection-opened",
	[DEVICE_CONNECTION_ENDED] = "connection-reset",	/* or, in good order: */
};

#define CLOSED	"connection-closed"

struct line {
	char *text;
	size_t len;
};

/*
 * There may be tens of thousands in a second: what is known when it is compiled is copied as
 * it stands, in one piece. Each member begins with a comma; the first one's becomes a brace.
 */
#define PUT(l, literal) do {							\
	assert(sizeof (literal) <= EVENTS_LINE_MAX - (l)->len);			\
	memcpy((l)->text + (l)->len, (literal), sizeof (literal) - 1);		\
	(l)->len += sizeof (literal) - 1;					\
} while (0)

#define PUT_KEY(l, key)	PUT(l, ",\"" key "\":")

#define PUT_U64(l, key, v) do {							\
	PUT_KEY(l, key);							\
	put_number(l, v);							\
} while (0)

/* Of a table of ours: nothing in it has to be escaped. */
#define PUT_WORD(l, key, word) do {						\
	PUT(l, ",\"" key "\":\"");						\
	put(l, word);								\
	PUT(l, "\"");								\
} while (0)

/* For people: ours too, but there may be quotes in it. */
#define PUT_TEXT(l, key, text) do {						\
	PUT(l, ",\"" key "\":\"");						\
	put_escaped(l, text);							\
	PUT(l, "\"");								\
} while (0)

static void put(struct line *l, const char *word)
{
	size_t n = strlen(word ? word : "none");

	assert(n < EVENTS_LINE_MAX - l->len);	/* whatever the numbers are */
	memcpy(l->text + l->len, word ? word : "none", n);
	l->len += n;
}

static void put_number(struct line *l, uint64_t v)
{
	assert(DECIMAL_MAX < EVENTS_LINE_MAX - l->len);
	l->len = (size_t)(decimal_put(l->text + l->len, v) - l->text);
}

static void put_escaped(struct line *l, const char *text)
{
	for (; *text && l->len < EVENTS_LINE_MAX / 2; text++) {
		if (*text == '"' || *text == '\\')
			l->text[l->len++] = '\\';
		if ((unsigned char)*text >= ' ')
			l->text[l->len++] = *text;
	}
}

static bool is_in_order(const struct conn_snapshot *c)
{
	return c->end == CONN_END_GUEST || c->end == CONN_END_HOST;
}

static void put_conn(struct line *l, const struct conn_snapshot *c, bool has_ended)
{
	PUT_U64(l, "guest_port", c->guest.port);
	PUT_U64(l, "peer_cid", c->peer.cid);
	PUT_U64(l, "peer_port", c->peer.port);
	PUT_WORD(l, "type", counters_label_value(LABEL_TYPE, c->type - VSOCK_TYPE_STREAM));
	PUT_WORD(l, "origin", counters_label_value(LABEL_ORIGIN, c->origin));
	if (!has_ended)
		return;
	PUT_WORD(l, "reason", counters_label_value(LABEL_END, c->end));
	PUT_U64(l, "bytes_to_guest", c->to_guest);
	PUT_U64(l, "bytes_to_host", c->to_host);
	PUT_U64(l, "age_ms", c->age_ms);
}

static void put_device(struct line *l, const struct event_record *r)
{
	switch (r->device) {
	case DEVICE_RING_BROKEN:
		PUT_WORD(l, "ring", counters_label_value(LABEL_RING, r->ring));
		PUT_TEXT(l, "reason", r->reason);
		break;
	case DEVICE_CONNECTION_OPENED:
	case DEVICE_CONNECTION_ENDED:
		put_conn(l, &r->conn, r->device == DEVICE_CONNECTION_ENDED);
		break;
	case DEVICE_FRONT_END_CONNECTED:
	case DEVICE_FRONT_END_GONE:
	case DEVICE_GUEST_RUNNING:
	case DEVICE_GUEST_STOPPED:
	case DEVICE_GUEST_RESET:
		break;
	}
}

static void put_properties(struct line *l, const struct event_record *r)
{
	const struct event *e = &r->event;

	if (e->cid)
		PUT_U64(l, "cid", e->cid);
	if (e->pid)
		PUT_U64(l, "pid", (uint64_t)e->pid);
	switch (e->kind) {
	case EVENT_LOST:
		PUT_U64(l, "count", (uint64_t)e->number);
		break;
	case EVENT_DAEMON_ENDED:
		PUT_U64(l, "status", (uint64_t)e->number);
		break;
	case EVENT_ENGINE_DIED:
		if (e->is_signal)
			PUT_U64(l, "signal", (uint64_t)e->number);
		else
			PUT_U64(l, "status", (uint64_t)e->number);
		break;
	case EVENT_UPGRADE_FAILED:
		PUT_TEXT(l, "reason", e->reason);
		break;
	case EVENT_CAPTURE_ENDED:
		PUT_U64(l, "packets", (uint64_t)e->number);
		PUT_U64(l, "lost", e->lost);
		if (e->error)
			PUT_TEXT(l, "error", error_str(e->error));
		break;
	case EVENT_DAEMON_STARTED:
	case EVENT_ENGINE_STARTED:
	case EVENT_UPGRADED:
	case EVENT_VM_ADDED:
	case EVENT_VM_CHANGED:
	case EVENT_VM_REMOVED:
	case EVENT_VM_LEFT_OUT:
	case EVENT_CAPTURE_STARTED:
		break;
	case EVENT_OF_DEVICE:
		put_device(l, r);
		break;
	}
}

static const char *name_of(const struct event_record *r)
{
	if (r->event.kind != EVENT_OF_DEVICE)
		return names[r->event.kind];
	if (r->device == DEVICE_CONNECTION_ENDED && is_in_order(&r->conn))
		return CLOSED;
	return device_names[r->device];
}

size_t events_format(char line[EVENTS_LINE_MAX], const struct event_record *r)
{
	struct line l = { .text = line };
	size_t properties;

	PUT(&l, "{\"timestamp\":{\"secs\":");
	put_number(&l, (uint64_t)r->at.tv_sec);
	PUT(&l, ",\"nanos\":");
	put_number(&l, (uint64_t)r->at.tv_nsec);
	if (r->event.kind < EVENT_VM_ADDED)
		PUT(&l, "},\"source\":\"daemon\",\"event\":\"");
	else
		PUT(&l, "},\"source\":\"vm\",\"event\":\"");
	put(&l, name_of(r));
	PUT(&l, "\",\"properties\":");
	properties = l.len;
	put_properties(&l, r);
	if (l.len == properties)
		PUT(&l, "{");
	line[properties] = '{';
	PUT(&l, "}}\n");
	line[l.len] = '\0';
	return l.len;
}

/* All of it, also between the fields: records are compared, and copied, as bytes. */
static void begin(struct event_record *out)
{
	memset(out, 0, sizeof *out);
	clock_gettime(CLOCK_REALTIME, &out->at);
}

size_t events_format_lost(char line[EVENTS_LINE_MAX], unsigned n)
{
	struct event_record r;

	events_record(&r, &(struct event){ .kind = EVENT_LOST, .number = n });
	return events_format(line, &r);
}

void events_record(struct event_record *out, const struct event *e)
{
	begin(out);
	out->event = *e;
}

void events_record_device(struct event_record *out, const struct device_event *e)
{
	begin(out);
	out->event.kind = EVENT_OF_DEVICE;
	out->event.cid = e->cid;
	out->device = e->kind;
	out->ring = e->ring;
	out->reason = e->reason;
	if (e->conn)
		out->conn = *e->conn;
}
