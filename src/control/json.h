/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Snapshots as JSON, for the API. Keys are snake_case; each function returns a new reference,
 * NULL: no memory. Counters are {"bytes": {"to_guest": 0, ...}, ...}, by the names and labels
 * of vsock/counters.h; those of one label in an object, those of two in objects of objects.
 */
#pragma once

#include <jansson.h>

#include "control/snapshots.h"

/* workers, vm_moves, silent_workers, uptime_ms, upgrades, crashes, log_lines_lost, log_lines_swallowed,
 * events_lost, captured_lost. */
json_t *json_of_process(const struct process_snapshot *process);

/* A row of the list: cid, front_end ("none", "silent", "connected"), guest_running, memory_missing,
 * connections, payload_bytes and packets (each {to_guest, to_host}), buffered_bytes, worker. */
json_t *json_of_vm_row(const struct vm_snapshot *vm);

/* The same and socket_types, says_reset, waiting_resets, virtio_features and protocol_features by
 * name, rings (name, started, enabled, running, broken: why, or null; size, avail_index,
 * next_avail, used_index, polled), and counters. */
json_t *json_of_vm(const struct vm_snapshot *vm);

/*
 * id (TYPE-GUEST_PORT-PEER_CID-PEER_PORT), guest and peer ({cid, port}), type, state, origin,
 * orphaned, age_ms, to_guest_bytes, to_host_bytes; to_guest_credit of to_guest_window, and
 * to_host_credit of to_host_window, in bytes; unread_by_guest_bytes, buffered_bytes; waits: null,
 * or {for, text, since_ms}; end: null, or {reason, text}.
 */
json_t *json_of_conn(const struct conn_snapshot *conn);
json_t *json_of_conns(const struct vm_snapshot *vm);	/* an array of those */

json_t *json_of_counters(const struct vsock_counters *counters);
