/* SPDX-License-Identifier: BSD-3-Clause */
/* All connections of one guest: taken over by another process, or by the next one after a
 * crash. */
#include <stdlib.h>

#include "util/blob.h"
#include "util/error.h"
#include "vsock/mux_internal.h"

#define MUX_TAG BLOB_TAG('M', 'U', 'X', ' ')
#define MUX_CONN_TAG BLOB_TAG('M', 'U', 'X', 'C')

enum {
	MUX_VERSION = 2,			/* 1: three numbers in place of the counters */
	MUX_CONN_VERSION = 2,			/* 1: without what snapshots need */
};

static void save_conn(const struct conn *c, struct blob *out)
{
	size_t section = blob_open(out, MUX_CONN_TAG, MUX_CONN_VERSION);

	blob_put_u64(out, c->mux.deadline_ms);
	blob_put_u8(out, c->mux.share);
	blob_put_u8(out, c->mux.ending);
	blob_put_u64(out, c->mux.begun_ms);
	blob_put_u64(out, c->mux.waits_since_ms);
	blob_put_u8(out, c->mux.waits_for);
	blob_put_u32(out, c->mux.to_guest_high);
	blob_put_u32(out, c->mux.to_host_high);
	conn_save(c, out);
	if (c->stream)
		c->stream->ops->save(c->stream, out);
	blob_close(out, section);
}

static void save_each(struct conn *c, void *out)
{
	save_conn(c, out);
}

void mux_save(const struct mux *mux, struct blob *out)
{
	size_t section = blob_open(out, MUX_TAG, MUX_VERSION);

	assert(!mux->gather.conn);
	counters_save(&mux->counters, out);
	host_ports_save(&mux->ports, out);
	replies_save(&mux->replies, out);
	blob_put_u32(out, (uint32_t)mux->n_conns);
	mux_visit_conns(mux, save_each, out);	/* in the order in which they are to be looked at */
	blob_close(out, section);
}

static bool is_forgotten(const struct conn *c)
{
	return c->orphaned || c->mux.ending == ENDING_GUEST_GONE || c->mux.ending == ENDING_DROP;
}

static struct backend *find_maker(const struct mux *mux, uint32_t stream_tag)
{
	for (size_t i = 0; i < mux->n_backends; i++)
		if (mux->backends[i]->ops->load_stream &&
		    mux->backends[i]->ops->stream_tag == stream_tag)
			return mux->backends[i];
	return NULL;
}

/* The stream of @c. Where it cannot go on, the connection is reset. */
static int load_stream(struct mux *mux, struct conn *c, struct blob_reader *in)
{
	struct backend *b = find_maker(mux, blob_peek_tag(in));
	struct blob_reader section = *in, inner;
	struct stream *stream;
	uint32_t version;
	bool is_pending;
	int r;

	/* However much of it the backend reads. */
	if (!b || !blob_enter(in, &inner, b->ops->stream_tag, UINT32_MAX, &version))
		return MUX_E_BAD_STATE;
	section.end = in->at;
	r = b->ops->load_stream(b, &c->guest, &c->peer, &section, &stream);
	if (r < 0)
		return r;
	if (r == BACKEND_E_BAD_STATE)
		return MUX_E_BAD_STATE;
	is_pending = r == BACKEND_E_PENDING;
	if (r && !is_pending) {
		conn_reset(c, CONN_END_HOST_RST);
		return 0;
	}
	if (stream->type != conn_type(c)) {
		stream->ops->close(stream, false);
		return MUX_E_BAD_STATE;
	}
	conn_set_stream(c, stream);
	return is_pending == (c->state == CONN_CONNECTING) ? 0 : MUX_E_BAD_STATE;
}

/* May it have the place that it had? */
static bool fits(const struct mux *mux, const struct conn *c)
{
	return c->mux.ending < NUM_ENDINGS && !(c->mux.ending && c->orphaned) &&
		c->mux.share <= SHARE_OWN && !(c->mux.share && !c->from_peer) &&
		c->mux.waits_for < CONN_NUM_WAITS &&
		(is_forgotten(c) || !conn_table_find(&mux->table, c->guest.port, &c->peer));
}

