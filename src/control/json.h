/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Snapshots as JSON, for the API. Keys are snake_case; each function returns a new reference,
 * NULL: no memory. Counters are {"bytes": {"to_guest": 0, ...}, ...}, by the names and labels
 * of vsock/counters.h; those of one label in an object, those of two in objects of objects.
 */
#pragma once

#include <jansson.h>

#include "control/snapshots.h"

/* workers, silent_workers, uptime_ms, upgrades, crashes, log_lines_lost, log_lines_swallowed. */
json_t *json_of_process(const struct process_snapshot *process);

/* A row of the list: cid, front_end, guest_running, connections, bytes to_guest and to_host. */
json_t *json_of_vm_row(const struct vm_snapshot *vm);

/* All: state, features by name, rings, limits, counters. */
json_t *json_of_vm(const struct vm_snapshot *vm);

json_t *json_of_conn(const struct conn_snapshot *conn);
json_t *json_of_conns(const struct vm_snapshot *vm);	/* an array of those */

json_t *json_of_counters(const struct vsock_counters *counters);
