/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What supervisor and engine say to each other, over a pair of SOCK_SEQPACKET sockets: one
 * message each, of fixed layout for its type, with its descriptors. Both are of this machine,
 * so numbers are its own; and but for an upgrade both are of the same build, so a type, once
 * released, keeps its number and its layout.
 *
 *   supervisor                               engine
 *   SETTINGS, EVENTS, VM, its CAPTURE and KEPT, ...,
 *   START                                 ->
 *                                         <- READY, or FAILED and the end
 *   PING, VM, CAPTURE, REMOVE, CONNECTED,
 *   EVENT, ACCEPTED, STOP                 ->
 *                                         <- KEEP, DROP, CAME, GONE, OVER, CONNECT, CALL, PONG,
 *                                            ACCEPT, STUCK, CAPTURE_ENDED
 *                                         <- ADD, DELETE, SET_LEVEL, UPGRADE, RELOAD, SHUTDOWN
 *   DONE                                  ->
 *
 * An upgrade: another engine takes over from the one that serves.
 *
 *   supervisor                      new                          old
 *   SETTINGS, VM, KEPT, ...,
 *   PREPARE                    ->
 *                                <- PREPARED
 *   PARK                         --------------------------->
 *                                                             <- PARKED
 *   VM, KEPT, ... (what is
 *   another), TAKE_OVER        ->
 *   HAND_OVER                    --------------------------->
 *                                <- AGAIN
 *   VM, KEPT                   ->
 *                                   <- pieces, DEVICE, ALL --
 *                                <- READY                         is ended
 *   START                      ->
 *
 * If anything goes wrong before that, the new one is ended, and the old one hears GO_ON.
 */
#pragma once

#include <assert.h>
#include <stdatomic.h>
#include <stdint.h>

enum supervise_type {
	/* From the supervisor. */
	SUPERVISE_STATE = 1,			/* a piece of the blob that the next message needs */
	SUPERVISE_SETTINGS,			/* what is the same for all VMs; a blob */
	SUPERVISE_VM,				/* a VM to serve: a blob, and its listening sockets */
	SUPERVISE_KEPT,				/* what has been kept of a VM: a blob, of slots and
						   descriptors */
	SUPERVISE_START,			/* that is all: into the sandbox, and begin */
	SUPERVISE_REMOVE,			/* serve this VM no more */
	SUPERVISE_CONNECTED,			/* the outcome of CONNECT, and the socket */
	SUPERVISE_PING,				/* PONG is due */
	SUPERVISE_STOP,				/* end, in good order */
	SUPERVISE_PREPARE,			/* as START, but another engine still serves the VMs */
	SUPERVISE_TAKE_OVER,			/* read its devices from this socket, and be ready */
	SUPERVISE_PARK,				/* the other: do nothing any more, until ... */
	SUPERVISE_HAND_OVER,			/* send your devices to this socket */
	SUPERVISE_GO_ON,			/* it came to nothing: go on as if nothing had been */

	/* From the engine. */
	SUPERVISE_READY,			/* all VMs are served */
	SUPERVISE_FAILED,			/* it cannot begin; it has logged why */
	SUPERVISE_KEEP,				/* keep this descriptor under this slot */
	SUPERVISE_DROP,				/* ... no more */
	SUPERVISE_CAME,				/* a front-end is in session */
	SUPERVISE_GONE,				/* it has left */
	SUPERVISE_OVER,				/* ... and no other can come */
	SUPERVISE_REMOVED,			/* nothing more comes from the VM of REMOVE */
	SUPERVISE_LEFT_OUT,			/* this VM cannot be served; it has logged why */
	SUPERVISE_CONNECT,			/* connect to a port at the VM's uds-path */
	SUPERVISE_CALL,				/* ... to its socket-connect; the answer's id is 0 */
	SUPERVISE_PONG,
	SUPERVISE_STUCK,			/* a worker hangs, in this VM's turn */
	SUPERVISE_PREPARED,
	SUPERVISE_PARKED,			/* nothing is kept or dropped any more */

	/* From one engine to the other, after the pieces of its blob: a device. */
	SUPERVISE_DEVICE,
	SUPERVISE_ALL,				/* ... and that was all */

	SUPERVISE_CONNECT_SEQPACKET,		/* from the engine: as CONNECT, another type */
	SUPERVISE_CAPTURE,			/* from the supervisor: capture this VM's packets, to
						   these files; or, without any, no more. A blob */
	SUPERVISE_CAPTURE_ENDED,		/* from the engine: that one has */
	SUPERVISE_EVENTS,			/* from the supervisor: where events are written to */

