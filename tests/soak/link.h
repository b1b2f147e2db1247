/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A connection of the soak, its two ends, and the oracle.
 *
 * Half of them are of messages (SOCK_SEQPACKET), of which the oracle keeps a list.
 *
 * The bytes of each direction are a function of the connection, the direction
 * and the offset, so whoever reads knows what each byte has to be. What is
 * checked, wherever it is seen:
 *
 *  - what arrives is what was sent, from the first byte on, without a gap;
 *  - a message arrives as it was sent, whole and by itself, empty ones too, and between
 *    guests with its VSOCK_SEQ_EOR; one that cannot pass for its length ends the
 *    connection. What is said below of bytes is meant of messages that were sent whole;
 *  - an end of stream comes only after the other end has said it or is over, and
 *    a guest or a program that reads up to it has all: everything that was sent,
 *    or, from a guest that died, everything that the device had taken. An
 *    orderly end at a guest means everything in any case;
 *  - a reset, a refusal or a failed write has a reason: what one of the two ends
 *    did, or a limit of the VM;
 *  - nothing hangs: as long as both ends are able (running, reading, giving
 *    buffers), what one of them is owed (an answer, bytes, an end) comes within
 *    the deadline, counted from the last movement.
 *
 * A guest that dies, and an end that closes, are over at once for the oracle; the
 * other end then has to see it.
 */
#pragma once

#include "soak/history.h"
#include "soak/vm.h"
#include "support/sock.h"

enum end_state {
	END_ABSENT,				/* the other one's connect has not come */
	END_OPENING,				/* no answer yet */
	END_OPEN,
	END_CLOSING,				/* a guest waits for the RST to its SHUTDOWN */
	END_OVER,
};

enum {						/* link::reasons, for an end without orderly end */
	WHY_DEATH = 1,				/* of a guest */
	WHY_RST = 2,				/* said by a guest */
	WHY_CLOSE = 4,				/* of one end, while the other could go on */
	WHY_ABORT = 8,				/* of a host program, which had not read all */
	WHY_TIGHT = 16,				/* a VM with small limits */
	WHY_REFUSED = 32,
	WHY_TOO_LONG = 64,			/* a message */
};

struct link;

struct end {
	struct link *link;
	struct vm *vm;				/* NULL: a host program's end */
	struct sock *sock;			/* of a guest */
	int fd, listener;			/* of a host program */
	char line[24], answer[24];		/* ... that connects: what it says, hears */
	uint8_t line_len, line_sent, n_answer;

	enum end_state state;
	uint64_t to_send, sent, received;
	uint64_t taken;				/* of those sent, if the guest died */
	bool fin_due, close_due;		/* behind what is to be sent */
	bool is_fin, is_deaf;			/* sends, reads no more */
	bool write_failed;
	bool saw_end;				/* of what comes */
	bool saw_reset;				/* a host program, before it has read all messages */
	bool is_slow;				/* reads little, and seldom */
	struct marks under_way;			/* messages that were sent, and not received yet */
	bool has_message;			/* one has been begun: */
	uint32_t len, left, flags;		/* ... its bytes, those still to be sent, VSOCK_SEQ_* */
	uint64_t reads_from;			/* step from which on it reads again */
};

struct link {
	uint32_t id;				/* also the port that is listened on */
	bool is_used;
	uint16_t type;				/* enum vsock_type */
	struct end ends[2];			/* [0] connects */
	struct vm *listens_at;			/* whose uds-path [1] listens at */
	unsigned reasons;
	bool may_be_refused, must_be_refused;
	int64_t opened_ms, moved_ms;
	struct rng rng;
	struct history history;
};

struct link_counts {
	uint64_t opened, refused, finished, reset;
	uint64_t bytes[3];			/* guest to host, host to guest, siblings */
	uint64_t messages[3];
};

extern struct link_counts link_counts;
extern int soak_patience_ms;
extern bool soak_is_settling;			/* nobody is slow then */
/* When the soak itself was last kept from looking at its guests for long. */
extern int64_t soak_late_ms;

/* An empty link of this name, without ends. */
void link_begin(struct link *l, uint32_t id, uint64_t seed);
struct end *link_other(struct end *e);
void link_note(struct link *l, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
void link_fail(struct link *l, const char *fmt, ...)
	__attribute__((noreturn, format(printf, 2, 3)));
void link_print(const struct link *l);

/* Moves what can be moved, sees what there is to see. True if there was anything. */
bool link_turn(struct link *l);
/* Something is still to come, if both ends are willing. */
bool link_is_owed(const struct link *l);
/* The guest of @vm is dead, or has forgotten its connections. */
void link_guest_died(struct link *l, const struct vm *vm);

/* end.c: what an end does. */
bool end_push(struct end *e);			/* sends some of what is to be sent */
bool end_pull(struct end *e);			/* reads some, checks it */
void end_fin(struct end *e);
void end_deafen(struct end *e);
void end_close(struct end *e, bool abort);
bool end_is_willing(const struct end *e);
uint32_t end_seed(const struct end *e);		/* of the bytes that it sends */

/* message.c: the same of messages. */
bool message_guest_push(struct end *e);
bool message_host_push(struct end *e);
bool message_guest_pull(struct end *e);
bool message_host_pull(struct end *e);

/* Something that was sent, as a whole if it is a message, has not been received. */
static inline bool end_has_under_way(const struct end *e, const struct end *receiver)
{
	return e->link->type == VSOCK_TYPE_SEQPACKET ? e->under_way.n : e->sent > receiver->received;
}

/* The outcome of what these two see, checked by link.c. */
void link_saw_bytes(struct end *e, const uint8_t *bytes, size_t n);
void link_saw_message(struct end *e, const uint8_t *bytes, size_t n, uint32_t flags);
void link_saw_end(struct end *e, bool is_orderly);
void link_saw_write_fail(struct end *e);
void link_saw_refusal(struct end *e);
void link_allow_refusal(struct link *l);		/* if there is a reason now */

/* open.c: the beginnings. False: it does not fit now. */
bool open_to_host(struct link *l, struct vm *from);
bool open_to_guest(struct link *l, struct vm *to);
bool open_to_sibling(struct link *l, struct vm *from, struct vm *to);
bool open_to_nobody(struct link *l, struct vm *vm, struct vm *other, uint32_t variant);
/* Who is absent or waits for an answer: did it come? True if anything did. */
bool open_turn(struct end *e);
/* The connection came that an absent guest waits for. */
void open_accepted(struct end *e, struct sock *s);
/* Nobody waits for it any more. */
void open_give_up(struct end *e);
