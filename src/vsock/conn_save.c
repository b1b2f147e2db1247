/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * One connection as bytes, and back. What comes back may be anybody's invention: whatever
 * the other files take for granted about a state is checked here.
 */
#include "util/blob.h"
#include "util/error.h"
#include "vsock/conn_internal.h"

#define CONN_TAG BLOB_TAG('C', 'O', 'N', 'N')

enum {
	CONN_VERSION = 1,
	CONN_MESSAGES_VERSION,			/* with conn_messages_save() behind it */
};

/* Beyond it the protocol's counters cannot tell ahead from behind; no setting allows it. */
#define BUF_ALLOC_MAX (UINT32_C(1) << 31)

/* The flags, in the order of their bits: another goes at the end. */
#define FLAGS(X) \
	X(from_peer) X(orphaned) X(response_pending) X(request_pending) X(credit_asked) \
	X(news_asked) X(news_came) X(credit_update_pending) X(host_write_closed) \
	X(host_read_closed) X(host_failed) X(host_lost_data) X(host_shut)

#define FLAG_BIT(name) FLAG_BIT_##name,
enum { FLAGS(FLAG_BIT) NUM_FLAGS };

static uint32_t get_flags(const struct conn *c)
{
	uint32_t flags = 0;

#define GET_FLAG(name) flags |= (uint32_t)c->name << FLAG_BIT_##name;
	FLAGS(GET_FLAG)
	return flags;
}

/* False: there are others, which we do not know. */
static bool set_flags(struct conn *c, uint32_t flags)
{
#define SET_FLAG(name) c->name = flags >> FLAG_BIT_##name & 1;
	FLAGS(SET_FLAG)
	return !(flags >> NUM_FLAGS);
}

static void save_credit(const struct credit *c, struct blob *out)
{
	blob_put_u32(out, c->guest_buf_alloc);
	blob_put_u32(out, c->guest_fwd_cnt);
	blob_put_u32(out, c->sent_to_guest);
	blob_put_u32(out, c->consumed);
	blob_put_u32(out, c->mark);
	blob_put_u32(out, c->packets_before);
	blob_put_u32(out, c->packets_after);
	blob_put_u32(out, c->buf_alloc);
	blob_put_u32(out, c->received);
	blob_put_u32(out, c->fwd_cnt);
	blob_put_u32(out, c->reported_fwd_cnt);
}

static void load_credit(struct credit *c, struct blob_reader *in)
{
	c->guest_buf_alloc = blob_get_u32(in);
	c->guest_fwd_cnt = blob_get_u32(in);
	c->sent_to_guest = blob_get_u32(in);
	c->consumed = blob_get_u32(in);
	c->mark = blob_get_u32(in);
	c->packets_before = blob_get_u32(in);
	c->packets_after = blob_get_u32(in);
	c->buf_alloc = blob_get_u32(in);
	c->received = blob_get_u32(in);
	c->fwd_cnt = blob_get_u32(in);
	c->reported_fwd_cnt = blob_get_u32(in);
}

void conn_save(const struct conn *c, struct blob *out)
{
	size_t section = blob_open(out, CONN_TAG,
				   c->messages ? CONN_MESSAGES_VERSION : CONN_VERSION);
	struct iovec iov[2];
	size_t n = byte_ring_peek(&c->to_host, iov);

	blob_put_u32(out, c->guest.port);
	blob_put_u64(out, c->peer.cid);
	blob_put_u32(out, c->peer.port);
	blob_put_u8(out, c->state);
	blob_put_u8(out, c->end);
	blob_put_u8(out, c->guest_shutdown);
	blob_put_u8(out, c->shutdown_pending);
	blob_put_u8(out, c->shutdown_sent);
	blob_put_u8(out, c->asks);
	blob_put_u32(out, get_flags(c));
	save_credit(&c->credit, out);
	blob_put_iov(out, iov, n);
	if (c->messages)
		conn_messages_save(c, out);
	blob_close(out, section);
}

bool conn_needs_stream(const struct conn *c)
{
	switch ((enum conn_state)c->state) {
	case CONN_CONNECTING:
	case CONN_REQUESTED:
	case CONN_OPEN:
	case CONN_LINGERING:
		return true;
	case CONN_CLOSING:
	case CONN_RESET:
	case CONN_DEAD:
		return false;
	}
	return false;
}

/* Nothing but the connect itself has happened. */
static bool is_young(const struct conn *c, uint32_t buffered)
{
	return !buffered && !conn_has_for_host(c) && !conn_has_rest(c) &&
		!c->credit.received && !c->credit.sent_to_guest &&
		!c->guest_shutdown && !c->shutdown_pending && !c->response_pending &&
		!c->host_write_closed && !c->host_read_closed && !c->host_failed &&
		!c->host_lost_data && !c->host_shut && !c->orphaned;
}

