/* SPDX-License-Identifier: BSD-3-Clause */
/* Two plans: what is new, gone, changed. */
#include "config/compare.h"

#include <stdio.h>
#include <stdlib.h>

#include "config/place.h"
#include "config/plan.h"
#include "util/error.h"

/* One key; two of one name are one to the user. */
struct row {
	const char *name;
	enum compare_when when;
	bool (*differs)(const void *before, const void *after);
};

static bool differs_text(const char *a, const char *b)
{
	return !a != !b || (a && strcmp(a, b) != 0);
}

/* Spelled in another way, it may be the same. */
static bool differs_path(const char *a, const struct socket_place *a_at, const char *b,
			 const struct socket_place *b_at)
{
	if (!differs_text(a, b))
		return false;
	return !a || !b || !a_at->rest || !b_at->rest || !a_at->is_found ||
		place_compare(a_at, b_at) != 0;
}

/* A function for each field that is compared by value. */
#define DIFFERS(name, of, field) \
	static bool differs_##name(const void *before, const void *after) \
	{ \
		const struct of *a = before, *b = after; \
		return a->field != b->field; \
	}

DIFFERS(fd, vm_plan, vhost_socket.fd)
DIFFERS(listen_any, vm_plan, forward_listen_any)
DIFFERS(tx_buffer, vm_plan, limits.tx_buffer_size)
DIFFERS(connections, vm_plan, limits.max_connections)
DIFFERS(buffered, vm_plan, limits.max_buffered)
DIFFERS(vm_linger, vm_plan, limits.linger_ms)
DIFFERS(memory, vm_plan, max_memory)
DIFFERS(poll_us, vm_plan, poll_us)
DIFFERS(queue_size, vm_plan, queue_size)
DIFFERS(socket_mode, vm_plan, vhost_socket.mode)
DIFFERS(socket_group, vm_plan, vhost_socket.gid)
DIFFERS(uds_mode, vm_plan, uds_socket.mode)
DIFFERS(uds_group, vm_plan, uds_socket.gid)
DIFFERS(snaplen, vm_plan, capture.snaplen)
DIFFERS(capture_size, vm_plan, capture.max_bytes)
DIFFERS(capture_files, vm_plan, capture.n_files)
DIFFERS(log_level, plan, log_level)
DIFFERS(pause_grace, plan, pause_grace_ms)
DIFFERS(handshake, plan, handshake_ms)
DIFFERS(threads, plan, threads)
DIFFERS(uid, plan, uid)
DIFFERS(gid, plan, gid)
DIFFERS(sandbox, plan, sandbox)
DIFFERS(supervised, plan, is_supervised)
DIFFERS(watchdog, plan, watchdog_ms)

static bool differs_socket(const void *before, const void *after)
{
	const struct vm_plan *a = before, *b = after;

	return differs_path(a->socket, &a->socket_at, b->socket, &b->socket_at);
}

static bool differs_connect(const void *before, const void *after)
{
	const struct vm_plan *a = before, *b = after;

	return differs_path(a->connect, &a->connect_at, b->connect, &b->connect_at);
}

/* Between this backend and another there is no way under a running guest. */
static bool differs_backend(const void *before, const void *after)
{
	const struct vm_plan *a = before, *b = after;

	return !a->uds_path != !b->uds_path;
}

static bool differs_uds(const void *before, const void *after)
{
	const struct vm_plan *a = before, *b = after;

	return a->uds_path && b->uds_path &&
		differs_path(a->uds_path, &a->uds_at, b->uds_path, &b->uds_at);
}

static bool differs_host_cids(const void *before, const void *after)
{
	const struct vm_plan *a = before, *b = after;

	return a->n_host_cids != b->n_host_cids || (a->n_host_cids &&
		memcmp(a->host_cids, b->host_cids, a->n_host_cids * sizeof *a->host_cids) != 0);
}

static bool differs_forward_cid(const void *before, const void *after)
{
	const struct vm_plan *a = before, *b = after;

	return a->has_forward_cid != b->has_forward_cid || a->forward_cid != b->forward_cid;
}

static bool differs_ports(const uint32_t *a, size_t n_a, const uint32_t *b, size_t n_b)
{
	return n_a != n_b || (n_a && memcmp(a, b, n_a * sizeof *a) != 0);
}

static bool differs_listen(const void *before, const void *after)
{
	const struct vm_plan *a = before, *b = after;

	return differs_ports(a->forward_listen, a->n_forward_listen,
			     b->forward_listen, b->n_forward_listen) ||
		differs_ports(a->forward_listen_seqpacket, a->n_forward_listen_seqpacket,
			      b->forward_listen_seqpacket, b->n_forward_listen_seqpacket);
}

