/* SPDX-License-Identifier: BSD-3-Clause */
/* A plan as state: what comes out is what went in, and nothing else comes out. */
#include "config/plan_state.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "config/plan.h"
#include "unit.h"
#include "util/log.h"

#ifndef __has_builtin
#define __has_builtin(name) 0
#endif

/* Bytes between fields say nothing. Where the compiler cannot clear them, only what is
 * compared field by field is. */
#if __has_builtin(__builtin_clear_padding)
#define clear_padding(object) __builtin_clear_padding(object)
enum { COMPARES_BYTES = 1 };
#else
#define clear_padding(object) ((void)(object))
enum { COMPARES_BYTES = 0 };
#endif

/* A value that no field has by itself: a field that is not named below keeps it, and is
 * missed after the load. */
enum { FILL = 0x5a };

static struct blob_reader reader;

static char *text(const char *t)
{
	char *copy = strdup(t);

	ck_assert_ptr_nonnull(copy);
	return copy;
}

static void fill_socket(struct socket_plan *socket, const char *group)
{
	socket->mode = 0640;
	socket->group = text(group);
	socket->gid = 4711;
	socket->fd = -1;			/* goes another way */
	socket->fd_listens = true;
}

static void fill_place(struct socket_place *place, const char *rest)
{
	place->is_found = true;
	place->dev = UINT64_C(0x1234567890);
	place->ino = UINT64_C(0x2345678901);
	place->rest = rest ? text(rest) : NULL;
	place->error = -EACCES;
}

/* Every field says something; AF_VSOCK or unix sockets, which exclude one another. */
static void fill_vm(struct vm_plan *vm, bool is_forwarded)
{
	memset(vm, FILL, sizeof *vm);
	vm->origin = text("vms.yaml:7");
	vm->guest_cid = 4294967294;
	vm->socket = is_forwarded ? NULL : text("/run/a");
	vm->connect = is_forwarded ? text("/run/b") : NULL;
	vm->uds_path = is_forwarded ? NULL : text("/run/c");
	fill_place(&vm->socket_at, is_forwarded ? NULL : "a");
	fill_place(&vm->connect_at, is_forwarded ? "b" : NULL);
	fill_place(&vm->uds_at, is_forwarded ? NULL : "");
	vm->has_forward_cid = is_forwarded;
	vm->forward_cid = 0xfffffff1;
	vm->n_forward_listen = is_forwarded ? 3 : 0;
	vm->forward_listen = NULL;
	vm->n_forward_listen_seqpacket = is_forwarded ? 2 : 0;
	vm->forward_listen_seqpacket = NULL;
	vm->forward_listen_any = is_forwarded;
	vm->n_host_cids = is_forwarded ? 0 : 5;
	vm->host_cids = NULL;
	if (is_forwarded) {
		vm->forward_listen = calloc(3, sizeof *vm->forward_listen);
		memcpy(vm->forward_listen, (uint32_t[]){ 9, 0xfffffffe, 0 }, 12);
		vm->forward_listen_seqpacket = calloc(2, sizeof *vm->forward_listen_seqpacket);
		memcpy(vm->forward_listen_seqpacket, (uint32_t[]){ 7, 8 }, 8);
	} else {
		vm->host_cids = calloc(5, sizeof *vm->host_cids);
		memcpy(vm->host_cids, (uint64_t[]){ 0, 1, 4294967294, 7, 8 }, 40);
	}
	vm->limits = (struct vsock_limits){
		.tx_buffer_size = UINT32_C(1) << 31, .max_connections = 77,
		.max_buffered = UINT64_C(1) << 39, .linger_ms = UINT32_MAX,
	};
	vm->max_memory = UINT64_C(1) << 55;
	vm->said.max_memory = vm->said.max_connections = 0;	/* the supervisor alone has these */
	vm->is_by_api = false;
	vm->poll_us = 1000;
	vm->queue_size = 32768;
	vm->n_groups = 3;
	vm->groups = calloc(3, sizeof *vm->groups);
	vm->groups[0] = text("a");
	vm->groups[1] = text("aa");
	vm->groups[2] = text("b");
	fill_socket(&vm->vhost_socket, "kvm");
	fill_socket(&vm->uds_socket, "users");
	vm->capture = (struct capture_plan){
		.path = text("/var/a.pcap"), .snaplen = 262144, .n_files = 16,
		.max_bytes = UINT64_C(1) << 50, .n_ports = 2,
		.ports = calloc(2, sizeof *vm->capture.ports),
	};
	vm->capture.ports[0] = UINT32_MAX;
}

