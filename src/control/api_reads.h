/* SPDX-License-Identifier: BSD-3-Clause */
/* What only looks: version, VMs, connections, metrics. Each serves a route, see api_routes.h. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct api_request;
struct snapshots_answer;

/* Asks the workers, waiting for them: snapshots_want of @cid and @max_conns. False: it has been
 * answered why not. */
bool api_reads_take(struct api_request *r, uint64_t cid, size_t max_conns,
		    struct snapshots_answer *answer);

void api_reads_get_version(struct api_request *r);
void api_reads_get_openapi(struct api_request *r);
void api_reads_get_vms(struct api_request *r);
void api_reads_get_vm(struct api_request *r);
void api_reads_get_connections(struct api_request *r);
void api_reads_get_log_level(struct api_request *r);
void api_reads_get_metrics(struct api_request *r);
