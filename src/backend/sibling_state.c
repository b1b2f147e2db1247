/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Sibling connections that another process takes over.
 *
 * Each end is saved and loaded with its own VM, whose worker it belongs to, and with the pipe
 * that it writes, whose memory is of that VM's budget. An end that is closed is in no core any
 * more: what it has left is saved by the other. Where only one end comes, or has come so far,
 * the other is a stand-in: closed, aborted and in the same worker, so that whatever becomes of
 * the load the one end is sound. The second end takes the stand-in's place.
 *
 * What is loaded is hostile, but no more is at stake than the two VMs' connection: counters that
 * lie stop it, at worst.
 */
#include <pthread.h>

#include "backend/sibling_conn_internal.h"
#include "util/blob.h"
#include "util/byte_ring.h"
#include "util/error.h"

enum {
	STREAM_VERSION = 1,
	STREAM_SEQPACKET_VERSION,		/* the same for VSOCK_TYPE_SEQPACKET */
};

enum {						/* who saves the other end */
	OTHER_ITSELF,
	OTHER_INCOMING,				/* nobody: its core has not been asked yet */
	OTHER_CLOSED,				/* this one */
	NUM_OTHERS,
};

/* Loading is for once, so workers may wait for each other. */
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static struct list halves = { &halves, &halves };	/* struct sibling_conn */

struct saved {
	enum vsock_type type;
	uint64_t id;
	bool is_opener;
	enum phase phase;
	unsigned flags;
	uint32_t window, peer_window, consumed, reported_consumed;
	uint32_t n_out, n_in;			/* bytes in the pipes */
	const void *out, *in;
	uint8_t other;				/* OTHER_* */
	unsigned other_flags;
};

static void save_pipe(const struct spsc_pipe *p, struct blob *out)
{
	struct iovec v[2];

	blob_put_iov(out, v, spsc_pipe_peek(p, v));
}

/* All workers rest: the other end may be read as well. */
void sibling_end_save(const struct stream *base, struct blob *out)
{
	const struct end *e = container_of_const(base, struct end, base), *other = e->other;
	const struct sibling_conn *c = e->conn;
	unsigned other_flags = atomic_load(&other->flags);
	size_t section = blob_open(out, SIBLING_STREAM_TAG, c->type == VSOCK_TYPE_SEQPACKET ?
				   STREAM_SEQPACKET_VERSION : STREAM_VERSION);

	blob_put_u64(out, c->id);
	blob_put_u8(out, e == &c->ends[0]);
	blob_put_u8(out, (uint8_t)e->phase);
	blob_put_u8(out, (uint8_t)atomic_load(&e->flags));
	blob_put_u32(out, atomic_load(&c->window[e != &c->ends[0]]));
	blob_put_u32(out, base->peer_window);
	blob_put_u32(out, atomic_load(&e->consumed));
	blob_put_u32(out, e->reported_consumed);
	save_pipe(&other->in, out);
	if (other->phase == PHASE_INCOMING) {
		blob_put_u8(out, OTHER_INCOMING);
	} else if (other_flags & END_CLOSED) {
		blob_put_u8(out, OTHER_CLOSED);
		blob_put_u8(out, (uint8_t)other_flags);
		save_pipe(&e->in, out);
	} else {
		blob_put_u8(out, OTHER_ITSELF);
	}
	blob_close(out, section);
}

static void parse_pipe(struct blob_reader *in, uint32_t *n, const void **bytes)
{
	*n = blob_get_u32(in);
	*bytes = blob_get_bytes(in, *n);
}

static void parse(struct saved *s, struct blob_reader *in)
{
	s->id = blob_get_u64(in);
	s->is_opener = blob_get_bool(in);
	s->phase = blob_get_u8(in);
	s->flags = blob_get_u8(in);
	s->window = blob_get_u32(in);
	s->peer_window = blob_get_u32(in);
	s->consumed = blob_get_u32(in);
	s->reported_consumed = blob_get_u32(in);
	parse_pipe(in, &s->n_out, &s->out);
	s->other = blob_get_u8(in);
	if (s->other != OTHER_CLOSED)
		return;
	s->other_flags = blob_get_u8(in);
	parse_pipe(in, &s->n_in, &s->in);
}

