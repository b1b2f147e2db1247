/* SPDX-License-Identifier: BSD-3-Clause */
/* What everybody knows to have been sent and to have arrived. */
#include "ledger.h"

#include <stdlib.h>

uint8_t flow_byte(const struct ledger *book, const struct flow *flow, uint64_t at)
{
	uint64_t h = (uint64_t)(flow - book->flows) * 0x9e3779b9 + at;

	return (uint8_t)(h ^ h >> 8 ^ h >> 16);
}

void flow_add_message(struct flow *flow, uint32_t len, bool is_record)
{
	size_t n = flow->n_messages;

	if (!(n & (n - 1))) {			/* as many as there is room for */
		flow->messages = realloc(flow->messages, (n ? 2 * n : 1) * sizeof(struct message));
		if (!flow->messages)
			abort();
	}
	flow->messages[flow->n_messages++] = (struct message){ len, is_record };
}

const struct message *flow_next(const struct flow *flow)
{
	return flow->n_arrived < flow->n_sent ? &flow->messages[flow->n_arrived] : NULL;
}

void flow_message_arrived(struct flow *flow)
{
	flow->whole += flow->messages[flow->n_arrived++].len;
}

uint64_t side_consumed(const struct side *side)
{
	return side->type == VSOCK_TYPE_SEQPACKET ? side->in->whole : side->in->arrived;
}

struct side *side_new(struct vm *vm, enum vsock_type type, uint32_t guest_port,
		      const struct vsock_addr *peer)
{
	struct ledger *book = vm->book;
	struct side *side = &book->sides[book->n_sides];

	if (book->n_sides == SIDES)
		return NULL;
	*side = (struct side){
		.vm = vm, .type = type, .guest_port = guest_port, .peer = *peer,
		.out = &book->flows[2 * book->n_sides], .in = &book->flows[2 * book->n_sides + 1],
	};
	book->n_sides++;
	return side;
}

struct side *side_find(struct vm *vm, uint32_t guest_port, const struct vsock_addr *peer)
{
	struct ledger *book = vm->book;

	for (size_t i = book->n_sides; i > 0; i--) {
		struct side *side = &book->sides[i - 1];

		if (side->vm == vm && side->guest_port == guest_port &&
		    side->peer.cid == peer->cid && side->peer.port == peer->port)
			return side;
	}
	return NULL;
}

const struct side *side_other(const struct side *side)
{
	const struct ledger *book = side->vm->book;

	for (size_t i = 0; i < book->n_sides; i++)
		if (&book->sides[i] != side && book->sides[i].in == side->out)
			return &book->sides[i];
	return NULL;
}
