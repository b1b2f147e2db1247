/* SPDX-License-Identifier: BSD-3-Clause */
/* What changes something: mostly an order to the supervisor, which judges it. */
#include <inttypes.h>
#include <microhttpd.h>
#include <string.h>

#include "control/api_internal.h"
#include "control/api_row.h"
#include "control/snapshots.h"
#include "util/log.h"

enum {
	WAIT_MS = 10 * 1000,
	WAIT_UPGRADE_MS = 60 * 1000,		/* each of its steps may take ten seconds */
	WAIT_RESET_MS = 1000,
};

const char *const api_levels[] = {
	[LEVEL_ERR] = "error", [LEVEL_WARN] = "warn", [LEVEL_INFO] = "info",
	[LEVEL_DEBUG] = "debug", [LEVEL_TRACE] = "trace",
};

void api_add_vm(struct api_request *r)
{
	struct supervise_msg m = { .type = SUPERVISE_ADD, .cid = r->args.cid };
	char why[API_ROW_ERROR_MAX];
	struct api_row row;
	const char *wrong = api_row_parse(&row, r->body ? r->body : "", r->len, why);

	if (wrong)
		api_reply_error(r, MHD_HTTP_BAD_REQUEST, "%s", wrong);
	else
		api_order(r, &m, row.bytes, row.len, MHD_HTTP_CREATED, WAIT_MS, false);
}

void api_delete_vm(struct api_request *r)
{
	struct supervise_msg m = { .type = SUPERVISE_DELETE, .cid = r->args.cid };

	api_order(r, &m, NULL, 0, MHD_HTTP_OK, WAIT_MS, false);
}

void api_reset_connection(struct api_request *r)
{
	const struct snapshots_conn conn = {
		.cid = r->args.cid, .type = r->args.type, .guest_port = r->args.guest_port,
		.peer = r->args.peer,
	};
	int result = snapshots_reset_conn(api_snapshots(r), &conn, WAIT_RESET_MS);

	switch (result) {
	case 0:
		api_reply_json(r, MHD_HTTP_OK, json_pack("{s:s}", "outcome", "done"));
		break;
	case SNAPSHOTS_E_NO_VM:
	case SNAPSHOTS_E_NO_CONN:
		api_reply_error(r, MHD_HTTP_NOT_FOUND, "%s", snapshots_str_error(result));
		break;
	default:
		api_reply_error(r, MHD_HTTP_SERVICE_UNAVAILABLE, "%s", snapshots_str_error(result));
		break;
	}
}

/* {"level": "debug"}; -1: it is something else. */
static int parse_level(const char *body, size_t len)
{
	json_t *root = json_loadb(body, len, JSON_REJECT_DUPLICATES, NULL);
	const char *name = json_string_value(json_object_get(root, "level"));
	int level = -1;

	for (int i = LEVEL_ERR; name && json_object_size(root) == 1 && i <= LEVEL_TRACE; i++)
		if (strcmp(name, api_levels[i]) == 0)
			level = i;
	json_decref(root);
	return level;
}

void api_set_log_level(struct api_request *r)
{
	struct supervise_msg m = { .type = SUPERVISE_SET_LEVEL };
	int level = parse_level(r->body ? r->body : "", r->len);

	if (level < 0) {
		api_reply_error(r, MHD_HTTP_BAD_REQUEST,
				"{\"level\": \"error\", or warn, info, debug, trace} is wanted");
		return;
	}
	m.u.order.code = (uint16_t)level;
	api_order(r, &m, NULL, 0, MHD_HTTP_OK, WAIT_MS, false);
}

void api_upgrade(struct api_request *r)
{
	struct supervise_msg m = { .type = SUPERVISE_UPGRADE };

	api_order(r, &m, NULL, 0, MHD_HTTP_OK, WAIT_UPGRADE_MS, true);
}

void api_reload(struct api_request *r)
{
	struct supervise_msg m = { .type = SUPERVISE_RELOAD };

	api_order(r, &m, NULL, 0, MHD_HTTP_OK, WAIT_MS, false);
}

void api_shutdown(struct api_request *r)
{
	struct supervise_msg m = { .type = SUPERVISE_SHUTDOWN };

	api_order(r, &m, NULL, 0, MHD_HTTP_OK, WAIT_MS, false);
}