static bool are_sound_bytes(const struct saved *s, const void *bytes, uint32_t n)
{
	return s->type == VSOCK_TYPE_SEQPACKET ?
		n <= PIPE_MAX && spsc_pipe_are_messages(bytes, n, VSOCK_SEQ_EOR) : n <= PIPE_LARGE;
}

static bool is_sound(const struct saved *s)
{
	const unsigned live = END_ACCEPTED | END_WRITE_CLOSED | END_READ_CLOSED;
	const unsigned closed = END_CLOSED | END_ABORTED;
	bool is_young = s->is_opener && !s->flags && !s->n_out && !s->n_in;

	return s->id && are_sound_bytes(s, s->out, s->n_out) &&
		are_sound_bytes(s, s->in, s->n_in) && !(s->flags & ~live) &&
		(s->phase == PHASE_LIVE || (s->phase == PHASE_PENDING && is_young)) &&
		s->other < NUM_OTHERS && !(s->other_flags & ~(live | closed)) &&
		(s->other != OTHER_CLOSED || s->other_flags & END_CLOSED) &&
		(s->other != OTHER_INCOMING || s->phase == PHASE_PENDING);
}

static bool is_same(const struct vsock_addr *a, const struct vsock_addr *b)
{
	return a->cid == b->cid && a->port == b->port;
}

/* The one whose other end has been loaded: @i is the place of this. Locked. */
static struct sibling_conn *find_half(const struct saved *s, const struct vsock_addr *src,
				      const struct vsock_addr *dst, int i)
{
	list_for_each(node, &halves) {
		struct sibling_conn *c = container_of(node, struct sibling_conn, node);

		if (c->saved_id == s->id && c->type == s->type && is_same(&c->src, src) &&
		    is_same(&c->dst, dst) && c->ends[i].phase == PHASE_CLOSED)
			return c;
	}
	return NULL;
}

/* With two stand-ins. */
static struct sibling_conn *new_half(const struct saved *s, const struct vsock_addr *src,
				     const struct vsock_addr *dst, struct sibling_entry *self)
{
	struct sibling_conn *c = sibling_conn_new(s->type, src, dst);

	if (!c)
		return NULL;
	c->saved_id = s->id;
	atomic_store(&c->window[s->is_opener], s->peer_window);	/* until the other knows better */
	for (int i = 0; i < 2; i++) {
		sibling_end_init(c, i, PHASE_CLOSED, self);
		atomic_store(&c->ends[i].flags, END_CLOSED | END_ABORTED);
	}
	return c;
}

/* The end takes its stand-in's place. */
static void take_place(struct end *e, const struct saved *saved, struct sibling *s)
{
	struct sibling_conn *c = e->conn;

	atomic_fetch_add(&c->refs, 1);
	e->phase = saved->phase;
	sibling_end_set_entry(e, s->config.self);
	e->reported_consumed = saved->reported_consumed;
	e->base.peer_window = saved->peer_window;
	e->base.ready = saved->phase == PHASE_LIVE ? STREAM_IN | STREAM_OUT : 0;
	atomic_store(&e->consumed, saved->consumed);
	atomic_store(&e->flags, saved->flags);
	atomic_store(&c->window[e != &c->ends[0]], saved->window);
	sibling_end_belong(e, s);
	list_append(&s->loaded, &e->node);
}

/* The other's core is still to be asked. */
static void make_incoming(struct end *other, struct sibling_entry *to)
{
	struct sibling_conn *c = other->conn;

	atomic_fetch_add(&c->refs, 1);
	other->phase = PHASE_INCOMING;
	sibling_end_set_entry(other, to);
	atomic_store(&other->flags, 0);
	c->to = sibling_entry_ref(to);
}

