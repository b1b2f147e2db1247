/* SPDX-License-Identifier: BSD-3-Clause */
/* vsockctl top: VMs and connections, live. */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "util/clock.h"
#include "vsockctl/api.h"
#include "vsockctl/command.h"
#include "vsockctl/exit.h"
#include "vsockctl/terminal.h"
#include "vsockctl/text.h"
#include "vsockctl/top_view.h"

enum {
	PERIOD_MS = 1000,
	BUSY_VMS_MAX = 4,			/* whose connections are looked at */
	BUSY_CONNS_MAX = 2000,			/* ... if they are not more together */
};

/* ---- a sample ---- */

static void fill_vm(struct top_row *row, const json_t *vm)
{
	const char *front_end = api_text(vm, "front_end");

	if (api_is_true(vm, "memory_missing"))
		front_end = "memory not shared";
	else if (api_is_true(vm, "guest_running"))
		front_end = "running";
	else if (strcmp(front_end, "none") == 0)
		front_end = "no front-end";
	else
		front_end = "stopped";
	snprintf(row->text, sizeof row->text, "%s", front_end);
	row->n_connections = api_number(vm, "connections");
	row->to_guest = api_number_in(vm, "payload_bytes", "to_guest");
	row->to_host = api_number_in(vm, "payload_bytes", "to_host");
	row->buffered = api_number(vm, "buffered_bytes");
}

static int add_vms(const char *socket, struct top_sample *s, char why[HTTP_WHY_MAX])
{
	struct top_row *row;
	const json_t *vms;
	json_t *json;
	int r = api_get(socket, "/v1/vms", &json, why);

	if (r)
		return r;
	vms = api_array(json, "vms");
	s->ms = clock_ms();
	for (size_t i = 0; i < json_array_size(vms); i++) {
		const json_t *vm = json_array_get(vms, i);

		row = top_sample_add(s, api_number(vm, "cid"), "");
		if (row)
			fill_vm(row, vm);
	}
	json_decref(json);
	return 0;
}

static void fill_conn(struct top_row *row, const json_t *conn)
{
	const json_t *waits = json_object_get(conn, "waits");
	char age[TEXT_SHORT_MAX];

	snprintf(row->name, sizeof row->name, "%" PRIu64 " - %" PRIu64 ":%" PRIu64,
		 api_number_in(conn, "guest", "port"), api_number_in(conn, "peer", "cid"),
		 api_number_in(conn, "peer", "port"));
	row->to_guest = api_number(conn, "to_guest_bytes");
	row->to_host = api_number(conn, "to_host_bytes");
	row->buffered = api_number(conn, "buffered_bytes");
	if (json_is_object(waits))
		snprintf(row->text, sizeof row->text, "%.30s %s", api_text(waits, "for"),
			 text_age(age, api_number(waits, "since_ms")));
}

static void add_conns(const char *socket, struct top_sample *s, uint64_t cid)
{
	char path[API_PATH_MAX], why[HTTP_WHY_MAX];
	const json_t *conns;
	struct top_row *row;
	json_t *json;

	snprintf(path, sizeof path, "/v1/vms/%" PRIu64 "/connections", cid);
	if (api_get(socket, path, &json, why))
		return;				/* it has gone meanwhile */
	conns = api_array(json, "connections");
	for (size_t i = 0; i < json_array_size(conns); i++) {
		const json_t *conn = json_array_get(conns, i);

		if (!*api_text(conn, "id"))
			continue;
		row = top_sample_add(s, cid, api_text(conn, "id"));
		if (row)
			fill_conn(row, conn);
	}
	json_decref(json);
}

/* Rates of VMs say which are busy; then come the connections of those, and their rates. */
static int take_sample(const char *socket, struct top_sample *now, struct top_sample *before,
		       char why[HTTP_WHY_MAX])
{
	uint64_t cids[BUSY_VMS_MAX], conns = 0;
	size_t n = 0;
	int r = add_vms(socket, now, why);

	if (r)
		return r;
	top_sample_rate(now, before);
	for (size_t i = 0; i < now->n && n < BUSY_VMS_MAX; i++) {
		conns += now->rows[i].n_connections;
		if (conns > BUSY_CONNS_MAX)
			break;
		cids[n++] = now->rows[i].cid;
	}
	for (size_t i = 0; i < n; i++)
		add_conns(socket, now, cids[i]);
	top_sample_rate(now, before);
	return 0;
}

/* ---- the screen ---- */

static void show(const struct top_sample *s, const char *trouble)
{
	unsigned columns, lines;
	char *frame = NULL;
	size_t len;
	FILE *f = open_memstream(&frame, &len);

	if (!f)
		return;
	terminal_size(&columns, &lines);
	top_view_put(f, s, columns, lines, trouble);
	if (fclose(f) == 0)
		for (size_t done = 0; done < len; ) {
			ssize_t n = write(STDOUT_FILENO, frame + done, len - done);

			if (n <= 0)
				break;		/* the next frame is whole again */
			done += (size_t)n;
		}
	free(frame);
}

/* Until it is time for the next sample. False: the end. */
static bool rest(const struct top_sample *s, const char *trouble, uint64_t until_ms)
{
	char key;
	int r;

	while (clock_ms() < until_ms) {
		r = terminal_wait(until_ms, &key);
		if (r == TERMINAL_E_ENDED || (r == 0 && (key == 'q' || key == 'Q')))
			return false;
		show(s, trouble);		/* the terminal may have another size */
	}
	return true;
}

/* Until the end, @now being the first sample. */
static void run(const char *socket, struct top_sample *now)
{
	struct top_sample before = { .n = 0 };
	char why[HTTP_WHY_MAX];
	int r = 0;

	for (;;) {
		show(now, r ? why : NULL);
		if (!rest(now, r ? why : NULL, clock_ms() + PERIOD_MS))
			break;
		top_sample_deinit(&before);
		before = *now;
		*now = (struct top_sample){ .n = 0 };
		r = take_sample(socket, now, &before, why);
	}
	top_sample_deinit(&before);
}

int command_top(const struct args *a)
{
	struct top_sample now = { .n = 0 }, none = { .n = 0 };
	char why[HTTP_WHY_MAX];
	int r = take_sample(args_api(a, NULL), &now, &none, why);

	if (r) {				/* said where it stays to be read */
		text_complain("%s", why);
	} else if (terminal_enter() < 0) {
		text_complain("top needs a terminal; list is for others");
		r = EXIT_USAGE;
	} else {
		run(args_api(a, NULL), &now);
		terminal_leave();
	}
	top_sample_deinit(&now);
	terminal_end_by_signal();
	return r;
}
