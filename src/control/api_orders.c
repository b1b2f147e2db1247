/* SPDX-License-Identifier: BSD-3-Clause */
/* What changes something: mostly an order to the supervisor, which judges it. */
#include "control/api_orders.h"

#include <inttypes.h>

#include "control/api_request.h"
#include "control/api_body.h"
#include "control/snapshots.h"

enum {
	WAIT_MS = 10 * 1000,
	WAIT_UPGRADE_MS = 60 * 1000,		/* each of its steps may take ten seconds */
	WAIT_RESET_MS = 1000,
	WAIT_ADDED_MS = 1000,
};

/* The supervisor has its sockets; has the engine its device? It was told before us. */
static void on_added(struct api_request *r)
{
	const struct snapshots_want want = { .cid = r->args.cid, .wait_ms = WAIT_ADDED_MS };
	struct snapshots_answer answer;
	int result = snapshots_take(r->context->snapshots, &want, &answer);

	if (result == SNAPSHOTS_E_NO_VM) {
		api_request_refuse(r, MHD_HTTP_INTERNAL_SERVER_ERROR,
				   "it is not there: left out, and the log says why, or removed");
		return;
	}
	if (!result)
		snapshots_answer_deinit(&answer);
	api_request_reply_done(r, MHD_HTTP_CREATED);
}

void api_orders_add_vm(struct api_request *r)
{
	struct supervise_msg m = { .type = SUPERVISE_ADD, .cid = r->args.cid };
	char why[API_BODY_ERROR_MAX];
	struct api_body_row row;
	const char *wrong = api_body_row(&row, r->body ? r->body : "", r->len, why);

	r->done = on_added;
	if (wrong)
		api_request_refuse(r, MHD_HTTP_BAD_REQUEST, "%s", wrong);
	else
		api_request_order(r, &m, row.bytes, row.len, MHD_HTTP_CREATED, WAIT_MS, false);
}

void api_orders_delete_vm(struct api_request *r)
{
	struct supervise_msg m = { .type = SUPERVISE_DELETE, .cid = r->args.cid };

	api_request_order(r, &m, NULL, 0, MHD_HTTP_OK, WAIT_MS, false);
}

void api_orders_reset_connection(struct api_request *r)
{
	const struct snapshots_conn conn = {
		.cid = r->args.cid, .type = r->args.type, .guest_port = r->args.guest_port,
		.peer = r->args.peer,
	};
	int result = snapshots_reset_conn(r->context->snapshots, &conn, WAIT_RESET_MS);

	switch (result) {
	case 0:
		api_request_reply_done(r, MHD_HTTP_OK);
		break;
	case SNAPSHOTS_E_NO_VM:
	case SNAPSHOTS_E_NO_CONN:
		api_request_refuse(r, MHD_HTTP_NOT_FOUND, "%s", snapshots_str_error(result));
		break;
	default:
		api_request_refuse(r, MHD_HTTP_SERVICE_UNAVAILABLE, "%s", snapshots_str_error(result));
		break;
	}
}

void api_orders_set_log_level(struct api_request *r)
{
	struct supervise_msg m = { .type = SUPERVISE_SET_LEVEL };
	int level = api_body_level(r->body ? r->body : "", r->len);

	if (level < 0) {
		api_request_refuse(r, MHD_HTTP_BAD_REQUEST,
				"{\"level\": \"error\", or warn, info, debug, trace} is wanted");
		return;
	}
	m.u.order.code = (uint16_t)level;
	api_request_order(r, &m, NULL, 0, MHD_HTTP_OK, WAIT_MS, false);
}

void api_orders_upgrade(struct api_request *r)
{
	struct supervise_msg m = { .type = SUPERVISE_UPGRADE };

	api_request_order(r, &m, NULL, 0, MHD_HTTP_OK, WAIT_UPGRADE_MS, true);
}

void api_orders_reload(struct api_request *r)
{
	struct supervise_msg m = { .type = SUPERVISE_RELOAD };

	api_request_order(r, &m, NULL, 0, MHD_HTTP_OK, WAIT_MS, false);
}

void api_orders_shutdown(struct api_request *r)
{
	struct supervise_msg m = { .type = SUPERVISE_SHUTDOWN };

	api_request_order(r, &m, NULL, 0, MHD_HTTP_OK, WAIT_MS, false);
}
