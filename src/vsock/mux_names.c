/* SPDX-License-Identifier: BSD-3-Clause */
/* All connections of one guest: those that another process has left behind. */
#include "util/error.h"
#include "vsock/mux_internal.h"

enum fate { FATE_KEPT, FATE_NOBODYS, FATE_LOST };	/* of a name that was left */

static bool add_lost_conn(struct mux *mux, const struct conn_name *name, uint32_t row,
			  uint64_t now_ms)
{
	const struct vsock_addr guest = { mux->config.guest_cid, name->guest_port };
	const struct vsock_addr peer = { name->peer_cid, name->peer_port };
	struct conn *c;

	if (mux->n_conns >= mux->config.limits.max_connections)
		return false;
	c = conn_new_lost(name->type, &guest, &peer, mux->buffered);
	if (!c)
		return false;
	c->mux.logged_state = CONN_NUM_STATES;
	c->mux.name = row;
	mux->n_conns++;
	conn_table_add(&mux->table, c);
	mux_finish(mux, c, now_ms);
	return true;
}

static enum fate load_name(struct mux *mux, const struct conn_name *name, uint32_t row,
			   uint64_t now_ms)
{
	const struct vsock_addr peer = { name->peer_cid, name->peer_port };
	bool is_known = name->type == VSOCK_TYPE_STREAM || name->type == VSOCK_TYPE_SEQPACKET;
	struct conn *c = NULL;

	if (is_known)
		c = conn_table_find(&mux->table, name->guest_port, &peer);
	if (c && c->mux.name != CONN_NO_NAME)
		return FATE_NOBODYS;		/* there twice */
	if (c)
		c->mux.name = row;
	if (c || replies_take_row(&mux->replies, name, row))
		return FATE_KEPT;
	if ((is_known && add_lost_conn(mux, name, row, now_ms)) ||
	    replies_add_lost(&mux->replies, name, mux->config.guest_cid, row))
		return FATE_KEPT;
	return FATE_LOST;
}

/* RSTs that answer packets of no connection have names, too. */
size_t mux_names_size(uint32_t max_connections)
{
	return conn_names_size((size_t)max_connections + REPLIES_MAX);
}

int mux_load_names(struct mux *mux, struct conn_names_area *area, size_t size, bool is_new,
		   uint64_t now_ms)
{
	struct conn_name name;
	uint32_t n_lost;
	int r = conn_names_open(&mux->names, area, size, is_new, &n_lost);

	if (r < 0)
		return r;
	for (uint32_t row = 0; row < mux->names.n_begun; row++) {
		enum fate fate = FATE_KEPT;

		if (conn_names_get(&mux->names, row, &name))
			fate = load_name(mux, &name, row, now_ms);
		if (fate != FATE_KEPT)
			conn_names_drop(&mux->names, row);
		n_lost |= fate == FATE_LOST;
	}
	for (struct conn *c = conn_table_next(&mux->table, NULL); c;
	     c = conn_table_next(&mux->table, c))
		if (c->mux.name == CONN_NO_NAME)
			c->mux.name = conn_names_add(&mux->names, conn_type(c), c->guest.port,
						     &c->peer);
	replies_add_rows(&mux->replies);
	conn_names_settle(&mux->names);
	if (mux_has_output(mux))
		mux->config.wake(mux->config.ctx);
	return n_lost ? MUX_E_NAMES_LOST : 0;
}

bool mux_forget_names(struct mux *mux)
{
	if (mux->n_conns || mux->replies.n)
		return false;
	conn_names_deinit(&mux->names);
	return true;
}
