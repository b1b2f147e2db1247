/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * All connections of one guest: which packet belongs to which, who answers for
 * which CID, whose turn it is, and who has waited too long.
 *
 * Pure: bytes, time and buffers come in as parameters. Four inputs, each with
 * now_ms (monotonic milliseconds): a packet from the guest, buffers for the
 * guest, a deadline; and a stream that is ready, from a backend (backend.h).
 *
 * The guest is not trusted: it can make no more than `max_connections` connections, and
 * the RSTs that it provokes wait in a pool of fixed size; when that is full, because
 * the guest does not take them, mux_is_clogged() tells the device to leave the
 * TX ring alone until it does (virtio 1.2, 5.10.6.1).
 *
 * Payload of consecutive packets of one connection is gathered and written by
 * one call: mux_flush() must follow a batch of mux_input() before the memory
 * of the payload is given back.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "vsock/backend.h"
#include "vsock/conn.h"
#include "vsock/conn_names.h"
#include "vsock/gather.h"
#include "vsock/limits.h"
#include "vsock/pkt.h"
#include "vsock/rx.h"

enum {
	MUX_E_STARVED = 1,			/* the guest gives no more RX buffers */
	MUX_E_MORE,				/* the turn is over, there is more to send */
	MUX_E_BAD_STATE,			/* what was saved cannot be believed */
	MUX_E_NAMES_LOST,			/* not every connection had a name that was kept */
};

enum { MUX_IOVS = 1024 };			/* as many as recvmsg takes: UIO_MAXIOV */

struct vsock_counters;

/* Memory for one turn, which the devices of a worker share. */
struct mux_scratch {
	struct gather_scratch to_host;
	struct iovec to_guest[MUX_IOVS];
	struct conn_spill spill;
};

struct conn_snapshot;
struct loop_move;

struct mux_config {
	uint64_t guest_cid;
	struct vsock_limits limits;
	uint32_t connect_ms, request_ms, closing_ms;	/* how long the other timers run */
	uint32_t rst_wait_ms;			/* 0: none waits; see mux_let_rst_wait() */
	uint64_t hash_seed;			/* a number that the guest does not know ... */
	uint64_t first_port;			/* ... and another, which it gets to know: host
						   programs call from the ports after it */
	const char *tag;			/* for log lines; borrowed */
	struct mux_scratch *scratch;		/* borrowed */
	/* There is something to do: take a turn soon. From any function below. */
	void (*wake)(void *ctx);
	/* Has guest memory been lost, so that what was read lately is void? NULL: never. */
	bool (*is_lost)(void *ctx);
	/* Lends RX buffers out of turn, for mux_push(). False: there are none to be had now. True:
	 * close_rx() must follow, which shows the guest what was used. NULL: never. */
	bool (*open_rx)(void *ctx, struct rx_sink *rx);
	void (*close_rx)(void *ctx);
	/* Both sides have accepted a connection (CONN_OPEN), or one that they had has ended. NULL:
	 * nobody wants to know. Does nothing to the mux. */
	void (*changed)(void *ctx, const struct conn_snapshot *c);
	/* Does anybody just now? Asked before each of these; NULL: always. */
	bool (*is_watched)(const void *ctx);
	void *ctx;
};

/* Counted since the start: some of what mux_counters() has. */
struct mux_stats {
	uint64_t bad_source;			/* dropped: src_cid is not the guest's */
	uint64_t refused;			/* REQUESTs answered by RST, at once or later */
	uint64_t stray;				/* packets of no connection, answered by RST */
	uint64_t conns;				/* open now */
};

/* Types of sockets, added up: 1 << enum vsock_type. */
enum { MUX_STREAMS = 1 << VSOCK_TYPE_STREAM, MUX_SEQPACKETS = 1 << VSOCK_TYPE_SEQPACKET };

int mux_new(struct mux **out, const struct mux_config *config);	/* 0 or -ENOMEM */
void mux_free(struct mux *mux);			/* closes all streams; not the backends */

/* The first that serves a CID answers for it. Borrowed; before any packet. */
enum { MUX_BACKENDS_MAX = 4 };
void mux_add_backend(struct mux *mux, struct backend *backend);

/*
 * Other limits from now on. Connections that are there stay, also where they are more than
 * there may be now, or have more buffered; what has a buffer keeps its size. Those that
 * drain to a slow host get the new time.
 */
void mux_set_limits(struct mux *mux, const struct vsock_limits *limits);

/* It goes to another thread, with its streams and backends, between two turns: see loop_move.h.
 * @scratch: of that thread; borrowed. */
void mux_move(struct mux *mux, struct loop_move *m, struct mux_scratch *scratch);