static void fill_plan(struct plan *plan)
{
	memset(plan, FILL, sizeof *plan);
	plan->vms = NULL;			/* sections of their own */
	plan->n_vms = 0;
	plan->threads = 1024;
	plan->mem_slots = 509;
	plan->n_files = UINT64_MAX;
	plan->memory_share = 0;			/* found anew */
	plan->connections_share = 0;
	plan->has_too_little_memory = false;
	plan->log_level = LEVEL_TRACE;
	plan->log_file = text("/var/log/x");
	plan->config = text("/etc/vsock.yaml");
	fill_socket(&plan->vhost_socket, "v");
	fill_socket(&plan->uds_socket, "u");
	plan->api_path = text("/run/api");
	fill_socket(&plan->api_socket, "api");
	fill_place(&plan->api_at, "api");
	plan->n_api_folders = 2;
	plan->api_folders = calloc(2, sizeof *plan->api_folders);
	plan->api_folders[0] = text("/run/b");
	plan->api_folders[1] = text("/run/a");
	plan->umask = 0777;
	plan->user = text("me");
	plan->group = text("us");
	plan->uid = 0xfffffff0;
	plan->gid = (gid_t)-1;
	plan->sandbox = SANDBOX_STRICT;
	plan->linger_ms = UINT32_MAX;
	plan->pause_grace_ms = 3;
	plan->handshake_ms = 1;
	plan->is_supervised = true;
	plan->watchdog_ms = 2;
	plan->event_path = text("/run/events");
	plan->event_fd = 7;
}

/* Both have the same, each its own; then @b gets @a's pointer, so that bytes can be compared. */
static void match_text(char *a, char **b)
{
	if (!a) {
		ck_assert_ptr_null(*b);
		return;
	}
	ck_assert_ptr_nonnull(*b);
	ck_assert_ptr_ne(a, *b);
	ck_assert_str_eq(a, *b);
	free(*b);
	*b = a;
}

/* The same of arrays without owned things in them. */
#define match_array(a, b, n) do { \
	if (n) \
		ck_assert_mem_eq(a, b, (n) * sizeof *(a)); \
	free(b); \
	(b) = (a); \
} while (0)

static void match_bytes(const void *a, const void *b, size_t n)
{
	if (COMPARES_BYTES)
		ck_assert_mem_eq(a, b, n);
}

static void match_vm(struct vm_plan *a, struct vm_plan *b)
{
	match_text(a->origin, &b->origin);
	match_text(a->socket, &b->socket);
	match_text(a->connect, &b->connect);
	match_text(a->uds_path, &b->uds_path);
	match_text(a->socket_at.rest, &b->socket_at.rest);
	match_text(a->connect_at.rest, &b->connect_at.rest);
	match_text(a->uds_at.rest, &b->uds_at.rest);
	match_text(a->vhost_socket.group, &b->vhost_socket.group);
	match_text(a->uds_socket.group, &b->uds_socket.group);
	ck_assert_uint_eq(a->n_forward_listen, b->n_forward_listen);
	match_array(a->forward_listen, b->forward_listen, a->n_forward_listen);
	ck_assert_uint_eq(a->n_forward_listen_seqpacket, b->n_forward_listen_seqpacket);
	match_array(a->forward_listen_seqpacket, b->forward_listen_seqpacket,
		    a->n_forward_listen_seqpacket);
	ck_assert_uint_eq(a->n_host_cids, b->n_host_cids);
	match_array(a->host_cids, b->host_cids, a->n_host_cids);
	ck_assert_uint_eq(a->n_groups, b->n_groups);
	for (size_t i = 0; i < a->n_groups; i++)
		match_text(a->groups[i], &b->groups[i]);
	match_array(a->groups, b->groups, a->n_groups);
	match_text(a->capture.path, &b->capture.path);
	ck_assert_uint_eq(a->capture.n_ports, b->capture.n_ports);
	match_array(a->capture.ports, b->capture.ports, a->capture.n_ports);
	ck_assert_uint_eq(a->capture.snaplen, b->capture.snaplen);
	ck_assert_uint_eq(a->capture.n_files, b->capture.n_files);
	ck_assert_uint_eq(a->guest_cid, b->guest_cid);
	ck_assert_uint_eq(a->poll_us, b->poll_us);
	ck_assert_uint_eq(a->limits.max_buffered, b->limits.max_buffered);
	clear_padding(a);
	clear_padding(b);
	match_bytes(a, b, sizeof *a);
}

