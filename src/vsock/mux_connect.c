/* SPDX-License-Identifier: BSD-3-Clause */
/* All connections of one guest: how they begin, and why not. */
#include <stdio.h>

#include "util/error.h"
#include "vsock/mux_internal.h"

struct backend *mux_route(const struct mux *mux, uint64_t cid)
{
	for (size_t i = 0; i < mux->n_backends; i++)
		if (mux->backends[i]->ops->serves(mux->backends[i], cid))
			return mux->backends[i];
	return NULL;
}

bool mux_knows_type(const struct mux *mux, unsigned type)
{
	return (type == VSOCK_TYPE_STREAM || type == VSOCK_TYPE_SEQPACKET) &&
		mux->types & 1U << type;
}

/* Those whose RST waits make room, as far as there are places for replies. */
static bool is_full(struct mux *mux, uint64_t now_ms)
{
	while (mux->n_conns >= mux->config.limits.max_connections)
		if (!mux_free_first_waiting(mux, now_ms))
			return true;
	return false;
}

/* As shares_find(), likewise. */
static enum share find_share(struct mux *mux, uint64_t cid, uint64_t now_ms)
{
	enum share share;

	while (!(share = shares_find(&mux->shares, cid)))
		if (!mux_free_first_waiting(mux, now_ms))
			return SHARE_NONE;
	return share;
}

/* Has the guest a connection of that name? Not if only its RST waits, which now goes before what is
 * new. */
static bool is_taken(struct mux *mux, const struct vsock_addr *peer, uint32_t port,
		     uint64_t now_ms)
{
	struct conn *c = conn_table_find(&mux->table, port, peer);

	return c && !mux_free_waiting(mux, c, now_ms);
}

struct reason {
	char text[320];
};

/* Why the guest's connect failed, and what to do. May look at the file system. */
static struct reason explain(const struct mux *mux, const struct vsock_addr *dst, int error)
{
	struct backend *b = mux_route(mux, dst->cid);
	struct reason why;

	if (!b)
		snprintf(why.text, sizeof why.text, "nobody has CID %llu: the host is CID 2, "
			 "siblings are VMs of this process", (unsigned long long)dst->cid);
	else if (error == BACKEND_E_FULL)
		snprintf(why.text, sizeof why.text, "the guest has %zu connections, as many as "
			 "max-connections lets it have", mux->n_conns);
	else
		b->ops->explain(b, dst, error, why.text, sizeof why.text);
	return why;
}

/* The guest's connect failed: counts it, and logs why. log_first() evaluates what it prints after the level
 * and the limit, so that a guest makes nobody look at files for lines that are not logged. */
void mux_log_refused(struct mux *mux, const struct vsock_addr *src, const struct vsock_addr *dst,
		     int error)
{
	mux_count_refused(mux, COUNTERS_TO_HOST, error);
	log_first(&mux->from_guest, error_kind(error), mux->config.tag, "%s refused: %s",
		  vsock_route(src, dst).text, explain(mux, dst, error).text);
}

int mux_on_request(struct mux *mux, const struct pkt *pkt, uint64_t now_ms)
{
	struct backend *b = mux_route(mux, pkt->dst.cid);
	struct stream *stream;
	struct conn *c;
	int r;

	if (!b)
		return BACKEND_E_NO_ROUTE;
	if (is_full(mux, now_ms))
		return BACKEND_E_FULL;
	r = b->ops->connect(b, pkt->type, &pkt->src, &pkt->dst, &stream);
	if (r && r != BACKEND_E_PENDING)
		return r;
	c = mux_conn_new(mux, &pkt->src, &pkt->dst, stream);
	if (!c) {
		stream->ops->close(stream, false);
		return -ENOMEM;
	}
	mux_conn_enter(mux, c);
	conn_begin_connecting(c, pkt);
	if (!r)
		conn_connected(c, stream);
	mux_finish(mux, c, now_ms);
	return 0;
}

/* The guest has answered a connect with RST: most often, nobody listens there. */
void mux_log_guest_refuses(struct mux *mux, const struct conn *c)
{
	mux_count_refused(mux, COUNTERS_TO_GUEST, BACKEND_E_NOBODY);
	log_first(&mux->to_guest, error_kind(BACKEND_E_NOBODY), mux->config.tag,
		  "%s refused by the guest: nobody in it listens on vsock port %u",
		  mux_path(c).text, c->guest.port);
}

