/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What muxes are told and what they say, checked against each other: guests that
 * may lie, host programs behind streams, siblings, RX buffers, and a clock. Each
 * direction of a connection has its own endless pattern of bytes, so that any
 * byte lost, doubled, moved or delivered to another is seen; and a list of its
 * messages, where it has any. Every function asserts. From here upwards:
 *
 *	ledger		what everybody knows to have been sent and to have arrived
 *	guest		a guest speaks, and is spoken to
 *	host		host programs: a backend and its streams
 *	siblings	the real backend of siblings, over mail that waits to be delivered
 *	world		set-up, time, what must hold between any two steps
 *	step		a script's bytes as steps
 */
#pragma once

#include <assert.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "vsock/mux.h"

enum { VMS = 3, SLOTS = 8, SIDES = 256, MAX_CONNS = 6, PAYLOADS = 64 };
enum { CONNECT_MS = 1500, REQUEST_MS = 2000, LINGER_MS = 30000, CLOSING_MS = 10000 };

struct vm;
struct ledger;

struct message {
	uint32_t len;				/* bytes */
	bool is_record;				/* VSOCK_SEQ_EOR */
};

/* Bytes in one direction, from a pattern that no other flow has. */
struct flow {
	uint64_t sent, arrived;
	/* Of type SEQPACKET: its whole messages, and how far they have come. */
	struct message *messages;
	size_t n_messages, n_sent, n_arrived;
	uint64_t whole;				/* bytes of those that have arrived */
	uint32_t begun;				/* of the bytes sent, by one that is not whole */
};

/* One life of a connection as one guest knows it; kept when it is over. */
struct side {
	struct vm *vm;
	enum vsock_type type;
	struct fuzz_stream *stream;		/* a host's; NULL: closed, or a sibling's */
	uint32_t guest_port;			/* 0: never will be */
	struct vsock_addr peer;			/* port 0: not yet asked for */
	struct flow *out, *in;			/* as the guest sees it */
	const void *birth;			/* the mail that begets the sibling's side */
	bool from_sibling;			/* it was begotten so */
	bool is_live;				/* the mux has it, and it is connected */
	bool is_pending;			/* BACKEND_E_PENDING */
	bool is_asked;				/* its guest, by a sibling's REQUEST */
	bool is_open;				/* RESPONSE was said, one way or the other */
	bool is_gone;				/* the guest forgot it, or was told RST */
	uint8_t guest_said, said;		/* VSOCK_SHUTDOWN_*, by the guest and to it */
	uint32_t reported_fwd_cnt;			/* to the guest */
	uint32_t buf_alloc, fwd_cnt;		/* as the guest last said */
	bool owes_credit;			/* it has not said since CREDIT_REQUEST that it
						   has consumed all */
	/* The host program's. */
	uint64_t takes, to_give;		/* bytes that its socket has room for, holds */
	int write_error, end;
	bool is_deaf, has_ended;
	unsigned waits_for;
};

/* A port of the guest, and what it talks to there. */
struct slot {
	uint32_t guest_port;
	struct vsock_addr peer;
	uint32_t buf_alloc, lie;		/* lie: added to its true fwd_cnt */
};

struct vm {
	struct ledger *book;
	uint64_t cid;
	struct mux *mux;
	struct backend host;			/* host.c */
	struct backend door, *siblings;		/* siblings.c; NULL: none */
	struct mailbox *mailbox;
	unsigned types;				/* MUX_*: that the guest knows */
	int connect_result;			/* of the host's next */
	struct slot slots[SLOTS];
	unsigned n_slots;
	uint64_t strays_due;			/* RSTs to packets of no connection */
	void *payload[PAYLOADS];		/* gathered, until the flush */
	size_t n_payload;
	bool is_woken;				/* a turn has been asked for */
	uint64_t deadline_ms;			/* as known from the last turn */
};

struct ledger {
	struct vm vms[VMS];
	unsigned n_vms;
	struct mux_scratch scratch;
	struct side sides[SIDES];
	struct flow flows[2 * SIDES];
	size_t n_sides;
	uint32_t buf_alloc;
	uint64_t max_buffered;
	uint64_t now_ms;
	struct sibling_dir *dir;
	const void *posted;			/* the last mail */
	bool are_neighbours;			/* as world_config */
	unsigned n_pushes;
	/* RX buffers, of the guest whose turn it is; and what does not fit into them. */
	size_t rx_size, rx_left, rx_lent;
	uint8_t *rx_memory;
	struct iovec rx_iovs[RX_BORROW_MAX][3];
	struct rx_buf rx_bufs[RX_BORROW_MAX];
};

/* With flows of its own. NULL: there were enough. */
struct side *side_new(struct vm *vm, enum vsock_type type, uint32_t guest_port,
		      const struct vsock_addr *peer);
/* The last of that name; NULL: none. */
struct side *side_find(struct vm *vm, uint32_t guest_port, const struct vsock_addr *peer);

/* The other guest's side of a sibling connection; NULL: there is none. */
const struct side *side_other(const struct side *side);

/* The flow's byte at @at. */
uint8_t flow_byte(const struct ledger *book, const struct flow *flow, uint64_t at);

/* Of @len bytes: the flow is to have one more. */
void flow_add_message(struct flow *flow, uint32_t len, bool is_record);

/* The first that has been sent, and has not arrived; NULL: there is none. */
const struct message *flow_next(const struct flow *flow);
void flow_message_arrived(struct flow *flow);

/* Bytes that a guest says to have consumed: those of a message count when it is whole. */
uint64_t side_consumed(const struct side *side);
