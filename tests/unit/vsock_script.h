/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Runs a mux by a script of words and writes down, in words, all that comes out
 * on both sides, so that a test case is a row: script in, trace out.
 *
 * Two connections, 3:1024 and, by words with the prefix "b.", 3:1025; both to
 * 2:80, or to what the mux chose if it asked. After each word that does not end
 * in "&", gathered payload is flushed and the mux speaks as long as it can.
 *
 * The guest says: req resp rst rw:TEXT shut:r shut:s shut:b shut:0 update
 * request op:N; type:N sets the packets' type, credit:BUF_ALLOC,FWD_CNT what
 * they all carry from now on, src:CID and dst:CID the addresses.
 *
 * Of type SEQPACKET, which the word seq sets, and says that the guest knows: rw:TEXT begins or
 * goes on with a message, eom:TEXT ends one, eor:TEXT a record as well; not_eom:TEXT has all
 * flags but that. types:N sets what the guest knows, MUX_*.
 *
 * The host: connect, and connected:ERRNO after pending. Its stream: give:TEXT,
 * more:N (bytes), eof, closed, fail:ERRNO (behind what it gives); full, takes:N
 * (bytes, and is ready to), deaf:ERRNO (writing fails), stops:ERRNO (so it does,
 * but no event tells), reads_no_more (an event tells, without a write); hup; window:N (its peer is a guest too, which may have N bytes
 * on the way) and consumed:N (and that one has consumed N bytes in all;
 * consumed_untold:N: no event tells so); push:TEXT gives it out of turn.
 *
 * In messages: give:TEXT is one, record:TEXT one with MSG_EOR, more:N one of N bytes; takes:N
 * so many; max:N is the longest that the stream ever takes.
 *
 * Others: keep_rx (nothing is lent out of turn any more); move (to a new mux, as if to another process), and stay (no
 * move after each word: it would look at the stream, and notice); refuse:ERRNO, pending, at_once (what the backend does next);
 * +N milliseconds; starve and feed:N (RX buffers); reset (of the guest);
 * abort, stopped; waits (notes what the stream waits for).
 *
 * In the trace: packets by name, with their payload or (r), (s), (b) for the
 * flags of SHUTDOWN; <TEXT written to the stream; shut_wr, shut_rd, close,
 * accepted:PORT of it; [ and ] around what is sent out of turn; consumed:N and window:N as it was told, fwd:N the fwd_cnt of each
 * CREDIT_UPDATE where its peer is a guest, or of type SEQPACKET. There RW(TEXT)eom and
 * RW(TEXT)eor end a message, and <[TEXT] and <[TEXT]eor are written whole.
 */
#pragma once

#include "fake_rx.h"
#include "fake_stream.h"
#include "vsock/mux.h"

enum {
	SCRIPT_BUF_ALLOC = 16, SCRIPT_CONNECT_MS = 1500, SCRIPT_REQUEST_MS = 2000,
	SCRIPT_LINGER_MS = 30000,
	SCRIPT_CLOSING_MS = 10000, SCRIPT_MAX_CONNS = 4, SCRIPT_STREAMS = 8,
	SCRIPT_SPILL = 4096,
};

struct script_conn {
	uint32_t guest_port;
	struct vsock_addr peer;
	struct fake_stream *stream;		/* the last that it had */
};

struct script {
	struct mux *mux;
	struct mux_scratch scratch;
	char spill[SCRIPT_SPILL];
	struct trace trace;
	struct fake_rx rx;
	struct fake_backend backend;
	struct fake_stream streams[SCRIPT_STREAMS];
	struct script_conn conns[2];
	uint64_t now_ms;
	uint16_t type;
	unsigned types;				/* MUX_*: that the guest knows */
	uint64_t src_cid, dst_cid;
	uint32_t buf_alloc, fwd_cnt;
	size_t n_wakes;
	struct conn_names_area *area;		/* of names, checked after each word */
	bool keeps_rx;				/* lends no buffers out of turn */
	bool is_moving;				/* after each word, unless gathered payload waits */
	unsigned n_moves;
};

void script_init(struct script *s, size_t rx_size);
void script_deinit(struct script *s);

/* Saves the mux and loads it into another; the first one is forgotten. */
void script_move(struct script *s);

/* Runs the words; the trace goes on. */
void script_run(struct script *s, const char *words);
const char *script_trace(const struct script *s);
