/* SPDX-License-Identifier: BSD-3-Clause */
/* Snapshots as JSON: what programs that use the API rely on. */
#include "control/json.h"

#include <stdlib.h>
#include <string.h>

#include "protocol/vhost_user.h"
#include "protocol/virtio_ring.h"
#include "unit.h"

static json_t *json;

static void teardown(void)
{
	json_decref(json);
	json = NULL;
}

/* What stands at a path of keys, and of numbers in arrays: "rings/0/name". */
static json_t *at(const char *path)
{
	char copy[256];
	json_t *value = json;

	ck_assert_uint_lt(strlen(path), sizeof copy);
	strcpy(copy, path);
	for (char *key = strtok(copy, "/"); key; key = strtok(NULL, "/"))
		value = json_is_array(value) ? json_array_get(value, strtoul(key, NULL, 10)) :
			json_object_get(value, key);
	ck_assert_msg(value != NULL, "no %s", path);
	return value;
}

static void expect_number(const char *path, json_int_t number)
{
	ck_assert_msg(json_is_integer(at(path)) && json_integer_value(at(path)) == number,
		      "%s is not %lld", path, (long long)number);
}

static void expect_text(const char *path, const char *text)
{
	ck_assert_msg(json_is_string(at(path)) && !strcmp(json_string_value(at(path)), text),
		      "%s is not %s", path, text);
}

static void expect_true(const char *path, bool is_true)
{
	ck_assert_msg(is_true ? json_is_true(at(path)) : json_is_false(at(path)), "%s", path);
}

static struct vm_snapshot make_vm(void)
{
	struct vm_snapshot vm = {
		.device = {
			.cid = 42, .tag = "vm 42", .front_end = FRONT_END_IN_SESSION,
			.is_guest_running = true, .n_connections = 5, .n_replies = 2,
			.virtio_features = UINT64_C(1) << VIRTIO_F_VERSION_1 | 1 << 1 |
				UINT64_C(1) << 60,
			.protocol_features = 1 << VHOST_USER_PROTOCOL_F_CONFIG,
			.guest_types = 1 << VSOCK_TYPE_SEQPACKET | 1 << VSOCK_TYPE_STREAM,
		},
		.worker = 1,
	};
	struct vsock_counters *c = &vm.device.counters;

	strcpy(vm.device.uds_path, "/run/vm");
	vm.device.rings[VSOCK_TXQ] = (struct ring_snapshot){
		.is_started = true, .is_enabled = true, .size = 256, .avail_index = 65535,
		.next_avail = 65534, .used_index = 65533, .broken = "it is",
	};
	c->payload[COUNTERS_TO_HOST] = 1000;
	c->payload[COUNTERS_TO_GUEST] = UINT64_MAX;
	c->connects_refused[COUNTERS_TO_HOST * COUNTERS_REFUSALS + BACKEND_E_NOBODY] = 7;
	c->stalled[CONN_WAITS_FOR_READER] = 1500;
	c->turn.buckets[2] = 3;
	c->turn.buckets[HISTOGRAM_BUCKETS - 1] = 4;
	c->turn.sum = 99;
	c->buffered[0] = 12;
	return vm;
}

START_TEST(a_vm)
{
	const struct vm_snapshot vm = make_vm();

	json = json_of_vm(&vm);
	ck_assert_ptr_nonnull(json);
	expect_number("cid", 42);
	expect_text("front_end", "connected");
	expect_true("guest_running", true);
	expect_true("memory_missing", false);
	expect_number("connections", 5);
	expect_number("waiting_resets", 2);
	expect_number("worker", 1);
	expect_text("uds_path", "/run/vm");
	expect_number("payload_bytes/to_host", 1000);
	expect_number("payload_bytes/to_guest", INT64_MAX);
	expect_number("buffered_bytes", 12);
	expect_text("socket_types/0", "stream");
	expect_text("socket_types/1", "seqpacket");
	expect_text("virtio_features/0", "VIRTIO_VSOCK_F_SEQPACKET");
	expect_text("virtio_features/1", "VIRTIO_F_VERSION_1");
	expect_text("virtio_features/2", "bit 60");
	expect_text("protocol_features/0", "VHOST_USER_PROTOCOL_F_CONFIG");
	expect_text("rings/0/name", "rx");
	ck_assert(json_is_null(at("rings/0/broken")));
	expect_true("rings/0/started", false);
	expect_text("rings/1/name", "tx");
	expect_true("rings/1/started", true);
	expect_true("rings/1/running", false);
	expect_text("rings/1/broken", "it is");
	expect_number("rings/1/size", 256);
	expect_number("rings/1/avail_index", 65535);
	expect_number("rings/1/next_avail", 65534);
	expect_number("rings/1/used_index", 65533);
	expect_number("counters/payload_bytes/to_host", 1000);
	expect_number("counters/connects_refused/to_host/nobody", 7);
	expect_number("counters/stalled_ms/host_read", 1500);
	expect_number("counters/turn_us/count", 7);
	expect_number("counters/turn_us/sum", 99);
	expect_number("counters/turn_us/bounds/1", 4);
	expect_number("counters/turn_us/counts/2", 3);
	ck_assert_uint_eq(json_array_size(at("counters/turn_us/bounds")), HISTOGRAM_BUCKETS - 1);
	ck_assert_uint_eq(json_array_size(at("counters/turn_us/counts")), HISTOGRAM_BUCKETS);
	expect_number("counters/tx_batch_packets/count", 0);
	expect_number("counters/guest_resets", 0);
	ck_assert_uint_eq(json_object_size(at("counters")), counters_num_families);
}
END_TEST

