/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A VM of the soak: its lives, one after the other, each with a guest driver of
 * another shape, and what a guest's memory knows when it dies: which of the
 * packets that it sent the device had taken.
 *
 * A guest either looks at its rings all the time, or sleeps until it is called;
 * a call that does not come then leaves it asleep.
 */
#pragma once

#include "soak/history.h"
#include "soak/script.h"
#include "support/daemon.h"
#include "support/driver.h"

enum vm_state { VM_DOWN, VM_RUNNING, VM_PAUSED, VM_DISABLED };

struct tx_note {				/* a data packet on the TX ring */
	uint64_t pkt;				/* its number */
	uint32_t link;
	unsigned end;
	uint64_t offset;			/* of its first byte in the stream */
};

enum { TX_NOTES = 256 };			/* more than a guest has slots */

struct vm {
	struct driver d;
	unsigned index;
	uint64_t cid;
	char socket[128], uds[128];
	unsigned groups;			/* bits */
	bool is_tight;				/* limits that connections run into */

	enum vm_state state;
	uint64_t until_step;			/* when it changes back to running */
	uint64_t hold_until;			/* RX buffers are kept; 0: no */
	uint64_t held_tx_pkts;			/* n_tx_pkts when that began */
	bool sleeps, is_asleep;
	bool has_plugged;			/* one more memory region */
	unsigned n_lives;
	uint64_t n_garbage;			/* RSTs that this life is owed */
	struct tx_note notes[TX_NOTES];
	struct rng rng;
	struct history history;
};

void vm_init(struct vm *v, unsigned index, uint64_t seed, const struct daemon *daemon);
/* What --vm says of it. */
void vm_words(const struct vm *v, char *words, size_t size);
bool vm_may_reach(const struct vm *from, const struct vm *to);

void vm_note(struct vm *v, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
/* ... with its history only if it was the last to be looked at. */
void vm_print(const struct vm *v);

/* A new VMM with new memory and another driver. */
void vm_up(struct vm *v);
/* The VMM is gone without a word; the memory too. */
void vm_down(struct vm *v);
void vm_pause(struct vm *v, enum vm_state how);
void vm_resume(struct vm *v);
/* GET_VRING_BASE; then vm_boot() from base 0, with other features. */
void vm_stop(struct vm *v);
void vm_boot(struct vm *v);
/* The VMM closes its socket; another one continues the rings. */
void vm_detach(struct vm *v);
void vm_reattach(struct vm *v);
void vm_plug(struct vm *v);

void vm_hold_rx(struct vm *v, uint64_t until_step);
void vm_release_rx(struct vm *v);
/* A packet that belongs to nowhere and must be answered with RST. */
void vm_send_garbage(struct vm *v, uint32_t variant);

/* Running, and a packet can be put on the ring now. */
bool vm_can_send(struct vm *v);
bool vm_lacks_tx(const struct vm *v);		/* what is left of the ring is for answers */
bool vm_is_willing(const struct vm *v);		/* running and giving buffers */
bool vm_knows_messages(const struct vm *v);	/* has acknowledged SEQPACKET, in this life */
/* True when anything came. */
bool vm_turn(struct vm *v);

/* The packet just sent carries bytes from @offset on. */
void vm_note_tx(struct vm *v, uint32_t link, unsigned end, uint64_t offset);
/* Calls @untaken for each such packet that the device has not taken. */
void vm_each_untaken(const struct vm *v, void (*untaken)(const struct tx_note *note));