static void place(struct mux *mux, struct conn *c)
{
	shares_take(&mux->shares, c, c->mux.share);
	mux_count_loaded(mux, c);
	mux->n_conns++;
	if (!is_forgotten(c))
		mux_conn_enter(mux, c);
	list_append(c->mux.ending ? &mux->ending : &mux->ready, &c->mux.ready_node);
}

/* All of those on the list, without a word to their peers. */
static void remove_conns(struct mux *mux, const struct list *head)
{
	while (!list_is_empty(head)) {
		struct conn *c = container_of(head->next, struct conn, mux.ready_node);

		if (!is_forgotten(c))
			mux_conn_leave(mux, c);
		mux_conn_free(mux, c);
	}
}

void mux_unload(struct mux *mux)
{
	remove_conns(mux, &mux->ready);
	remove_conns(mux, &mux->ending);
	replies_clear(&mux->replies);
}

/* What was there before now cannot be later. */
static uint64_t get_past_ms(struct blob_reader *in, uint64_t now_ms)
{
	uint64_t ms = blob_get_u64(in);

	return ms < now_ms ? ms : now_ms;
}

/* For a field of few bits: what it has no room for becomes @max, which it may not be. */
static unsigned get_below(struct blob_reader *in, unsigned max)
{
	unsigned v = blob_get_u8(in);

	return v < max ? v : max;
}

static_assert(SHARE_OWN < 7 && CONN_NUM_WAITS <= 15, "fields of 3 bits and of 4");

/* The mux's own part of a connection. */
static struct conn_in_mux load_own(struct blob_reader *in, uint32_t version, uint64_t now_ms)
{
	struct conn_in_mux own = { .deadline_ms = blob_get_u64(in) };

	own.share = get_below(in, 7) & 7;
	own.ending = blob_get_u8(in);
	own.begun_ms = own.waits_since_ms = now_ms;
	if (version == 1)
		return own;
	own.begun_ms = get_past_ms(in, now_ms);
	own.waits_since_ms = get_past_ms(in, now_ms);
	own.waits_for = get_below(in, 15) & 15;
	own.to_guest_high = blob_get_u32(in);
	own.to_host_high = blob_get_u32(in);
	return own;
}

static void take_own(struct conn *c, const struct conn_in_mux *own)
{
	c->mux.deadline_ms = own->deadline_ms;
	c->mux.share = own->share;
	c->mux.ending = own->ending;
	c->mux.begun_ms = own->begun_ms;
	c->mux.waits_since_ms = own->waits_since_ms;
	c->mux.waits_for = own->waits_for;
	c->mux.to_guest_high = own->to_guest_high;
	c->mux.to_host_high = own->to_host_high;
}

/* *@out, placed; NULL: it has come to its end. */
static int load_conn(struct mux *mux, struct blob_reader *in, uint64_t now_ms,
		     struct conn **out)
{
	struct blob_reader section;
	struct conn_in_mux own;
	uint32_t version;
	struct conn *c;
	int r;

	if (!blob_enter(in, &section, MUX_CONN_TAG, MUX_CONN_VERSION, &version))
		return MUX_E_BAD_STATE;
	own = load_own(&section, version, now_ms);
	r = conn_load(&c, &section, mux->config.guest_cid, mux->buffered);
	if (r)
		return r < 0 ? r : MUX_E_BAD_STATE;
	take_own(c, &own);
	if (conn_needs_stream(c))
		r = load_stream(mux, c, &section);
	if (r == 0 && !(blob_is_whole(&section) && fits(mux, c)))
		r = MUX_E_BAD_STATE;
	if (r || c->state == CONN_DEAD) {
		conn_free(c);
		c = NULL;
	} else {
		place(mux, c);
	}
	*out = c;
	return r;
}

static int by_deadline(const void *a, const void *b)
{
	uint64_t x = (*(struct conn *const *)a)->mux.deadline_ms;
	uint64_t y = (*(struct conn *const *)b)->mux.deadline_ms;

	return (x > y) - (x < y);
}