static void match_plan(struct plan *a, struct plan *b)
{
	match_text(a->log_file, &b->log_file);
	match_text(a->config, &b->config);
	match_text(a->user, &b->user);
	match_text(a->event_path, &b->event_path);
	match_text(a->group, &b->group);
	match_text(a->vhost_socket.group, &b->vhost_socket.group);
	match_text(a->uds_socket.group, &b->uds_socket.group);
	match_text(a->api_path, &b->api_path);
	match_text(a->api_socket.group, &b->api_socket.group);
	match_text(a->api_at.rest, &b->api_at.rest);
	ck_assert_uint_eq(a->n_api_folders, b->n_api_folders);
	for (size_t i = 0; i < a->n_api_folders; i++)
		match_text(a->api_folders[i], &b->api_folders[i]);
	match_array(a->api_folders, b->api_folders, a->n_api_folders);
	ck_assert_uint_eq(a->handshake_ms, b->handshake_ms);
	ck_assert_int_eq(a->is_supervised, b->is_supervised);
	ck_assert_uint_eq(a->watchdog_ms, b->watchdog_ms);
	clear_padding(a);
	clear_padding(b);
	match_bytes(a, b, sizeof *a);
}

static void save_vm(struct blob *b, const struct vm_plan *vm)
{
	blob_init(b, 1 << 20, 0);
	plan_state_save_vm(vm, b);
	ck_assert_int_eq(blob_error(b), 0);
	blob_read(&reader, b->bytes, b->len, NULL);
}

/* _i: AF_VSOCK. */
START_TEST(all_of_a_vm)
{
	struct vm_plan vm, loaded;
	struct blob b;

	fill_vm(&vm, _i);
	save_vm(&b, &vm);
	memset(&loaded, ~FILL, sizeof loaded);
	vm_plan_init(&loaded);
	ck_assert_int_eq(plan_state_load_vm(&loaded, &reader), 0);
	ck_assert(blob_is_whole(&reader));
	match_vm(&vm, &loaded);
	vm_plan_deinit(&vm);
	blob_deinit(&b);
}
END_TEST

START_TEST(all_of_the_rest)
{
	struct plan plan, loaded;
	struct blob b;

	fill_plan(&plan);
	blob_init(&b, 1 << 20, 0);
	plan_state_save(&plan, &b);
	ck_assert_int_eq(blob_error(&b), 0);
	blob_read(&reader, b.bytes, b.len, NULL);
	memset(&loaded, ~FILL, sizeof loaded);
	plan_init(&loaded);
	ck_assert_int_eq(plan_state_load(&loaded, &reader), 0);
	ck_assert(blob_is_whole(&reader));
	match_plan(&plan, &loaded);
	plan_deinit(&plan);
	blob_deinit(&b);
}
END_TEST

/* A VM of which only what has to be is there; several of them in a row. */
START_TEST(little_of_vms)
{
	struct plan plan;
	struct vm_plan loaded;
	struct blob b;

	plan_init(&plan);
	blob_init(&b, 1 << 20, 0);
	for (uint64_t cid = 3; cid < 6; cid++) {
		struct vm_plan *vm = plan_add_vm(&plan, NULL);

		vm->guest_cid = cid;
		vm->has_forward_cid = true;
		vm->limits = (struct vsock_limits){ 1, 1, 1, 0 };
		vm->queue_size = 1;
		vm->capture.snaplen = 262144;
		vm->capture.n_files = 2;
		vm->capture.max_bytes = 104857600;
		vm->groups = calloc(1, sizeof *vm->groups);
		vm->groups[vm->n_groups++] = text("");
		plan_state_save_vm(vm, &b);
	}
	blob_read(&reader, b.bytes, b.len, NULL);
	for (size_t i = 0; i < 3; i++) {
		vm_plan_init(&loaded);
		ck_assert_int_eq(plan_state_load_vm(&loaded, &reader), 0);
		match_vm(&plan.vms[i], &loaded);
	}
	ck_assert(blob_is_whole(&reader));
	vm_plan_init(&loaded);
	ck_assert_int_eq(plan_state_load_vm(&loaded, &reader), PLAN_STATE_E_BAD);
	blob_deinit(&b);
	plan_deinit(&plan);
}
END_TEST

