/* SPDX-License-Identifier: BSD-3-Clause */
/* What only looks: version, VMs, connections, metrics. */
#include "control/api_reads.h"

#include <inttypes.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "control/api_body.h"
#include "control/api_request.h"
#include "control/json.h"
#include "control/metrics.h"
#include "control/snapshots.h"
#include "openapi.h"
#include "util/log.h"

enum {
	WAIT_MS = 1000,				/* for workers: one that is busy longer is not well */
	CONNS_MAX = 100 * 1000,			/* in one answer */
};

void api_reads_get_version(struct api_request *r)
{
	json_t *features = json_pack("{s:b, s:b}", "afvsock", HAVE_AFVSOCK, "seccomp", HAVE_SECCOMP);

	api_request_reply(r, MHD_HTTP_OK, json_pack("{s:s, s:s, s:i, s:b, s:o}",
		"name", "vhost-device-vsock", "version", VERSION, "pid", (int)getpid(),
		"supervised", r->context->is_supervised, "features", features));
}

void api_reads_get_openapi(struct api_request *r)
{
	char *text = strdup(openapi_document);

	api_request_reply_text(r, "application/json", text, text ? strlen(text) : 0);
}

bool api_reads_take(struct api_request *r, uint64_t cid, size_t max_conns,
		    struct snapshots_answer *answer)
{
	const struct snapshots_want want = {
		.cid = cid, .max_conns = max_conns, .wait_ms = WAIT_MS,
	};
	int result = snapshots_take(r->context->snapshots, &want, answer);

	if (!result)
		return true;
	if (result == SNAPSHOTS_E_NO_VM)
		api_request_refuse(r, MHD_HTTP_NOT_FOUND, "there is no VM with the CID %" PRIu64, cid);
	else
		api_request_refuse(r, MHD_HTTP_SERVICE_UNAVAILABLE, "%s", snapshots_str_error(result));
	return false;
}

void api_reads_get_vms(struct api_request *r)
{
	struct snapshots_answer answer;
	json_t *rows = json_array();

	if (!api_reads_take(r, 0, 0, &answer)) {
		json_decref(rows);
		return;
	}
	for (size_t i = 0; i < answer.n_vms; i++)
		json_array_append_new(rows, json_of_vm_row(&answer.vms[i]));
	api_request_reply(r, MHD_HTTP_OK, json_pack("{s:o, s:o}", "vms", rows,
						 "process", json_of_process(&answer.process)));
	snapshots_answer_deinit(&answer);
}

void api_reads_get_vm(struct api_request *r)
{
	struct snapshots_answer answer;

	if (!api_reads_take(r, r->args.cid, 0, &answer))
		return;
	api_request_reply(r, MHD_HTTP_OK, json_of_vm(&answer.vms[0]));
	snapshots_answer_deinit(&answer);
}

void api_reads_get_connections(struct api_request *r)
{
	struct snapshots_answer answer;

	if (!api_reads_take(r, r->args.cid, CONNS_MAX, &answer))
		return;
	api_request_reply(r, MHD_HTTP_OK, json_pack("{s:o, s:b}",
		"connections", json_of_conns(&answer.vms[0]), "cut", answer.vms[0].is_cut));
	snapshots_answer_deinit(&answer);
}

void api_reads_get_metrics(struct api_request *r)
{
	struct snapshots_answer answer;
	char *text = NULL;
	size_t len = 0;

	if (!api_reads_take(r, 0, 0, &answer))
		return;
	if (metrics_print(&answer, &text, &len))
		api_request_refuse(r, MHD_HTTP_INTERNAL_SERVER_ERROR, "no memory");
	else
		api_request_reply_text(r, METRICS_CONTENT_TYPE, text, len);
	snapshots_answer_deinit(&answer);
}

void api_reads_get_log_level(struct api_request *r)
{
	enum log_level level = atomic_load(&log_level);

	api_request_reply(r, MHD_HTTP_OK, json_pack("{s:s}", "level", log_level_names[level]));
}
