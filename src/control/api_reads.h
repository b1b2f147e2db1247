/* SPDX-License-Identifier: BSD-3-Clause */
/* What only looks: version, VMs, connections, metrics. Each serves a route, see api_routes.h. */
#pragma once

struct api_request;

void api_reads_get_version(struct api_request *r);
void api_reads_get_openapi(struct api_request *r);
void api_reads_get_vms(struct api_request *r);
void api_reads_get_vm(struct api_request *r);
void api_reads_get_connections(struct api_request *r);
void api_reads_get_log_level(struct api_request *r);
void api_reads_get_metrics(struct api_request *r);