/* @n bytes into the pipe that @e writes. 0; -ENOMEM, -ENOBUFS. */
static int fill(struct end *e, const void *bytes, uint32_t n)
{
	union {
		const void *c;
		void *v;
	} from = { .c = bytes };
	struct iovec iov = { from.v, n };
	size_t written;
	bool wake;
	int r;

	if (!n)
		return 0;
	r = sibling_end_resize_out(e, sibling_pipe_size(n));
	if (!r)
		r = spsc_pipe_write(&e->other->in, &iov, 1, &written, &wake);
	spsc_pipe_wait_empty(&e->other->in);	/* whatever it waited for */
	return r;
}

/* What the other had written before it closed, of the memory of this one's VM. */
static int fill_from_closed(struct end *other, const struct saved *s)
{
	atomic_store(&other->flags, s->other_flags);
	if (s->n_in)
		other->budget = byte_budget_ref(other->other->budget);
	return fill(other, s->in, s->n_in);
}

/* Locked. *@out: the end; on failure to be closed. */
static int load(struct sibling *s, const struct saved *saved, const struct vsock_addr *src,
		const struct vsock_addr *dst, struct sibling_entry *to, struct end **out)
{
	int i = saved->is_opener ? 0 : 1, r;
	struct sibling_conn *c = saved->other == OTHER_ITSELF ?
		find_half(saved, src, dst, i) : NULL;

	if (c) {
		list_remove(&c->node);
	} else {
		c = new_half(saved, src, dst, s->config.self);
		if (!c)
			return -ENOMEM;
		if (saved->other == OTHER_ITSELF)
			list_append(&halves, &c->node);
	}
	*out = &c->ends[i];
	take_place(*out, saved, s);
	if (to)
		make_incoming((*out)->other, to);
	r = fill(*out, saved->out, saved->n_out);
	if (!r && saved->other == OTHER_CLOSED)
		r = fill_from_closed((*out)->other, saved);
	return r;
}

int sibling_conn_load(struct sibling *s, const struct vsock_addr *guest,
		      const struct vsock_addr *peer, struct blob_reader *in, struct stream **out)
{
	struct saved saved = { .id = 0 };
	struct sibling_entry *to = NULL;
	struct blob_reader section;
	struct end *e = NULL;
	uint32_t version;
	int r;

	if (!blob_enter(in, &section, SIBLING_STREAM_TAG, STREAM_SEQPACKET_VERSION, &version))
		return BACKEND_E_BAD_STATE;
	saved.type = version == STREAM_SEQPACKET_VERSION ? VSOCK_TYPE_SEQPACKET : VSOCK_TYPE_STREAM;
	parse(&saved, &section);
	if (!blob_is_whole(&section) || !is_sound(&saved))
		return BACKEND_E_BAD_STATE;
	if (saved.other == OTHER_INCOMING) {
		to = sibling_dir_reach(s->config.dir, guest->cid, peer->cid);
		if (!to)
			return BACKEND_E_DENIED;
	}
	pthread_mutex_lock(&lock);
	r = load(s, &saved, saved.is_opener ? guest : peer, saved.is_opener ? peer : guest, to, &e);
	pthread_mutex_unlock(&lock);
	if (r) {
		if (e)
			sibling_end_close(e, END_CLOSED | END_ABORTED);
		return r;
	}
	*out = &e->base;
	return saved.phase == PHASE_PENDING ? BACKEND_E_PENDING : 0;
}

void sibling_end_forget(struct end *e)
{
	list_remove(&e->node);
	pthread_mutex_lock(&lock);
	list_remove(&e->conn->node);
	pthread_mutex_unlock(&lock);
}

/* Whatever mail the other process had, both ends look at everything once. */
void sibling_conns_resume(struct sibling *s)
{
	while (!list_is_empty(&s->loaded)) {
		struct end *e = container_of(s->loaded.next, struct end, node);

		sibling_end_forget(e);
		sibling_end_notify(e);
		if (e->conn->to)
			sibling_end_notify(e->other);
	}
}
