/* SPDX-License-Identifier: BSD-3-Clause */
/* What can be asked of the control API. */
#include "control/api_table.h"

#include <stddef.h>

#include "control/api_captures.h"
#include "control/api_events.h"
#include "control/api_orders.h"
#include "control/api_query.h"
#include "control/api_reads.h"

static const struct api_query_key capture_keys[] = {
	{ .name = "snaplen" }, { .name = "port", .may_repeat = true }, { .name = NULL },
};

static const struct api_query_key event_keys[] = { { .name = "since" }, { .name = NULL } };

const struct api_route api_table[] = {
	{ API_GET, "/v1/version", api_reads_get_version, NULL },
	{ API_GET, "/v1/openapi.json", api_reads_get_openapi, NULL },
	{ API_GET, "/v1/vms", api_reads_get_vms, NULL },
	{ API_GET, "/v1/vms/{cid}", api_reads_get_vm, NULL },
	{ API_PUT, "/v1/vms/{cid}", api_orders_add_vm, NULL },
	{ API_DELETE, "/v1/vms/{cid}", api_orders_delete_vm, NULL },
	{ API_GET, "/v1/vms/{cid}/connections", api_reads_get_connections, NULL },
	{ API_DELETE, "/v1/vms/{cid}/connections/{id}", api_orders_reset_connection, NULL },
	{ API_GET, "/v1/vms/{cid}/capture", api_captures_begin, capture_keys },
	{ API_GET, "/v1/captures", api_captures_get, NULL },
	{ API_DELETE, "/v1/captures/{capture}", api_captures_end, NULL },
	{ API_GET, "/v1/events", api_events_get, event_keys },
	{ API_GET, "/v1/log-level", api_reads_get_log_level, NULL },
	{ API_PUT, "/v1/log-level", api_orders_set_log_level, NULL },
	{ API_POST, "/v1/upgrade", api_orders_upgrade, NULL },
	{ API_POST, "/v1/reload", api_orders_reload, NULL },
	{ API_POST, "/v1/shutdown", api_orders_shutdown, NULL },
	{ API_GET, "/metrics", api_reads_get_metrics, NULL },
	{ .path = NULL },
};
