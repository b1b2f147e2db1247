/* SPDX-License-Identifier: BSD-3-Clause */
/* RSTs to packets of no connection. */
#include "vsock/replies.h"

#include <stdlib.h>

struct reply {
	struct vsock_addr src, dst;
	uint16_t type;
};

void replies_add(struct replies *r, const struct pkt *pkt)
{
	if (!r->pool)
		r->pool = calloc(REPLIES_MAX, sizeof *r->pool);
	if (!r->pool || r->n == REPLIES_MAX)
		return;
	r->pool[(r->first + r->n++) % REPLIES_MAX] = (struct reply){
		.src = pkt->dst, .dst = pkt->src, .type = pkt->type,
	};
}

bool replies_send(struct replies *r, const struct rx_sink *rx)
{
	for (; r->n; r->n--) {
		const struct reply *reply = &r->pool[r->first];
		struct pkt pkt = {
			.src = reply->src, .dst = reply->dst, .type = reply->type,
			.op = VSOCK_OP_RST,
		};

		if (!rx_send(rx, &pkt))
			return false;
		r->first = (r->first + 1) % REPLIES_MAX;
	}
	return true;
}

void replies_clear(struct replies *r)
{
	r->n = 0;
}

void replies_deinit(struct replies *r)
{
	free(r->pool);
	*r = (struct replies){ .n = 0 };
}
