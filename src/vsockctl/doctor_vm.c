/* SPDX-License-Identifier: BSD-3-Clause */
/* What the daemon's API says about its VMs, for the doctor. */
#include "vsockctl/doctor_vm.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "vsockctl/api.h"

enum { STALL_MS = 5000 };			/* less is how flow control works */

bool doctor_vm_can_ask(void)
{
	return true;
}

/* ---- VMs ---- */

static enum doctor_front_end front_end_of(const char *text)
{
	if (strcmp(text, "none") == 0)
		return FRONT_END_ABSENT;
	if (strcmp(text, "silent") == 0)
		return FRONT_END_SILENT;
	return strcmp(text, "connected") == 0 ? FRONT_END_THERE : FRONT_END_UNKNOWN;
}

static void fill(struct doctor_vm *vm, const json_t *row)
{
	*vm = (struct doctor_vm){
		.cid = api_number(row, "cid"),
		.front_end = front_end_of(api_text(row, "front_end")),
		.is_memory_missing = api_is_true(row, "memory_missing"),
		.is_running = api_is_true(row, "guest_running"),
	};
	snprintf(vm->uds, sizeof vm->uds, "%s", api_text(row, "uds_path"));
}

void doctor_vm_list(const char *api, struct doctor_facts *f, struct doctor_vms *out)
{
	char why[HTTP_WHY_MAX];
	const json_t *rows;
	json_t *json;

	*out = (struct doctor_vms){ .n = 0 };
	f->api = DOCTOR_API_FAILED;
	if (api_get(api, "/v1/vms", &json, why)) {
		snprintf(f->api_error, sizeof f->api_error, "%.*s", DOCTOR_TEXT_MAX - 1, why);
		return;
	}
	rows = api_array(json, "vms");
	out->vms = calloc(json_array_size(rows) + 1, sizeof *out->vms);
	if (out->vms) {
		f->api = DOCTOR_API_ANSWERS;
		out->n = json_array_size(rows);
		for (size_t i = 0; i < out->n; i++)
			fill(&out->vms[i], json_array_get(rows, i));
	} else {
		snprintf(f->api_error, sizeof f->api_error, "no memory");
	}
	json_decref(json);
}

/* ---- one of them ---- */

static void look_at_rings(const json_t *json, struct doctor_vm *vm)
{
	const json_t *rings = api_array(json, "rings");

	for (size_t i = 0; i < json_array_size(rings) && !vm->broken[0]; i++)
		snprintf(vm->broken, sizeof vm->broken, "%s",
			 api_text(json_array_get(rings, i), "broken"));
	vm->has_features = json_array_size(api_array(json, "virtio_features")) > 0;
}

/* Keeps the oldest. */
static void add_stall(struct doctor_vm *vm, const json_t *conn, const json_t *waits)
{
	struct doctor_stall *s = &vm->stalls[0];
	const char *text = api_text(waits, "text"), *name = api_text(waits, "for");

	if (vm->n_stalls < DOCTOR_STALLS_MAX)
		s = &vm->stalls[vm->n_stalls];
	else
		for (size_t i = 1; i < DOCTOR_STALLS_MAX; i++)
			if (vm->stalls[i].since_ms < s->since_ms)
				s = &vm->stalls[i];
	if (vm->n_stalls++ >= DOCTOR_STALLS_MAX && s->since_ms >= api_number(waits, "since_ms"))
		return;
	*s = (struct doctor_stall){
		.since_ms = api_number(waits, "since_ms"),
		.is_guest = strncmp(name, "guest", 5) == 0,
	};
	snprintf(s->name, sizeof s->name, "%.16s %" PRIu64 ":%" PRIu64 " - %" PRIu64 ":%" PRIu64,
		 api_text(conn, "type"), api_number_in(conn, "guest", "cid"),
		 api_number_in(conn, "guest", "port"), api_number_in(conn, "peer", "cid"),
		 api_number_in(conn, "peer", "port"));
	snprintf(s->waits_for, sizeof s->waits_for, "%s", *text ? text : name);
}

static void look_at_conns(const json_t *json, struct doctor_vm *vm)
{
	const json_t *conns = api_array(json, "connections");

	for (size_t i = 0; i < json_array_size(conns); i++) {
		const json_t *conn = json_array_get(conns, i);
		const json_t *waits = json_object_get(conn, "waits");

		if (json_is_object(waits) && api_number(waits, "since_ms") >= STALL_MS)
			add_stall(vm, conn, waits);
	}
}

void doctor_vm_look(const char *api, struct doctor_vm *vm)
{
	char path[API_PATH_MAX], why[HTTP_WHY_MAX];
	json_t *json;

	snprintf(path, sizeof path, "/v1/vms/%" PRIu64, vm->cid);
	if (api_get(api, path, &json, why) == 0) {
		look_at_rings(json, vm);
		json_decref(json);
	}
	snprintf(path, sizeof path, "/v1/vms/%" PRIu64 "/connections", vm->cid);
	if (api_get(api, path, &json, why) == 0) {
		look_at_conns(json, vm);
		json_decref(json);
	}
}