/* All of a kind run equally long, so none has longer to go than one that begins now. */
static void set_timers(struct mux *mux, struct conn **conns, size_t n, uint64_t now_ms)
{
	for (size_t i = 0; i < n; i++) {
		struct conn_in_mux *m = &conns[i]->mux;
		enum conn_timer timer = conn_timer(conns[i]);

		m->armed = (uint8_t)timer;
		if (m->deadline_ms > now_ms + mux->timer_ms[timer])
			m->deadline_ms = now_ms + mux->timer_ms[timer];
	}
	qsort(conns, n, sizeof(struct conn *), by_deadline);
	for (size_t i = 0; i < n; i++)
		if (conns[i]->mux.armed != CONN_TIMER_NONE)
			list_append(&mux->timers[conns[i]->mux.armed], &conns[i]->mux.timer_node);
}

/* *@n: of @n_saved, as many as have not come to their end. */
static int load_conns(struct mux *mux, struct blob_reader *in, struct conn **conns,
		      uint32_t n_saved, uint64_t now_ms, size_t *n)
{
	*n = 0;
	for (uint32_t i = 0; i < n_saved; i++) {
		int r = load_conn(mux, in, now_ms, &conns[*n]);

		if (r)
			return r;
		if (conns[*n])
			++*n;
	}
	return blob_is_whole(in) ? 0 : MUX_E_BAD_STATE;
}

/* The rest of the section. That has a head for each, so there can be no more of them. */
static int load_all_conns(struct mux *mux, struct blob_reader *in, uint64_t now_ms)
{
	uint32_t n_saved = blob_get_u32(in);
	struct conn **conns;
	size_t n;
	int r;

	if (n_saved > (size_t)(in->end - in->at) / BLOB_SECTION_BYTES)
		return MUX_E_BAD_STATE;
	conns = calloc(n_saved ? n_saved : 1, sizeof(struct conn *));
	if (!conns)
		return -ENOMEM;
	r = load_conns(mux, in, conns, n_saved, now_ms, &n);
	if (r == 0)
		set_timers(mux, conns, n, now_ms);
	free(conns);
	return r;
}

static bool load_counters(struct vsock_counters *counters, struct blob_reader *in,
			  uint32_t version)
{
	*counters = (struct vsock_counters){ .payload = { 0 } };
	if (version > 1)
		return counters_load(counters, in);
	counters->packets_dropped[DROP_SOURCE] = blob_get_u64(in);
	blob_get_u64(in);			/* refused connects, without a reason */
	counters->packets_dropped[DROP_STRAY] = blob_get_u64(in);
	return true;
}

/* Those are ours; what is loaded before them has been counted by then. */
static void keep_gauges(struct vsock_counters *loaded, const struct vsock_counters *own)
{
	memcpy(loaded->connections, own->connections, sizeof own->connections);
}

int mux_load(struct mux *mux, struct blob_reader *in, uint64_t now_ms)
{
	struct vsock_counters counters;
	struct blob_reader section;
	struct host_ports ports;
	uint32_t version;
	int r;

	assert(!mux->n_conns && !mux->replies.n);
	if (!blob_enter(in, &section, MUX_TAG, MUX_VERSION, &version))
		return MUX_E_BAD_STATE;
	if (!load_counters(&counters, &section, version) || !host_ports_load(&ports, &section))
		return MUX_E_BAD_STATE;
	r = replies_load(&mux->replies, &section, mux->config.guest_cid);
	if (r)
		return r < 0 ? r : MUX_E_BAD_STATE;
	r = load_all_conns(mux, &section, now_ms);
	if (r) {
		mux_unload(mux);
		return r;
	}
	mux->is_held = true;
	keep_gauges(&counters, &mux->counters);
	mux->counters = counters;
	mux->ports = ports;
	mux->config.wake(mux->config.ctx);
	return 0;
}

void mux_resume(struct mux *mux, uint64_t now_ms)
{
	struct list todo, *node;

	mux->is_held = false;
	list_init(&todo);
	while ((node = list_take_first(&mux->ready)))
		list_append(&todo, node);
	while ((node = list_take_first(&todo))) {
		struct conn *c = container_of(node, struct conn, mux.ready_node);

		conn_stream_ready(c);
		mux_finish(mux, c, now_ms);
	}
	for (size_t i = 0; i < mux->n_backends; i++)
		if (mux->backends[i]->ops->resume)
			mux->backends[i]->ops->resume(mux->backends[i]);
	mux->config.wake(mux->config.ctx);
}
