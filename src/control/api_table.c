/* SPDX-License-Identifier: BSD-3-Clause */
/* What can be asked of the control API. */
#include "control/api_table.h"

#include <stddef.h>

#include "control/api_captures.h"
#include "control/api_events.h"
#include "control/api_orders.h"
#include "control/api_reads.h"

const struct api_route api_table[] = {
	{ API_GET, "/v1/version", api_reads_get_version },
	{ API_GET, "/v1/openapi.json", api_reads_get_openapi },
	{ API_GET, "/v1/vms", api_reads_get_vms },
	{ API_GET, "/v1/vms/{cid}", api_reads_get_vm },
	{ API_PUT, "/v1/vms/{cid}", api_orders_add_vm },
	{ API_DELETE, "/v1/vms/{cid}", api_orders_delete_vm },
	{ API_GET, "/v1/vms/{cid}/connections", api_reads_get_connections },
	{ API_DELETE, "/v1/vms/{cid}/connections/{id}", api_orders_reset_connection },
	{ API_GET, "/v1/vms/{cid}/capture", api_captures_begin },
	{ API_GET, "/v1/captures", api_captures_get },
	{ API_DELETE, "/v1/captures/{capture}", api_captures_end },
	{ API_GET, "/v1/events", api_events_get },
	{ API_GET, "/v1/log-level", api_reads_get_log_level },
	{ API_PUT, "/v1/log-level", api_orders_set_log_level },
	{ API_POST, "/v1/upgrade", api_orders_upgrade },
	{ API_POST, "/v1/reload", api_orders_reload },
	{ API_POST, "/v1/shutdown", api_orders_shutdown },
	{ API_GET, "/metrics", api_reads_get_metrics },
	{ .path = NULL },
};