/* A packet with its payload; and the end of a batch of them. */
void mux_input(struct mux *mux, const struct pkt *pkt, struct iov_cur *payload, uint64_t now_ms);
void mux_flush(struct mux *mux, uint64_t now_ms);

/* A packet whose payload is not all there: resets its connection, rather than leave a
 * hole in the stream. */
void mux_input_cut(struct mux *mux, const struct pkt *pkt, uint64_t now_ms);

/* No packet may be put in: too many replies wait for RX buffers. */
bool mux_is_clogged(const struct mux *mux);

/* Sends what there is to send, in fair turns. 0: nothing is left; MUX_E_*. */
int mux_output(struct mux *mux, const struct rx_sink *rx, uint64_t now_ms);
bool mux_has_output(const struct mux *mux);

/* Does what is due at deadlines up to now. */
void mux_expire(struct mux *mux, uint64_t now_ms);
uint64_t mux_next_deadline(const struct mux *mux);	/* UINT64_MAX: none */

/* The device says whether a guest is there that can take connections; and which types of
 * sockets it knows: MUX_*, at first MUX_STREAMS. Connections that are there stay. */
void mux_set_running(struct mux *mux, bool is_running);
void mux_set_types(struct mux *mux, unsigned types);

/*
 * The next three end every connection. Each costs system calls, so a turn ends a portion
 * of them, the first one at once: mux_end_some() goes on. But the guest is done with all
 * of them when the call returns, and may use their names anew.
 *
 * mux_reset: without a word to the guest, which is gone or new; what it had sent is
 * still drained to the host. True if there was any.
 */
bool mux_reset(struct mux *mux, uint64_t now_ms);

/* The same, but nothing is drained: what was taken from the guest lately is not
 * what it sent. */
void mux_drop(struct mux *mux, uint64_t now_ms);

/* Ends every connection for the host; the guest, which is not to be reached now,
 * gets its RSTs if it comes back. True if there was any. */
bool mux_abort(struct mux *mux, uint64_t now_ms);

/* Ends some more. True: there are some left. */
bool mux_end_some(struct mux *mux, uint64_t now_ms);

/* Before mux_free(), which does all that is left at once: after mux_reset(), and with no guest
 * running, this ends what is due, and then gives up some of what still drains. True: there
 * are connections left. */
bool mux_give_up_some(struct mux *mux, uint64_t now_ms);

/* Ends a connection in a reset for both sides, because somebody asks for it. False: there is
 * none of that name, or of another type. */
bool mux_reset_conn(struct mux *mux, enum vsock_type type, uint32_t guest_port,
		    const struct vsock_addr *peer, uint64_t now_ms);

void mux_get_stats(const struct mux *mux, struct mux_stats *out);

/* What is counted of the VM (counters.h), by the mux and by the device; borrowed. Of the gauges it
 * has that of connections. */
struct vsock_counters *mux_counters(struct mux *mux);

/*
 * Another process takes the connections over. mux_save, between two turns: one section, with
 * all connections and their streams, and whatever waits for the guest.
 *
 * mux_load, into a mux without connections that has its backends: 0, and then each backend's
 * load() and, once nothing else can fail and the other process is gone, mux_resume(), which
 * looks at every stream. Otherwise nothing is left of it: MUX_E_BAD_STATE; -errno. What was
 * saved is hostile. What is more than the limits allow stays, as after mux_set_limits(): so
 * the caller bounds how much is saved. Whether a guest runs is not part of it.
 *
 * Until mux_resume(), mux_free() is noticed by no peer. After it, the process that has saved
 * may only exit: its peers are the other's.
 */
void mux_save(const struct mux *mux, struct blob *out);
int mux_load(struct mux *mux, struct blob_reader *in, uint64_t now_ms);
void mux_resume(struct mux *mux, uint64_t now_ms);

/*
 * From now on the names of connections are kept in @area (conn_names.h), which outlives the
 * mux and the process. What another process left there, unless it is all zeroes, is loaded
 * first: each connection that the mux does not have gets an RST, since the guest may believe in
 * it. It is hostile. 0; MUX_E_NAMES_LOST: the guest may believe in others, too; -ENOMEM: none was
 * loaded, none is kept. After mux_resume(), if there is anything to resume.
 */
size_t mux_names_size(uint32_t max_connections);	/* bytes of an area with a row for each name */
int mux_load_names(struct mux *mux, struct conn_names_area *area, size_t size, bool is_new,
		   uint64_t now_ms);

/* The area is about to go, and no names are kept. False: some are in use, so it has to stay. */
bool mux_forget_names(struct mux *mux);
