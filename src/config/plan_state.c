/* SPDX-License-Identifier: BSD-3-Clause */
/* A plan as state. Each field is one row, so none is saved that is not loaded. */
#include "config/plan_state.h"

#include <stdlib.h>
#include <string.h>
#include <sys/un.h>

#include "config/keys.h"
#include "config/plan.h"
#include "util/error.h"
#include "util/log.h"

#define TAG_VM		BLOB_TAG('P', 'L', 'V', 'M')
#define TAG_ALL		BLOB_TAG('P', 'L', 'A', 'N')

/* Of both, the newest. A field that is added makes another: loading an older one leaves it as
 * init has it, or as the default of its key. */
enum { STATE_VERSION = 5 };

enum { SOCKET_PATH_MAX = sizeof ((struct sockaddr_un *)0)->sun_path - 1 };

struct field {
	enum {
		NUMBER,				/* unsigned, of any size; bool and enum too */
		ERROR,				/* -errno or 0 */
		DESCRIPTOR,			/* int: its number, or -1 */
		TEXT,				/* owned, or NULL */
		NUMBERS,			/* owned arrays */
		TEXTS,
	} kind;
	size_t at, size;			/* of an array: of one in it */
	size_t at_n;				/* of an array: how many it has */
	const char *key;			/* whose row says which numbers are right ... */
	bool may_be_0;				/* ... besides 0 */
	bool stands_alone;			/* a number that means something without a text */
	uint64_t max;				/* else: of a number; bytes of a text */
};