/* As conn_has_for_host(), and nothing more will come of what has begun. */
static bool conn_waits(const struct conn *c, uint32_t buffered)
{
	return c->messages ? c->messages->ends.len && !c->messages->begun : buffered;
}

static bool has_begun(const struct conn *c)
{
	return c->messages && c->messages->begun;
}

static bool fits_state(const struct conn *c, uint32_t buffered)
{
	bool holds = buffered || conn_has_for_host(c);

	switch ((enum conn_state)c->state) {
	case CONN_CONNECTING:
		return is_young(c, buffered) && !c->from_peer && !c->request_pending;
	case CONN_REQUESTED:
		return is_young(c, buffered) && c->from_peer;
	case CONN_OPEN:
		return !c->orphaned && !c->request_pending &&
			c->guest_shutdown != VSOCK_SHUTDOWN_BOTH &&
			!(c->guest_shutdown & VSOCK_SHUTDOWN_SEND && has_begun(c)) &&
			!(c->host_write_closed && conn_has_rest(c)) &&
			!(c->host_read_closed && (holds || c->host_write_closed)) &&
			!(c->host_shut && (holds || c->host_write_closed));
	case CONN_LINGERING:
		return conn_waits(c, buffered) && !c->request_pending && !c->host_read_closed &&
			!c->host_shut;
	case CONN_CLOSING:
		return !holds && !conn_has_rest(c) && !c->orphaned && !c->request_pending &&
			c->shutdown_pending == VSOCK_SHUTDOWN_BOTH;
	case CONN_RESET:
		return !holds && !conn_has_rest(c) && !c->orphaned && !c->request_pending && c->end;
	case CONN_DEAD:
		return false;
	}
	return false;
}

/* May @c be the state of a connection with @buffered bytes for the host? */
static bool is_sound(const struct conn *c, uint32_t buffered)
{
	return c->end < CONN_NUM_ENDS && c->credit.buf_alloc <= BUF_ALLOC_MAX &&
		c->guest_shutdown <= VSOCK_SHUTDOWN_BOTH &&
		c->shutdown_pending <= VSOCK_SHUTDOWN_BOTH &&
		!(c->shutdown_sent & ~c->shutdown_pending) && c->asks <= CONN_ASKS &&
		!(c->from_peer && c->response_pending) && credit_is_sound(&c->credit, buffered) &&
		c->state < CONN_NUM_STATES && fits_state(c, buffered);
}

/* All fields; *@bytes: what waits for the host, *@len of them. */
static bool load_fields(struct conn *c, struct blob_reader *in, const void **bytes, uint32_t *len)
{
	bool is_known;

	c->guest.port = blob_get_u32(in);
	c->peer.cid = blob_get_u64(in);
	c->peer.port = blob_get_u32(in);
	c->state = blob_get_u8(in);
	c->end = blob_get_u8(in);
	c->guest_shutdown = blob_get_u8(in);
	c->shutdown_pending = blob_get_u8(in);
	c->shutdown_sent = blob_get_u8(in);
	c->asks = blob_get_u8(in);
	is_known = set_flags(c, blob_get_u32(in));
	load_credit(&c->credit, in);
	*len = blob_get_u32(in);
	*bytes = blob_get_bytes(in, *len);
	return is_known;
}

int conn_load(struct conn **out, struct blob_reader *in, uint64_t guest_cid,
	      struct byte_budget *budget)
{
	const struct vsock_addr guest = { guest_cid, 0 }, peer = { 0, 0 };
	struct blob_reader section;
	uint32_t version, len;
	const void *bytes;
	struct conn *c;
	int r;

	if (!blob_enter(in, &section, CONN_TAG, CONN_MESSAGES_VERSION, &version))
		return CONN_E_BAD_STATE;
	c = conn_alloc(&guest, &peer, 0, budget);
	if (!c)
		return -ENOMEM;
	r = load_fields(c, &section, &bytes, &len) ? 0 : CONN_E_BAD_STATE;
	if (r == 0 && version == CONN_MESSAGES_VERSION &&
	    !conn_messages_load(c, &section, len, &r))
		r = CONN_E_BAD_STATE;
	if (r == 0 && !(blob_is_whole(&section) && is_sound(c, len)))
		r = CONN_E_BAD_STATE;
	if (r == 0) {
		c->to_host.size = c->credit.buf_alloc;
		r = byte_ring_fill(&c->to_host, bytes, len);
	}
	if (r) {
		conn_free(c);
		return r;
	}
	*out = c;
	return 0;
}