static void log_unanswered(struct mux *mux, const struct conn *c)
{
	mux_count_refused(mux, COUNTERS_TO_GUEST, BACKEND_E_TIMEOUT);
	log_first(&mux->to_guest, error_kind(BACKEND_E_TIMEOUT), mux->config.tag,
		  "%s refused: the guest has not answered for %u ms; does it hang, or has "
		  "it lost its vsock driver?", mux_path(c).text, mux->config.request_ms);
}

void mux_log_expired(struct mux *mux, const struct conn *c)
{
	if (c->state == CONN_LINGERING)
		log_limited(LEVEL_INFO, mux->config.tag,
			    "%s: %u bytes given up, the host does not read", mux_path(c).text,
			    c->to_host.len);
	else if (c->state == CONN_CONNECTING)
		mux_log_refused(mux, &c->guest, &c->peer, BACKEND_E_TIMEOUT);
	else if (c->state == CONN_REQUESTED)
		log_unanswered(mux, c);
}

/* @peer: who calls. 0 or -ENOMEM. */
static int connect_guest(struct mux *mux, struct stream *stream, const struct vsock_addr *peer,
			 enum share share, uint32_t port, uint64_t now_ms)
{
	struct vsock_addr guest = { mux->config.guest_cid, port };
	struct conn *c = mux_conn_new(mux, &guest, peer, stream);

	if (!c)
		return -ENOMEM;
	shares_take(&mux->shares, c, share);
	mux_conn_enter(mux, c);
	conn_begin_requested(c);
	mux_finish(mux, c, now_ms);
	return 0;
}

static int can_be_called(struct mux *mux, const struct stream *stream, uint64_t now_ms)
{
	if (!mux->is_running)
		return BACKEND_E_NO_GUEST;
	if (!mux_knows_type(mux, stream->type))
		return BACKEND_E_NO_TYPE;
	return is_full(mux, now_ms) ? BACKEND_E_FULL : 0;
}

/* A host program may well call again and again until the guest has booted. */
static void log_call_refused(struct mux *mux, uint64_t cid, uint32_t port, int error)
{
	mux_count_refused(mux, COUNTERS_TO_GUEST, error);
	if (error == BACKEND_E_NO_GUEST)
		log_first(&mux->to_guest, error_kind(error), mux->config.tag,
			  "connect from CID %llu to port %u refused: no guest is running, or its "
			  "vsock driver has not started the device yet",
			  (unsigned long long)cid, port);
	else
		log_limited(error == BACKEND_E_FULL || error_is_shortage(error) ? LEVEL_WARN :
			    LEVEL_DEBUG, mux->config.tag,
			    "connect from CID %llu to port %u refused: %s",
			    (unsigned long long)cid, port, backend_str_error(error));
}

int mux_connect_from_host(struct mux *mux, struct stream *stream, uint64_t host_cid,
			  uint32_t port, uint64_t now_ms)
{
	struct vsock_addr peer = { .cid = host_cid };
	int r = can_be_called(mux, stream, now_ms);

	if (!r) {
		peer.port = host_ports_take(&mux->ports, &mux->table, host_cid, port);
		r = connect_guest(mux, stream, &peer, SHARE_NONE, port, now_ms);
	}
	if (r)
		log_call_refused(mux, host_cid, port, r);
	return r;
}

int mux_connect_from_sibling(struct mux *mux, struct stream *stream,
			     const struct vsock_addr *from, uint32_t port, uint64_t now_ms)
{
	enum share share = SHARE_NONE;
	int r = can_be_called(mux, stream, now_ms);

	if (!r && is_taken(mux, from, port, now_ms))
		r = BACKEND_E_NAME_TAKEN;
	if (!r && !(share = find_share(mux, from->cid, now_ms)))
		r = BACKEND_E_FULL;
	if (!r)
		r = connect_guest(mux, stream, from, share, port, now_ms);
	if (r)
		log_call_refused(mux, from->cid, port, r);
	return r;
}