/* It has nothing that the first version did not know. */
static void fill_oldest_vm(struct vm_plan *vm, int i)
{
	fill_vm(vm, i);
	vm->n_forward_listen_seqpacket = 0;
	free(vm->capture.path);
	vm->capture.path = NULL;
	vm->capture.n_ports = 0;
	vm->poll_us = 0;
}

/* What an older program knows is saved as it did that: it reads it, and this one what it wrote. */
START_TEST(of_an_older_version)
{
	struct vm_plan vm, loaded;
	uint32_t version;
	struct blob b;

	fill_oldest_vm(&vm, _i);
	save_vm(&b, &vm);
	memcpy(&version, b.bytes + 4, sizeof version);
	ck_assert_uint_eq(version, 1);
	vm_plan_init(&loaded);
	ck_assert_int_eq(plan_state_load_vm(&loaded, &reader), 0);
	ck_assert(blob_is_whole(&reader));
	ck_assert_uint_eq(loaded.n_forward_listen, vm.n_forward_listen);
	ck_assert_uint_eq(loaded.n_forward_listen_seqpacket, 0);
	ck_assert_uint_eq(loaded.capture.snaplen, 262144);	/* the default */
	ck_assert_uint_eq(loaded.capture.n_files, 2);
	ck_assert_uint_eq(loaded.poll_us, 0);
	vm_plan_deinit(&loaded);
	vm_plan_deinit(&vm);
	blob_deinit(&b);
}
END_TEST

/* A number that no text goes with is not left out. */
START_TEST(of_a_number_alone)
{
	struct vm_plan vm, loaded;
	struct blob b;

	fill_oldest_vm(&vm, _i);
	vm.poll_us = 1;
	save_vm(&b, &vm);
	vm_plan_init(&loaded);
	ck_assert_int_eq(plan_state_load_vm(&loaded, &reader), 0);
	ck_assert_uint_eq(loaded.poll_us, 1);
	vm_plan_deinit(&loaded);
	vm_plan_deinit(&vm);
	blob_deinit(&b);
}
END_TEST

static void expect_nothing(const struct vm_plan *vm)
{
	struct vm_plan nothing, copy = *vm;

	memset(&nothing, 0, sizeof nothing);
	vm_plan_init(&nothing);
	clear_padding(&nothing);
	clear_padding(&copy);
	match_bytes(&nothing, &copy, sizeof nothing);
	ck_assert_ptr_null(vm->groups);
}

/* Cut at every byte, it is refused, and leaves nothing (memory: the address sanitizer). */
START_TEST(cut)
{
	struct vm_plan vm, loaded;
	struct blob b;

	fill_vm(&vm, _i);
	save_vm(&b, &vm);
	vm_plan_init(&loaded);
	for (size_t n = 0; n < b.len; n++) {
		uint64_t len = n < BLOB_SECTION_BYTES ? 0 : n - BLOB_SECTION_BYTES;
		uint8_t *copy = malloc(n ? n : 1);

		memcpy(copy, b.bytes, n);
		blob_read(&reader, copy, n, NULL);
		ck_assert_int_eq(plan_state_load_vm(&loaded, &reader), PLAN_STATE_E_BAD);
		expect_nothing(&loaded);
		if (n >= BLOB_SECTION_BYTES)	/* and where the section itself is short */
			memcpy(copy + 8, &len, sizeof len);
		blob_read(&reader, copy, n, NULL);
		ck_assert_int_eq(plan_state_load_vm(&loaded, &reader), PLAN_STATE_E_BAD);
		expect_nothing(&loaded);
		free(copy);
	}
	vm_plan_deinit(&vm);
	blob_deinit(&b);
}
END_TEST

