/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What is counted of one VM: plain numbers of its worker, which alone writes them, and one
 * table that says what they are. Metrics, JSON and the documentation are printed from the
 * table, or checked against it: a new counter is one line of COUNTERS() below, and the place
 * that counts.
 *
 * They go on where an upgrade of the daemon has found them, and begin at zero after a crash.
 * Gauges are kept up to date like counters, but are not taken along: whoever makes a snapshot
 * fills in those that nobody keeps.
 *
 * A family with labels is an array of all combinations, the last label fastest: payload[i],
 * connections_opened[origin * COUNTERS_TYPES + type].
 */
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "vsock/backend.h"
#include "vsock/conn.h"

/* ---- labels ---- */

enum counters_direction { COUNTERS_TO_GUEST, COUNTERS_TO_HOST, COUNTERS_DIRECTIONS };

enum counters_type { COUNTERS_STREAM, COUNTERS_SEQPACKET, COUNTERS_TYPES };	/* vsock_type - 1 */

enum conn_origin {				/* who began a connection */
	CONN_FROM_GUEST,
	CONN_FROM_HOST,				/* a host program */
	CONN_FROM_SIBLING,			/* another VM's guest */
	CONN_NUM_ORIGINS,
};

enum conn_wait {				/* what a connection waits for */
	CONN_WAITS_FOR_NOTHING,			/* whoever has something may send it */
	CONN_WAITS_FOR_CONNECT,			/* the host's side, or the sibling, to take the call */
	CONN_WAITS_FOR_ANSWER,			/* the guest, to accept it, or to confirm its end */
	CONN_WAITS_FOR_CREDIT,			/* the guest, to read: its buffer is full */
	CONN_WAITS_FOR_BUFFERS,			/* the guest, to give RX buffers */
	CONN_WAITS_FOR_READER,			/* the host, to read: its socket is full */
	CONN_NUM_WAITS,
};

/* Why a connect came to nothing: BACKEND_E_*, or this for any -errno. */
enum { COUNTERS_REFUSED_BY_SYSTEM = 0, COUNTERS_REFUSALS = BACKEND_NUM_E };

enum counters_drop {				/* packets that had no effect */
	DROP_SHORT,				/* no whole header */
	DROP_BODY,				/* its payload is longer than its chain */
	DROP_SOURCE,				/* from a CID that is not the guest's */
	DROP_STRAY,				/* of no connection: answered by RST */
	NUM_DROPS,
};

enum counters_poll {				/* of a worker, for one of its VMs (poll-us) */
	POLL_PAID,				/* something came meanwhile */
	POLL_WASTED,
	COUNTERS_POLLS,
};

enum counters_label {
	LABEL_NONE,
	LABEL_DIRECTION,			/* enum counters_direction */
	LABEL_ORIGIN,				/* enum conn_origin */
	LABEL_TYPE,				/* enum counters_type */
	LABEL_STATE,				/* enum conn_state, without CONN_DEAD */
	LABEL_END,				/* enum conn_end */
	LABEL_REFUSAL,				/* COUNTERS_REFUSED_BY_SYSTEM, BACKEND_E_* */
	LABEL_WAIT,				/* enum conn_wait */
	LABEL_DROP,				/* enum counters_drop */
	LABEL_HANDSHAKE,			/* enum backend_handshake */
	LABEL_RING,				/* VSOCK_RXQ, ... */
	LABEL_POLL,				/* enum counters_poll */
	NUM_LABELS,
};

const char *counters_label_name(enum counters_label label);	/* "direction" */
unsigned counters_label_size(enum counters_label label);	/* 1 for LABEL_NONE */
/* "to_guest"; NULL: no such value is ever counted, and none is to be shown. */
const char *counters_label_value(enum counters_label label, unsigned i);

/* ---- histograms ---- */

enum { HISTOGRAM_BUCKETS = 12 };		/* the last one: of whatever is above the others */

struct histogram {
	uint64_t buckets[HISTOGRAM_BUCKETS];	/* not cumulative */
	uint64_t sum;
};

/* Bucket i holds what is at most 2^(i * @shift). */
static inline void histogram_add(struct histogram *h, unsigned shift, uint64_t value)
{
	unsigned i = 0;

	if (value > 1)
		i = (64 - (unsigned)__builtin_clzll(value - 1) + shift - 1) / shift;
	h->buckets[i < HISTOGRAM_BUCKETS ? i : HISTOGRAM_BUCKETS - 1]++;
	h->sum += value;
}

enum { HISTOGRAM_SHIFT_PACKETS = 1, HISTOGRAM_SHIFT_US = 2 };

/* ---- the table ---- */

/*
 * C0: a counter; C1, C2: of one label, of two; G0, G2: gauges; HP, HT: histograms, of packets
 * and of microseconds. Sizes of labels are for the array: a test compares them with what
 * counters_label_size() says.
 */
