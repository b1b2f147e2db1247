/* SPDX-License-Identifier: BSD-3-Clause */
/* RSTs of no connection. */
#include "vsock/replies.h"

#include <stdlib.h>

#include "util/blob.h"
#include "util/error.h"

#define REPLIES_TAG BLOB_TAG('R', 'S', 'T', 'S')

enum { REPLIES_VERSION = 1 };

struct reply {
	struct vsock_addr src, dst;
	uint16_t type;
	uint32_t name;				/* its row in names, or CONN_NO_NAME */
};

void replies_init(struct replies *r, struct conn_names *names)
{
	*r = (struct replies){ .names = names };
}

static struct reply *at(const struct replies *r, size_t i)
{
	return &r->pool[(r->first + i) % REPLIES_MAX];
}

/* The place for one more; NULL: no memory, or none left. */
static struct reply *add(struct replies *r)
{
	if (!r->pool)
		r->pool = calloc(REPLIES_MAX, sizeof *r->pool);
	if (!r->pool || r->n == REPLIES_MAX)
		return NULL;
	return at(r, r->n++);
}

static void add_name(struct replies *r, struct reply *reply)
{
	reply->name = conn_names_add(r->names, reply->type, reply->dst.port, &reply->src);
}

bool replies_add(struct replies *r, unsigned type, const struct vsock_addr *guest,
		 const struct vsock_addr *peer)
{
	struct reply *reply = add(r);

	if (!reply)
		return false;
	*reply = (struct reply){ .src = *peer, .dst = *guest, .type = (uint16_t)type };
	add_name(r, reply);
	return true;
}

bool replies_take_row(struct replies *r, const struct conn_name *name, uint32_t row)
{
	for (size_t i = 0; i < r->n; i++) {
		struct reply *reply = at(r, i);

		if (reply->name == CONN_NO_NAME && reply->type == name->type &&
		    reply->dst.port == name->guest_port && reply->src.port == name->peer_port &&
		    reply->src.cid == name->peer_cid) {
			reply->name = row;
			return true;
		}
	}
	return false;
}

bool replies_add_lost(struct replies *r, const struct conn_name *name, uint64_t guest_cid,
		      uint32_t row)
{
	struct reply *reply = add(r);

	if (!reply)
		return false;
	*reply = (struct reply){
		.src = { name->peer_cid, name->peer_port }, .dst = { guest_cid, name->guest_port },
		.type = (uint16_t)name->type, .name = row,
	};
	return true;
}

void replies_add_rows(struct replies *r)
{
	for (size_t i = 0; i < r->n; i++)
		if (at(r, i)->name == CONN_NO_NAME)
			add_name(r, at(r, i));
}

/* The first is no longer needed. */
static void drop_first(struct replies *r)
{
	conn_names_drop(r->names, r->pool[r->first].name);
	r->first = (r->first + 1) % REPLIES_MAX;
	r->n--;
}

bool replies_send(struct replies *r, const struct rx_sink *rx)
{
	while (r->n) {
		const struct reply *reply = &r->pool[r->first];
		struct pkt pkt = {
			.src = reply->src, .dst = reply->dst, .type = reply->type,
			.op = VSOCK_OP_RST,
		};

		if (!rx_send(rx, &pkt))
			return false;
		drop_first(r);
	}
	return true;
}

void replies_clear(struct replies *r)
{
	while (r->n)
		drop_first(r);
}

void replies_deinit(struct replies *r)
{
	free(r->pool);
	*r = (struct replies){ .n = 0 };
}

void replies_save(const struct replies *r, struct blob *out)
{
	size_t section = blob_open(out, REPLIES_TAG, REPLIES_VERSION);

	for (size_t i = 0; i < r->n; i++) {
		const struct reply *reply = at(r, i);

		blob_put_u64(out, reply->src.cid);
		blob_put_u32(out, reply->src.port);
		blob_put_u32(out, reply->dst.port);
		blob_put_u16(out, reply->type);
	}
	blob_close(out, section);
}

int replies_load(struct replies *r, struct blob_reader *in, uint64_t guest_cid)
{
	struct blob_reader section;
	uint32_t version;

	if (!blob_enter(in, &section, REPLIES_TAG, REPLIES_VERSION, &version))
		return REPLIES_E_BAD_STATE;
	while (blob_has_more(&section)) {
		struct reply *reply = r->n < REPLIES_MAX ? add(r) : NULL;

		if (!reply) {
			int error = r->n < REPLIES_MAX ? -ENOMEM : REPLIES_E_BAD_STATE;

			replies_clear(r);
			return error;
		}
		*reply = (struct reply){ .name = CONN_NO_NAME, .dst.cid = guest_cid };
		reply->src.cid = blob_get_u64(&section);
		reply->src.port = blob_get_u32(&section);
		reply->dst.port = blob_get_u32(&section);
		reply->type = blob_get_u16(&section);
	}
	if (blob_is_whole(&section))
		return 0;
	replies_clear(r);
	return REPLIES_E_BAD_STATE;
}
