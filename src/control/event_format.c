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
	bool has_any;				/* of the object that is open */
};

static void put(struct line *l, const char *text)
{
	size_t n = strlen(text);

	assert(n < EVENTS_LINE_MAX - l->len);	/* whatever the numbers are */
	memcpy(l->text + l->len, text, n);
	l->len += n;
}

static void put_char(struct line *l, char c)
{
	put(l, (char[]){ c, '\0' });
}

static void put_number(struct line *l, uint64_t v)
{
	assert(DECIMAL_MAX < EVENTS_LINE_MAX - l->len);
	l->len = (size_t)(decimal_put(l->text + l->len, v) - l->text);
}

static void put_key(struct line *l, const char *key)
{
	put(l, l->has_any ? ",\"" : "\"");
	put(l, key);
	put(l, "\":");
	l->has_any = true;
}

static void put_u64(struct line *l, const char *key, uint64_t v)
{
	put_key(l, key);
	put_number(l, v);
}

/* Of a table of ours: nothing in it has to be escaped. */
static void put_word(struct line *l, const char *key, const char *word)
{
	put_key(l, key);
	put(l, "\"");
	put(l, word ? word : "none");
	put(l, "\"");
}

/* For people: ours too, but there may be quotes in it. */
static void put_text(struct line *l, const char *key, const char *text)
{
	put_key(l, key);
	put(l, "\"");
	for (; *text && l->len < EVENTS_LINE_MAX / 2; text++) {
		if (*text == '"' || *text == '\\')
			put_char(l, '\\');
		if ((unsigned char)*text >= ' ')
			put_char(l, *text);
	}
	put(l, "\"");
}

static bool is_in_order(const struct conn_snapshot *c)
{
	return c->end == CONN_END_GUEST || c->end == CONN_END_HOST;
}

static void put_conn(struct line *l, const struct conn_snapshot *c, bool has_ended)
{
	put_u64(l, "guest_port", c->guest.port);
	put_u64(l, "peer_cid", c->peer.cid);
	put_u64(l, "peer_port", c->peer.port);
	put_word(l, "type", counters_label_value(LABEL_TYPE, c->type - VSOCK_TYPE_STREAM));
	put_word(l, "origin", counters_label_value(LABEL_ORIGIN, c->origin));
	if (!has_ended)
		return;
	put_word(l, "reason", counters_label_value(LABEL_END, c->end));
	put_u64(l, "bytes_to_guest", c->to_guest);
	put_u64(l, "bytes_to_host", c->to_host);
	put_u64(l, "age_ms", c->age_ms);
}

static void put_device(struct line *l, const struct event_record *r)
{
	switch (r->device) {
	case DEVICE_RING_BROKEN:
		put_word(l, "ring", counters_label_value(LABEL_RING, r->ring));
		put_text(l, "reason", r->reason);
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
		put_u64(l, "cid", e->cid);
	if (e->pid)
		put_u64(l, "pid", (uint64_t)e->pid);
	switch (e->kind) {
	case EVENT_LOST:
		put_u64(l, "count", (uint64_t)e->number);
		break;
	case EVENT_DAEMON_ENDED:
		put_u64(l, "status", (uint64_t)e->number);
		break;
	case EVENT_ENGINE_DIED:
		put_u64(l, e->is_signal ? "signal" : "status", (uint64_t)e->number);
		break;
	case EVENT_CAPTURE_ENDED:
		put_u64(l, "packets", (uint64_t)e->number);
		put_u64(l, "lost", e->lost);
		if (e->error)
			put_text(l, "error", error_str(e->error));
		break;
	case EVENT_DAEMON_STARTED:
	case EVENT_ENGINE_STARTED:
	case EVENT_UPGRADED:
	case EVENT_UPGRADE_FAILED:
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

	put(&l, "{\"timestamp\":{\"secs\":");
	put_number(&l, (uint64_t)r->at.tv_sec);
	put(&l, ",\"nanos\":");
	put_number(&l, (uint64_t)r->at.tv_nsec);
	put(&l, r->event.kind < EVENT_VM_ADDED ? "},\"source\":\"daemon\",\"event\":\"" :
	    "},\"source\":\"vm\",\"event\":\"");
	put(&l, name_of(r));
	put(&l, "\",\"properties\":{");
	put_properties(&l, r);
	put(&l, "}}\n");
	l.text[l.len] = '\0';
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