/* Each byte, changed in many ways: what is loaded nevertheless is a plan. */
START_TEST(changed)
{
	static const uint8_t changes[] = { 1, 0x80, 0xff, 0x5a };
	struct vm_plan vm, loaded;
	struct blob b;

	fill_vm(&vm, _i);
	save_vm(&b, &vm);
	vm_plan_init(&loaded);
	for (size_t at = 0; at < b.len * sizeof changes; at++) {
		b.bytes[at / sizeof changes] ^= changes[at % sizeof changes];
		blob_read(&reader, b.bytes, b.len, NULL);
		if (plan_state_load_vm(&loaded, &reader) == 0) {
			ck_assert_uint_ge(loaded.guest_cid, 3);
			ck_assert_uint_gt(loaded.queue_size, 0);
			ck_assert_int_eq(!loaded.uds_path, loaded.has_forward_cid);
			vm_plan_deinit(&loaded);
		}
		b.bytes[at / sizeof changes] ^= changes[at % sizeof changes];
	}
	vm_plan_deinit(&vm);
	blob_deinit(&b);
}
END_TEST

/* One thing is not as any configuration has it. */
static void spoil_cid(struct vm_plan *vm) { vm->guest_cid = 2; }
static void spoil_cid_max(struct vm_plan *vm) { vm->guest_cid = UINT32_MAX; }
static void spoil_queue(struct vm_plan *vm) { vm->queue_size = 3; }
static void spoil_no_queue(struct vm_plan *vm) { vm->queue_size = 0; }
static void spoil_buffer(struct vm_plan *vm) { vm->limits.tx_buffer_size = 0; }
static void spoil_buffer_max(struct vm_plan *vm) { vm->limits.tx_buffer_size = 0x80000001; }
static void spoil_connections(struct vm_plan *vm) { vm->limits.max_connections = 0; }
static void spoil_buffered(struct vm_plan *vm) { vm->limits.max_buffered = 0; }
static void spoil_poll(struct vm_plan *vm) { vm->poll_us = 1001; }
static void spoil_memory(struct vm_plan *vm) { vm->max_memory = UINT64_MAX; }
static void spoil_host_cid(struct vm_plan *vm) { vm->host_cids[4] = UINT32_MAX; }
static void spoil_order(struct vm_plan *vm) { vm->groups[1][0] = 'c'; }
static void spoil_unique(struct vm_plan *vm) { vm->groups[1][1] = '\0'; }
static void spoil_front_ends(struct vm_plan *vm) { vm->connect = text("/x"); }
static void spoil_backends(struct vm_plan *vm) { vm->has_forward_cid = true; }
static void spoil_any(struct vm_plan *vm) { vm->forward_listen_any = true; }

static void spoil_path(struct vm_plan *vm)
{
	free(vm->uds_path);
	vm->uds_path = calloc(1, 109);
	memset(vm->uds_path, 'x', 108);		/* 107 bytes and "_<port>" have a buffer */
}

static void spoil_backend(struct vm_plan *vm)
{
	free(vm->uds_path);
	vm->uds_path = NULL;
	free(vm->uds_at.rest);
	vm->uds_at.rest = NULL;
	vm->n_host_cids = 0;
}

static void spoil_place(struct vm_plan *vm)
{
	free(vm->socket_at.rest);
	vm->socket_at.rest = NULL;
}

static void spoil_groups(struct vm_plan *vm)
{
	while (vm->n_groups)
		free(vm->groups[--vm->n_groups]);
}

static const struct spoil_case {
	const char *name;
	void (*spoil)(struct vm_plan *vm);
} spoil_cases[] = {
	{ "the host's CID", spoil_cid },
	{ "a CID for any", spoil_cid_max },
	{ "a ring that is no power of two", spoil_queue },
	{ "a ring of 0", spoil_no_queue },
	{ "no credit", spoil_buffer },
	{ "credit past the counters", spoil_buffer_max },
	{ "no connection", spoil_connections },
	{ "no memory for buffers", spoil_buffered },
	{ "polls for too long", spoil_poll },
	{ "more memory than there can be", spoil_memory },
	{ "a host CID for any", spoil_host_cid },
	{ "groups out of order", spoil_order },
	{ "a group twice", spoil_unique },
	{ "no group", spoil_groups },
	{ "two ways of a front-end", spoil_front_ends },
	{ "two backends", spoil_backends },
	{ "no backend", spoil_backend },
	{ "any CID without a port", spoil_any },
	{ "a path that is too long", spoil_path },
	{ "a path without a place", spoil_place },
};