static bool differs_texts(char *const *a, size_t n_a, char *const *b, size_t n_b)
{
	bool differs = n_a != n_b;

	for (size_t i = 0; !differs && i < n_a; i++)
		differs = strcmp(a[i], b[i]) != 0;
	return differs;
}

static bool differs_groups(const void *before, const void *after)
{
	const struct vm_plan *a = before, *b = after;

	return differs_texts(a->groups, a->n_groups, b->groups, b->n_groups);
}

static bool differs_capture(const void *before, const void *after)
{
	const struct vm_plan *a = before, *b = after;

	return differs_text(a->capture.path, b->capture.path);
}

static bool differs_capture_ports(const void *before, const void *after)
{
	const struct capture_plan *a = &((const struct vm_plan *)before)->capture;
	const struct capture_plan *b = &((const struct vm_plan *)after)->capture;

	return differs_ports(a->ports, a->n_ports, b->ports, b->n_ports);
}

bool compare_same_capture(const struct vm_plan *a, const struct vm_plan *b)
{
	return !differs_capture(a, b) && !differs_capture_ports(a, b) &&
		!differs_snaplen(a, b) && !differs_capture_size(a, b) &&
		!differs_capture_files(a, b);
}

static bool differs_events(const void *before, const void *after)
{
	const struct plan *a = before, *b = after;

	return differs_text(a->event_path, b->event_path) || a->event_fd != b->event_fd;
}

static bool differs_log_file(const void *before, const void *after)
{
	const struct plan *a = before, *b = after;

	return differs_text(a->log_file, b->log_file);
}

static bool differs_api_socket(const void *before, const void *after)
{
	const struct plan *a = before, *b = after;

	return differs_text(a->api_path, b->api_path) ||
		a->api_socket.mode != b->api_socket.mode || a->api_socket.gid != b->api_socket.gid;
}

static bool differs_api_folders(const void *before, const void *after)
{
	const struct plan *a = before, *b = after;

	return differs_texts(a->api_folders, a->n_api_folders, b->api_folders, b->n_api_folders);
}

/* A new key is a row here: tests/unit/test_compare.c looks for each. */
static const struct row vm_rows[] = {
	{ "socket", COMPARE_ANEW, differs_socket },
	{ "socket-connect", COMPARE_ANEW, differs_connect },
	{ "fd", COMPARE_ANEW, differs_fd },
	{ "socket-mode", COMPARE_ANEW, differs_socket_mode },
	{ "socket-group", COMPARE_ANEW, differs_socket_group },
	{ "uds-path", COMPARE_ANEW, differs_backend },
	{ "uds-path", COMPARE_NOW, differs_uds },
	{ "uds-mode", COMPARE_NOW, differs_uds_mode },
	{ "uds-group", COMPARE_NOW, differs_uds_group },
	{ "host-cid", COMPARE_NOW, differs_host_cids },
	{ "forward-cid", COMPARE_ANEW, differs_forward_cid },
	{ "forward-listen", COMPARE_ANEW, differs_listen },
	{ "forward-listen-any", COMPARE_ANEW, differs_listen_any },
	{ "tx-buffer-size", COMPARE_NOW, differs_tx_buffer },
	{ "max-connections", COMPARE_NOW, differs_connections },
	{ "max-buffered", COMPARE_NOW, differs_buffered },
	{ "linger", COMPARE_NOW, differs_vm_linger },
	{ "poll-us", COMPARE_NOW, differs_poll_us },
	{ "queue-size", COMPARE_NEXT, differs_queue_size },
	{ "max-memory", COMPARE_NEXT, differs_memory },
	{ "groups", COMPARE_NOW, differs_groups },
	{ "capture", COMPARE_NOW, differs_capture },
	{ "capture-port", COMPARE_NOW, differs_capture_ports },
	{ "capture-snaplen", COMPARE_NOW, differs_snaplen },
	{ "capture-size", COMPARE_NOW, differs_capture_size },
	{ "capture-files", COMPARE_NOW, differs_capture_files },
};