#define AT(of, field)		.at = offsetof(of, field), .size = sizeof ((of *)0)->field
#define ARRAY_AT(of, field) \
	.at = offsetof(of, field), .size = sizeof *((of *)0)->field, .at_n = offsetof(of, n_##field)

#define NUMBER_FIELD(of, field, most)	{ .kind = NUMBER, AT(of, field), .max = (most) }
#define BOOL_FIELD(of, field)	NUMBER_FIELD(of, field, 1)
#define ID_FIELD(of, field)	NUMBER_FIELD(of, field, UINT32_MAX)	/* uid_t, gid_t, mode_t */
#define KEY_FIELD(of, field, of_key)	{ .kind = NUMBER, AT(of, field), .key = (of_key) }
#define TEXT_FIELD(of, field)	{ .kind = TEXT, AT(of, field), .max = UINT32_MAX }
#define PATH_FIELD(of, field)	{ .kind = TEXT, AT(of, field), .max = SOCKET_PATH_MAX }

#define SOCKET_FIELDS(of, field) \
	ID_FIELD(of, field.mode), TEXT_FIELD(of, field.group), ID_FIELD(of, field.gid), \
	BOOL_FIELD(of, field.fd_listens)

#define PLACE_FIELDS(of, field) \
	BOOL_FIELD(of, field.is_found), NUMBER_FIELD(of, field.dev, UINT64_MAX), \
	NUMBER_FIELD(of, field.ino, UINT64_MAX), TEXT_FIELD(of, field.rest), \
	{ .kind = ERROR, AT(of, field.error) }

#define CAPTURE_FIELD(field, of_key) \
	{ .kind = NUMBER, AT(struct vm_plan, capture.field), .key = (of_key) }

static const struct field vm_fields[] = {
	TEXT_FIELD(struct vm_plan, origin),
	KEY_FIELD(struct vm_plan, guest_cid, "guest-cid"),
	PATH_FIELD(struct vm_plan, socket),
	PATH_FIELD(struct vm_plan, connect),
	PATH_FIELD(struct vm_plan, uds_path),
	PLACE_FIELDS(struct vm_plan, socket_at),
	PLACE_FIELDS(struct vm_plan, connect_at),
	PLACE_FIELDS(struct vm_plan, uds_at),
	BOOL_FIELD(struct vm_plan, has_forward_cid),
	KEY_FIELD(struct vm_plan, forward_cid, "forward-cid"),
	{ .kind = NUMBERS, ARRAY_AT(struct vm_plan, forward_listen), .key = "forward-listen" },
	BOOL_FIELD(struct vm_plan, forward_listen_any),
	{ .kind = NUMBERS, ARRAY_AT(struct vm_plan, host_cids), .key = "host-cid" },
	KEY_FIELD(struct vm_plan, limits.tx_buffer_size, "tx-buffer-size"),
	KEY_FIELD(struct vm_plan, limits.max_connections, "max-connections"),
	KEY_FIELD(struct vm_plan, limits.max_buffered, "max-buffered"),
	NUMBER_FIELD(struct vm_plan, limits.linger_ms, UINT32_MAX),
	{ .kind = NUMBER, AT(struct vm_plan, max_memory), .key = "max-memory", .may_be_0 = true },
	KEY_FIELD(struct vm_plan, queue_size, "queue-size"),
	{ .kind = TEXTS, ARRAY_AT(struct vm_plan, groups), .max = UINT32_MAX },
	SOCKET_FIELDS(struct vm_plan, vhost_socket),
	SOCKET_FIELDS(struct vm_plan, uds_socket),
};

static const struct field vm_fields_2[] = {
	{ .kind = NUMBERS, ARRAY_AT(struct vm_plan, forward_listen_seqpacket), .key = "forward-listen" },
};

static const struct field vm_fields_4[] = {
	{ .kind = TEXT, AT(struct vm_plan, capture.path), .max = UINT32_MAX },
	CAPTURE_FIELD(snaplen, "capture-snaplen"),
	CAPTURE_FIELD(n_files, "capture-files"),
	CAPTURE_FIELD(max_bytes, "capture-size"),
	{ .kind = NUMBERS, .at = offsetof(struct vm_plan, capture.ports),
	  .size = sizeof *((struct vm_plan *)0)->capture.ports,
	  .at_n = offsetof(struct vm_plan, capture.n_ports), .key = "capture-port" },
};

static const struct field vm_fields_5[] = {
	{ .kind = NUMBER, AT(struct vm_plan, poll_us), .key = "poll-us", .stands_alone = true },
};

static const struct field said_fields[] = {
	{ .kind = NUMBER, AT(struct vm_plan, said.max_memory), .key = "max-memory", .may_be_0 = true },
	KEY_FIELD(struct vm_plan, said.max_connections, "max-connections"),
};

enum { SAID_FIELDS = sizeof said_fields / sizeof *said_fields };

static const struct field plan_fields[] = {
	NUMBER_FIELD(struct plan, threads, PLAN_THREADS_MAX),
	NUMBER_FIELD(struct plan, mem_slots, PLAN_MEM_SLOTS_MAX),
	NUMBER_FIELD(struct plan, n_files, UINT64_MAX),
	NUMBER_FIELD(struct plan, log_level, LEVEL_TRACE),
	TEXT_FIELD(struct plan, log_file),
	TEXT_FIELD(struct plan, config),
	SOCKET_FIELDS(struct plan, vhost_socket),
	SOCKET_FIELDS(struct plan, uds_socket),
	NUMBER_FIELD(struct plan, umask, 0777),
	TEXT_FIELD(struct plan, user),
	TEXT_FIELD(struct plan, group),
	ID_FIELD(struct plan, uid),
	ID_FIELD(struct plan, gid),
	NUMBER_FIELD(struct plan, sandbox, SANDBOX_STRICT),
	NUMBER_FIELD(struct plan, linger_ms, UINT32_MAX),
	NUMBER_FIELD(struct plan, pause_grace_ms, UINT32_MAX),
	NUMBER_FIELD(struct plan, handshake_ms, UINT32_MAX),
	BOOL_FIELD(struct plan, is_supervised),
	NUMBER_FIELD(struct plan, watchdog_ms, UINT32_MAX),
};

static const struct field plan_fields_3[] = {
	PATH_FIELD(struct plan, api_path),
	SOCKET_FIELDS(struct plan, api_socket),
	PLACE_FIELDS(struct plan, api_at),
	{ .kind = TEXTS, ARRAY_AT(struct plan, api_folders), .max = UINT32_MAX },
};

static const struct field plan_fields_4[] = {
	TEXT_FIELD(struct plan, event_path),
	{ .kind = DESCRIPTOR, AT(struct plan, event_fd) },
};

#define FIELDS(table)	{ table, sizeof table / sizeof *table }

/* What each version has added. */
static const struct version {
	const struct field *fields;
	size_t n;
} vm_versions[STATE_VERSION] = { FIELDS(vm_fields), FIELDS(vm_fields_2), { NULL, 0 }, FIELDS(vm_fields_4),
		 FIELDS(vm_fields_5) },
  plan_versions[STATE_VERSION] = { FIELDS(plan_fields), { NULL, 0 }, FIELDS(plan_fields_3),
		   FIELDS(plan_fields_4), { NULL, 0 } };

/* ---- numbers of whatever size ---- */

static uint64_t number_get(const void *at, size_t size)
{
	uint64_t v64;
	uint32_t v32;

	switch (size) {
	case sizeof v64:
		memcpy(&v64, at, sizeof v64);
		return v64;
	case sizeof v32:
		memcpy(&v32, at, sizeof v32);
		return v32;
	default:
		assert(size == 1);
		return *(const uint8_t *)at;
	}
}

/* False: it is too large. */
static bool number_set(void *at, size_t size, uint64_t v64)
{
	uint32_t v32 = (uint32_t)v64;
	uint8_t v8 = (uint8_t)v64;

	switch (size) {
	case sizeof v64:
		memcpy(at, &v64, sizeof v64);
		return true;
	case sizeof v32:
		memcpy(at, &v32, sizeof v32);
		return v32 == v64;
	default:
		memcpy(at, &v8, sizeof v8);
		return v8 == v64;
	}
}

/* The array that @at points to, of whatever type. */
static char *array_get(const void *at)
{
	char *array;

	memcpy(&array, at, sizeof array);
	return array;
}

static bool is_number_right(const struct field *f, uint64_t v)
{
	const struct setting *key = f->key ? keys_find(f->key) : NULL;

	if (!key)
		return v <= f->max;
	return (v >= key->min && v <= key->max) || (f->may_be_0 && !v);
}

static bool load_number(const struct field *f, void *at, struct blob_reader *in)
{
	uint64_t v = blob_get_u64(in);

	return !in->is_short && is_number_right(f, v) && number_set(at, f->size, v);
}

/* ---- a field ---- */

static void save_field(const struct field *f, const char *from, struct blob *out)
{
	const void *at = from + f->at;
	size_t n = f->at_n ? *(const size_t *)(const void *)(from + f->at_n) : 0;

	switch (f->kind) {
	case NUMBER:
		blob_put_u64(out, number_get(at, f->size));
		break;
	case ERROR:
		blob_put_u32(out, (uint32_t)-*(const int *)at);
		break;
	case DESCRIPTOR:
		blob_put_u32(out, (uint32_t)*(const int *)at);
		break;
	case TEXT:
		blob_put_string(out, *(char *const *)at);
		break;
	case NUMBERS:
		blob_put_u64(out, n);
		for (size_t i = 0; i < n; i++)
			blob_put_u64(out, number_get(array_get(at) + i * f->size, f->size));
		break;
	case TEXTS:
		blob_put_u64(out, n);
		for (size_t i = 0; i < n; i++)
			blob_put_string(out, (*(char **const *)at)[i]);
		break;
	}
}

/* One more in an array of @n: room grows with what is there, not with what is promised. */
static int make_room(const struct field *f, void *at, size_t n)
{
	char *array = array_get(at);

	if (n & (n - 1))
		return 0;
	array = reallocarray(array, n ? 2 * n : 1, f->size);
	if (!array)
		return -ENOMEM;
	memcpy(at, &array, sizeof array);
	return 0;
}

/* As load_field(). What is in the array is owned by it, also on failure. */
static int load_array(const struct field *f, void *at, size_t *n, struct blob_reader *in)
{
	uint64_t promised = blob_get_u64(in);

	while (*n < promised) {
		int r = blob_has_more(in) ? make_room(f, at, *n) : PLAN_STATE_E_BAD;
		char *text;

		if (r)
			return r;
		if (f->kind == NUMBERS) {
			if (!load_number(f, array_get(at) + *n * f->size, in))
				return PLAN_STATE_E_BAD;
		} else {
			if ((r = blob_get_string(in, f->max, &text)) < 0)
				return r;
			if (!text)
				return PLAN_STATE_E_BAD;
			(*(char ***)at)[*n] = text;
		}
		++*n;
	}
	return 0;
}

/* 0; PLAN_STATE_E_BAD; -ENOMEM. */
static int load_field(const struct field *f, char *into, struct blob_reader *in)
{
	void *at = into + f->at;
	uint32_t error;

	switch (f->kind) {
	case NUMBER:
		return load_number(f, at, in) ? 0 : PLAN_STATE_E_BAD;
	case ERROR:
		error = blob_get_u32(in);
		*(int *)at = -(int)(error & 0xfff);
		return error <= 0xfff ? 0 : PLAN_STATE_E_BAD;
	case DESCRIPTOR:
		*(int *)at = (int)blob_get_u32(in);
		return *(int *)at >= -1 ? 0 : PLAN_STATE_E_BAD;
	case TEXT:
		return blob_get_string(in, f->max, at);
	case NUMBERS:
	case TEXTS:
		return load_array(f, at, (size_t *)(void *)(into + f->at_n), in);
	}
	return PLAN_STATE_E_BAD;
}

/* ---- a section ---- */

/* Most numbers belong to a text or an array beside them. */
static bool has(const struct field *f, const char *from)
{
	const void *at = from + f->at;

	if (f->at_n)
		return *(const size_t *)(const void *)(from + f->at_n) != 0;
	if (f->stands_alone)
		return number_get(at, f->size) != 0;
	return (f->kind == TEXT && *(char *const *)at) ||
		(f->kind == DESCRIPTOR && *(const int *)at >= 0);
}

/* Has @from what this version has added? */
static bool has_any(const struct version *v, const char *from)
{
	for (size_t i = 0; i < v->n; i++)
		if (has(&v->fields[i], from))
			return true;
	return false;
}

/* The first version that has all that is there, so that an older program reads it, too. */
static void save(const struct version versions[STATE_VERSION], const void *from, uint32_t tag,
		 struct blob *out)
{
	const struct version *last = versions + STATE_VERSION - 1;
	size_t section;

	while (last > versions && !has_any(last, from))
		last--;
	section = blob_open(out, tag, (uint32_t)(last - versions) + 1);
	for (const struct version *v = versions; v <= last; v++)
		for (size_t i = 0; i < v->n; i++)
			save_field(&v->fields[i], from, out);
	blob_close(out, section);
}

static void set_default(const struct field *f, void *into)
{
	if (f->key)
		setting_set_default(keys_find(f->key), into);
}

/* 0; PLAN_STATE_E_BAD; -ENOMEM. What @into owns then is to be freed in any case. */
static int load(const struct version versions[STATE_VERSION], void *into, uint32_t tag,
		struct blob_reader *in)
{
	struct blob_reader section;
	uint32_t version;
	int r = 0;

	if (!blob_enter(in, &section, tag, STATE_VERSION, &version))
		return PLAN_STATE_E_BAD;
	for (const struct version *v = versions; !r && v < versions + STATE_VERSION; v++)
		for (size_t i = 0; i < v->n && !r; i++)
			if (v < versions + version)
				r = load_field(&v->fields[i], into, &section);
			else
				set_default(&v->fields[i], into);
	return r ? r : blob_is_whole(&section) ? 0 : PLAN_STATE_E_BAD;
}

/* ---- a VM ---- */

static bool are_groups_sorted(const struct vm_plan *vm)
{
	for (size_t i = 1; i < vm->n_groups; i++)
		if (strcmp(vm->groups[i - 1], vm->groups[i]) >= 0)
			return false;
	return true;
}

static bool has_place(const char *path, const struct socket_place *at)
{
	return !path == !at->rest;
}

/* What no row shows by itself; see finish.h, and check.h where that is of one VM. */
static bool is_vm_right(const struct vm_plan *vm)
{
	bool listens = vm->n_forward_listen || vm->n_forward_listen_seqpacket;

	return !(vm->socket && vm->connect) && !vm->uds_path == vm->has_forward_cid &&
		(!listens || vm->has_forward_cid) &&
		(!vm->forward_listen_any || listens) &&
		(!vm->n_host_cids || vm->uds_path) &&
		!(vm->queue_size & (vm->queue_size - 1)) &&
		has_place(vm->socket, &vm->socket_at) &&
		has_place(vm->connect, &vm->connect_at) &&
		has_place(vm->uds_path, &vm->uds_at) &&
		vm->n_groups && are_groups_sorted(vm) &&
		vm->capture.n_ports <= (vm->capture.path ? PLAN_CAPTURE_PORTS_MAX : 0);
}

void plan_state_save_vm(const struct vm_plan *vm, struct blob *out)
{
	save(vm_versions, vm, TAG_VM, out);
}

int plan_state_load_vm(struct vm_plan *vm, struct blob_reader *in)
{
	int r = load(vm_versions, vm, TAG_VM, in);

	if (!r && !is_vm_right(vm))
		r = PLAN_STATE_E_BAD;
	if (r)
		vm_plan_deinit(vm);
	return r;
}

void plan_state_save_said(const struct vm_plan *vm, struct blob *out)
{
	for (int i = 0; i < SAID_FIELDS; i++)
		save_field(&said_fields[i], (const char *)vm, out);
}

bool plan_state_load_said(struct vm_plan *vm, struct blob_reader *in)
{
	for (int i = 0; i < SAID_FIELDS; i++)
		if (load_field(&said_fields[i], (char *)vm, in))
			return false;
	return true;
}

/* ---- all of them ---- */

void plan_state_save(const struct plan *plan, struct blob *out)
{
	save(plan_versions, plan, TAG_ALL, out);
}

int plan_state_load(struct plan *plan, struct blob_reader *in)
{
	int r = load(plan_versions, plan, TAG_ALL, in);

	if (!r && !plan->handshake_ms)
		r = PLAN_STATE_E_BAD;
	if (r) {
		plan_deinit(plan);
		plan_init(plan);
	}
	return r;
}