START_TEST(spoilt)
{
	const struct spoil_case *tc = &spoil_cases[_i];
	struct vm_plan vm, loaded;
	struct blob b;

	fill_vm(&vm, false);
	tc->spoil(&vm);
	save_vm(&b, &vm);
	vm_plan_init(&loaded);
	ck_assert_msg(plan_state_load_vm(&loaded, &reader) == PLAN_STATE_E_BAD, "%s", tc->name);
	expect_nothing(&loaded);
	vm_plan_deinit(&vm);
	blob_deinit(&b);
}
END_TEST

static void spoil_threads(struct plan *plan) { plan->threads = 1025; }
static void spoil_slots(struct plan *plan) { plan->mem_slots = 510; }
static void spoil_level(struct plan *plan) { plan->log_level = LEVEL_TRACE + 1; }
static void spoil_umask(struct plan *plan) { plan->umask = 01000; }
static void spoil_handshake(struct plan *plan) { plan->handshake_ms = 0; }

/* Of a type with no room for it. */
static void spoil_sandbox(struct plan *plan)
{
	unsigned wish = SANDBOX_STRICT + 1;

	memcpy(&plan->sandbox, &wish, sizeof wish);
}

static void (*const plan_spoils[])(struct plan *) = {
	spoil_threads, spoil_slots, spoil_level, spoil_umask, spoil_handshake, spoil_sandbox,
};

START_TEST(spoilt_for_all)
{
	struct plan plan, loaded;
	struct blob b;

	fill_plan(&plan);
	plan_spoils[_i](&plan);
	blob_init(&b, 1 << 20, 0);
	plan_state_save(&plan, &b);
	blob_read(&reader, b.bytes, b.len, NULL);
	plan_init(&loaded);
	ck_assert_int_eq(plan_state_load(&loaded, &reader), PLAN_STATE_E_BAD);
	ck_assert_ptr_null(loaded.log_file);
	ck_assert_uint_eq(loaded.threads, 0);
	plan_deinit(&plan);
	blob_deinit(&b);
}
END_TEST

/* A list that promises more than there is takes no memory for it. */
START_TEST(promised)
{
	struct vm_plan vm, loaded;
	struct blob b;
	bool found = false;

	fill_vm(&vm, false);
	save_vm(&b, &vm);
	for (size_t at = 0; !found && at + 16 <= b.len; at++) {
		uint64_t n, first, more = UINT64_MAX / 16;

		memcpy(&n, b.bytes + at, sizeof n);
		memcpy(&first, b.bytes + at + 2 * sizeof n, sizeof first);
		if (n != 5 || first != 1)	/* the host CIDs */
			continue;
		memcpy(b.bytes + at, &more, sizeof more);
		found = true;
	}
	ck_assert(found);
	blob_read(&reader, b.bytes, b.len, NULL);
	vm_plan_init(&loaded);
	ck_assert_int_eq(plan_state_load_vm(&loaded, &reader), PLAN_STATE_E_BAD);
	expect_nothing(&loaded);
	vm_plan_deinit(&vm);
	blob_deinit(&b);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("plan_state");
	TCase *tc = tcase_create("plan_state");

	tcase_add_loop_test(tc, all_of_a_vm, 0, 2);
	tcase_add_loop_test(tc, of_an_older_version, 0, 2);
	tcase_add_loop_test(tc, of_a_number_alone, 0, 2);
	tcase_add_test(tc, all_of_the_rest);
	tcase_add_test(tc, little_of_vms);
	tcase_add_loop_test(tc, cut, 0, 2);
	tcase_add_loop_test(tc, changed, 0, 2);
	tcase_add_loop_test(tc, spoilt, 0, COUNT(spoil_cases));
	tcase_add_loop_test(tc, spoilt_for_all, 0, COUNT(plan_spoils));
	tcase_add_test(tc, promised);
	suite_add_tcase(suite, tc);
	return unit_main(suite);
}