static const struct row setting_rows[] = {
	{ "log-level", COMPARE_NOW, differs_log_level },
	{ "pause-grace", COMPARE_NOW, differs_pause_grace },
	{ "handshake-timeout", COMPARE_NOW, differs_handshake },
	{ "log-file", COMPARE_RESTART, differs_log_file },
	{ "event-monitor", COMPARE_RESTART, differs_events },
	{ "threads", COMPARE_RESTART, differs_threads },
	{ "user", COMPARE_RESTART, differs_uid },
	{ "group", COMPARE_RESTART, differs_gid },
	{ "sandbox", COMPARE_RESTART, differs_sandbox },
	{ "supervise", COMPARE_RESTART, differs_supervised },
	{ "watchdog", COMPARE_RESTART, differs_watchdog },
	{ "api-socket", COMPARE_RESTART, differs_api_socket },
	{ "api-folder", COMPARE_RESTART, differs_api_folders },
};

enum {
	VM_ROWS = sizeof vm_rows / sizeof *vm_rows,
	SETTING_ROWS = sizeof setting_rows / sizeof *setting_rows,
};

static_assert(VM_ROWS <= 32 && SETTING_ROWS <= 32, "compare_set has a bit for each");

static compare_set compare(const struct row *rows, int n, const void *before, const void *after)
{
	compare_set set = 0;

	for (int i = 0; i < n; i++)
		if (rows[i].differs(before, after))
			set |= UINT32_C(1) << i;
	return set;
}

static compare_set part(const struct row *rows, int n, compare_set set, enum compare_when when)
{
	for (int i = 0; i < n; i++)
		if (rows[i].when != when)
			set &= ~(UINT32_C(1) << i);
	return set;
}

static void put_names(const struct row *rows, int n, compare_set set, char *text)
{
	size_t len = 0;

	*text = '\0';
	for (int i = 0; i < n && len < COMPARE_TEXT_MAX; i++)
		if (set & UINT32_C(1) << i)
			len += (size_t)snprintf(text + len, COMPARE_TEXT_MAX - len, "%s%s",
						len ? ", " : "", rows[i].name);
}

compare_set compare_vms(const struct vm_plan *before, const struct vm_plan *after)
{
	return compare(vm_rows, VM_ROWS, before, after);
}

bool compare_same_uds(const struct vm_plan *a, const struct vm_plan *b)
{
	return a->uds_path && b->uds_path &&
		!differs_path(a->uds_path, &a->uds_at, b->uds_path, &b->uds_at);
}

compare_set compare_settings(const struct plan *before, const struct plan *after)
{
	return compare(setting_rows, SETTING_ROWS, before, after);
}

compare_set compare_vms_when(compare_set set, enum compare_when when)
{
	return part(vm_rows, VM_ROWS, set, when);
}

compare_set compare_settings_when(compare_set set, enum compare_when when)
{
	return part(setting_rows, SETTING_ROWS, set, when);
}

void compare_vms_text(compare_set set, char text[COMPARE_TEXT_MAX])
{
	put_names(vm_rows, VM_ROWS, set, text);
}

void compare_settings_text(compare_set set, char text[COMPARE_TEXT_MAX])
{
	put_names(setting_rows, SETTING_ROWS, set, text);
}

/* ---- all VMs ---- */

/* By CID; what is to be served before what was. */
static int order(const void *va, const void *vb)
{
	const struct compare_row *a = va, *b = vb;
	const struct vm_plan *x = a->before ? a->before : a->after;
	const struct vm_plan *y = b->before ? b->before : b->after;

	if (x->guest_cid != y->guest_cid)
		return x->guest_cid < y->guest_cid ? -1 : 1;
	return !a->after - !b->after;
}

/* Two rows of one CID become one. Returns how many are left. */
static size_t pair_up(struct compare_row *rows, size_t n)
{
	size_t kept = 0;

	for (size_t i = 0; i < n; i++) {
		struct compare_row *last = kept ? &rows[kept - 1] : NULL;

		if (last && last->after && rows[i].before &&
		    last->after->guest_cid == rows[i].before->guest_cid) {
			last->before = rows[i].before;
			last->changes = compare_vms(last->before, last->after);
		} else {
			rows[kept++] = rows[i];
		}
	}
	return kept;
}

int compare_plans(const struct plan *before, const struct plan *after, struct compare_row **out,
		  size_t *out_n)
{
	size_t n = before->n_vms + after->n_vms;
	struct compare_row *rows = calloc(n ? n : 1, sizeof *rows);

	if (!rows)
		return -ENOMEM;
	for (size_t i = 0; i < before->n_vms; i++)
		rows[i].before = &before->vms[i];
	for (size_t i = 0; i < after->n_vms; i++)
		rows[before->n_vms + i].after = &after->vms[i];
	qsort(rows, n, sizeof *rows, order);
	*out_n = pair_up(rows, n);
	*out = rows;
	return 0;
}
