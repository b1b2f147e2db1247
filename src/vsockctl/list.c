/* SPDX-License-Identifier: BSD-3-Clause */
/* vsockctl list and show: VMs, one VM, its connections. */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "vsockctl/api.h"
#include "vsockctl/command.h"
#include "vsockctl/exit.h"
#include "vsockctl/text.h"

/* ---- list ---- */

static void put_row(const json_t *vm)
{
	char front_end[16], to_guest[TEXT_SHORT_MAX], to_host[TEXT_SHORT_MAX],
	     buffered[TEXT_SHORT_MAX];

	printf("%10" PRIu64 "  %-9s  %-7s  %8" PRIu64 "  %8s  %8s  %8s\n", api_number(vm, "cid"),
	       text_escape(front_end, 10, api_text(vm, "front_end")),
	       api_is_true(vm, "guest_running") ? "running" : "stopped",
	       api_number(vm, "connections"),
	       text_bytes(to_guest, api_number_in(vm, "payload_bytes", "to_guest")),
	       text_bytes(to_host, api_number_in(vm, "payload_bytes", "to_host")),
	       text_bytes(buffered, api_number(vm, "buffered_bytes")));
}

int command_list(const struct args *a)
{
	const json_t *vms;
	json_t *json;
	int r = api_get_for(a, "/v1/vms", &json);

	if (r)
		return r;
	vms = api_array(json, "vms");
	if (a->json) {
		api_put(json);
	} else {
		puts("       CID  FRONT-END  GUEST       CONNS  TO-GUEST   TO-HOST  BUFFERED");
		for (size_t i = 0; i < json_array_size(vms); i++)
			put_row(json_array_get(vms, i));
	}
	json_decref(json);
	return EXIT_DONE;
}

/* ---- show ---- */

/* "a, b" of an array of strings. */
static void put_names(const char *label, const json_t *names)
{
	printf("%-20s", label);
	for (size_t i = 0; i < json_array_size(names); i++) {
		const char *name = json_string_value(json_array_get(names, i));

		if (i)
			fputs(i % 2 ? ", " : ",\n                    ", stdout);
		text_put(stdout, name ? name : "");
	}
	puts(json_array_size(names) ? "" : "none");
}

static void put_vm(const json_t *vm)
{
	char bytes[TEXT_SHORT_MAX];

	printf("%-20s%" PRIu64 "\n", "CID", api_number(vm, "cid"));
	if (*api_text(vm, "uds_path")) {
		printf("%-20s", "uds-path");
		text_put(stdout, api_text(vm, "uds_path"));
		putchar('\n');
	}
	printf("%-20s", "front-end");
	text_put(stdout, api_text(vm, "front_end"));
	printf("\n%-20s%s%s\n", "guest", api_is_true(vm, "guest_running") ? "running" : "stopped",
	       api_is_true(vm, "memory_missing") ? ", its memory is not shared" : "");
	put_names("virtio features", api_array(vm, "virtio_features"));
	put_names("protocol features", api_array(vm, "protocol_features"));
	printf("%-20s%s\n", "bytes to guest",
	       text_bytes(bytes, api_number_in(vm, "payload_bytes", "to_guest")));
	printf("%-20s%s\n", "bytes to host",
	       text_bytes(bytes, api_number_in(vm, "payload_bytes", "to_host")));
	printf("%-20s%s\n", "bytes buffered", text_bytes(bytes, api_number(vm, "buffered_bytes")));
}

static void put_rings(const json_t *vm)
{
	const json_t *rings = api_array(vm, "rings");
	char name[16];

	puts("\nRING    STATE     SIZE  AVAILABLE   TAKEN    USED");
	for (size_t i = 0; i < json_array_size(rings); i++) {
		const json_t *ring = json_array_get(rings, i);
		const char *broken = api_text(ring, "broken");

		printf("%-6s  %-7s  %5" PRIu64 "  %9" PRIu64 "  %6" PRIu64 "  %6" PRIu64,
		       text_escape(name, 7, api_text(ring, "name")),
		       *broken ? "broken" : api_is_true(ring, "running") ? "runs" : "stopped",
		       api_number(ring, "size"), api_number(ring, "avail_index"),
		       api_number(ring, "next_avail"), api_number(ring, "used_index"));
		if (*broken) {
			fputs("  ", stdout);
			text_put(stdout, broken);
		}
		putchar('\n');
	}
}

/* What it waits for, and since when. */
static void put_wait(const json_t *conn)
{
	const json_t *waits = json_object_get(conn, "waits");
	char age[TEXT_SHORT_MAX];

	if (!json_is_object(waits))
		return;
	fputs("  ", stdout);
	text_put(stdout, *api_text(waits, "text") ? api_text(waits, "text") : api_text(waits, "for"));
	printf(", %s", text_age(age, api_number(waits, "since_ms")));
}

static void put_conn(const json_t *conn)
{
	char guest[24], peer[40], type[16], state[16], origin[16], age[TEXT_SHORT_MAX],
	     to_guest[TEXT_SHORT_MAX], to_host[TEXT_SHORT_MAX];

	snprintf(guest, sizeof guest, "%" PRIu64, api_number_in(conn, "guest", "port"));
	snprintf(peer, sizeof peer, "%" PRIu64 ":%" PRIu64, api_number_in(conn, "peer", "cid"),
		 api_number_in(conn, "peer", "port"));
	printf("%10s  %-16s  %-9s  %-10s  %-7s  %4s  %5s  %5s", guest, peer,
	       text_escape(type, 10, api_text(conn, "type")),
	       text_escape(state, 11, api_text(conn, "state")),
	       text_escape(origin, 8, api_text(conn, "origin")),
	       text_age(age, api_number(conn, "age_ms")),
	       text_bytes(to_guest, api_number(conn, "to_guest_bytes")),
	       text_bytes(to_host, api_number(conn, "to_host_bytes")));
	put_wait(conn);
	putchar('\n');
}

static void put_conns(const json_t *answer)
{
	const json_t *conns = api_array(answer, "connections");

	printf("\n%10s  %-16s  %-9s  %-10s  %-7s  %4s  %5s  %5s  %s\n", "GUEST-PORT", "PEER", "TYPE",
	       "STATE", "BEGUN", "AGE", "IN", "OUT", "WAITS FOR");
	for (size_t i = 0; i < json_array_size(conns); i++)
		put_conn(json_array_get(conns, i));
	if (api_is_true(answer, "cut"))
		puts("... and more");
}

int command_show(const struct args *a)
{
	char path[API_PATH_MAX];
	json_t *vm, *conns;
	int r;

	if (!api_vm_path(a, "", path))
		return EXIT_USAGE;
	r = api_get_for(a, path, &vm);
	if (r)
		return r;
	api_vm_path(a, "/connections", path);
	r = api_get_for(a, path, &conns);
	if (r == EXIT_DONE && a->json) {
		json_object_set(vm, "connection_list", json_object_get(conns, "connections"));
		api_put(vm);
	} else if (r == EXIT_DONE) {
		put_vm(vm);
		put_rings(vm);
		put_conns(conns);
	}
	if (r == EXIT_DONE)
		json_decref(conns);
	json_decref(vm);
	return r;
}