#define COUNTERS(C0, C1, C2, G0, G2, HP, HT) \
	C1(payload, UNIT_BYTES, LABEL_DIRECTION, COUNTERS_DIRECTIONS, \
	   "Payload taken from the guest, and given to it.") \
	C1(packets, UNIT_ONE, LABEL_DIRECTION, COUNTERS_DIRECTIONS, \
	   "Packets taken from the guest, and given to it.") \
	C2(connections_opened, LABEL_ORIGIN, CONN_NUM_ORIGINS, LABEL_TYPE, COUNTERS_TYPES, \
	   "Connections that both sides have accepted.") \
	C1(connections_ended, UNIT_ONE, LABEL_END, CONN_NUM_ENDS, \
	   "Connections that have come to their end, also before they were accepted.") \
	C2(connects_refused, LABEL_DIRECTION, COUNTERS_DIRECTIONS, LABEL_REFUSAL, \
	   COUNTERS_REFUSALS, \
	   "Connects that came to nothing: of host programs and siblings to the guest, and of " \
	   "the guest to them.") \
	C1(handshakes, UNIT_ONE, LABEL_HANDSHAKE, BACKEND_NUM_HANDSHAKES, \
	   "Clients of the unix socket that are done with their first line.") \
	C1(stalls, UNIT_ONE, LABEL_WAIT, CONN_NUM_WAITS, \
	   "Times that a connection began to wait for somebody.") \
	C1(stalled, UNIT_MS, LABEL_WAIT, CONN_NUM_WAITS, \
	   "Time that connections have waited for somebody, all added up.") \
	C1(packets_dropped, UNIT_ONE, LABEL_DROP, NUM_DROPS, \
	   "Packets from the guest that had no effect.") \
	C1(ring_kicks, UNIT_ONE, LABEL_RING, VSOCK_NUM_QUEUES, \
	   "Kicks seen: the guest has something for us.") \
	C1(ring_calls, UNIT_ONE, LABEL_RING, VSOCK_NUM_QUEUES, \
	   "Calls sent to the guest: we have something for it.") \
	C1(ring_calls_suppressed, UNIT_ONE, LABEL_RING, VSOCK_NUM_QUEUES, \
	   "Calls that the guest did not want when something was published.") \
	C1(ring_stops, UNIT_ONE, LABEL_RING, VSOCK_NUM_QUEUES, \
	   "Rings that were found broken, and stopped.") \
	C1(polls, UNIT_ONE, LABEL_POLL, COUNTERS_POLLS, \
	   "Times that the worker polled for the VM before it slept (poll-us).") \
	C1(polled, UNIT_US, LABEL_NONE, 1, \
	   "Time, and so CPU, that the worker has spent on that.") \
	C0(rx_starved, \
	   "Turns in which the guest gave fewer RX buffers than there was to send.") \
	C0(front_ends, \
	   "Front-ends that have come.") \
	C0(guest_resets, \
	   "Resets of the guest that the front-end has told of, or that were seen.") \
	HP(tx_batch, \
	   "Packets taken from the guest in one batch.") \
	HP(rx_batch, \
	   "Packets given to the guest in one batch.") \
	HT(turn, \
	   "Time that a turn of the device took.") \
	HT(delivery, \
	   "Time from an event that made something readable to its publication to the guest.") \
	G2(connections, LABEL_ORIGIN, CONN_NUM_ORIGINS, LABEL_STATE, CONN_DEAD, \
	   "Connections that there are.") \
	G0(connections_limit, UNIT_ONE, \
	   "Connections that there may be (max-connections).") \
	G0(buffered, UNIT_BYTES, \
	   "Bytes buffered for connections.") \
	G0(buffered_limit, UNIT_BYTES, \
	   "Bytes that may be (max-buffered).") \
	G0(front_end_connected, UNIT_ONE, \
	   "Whether a front-end is in session.") \
	G0(guest_running, UNIT_ONE, \
	   "Whether a guest runs that can take connections.")

#define COUNTERS_C0(name, help)				uint64_t name[1];
#define COUNTERS_C1(name, unit, label, n, help)		uint64_t name[n];
#define COUNTERS_C2(name, label1, n1, label2, n2, help)	uint64_t name[(n1) * (n2)];
#define COUNTERS_G0(name, unit, help)			uint64_t name[1];
#define COUNTERS_H(name, help)				struct histogram name;

struct vsock_counters {
	COUNTERS(COUNTERS_C0, COUNTERS_C1, COUNTERS_C2, COUNTERS_G0, COUNTERS_C2, COUNTERS_H,
		 COUNTERS_H)
};

enum counters_kind { COUNTERS_COUNTER, COUNTERS_GAUGE, COUNTERS_HISTOGRAM };
enum counters_unit { UNIT_ONE, UNIT_BYTES, UNIT_MS, UNIT_US, UNIT_PACKETS };

struct counters_family {
	const char *name;			/* as the member; counters_unit_str() goes behind it */
	const char *help;			/* a sentence */
	enum counters_kind kind;
	enum counters_unit unit;		/* of what is stored */
	enum counters_label labels[2];		/* LABEL_NONE: it has none, or one */
	size_t offset;				/* in struct vsock_counters */
};

extern const struct counters_family counters_families[];
extern const size_t counters_num_families;

/* "_bytes" for what is stored, "" where a name says it all. */
const char *counters_unit_str(enum counters_unit unit);

/* How many numbers it has, combinations of labels; 1 for a histogram. */
unsigned counters_family_size(const struct counters_family *f);

static inline const uint64_t *counters_values(const struct vsock_counters *c,
					      const struct counters_family *f)
{
	return (const uint64_t *)((const char *)c + f->offset);
}

static inline const struct histogram *counters_histogram(const struct vsock_counters *c,
							 const struct counters_family *f)
{
	return (const struct histogram *)((const char *)c + f->offset);
}

/* The bound of a bucket, in the unit; UINT64_MAX: of the last one, which has none. */
uint64_t counters_bound(const struct counters_family *f, unsigned bucket);

static inline unsigned counters_refusal(int error)	/* BACKEND_E_*, -errno */
{
	return error < 0 ? COUNTERS_REFUSED_BY_SYSTEM : (unsigned)error;
}

/*
 * One section, of what is neither a gauge nor zero, by name. What a reader does not know it leaves
 * out, and what it misses is zero; labels may have got values since, at their end. False: it
 * cannot be believed, and nothing is loaded.
 */
void counters_save(const struct vsock_counters *c, struct blob *out);
bool counters_load(struct vsock_counters *c, struct blob_reader *in);