	/* What clients of the control API ask for. From the supervisor: */
	SUPERVISE_API,				/* where they connect; before START or PREPARE */
	SUPERVISE_DONE,				/* the outcome of one of the following, and in text
						   why; with id 0: of an UPGRADE that has worked, asked
						   by the engine before, and its client's socket */
	/* From the engine, each with an id: */
	SUPERVISE_ADD,				/* a VM: keys and values, see config/api.h */
	SUPERVISE_DELETE,			/* a VM */
	SUPERVISE_SET_LEVEL,			/* of the log; for both */
	SUPERVISE_UPGRADE,			/* with the client's socket */
	SUPERVISE_RELOAD,
	SUPERVISE_SHUTDOWN,

	/*
	 * From the engine: the next front-end that waits at the VM's socket. It is kept under
	 * SUPERVISE_SLOT_ACCEPTED before anybody else has it, so none is lost with an engine, and
	 * goes on from there by a KEEP under another slot and a DROP of this one. A KEPT may have
	 * it as well.
	 */
	SUPERVISE_ACCEPT,
	SUPERVISE_ACCEPTED,			/* from the supervisor: the outcome, and the socket */

	SUPERVISE_EVENT,			/* from the supervisor, for clients of the API: what has
						   happened there, or before this engine began */

	/* From an engine that takes over: what was kept of this VM when it was told may not be
	 * whole, or hold any more. */
	SUPERVISE_AGAIN,

	SUPERVISE_NUM_TYPES,
};

enum {
	SUPERVISE_FDS_MAX = 64,
	SUPERVISE_PIECE_MAX = 16 * 1024,	/* bytes after the struct: of a blob in one STATE, of
						   ADD, DONE and EVENT; no other message has any */
	SUPERVISE_BLOB_MAX = 16 * 1024 * 1024,
	SUPERVISE_SLOTS_MAX = 1024,		/* descriptors kept for one VM */
	SUPERVISE_LINE_MAX = 1024,		/* bytes of an event's line */
	SUPERVISE_SLOT_ACCEPTED = SUPERVISE_SLOTS_MAX - 1,	/* no journal names it */
};

/* The outcome of an order: in DONE. */
enum supervise_outcome {
	SUPERVISE_OK,
	SUPERVISE_WRONG,			/* there is a mistake in it */
	SUPERVISE_DENIED,			/* nobody may ask for that here */
	SUPERVISE_UNKNOWN,			/* there is no such thing */
	SUPERVISE_NOT_NOW,			/* or not with this daemon */
	SUPERVISE_TOO_OFTEN,
	SUPERVISE_ERROR,			/* the system has failed */
	SUPERVISE_NUM_OUTCOMES,
};

/* Which sockets come with SUPERVISE_VM, in this order; and that a client of the control API has
 * named its paths, so the engine connects to none of them itself. */
enum {
	SUPERVISE_HAS_SOCKET = 1, SUPERVISE_HAS_UDS = 2, SUPERVISE_HAS_SEQPACKET = 4,
	SUPERVISE_IS_BY_API = 8,
};

struct supervise_msg {
	uint32_t type;				/* enum supervise_type */
	uint32_t zero;
	uint64_t cid;				/* of the VM; 0 where it is about none */
	union {
		struct {
			uint32_t sockets, zero;	/* SUPERVISE_HAS_*, SUPERVISE_IS_BY_API */
		} vm;
		struct {
			uint32_t slot, zero;
		} kept;				/* KEEP, DROP */
		struct {
			uint32_t port, id;	/* not 0 */
		} connect;			/* CONNECT, CONNECT_SEQPACKET */
		struct {
			uint32_t id;
			int32_t result;		/* as unix_connect(), for ACCEPTED, with id 0, as
						   listener_accept(); 0: the socket is here */
		} connected;
		struct {
			int32_t error;
			uint32_t zero;
		} failed;
		struct {
			uint32_t id;		/* not 0, but for one DONE */
			uint16_t code;		/* DONE: enum supervise_outcome; SET_LEVEL: enum
						   log_level */
			uint16_t n;		/* ADD, DONE: bytes after this struct */
		} order;
		struct {
			uint32_t was_before;	/* 1: the engine is new, and this has been told to
						   another */
			uint16_t zero;
			uint16_t n;		/* bytes after this struct: a struct supervise_event */
		} event;
		uint64_t number;		/* PING, PONG: the same one; STATE: bytes of it;
						   CAPTURE, CAPTURE_ENDED: which one */
	} u;
};
static_assert(sizeof(struct supervise_msg) == 24, "no gaps");

struct supervise_event {
	uint64_t at_ns;				/* since 1970 */
	char line[SUPERVISE_LINE_MAX];		/* of JSON, with its newline; as much as is sent */
};

/* Memory that both share, maybe a file of SETTINGS: what the workers are busy with, so that
 * it is known of an engine that has died. The supervisor looks at nothing else in it. */
enum { SUPERVISE_WORKERS_MAX = 1024 };
struct supervise_shared {
	_Atomic uint64_t handling[SUPERVISE_WORKERS_MAX];	/* CID of the VM; 0: of none */
	/* And what the supervisor has counted since its start, for the engine to tell others. */
	_Atomic uint64_t upgrades, crashes;
};