/* A path is any bytes; what is no UTF-8 cannot be said, and breaks nothing else. */
START_TEST(odd_paths)
{
	static const struct { const char *path; bool is_said; } paths[] = {
		{ "", false }, { "/tmp/\xff", false }, { "/tmp/\xc3\xa9", true },
	};

	for (int i = 0; i < COUNT(paths); i++) {
		struct vm_snapshot vm = make_vm();

		strcpy(vm.device.uds_path, paths[i].path);
		json = json_of_vm_row(&vm);
		expect_number("cid", 42);
		if (paths[i].is_said)
			expect_text("uds_path", paths[i].path);
		else
			ck_assert(json_is_null(at("uds_path")));
		json_decref(json);
	}
	json = NULL;
}
END_TEST

START_TEST(a_row_of_the_list)
{
	const struct vm_snapshot vm = make_vm();

	json = json_of_vm_row(&vm);
	ck_assert_ptr_nonnull(json);
	expect_number("cid", 42);
	expect_number("payload_bytes/to_host", 1000);
	ck_assert_ptr_null(json_object_get(json, "counters"));
}
END_TEST

START_TEST(connections)
{
	struct conn_snapshot rows[] = {
		{
			.guest = { 42, 1024 }, .peer = { 2, 80 }, .type = VSOCK_TYPE_STREAM,
			.state = CONN_OPEN, .origin = CONN_FROM_GUEST,
			.waits_for = CONN_WAITS_FOR_CREDIT, .age_ms = 5000, .waits_ms = 70,
			.to_guest = UINT64_C(1) << 40, .to_host = 5, .room_at_guest = 1,
			.guest_buf_alloc = 2, .room_for_guest = 3, .buf_alloc = 4,
			.unread_by_guest = 6, .buffered = 7,
		},
		{
			.guest = { 42, 4294967295U }, .peer = { UINT64_C(1) << 33, 1 },
			.type = VSOCK_TYPE_SEQPACKET, .state = CONN_LINGERING,
			.origin = CONN_FROM_SIBLING, .end = CONN_END_GUEST_RST, .is_orphaned = true,
		},
	};
	const struct vm_snapshot vm = { .conns = rows, .n_conns = COUNT(rows) };

	json = json_of_conns(&vm);
	ck_assert_uint_eq(json_array_size(json), 2);
	expect_text("0/id", "stream-1024-2-80");
	expect_number("0/guest/cid", 42);
	expect_number("0/guest/port", 1024);
	expect_number("0/peer/cid", 2);
	expect_number("0/peer/port", 80);
	expect_text("0/type", "stream");
	expect_text("0/state", "open");
	expect_text("0/origin", "guest");
	expect_text("0/waits/for", "guest_credit");
	expect_text("0/waits/text", "the guest to read");
	expect_number("0/waits/since_ms", 70);
	ck_assert(json_is_null(at("0/end")));
	expect_number("0/age_ms", 5000);
	expect_number("0/to_guest_bytes", INT64_C(1) << 40);
	expect_number("0/to_host_bytes", 5);
	expect_number("0/to_guest_credit", 1);
	expect_number("0/to_guest_window", 2);
	expect_number("0/to_host_credit", 3);
	expect_number("0/to_host_window", 4);
	expect_number("0/unread_by_guest_bytes", 6);
	expect_number("0/buffered_bytes", 7);
	expect_true("0/orphaned", false);
	expect_text("1/id", "seqpacket-4294967295-8589934592-1");
	expect_text("1/origin", "sibling");
	ck_assert(json_is_null(at("1/waits")));
	expect_text("1/end/reason", "guest_reset");
	expect_text("1/end/text", "reset by the guest");
	expect_true("1/orphaned", true);
}
END_TEST

START_TEST(the_process)
{
	const struct process_snapshot process = {
		.uptime_ms = 1, .upgrades = 2, .crashes = 3, .log_lines_lost = 4,
		.log_lines_swallowed = 5, .workers = 6, .silent_workers = 7, .events_lost = 8, .captured_lost = 9, .vm_moves = 10,
	};

	json = json_of_process(&process);
	expect_number("uptime_ms", 1);
	expect_number("upgrades", 2);
	expect_number("crashes", 3);
	expect_number("log_lines_lost", 4);
	expect_number("log_lines_swallowed", 5);
	expect_number("workers", 6);
	expect_number("silent_workers", 7);
	expect_number("vm_moves", 10);
	expect_number("events_lost", 8);
	expect_number("captured_lost", 9);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("json");
	TCase *tc = tcase_create("json");

	tcase_add_checked_fixture(tc, NULL, teardown);
	tcase_add_test(tc, a_vm);
	tcase_add_test(tc, a_row_of_the_list);
	tcase_add_test(tc, odd_paths);
	tcase_add_test(tc, connections);
	tcase_add_test(tc, the_process);
	suite_add_tcase(suite, tc);
	return unit_main(suite);
}
