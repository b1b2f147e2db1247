/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The vhost-user messages: what each request answers, and what becomes of those
 * that are cut, too long, without their descriptors, unknown or out of place.
 */
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include "e2e/e2e.h"

#define BIT(n)	(UINT64_C(1) << (n))

static struct vmm fe = { .sock = -1 };

static void connect_fe(void)
{
	ck_assert(vmm_connect(&fe, vhd.socket));
}

/* ... with REPLY_ACK, so that each request says what became of it. */
static void negotiate_fe(void)
{
	uint64_t offered;

	connect_fe();
	ck_assert_int_eq(vmm_get_features(&fe, &offered), 0);
	ck_assert_int_eq(vmm_get_protocol_features(&fe, &offered), 0);
	ck_assert_int_eq(vmm_set_protocol_features(&fe, offered), 0);
	ck_assert_int_eq(vmm_set_features(&fe, BIT(VIRTIO_F_VERSION_1) |
				BIT(VHOST_USER_F_PROTOCOL_FEATURES)), 0);
	fe.ack_all = true;
	ck_assert_int_eq(vmm_set_owner(&fe), 0);
}

/* The session may be over; a new front-end finds the daemon well. */
static void check_next_front_end(void)
{
	vmm_close(&fe);
	driver_deinit(&vm);
	driver_up(&vm, vhd.socket, NULL);
	e2e_check_alive();
}

START_TEST(get_features_offers_what_is_implemented)
{
	uint64_t f;

	connect_fe();
	ck_assert_int_eq(vmm_get_features(&fe, &f), 0);
	ck_assert(has_feature(f, VIRTIO_F_VERSION_1));
	ck_assert(has_feature(f, VIRTIO_F_EVENT_IDX));
	ck_assert(has_feature(f, VIRTIO_F_INDIRECT_DESC));
	ck_assert(has_feature(f, VIRTIO_F_IN_ORDER));
	ck_assert(has_feature(f, VIRTIO_F_NOTIFY_ON_EMPTY));
	ck_assert(has_feature(f, VHOST_USER_F_PROTOCOL_FEATURES));
	ck_assert(has_feature(f, VIRTIO_VSOCK_F_STREAM));
	ck_assert(has_feature(f, VIRTIO_VSOCK_F_SEQPACKET));
	ck_assert(has_feature(f, VIRTIO_VSOCK_F_NO_IMPLIED_STREAM));
	ck_assert(!has_feature(f, 33));		/* ACCESS_PLATFORM */
	ck_assert(!has_feature(f, 34));		/* RING_PACKED */
	ck_assert(!has_feature(f, 40));		/* RING_RESET */
}
END_TEST

START_TEST(get_protocol_features_offers_nothing_half_done)
{
	uint64_t f, whole = BIT(VHOST_USER_PROTOCOL_F_MQ) |
		BIT(VHOST_USER_PROTOCOL_F_REPLY_ACK) |
		BIT(VHOST_USER_PROTOCOL_F_CONFIG) |
		BIT(VHOST_USER_PROTOCOL_F_RESET_DEVICE) |
		BIT(VHOST_USER_PROTOCOL_F_CONFIGURE_MEM_SLOTS);

	connect_fe();
	ck_assert_int_eq(vmm_get_protocol_features(&fe, &f), 0);
	ck_assert_uint_eq(f & whole, whole);
	ck_assert_uint_eq(f & BIT(VHOST_USER_PROTOCOL_F_CRYPTO_SESSION), 0);
	ck_assert_uint_eq(f & BIT(VHOST_USER_PROTOCOL_F_MTU), 0);
	ck_assert_uint_eq(f >> 20, 0);
}
END_TEST

/* Bit by bit: taken if it is offered, else refused. */
START_TEST(only_offered_bits_are_taken)
{
	uint64_t features, protocol, kept;

	negotiate_fe();
	kept = fe.features;
	ck_assert_int_eq(vmm_get_features(&fe, &features), 0);
	ck_assert_int_eq(vmm_get_protocol_features(&fe, &protocol), 0);
	for (unsigned bit = 0; bit < 64; bit++) {
		ck_assert_msg(vmm_set_features(&fe, kept | BIT(bit)) == !has_feature(features, bit),
			      "feature bit %u", bit);
		ck_assert_msg(vmm_set_protocol_features(&fe, BIT(VHOST_USER_PROTOCOL_F_REPLY_ACK) |
							BIT(bit)) == !has_feature(protocol, bit),
			      "protocol feature bit %u", bit);
	}
	check_next_front_end();
}
END_TEST

START_TEST(get_queue_num_3)
{
	uint64_t n;

	connect_fe();
	ck_assert_int_eq(vmm_get_queue_num(&fe, &n), 0);
	ck_assert_uint_eq(n, 3);
}
END_TEST

START_TEST(get_max_mem_slots_509)
{
	uint64_t n;

	connect_fe();
	ck_assert_int_eq(vmm_get_max_mem_slots(&fe, &n), 0);
	ck_assert_uint_eq(n, 509);
}
END_TEST

START_TEST(get_config_any_offset_and_size_padded_with_zeroes)
{
	static const uint32_t sizes[] = { 1, 4, 7, 8, 9, 16, 60, 256, 4084 };
	static const uint32_t offsets[] = { 0, 1, 4, 7, 8, 9, 255, 4000, 0xfffffff0 };
	uint8_t config[8] = { 3 }, data[4096];

	negotiate_fe();
	for (size_t o = 0; o < sizeof offsets / sizeof offsets[0]; o++) {
		for (size_t s = 0; s < sizeof sizes / sizeof sizes[0]; s++) {
			memset(data, 0xff, sizeof data);
			ck_assert_msg(vmm_get_config(&fe, offsets[o], sizes[s], data) == 0,
				      "offset %u size %u", offsets[o], sizes[s]);
			for (uint32_t i = 0; i < sizes[s]; i++) {
				uint64_t at = (uint64_t)offsets[o] + i;

				ck_assert_uint_eq(data[i], at < 8 ? config[at] : 0);
			}
		}
	}
}
END_TEST

START_TEST(set_config_never_harms)
{
	uint8_t cid[8] = { 9 }, data[8];

	negotiate_fe();
	vmm_set_config(&fe, 0, 8, cid);
	ck_assert_int_eq(vmm_get_config(&fe, 0, 8, data), 0);
	ck_assert_uint_eq(data[0], 3);
	check_next_front_end();
}
END_TEST

static const uint32_t unknown[] = {
	0, VHOST_USER_REQUEST_END, 100, 0xffffffff, VHOST_USER_SEND_RARP,
	VHOST_USER_NET_SET_MTU, VHOST_USER_SET_VRING_ENDIAN, VHOST_USER_IOTLB_MSG,
	VHOST_USER_CREATE_CRYPTO_SESSION, VHOST_USER_POSTCOPY_END,
	VHOST_USER_GPU_SET_SOCKET, VHOST_USER_VRING_KICK,
};

START_TEST(unknown_request_nack_and_session_goes_on)
{
	uint64_t body = 0, n;

	negotiate_fe();
	ck_assert_int_eq(vmm_send_acked(&fe, unknown[_i], &body, sizeof body,
					NULL, 0), 1);
	ck_assert_int_eq(vmm_get_queue_num(&fe, &n), 0);
}
END_TEST

START_TEST(unknown_request_without_ack_ignored_or_closed)
{
	uint64_t body = 0;

	negotiate_fe();
	ck_assert(vmm_send(&fe, unknown[_i], 0, &body, sizeof body, NULL, 0));
	check_next_front_end();
}
END_TEST

static const struct shape {
	uint32_t request;
	uint32_t size;				/* the right one */
	unsigned n_fds;				/* likewise */
} shapes[] = {
	{ VHOST_USER_SET_FEATURES, 8, 0 },
	{ VHOST_USER_SET_PROTOCOL_FEATURES, 8, 0 },
	{ VHOST_USER_SET_OWNER, 0, 0 },
	{ VHOST_USER_RESET_OWNER, 0, 0 },
	{ VHOST_USER_SET_MEM_TABLE, 40, 1 },
	{ VHOST_USER_SET_VRING_NUM, 8, 0 },
	{ VHOST_USER_SET_VRING_ADDR, 40, 0 },
	{ VHOST_USER_SET_VRING_BASE, 8, 0 },
	{ VHOST_USER_SET_VRING_KICK, 8, 1 },
	{ VHOST_USER_SET_VRING_CALL, 8, 1 },
	{ VHOST_USER_SET_VRING_ERR, 8, 1 },
	{ VHOST_USER_SET_VRING_ENABLE, 8, 0 },
	{ VHOST_USER_RESET_DEVICE, 0, 0 },
	{ VHOST_USER_ADD_MEM_REG, 40, 1 },
	{ VHOST_USER_REM_MEM_REG, 40, 0 },
};
enum { N_SHAPES = sizeof shapes / sizeof shapes[0] };

/* Refused: a NACK, or the end of the session. */
static void check_refused(const struct shape *s, uint32_t size, unsigned n_fds)
{
	uint8_t body[4096] = { s->request == VHOST_USER_SET_MEM_TABLE };
	int fds[32], r;

	for (unsigned i = 0; i < n_fds; i++)
		fds[i] = eventfd(0, EFD_CLOEXEC);
	negotiate_fe();
	r = vmm_send_acked(&fe, s->request, body, size, fds, n_fds);
	ck_assert_msg(r == 1 || r == VMM_GONE,
		      "request %u, %u bytes, %u fds: %d", s->request, size, n_fds, r);
	vmm_close(&fe);
	for (unsigned i = 0; i < n_fds; i++)
		close(fds[i]);
}

START_TEST(wrong_size_refused)
{
	static const int deltas[] = { -40, -8, -1, 1, 8, 1000 };
	unsigned before = daemon_usage(&vhd).fds;

	for (size_t i = 0; i < sizeof deltas / sizeof deltas[0]; i++)
		if ((int)shapes[_i].size + deltas[i] >= 0 &&
		    !(shapes[_i].size == 0 && deltas[i] <= 0))
			check_refused(&shapes[_i], shapes[_i].size + (uint32_t)deltas[i],
				      shapes[_i].n_fds);
	ck_assert(daemon_wait_fds(&vhd, before, DEADLINE_MS));
	check_next_front_end();
}
END_TEST

START_TEST(wrong_number_of_fds_refused_and_none_leaks)
{
	static const unsigned counts[] = { 0, 1, 2, 8, 9, 32 };
	unsigned before = daemon_usage(&vhd).fds;

	/* REM_MEM_REG may come with a descriptor: some front-ends send one. */
	for (size_t i = 0; i < sizeof counts / sizeof counts[0]; i++)
		if (counts[i] != shapes[_i].n_fds &&
		    shapes[_i].request != VHOST_USER_REM_MEM_REG)
			check_refused(&shapes[_i], shapes[_i].size, counts[i]);
	ck_assert(daemon_wait_fds(&vhd, before, DEADLINE_MS));
	check_next_front_end();
}
END_TEST

START_TEST(queue_index_out_of_range_refused)
{
	static const uint32_t requests[] = {
		VHOST_USER_SET_VRING_NUM, VHOST_USER_SET_VRING_BASE,
		VHOST_USER_SET_VRING_ENABLE, VHOST_USER_SET_VRING_ADDR,
	};
	static const uint32_t indices[] = { 3, 4, 255, 256, 0x80000000, 0xffffffff };
	struct vhost_user_vring_addr body;

	for (size_t r = 0; r < 4; r++) {
		for (size_t i = 0; i < 6; i++) {
			negotiate_fe();
			memset(&body, 0, sizeof body);
			body.index = indices[i];
			ck_assert_int_ne(vmm_send_acked(&fe, requests[r], &body,
					 r == 3 ? 40 : 8, NULL, 0), 0);
			vmm_close(&fe);
		}
	}
	check_next_front_end();
}
END_TEST

static const uint32_t bad_nums[] = { 0, 3, 100, 1023, 2048, 65536, 0x80000000 };

START_TEST(vring_num_not_a_power_of_two_or_too_large_refused)
{
	negotiate_fe();
	ck_assert_int_ne(vmm_set_vring_num(&fe, 0, bad_nums[_i]), 0);
	check_next_front_end();
}
END_TEST

static void get_any(struct vmm *f, uint32_t request)
{
	struct vmm_msg m;

	ck_assert_int_eq(vmm_recv(f, &m), 0);
	ck_assert_uint_eq(m.hdr.request, request);
	ck_assert_uint_eq(m.hdr.flags, VHOST_USER_VERSION | VHOST_USER_F_REPLY);
}

START_TEST(message_in_pieces)
{
	struct { uint32_t h[3]; uint64_t u; } __attribute__((packed)) msg = {
		{ VHOST_USER_SET_PROTOCOL_FEATURES, 1, 8 },
		BIT(VHOST_USER_PROTOCOL_F_REPLY_ACK) | BIT(VHOST_USER_PROTOCOL_F_MQ),
	};
	uint32_t get[3] = { VHOST_USER_GET_QUEUE_NUM, 1, 0 };
	const char *p = (const char *)&msg;

	for (size_t cut = 1; cut < sizeof msg; cut++) {
		connect_fe();
		ck_assert(vmm_send_bytes(&fe, p, cut, NULL, 0));
		ck_assert(!vmm_is_closed(&fe, 2));
		ck_assert(vmm_send_bytes(&fe, p + cut, sizeof msg - cut, NULL, 0));
		ck_assert(vmm_send_bytes(&fe, get, sizeof get, NULL, 0));
		get_any(&fe, VHOST_USER_GET_QUEUE_NUM);
		vmm_close(&fe);
	}
}
END_TEST

START_TEST(message_byte_by_byte_with_fd)
{
	struct { uint32_t h[3]; uint64_t u; } __attribute__((packed)) msg = {
		{ VHOST_USER_SET_VRING_CALL, 1 | VHOST_USER_F_NEED_REPLY, 8 }, 1,
	};
	int fd = eventfd(0, EFD_CLOEXEC);
	const char *p = (const char *)&msg;

	negotiate_fe();
	for (size_t i = 0; i < sizeof msg; i++)
		ck_assert(vmm_send_bytes(&fe, p + i, 1, &fd, i == 0));
	get_any(&fe, VHOST_USER_SET_VRING_CALL);
}
END_TEST

START_TEST(many_messages_in_one_write)
{
	uint32_t gets[40][3];

	connect_fe();
	for (int i = 0; i < 40; i++)
		memcpy(gets[i], (uint32_t[]){ i & 1 ? VHOST_USER_GET_FEATURES :
				VHOST_USER_GET_QUEUE_NUM, 1, 0 }, 12);
	ck_assert(vmm_send_bytes(&fe, gets, sizeof gets, NULL, 0));
	for (int i = 0; i < 40; i++)
		get_any(&fe, gets[i][0]);
}
END_TEST

START_TEST(huge_size_refused)
{
	static const uint32_t sizes[] = { 16 << 20, 0x7fffffff, 0xffffffff };
	uint32_t hdr[3] = { VHOST_USER_SET_FEATURES, 1, sizes[_i] };

	connect_fe();
	ck_assert(vmm_send_bytes(&fe, hdr, sizeof hdr, NULL, 0));
	ck_assert(vmm_is_closed(&fe, DEADLINE_MS));
	check_next_front_end();
}
END_TEST

START_TEST(wrong_version_refused)
{
	uint32_t hdr[3] = { VHOST_USER_GET_FEATURES, (uint32_t[]){ 0, 2, 3 }[_i], 0 };

	connect_fe();
	ck_assert(vmm_send_bytes(&fe, hdr, sizeof hdr, NULL, 0));
	ck_assert(vmm_is_closed(&fe, DEADLINE_MS));
	check_next_front_end();
}
END_TEST

START_TEST(fuzzed_messages_never_end_the_daemon)
{
	uint32_t seed = 12345u + (uint32_t)_i;
	uint8_t bytes[300];

	for (int i = 0; i < 100; i++) {
		connect_fe();
		for (int n = 0; n < 5; n++) {
			struct { uint32_t h[3]; uint8_t b[64]; } m;
			int fd = eventfd(0, EFD_CLOEXEC);

			pattern_fill(bytes, sizeof bytes, (uint64_t)i * 5 + n, seed);
			memcpy(m.b, bytes, sizeof m.b);
			if (bytes[70] & 1)	/* small numbers hit more code */
				memset(m.b, 0, 8);
			m.h[0] = bytes[71] % 46u;
			m.h[1] = 1u | (bytes[72] & 8u);
			m.h[2] = bytes[73] % 65u;
			vmm_send_bytes(&fe, &m, 12 + m.h[2], &fd, bytes[74] & 1);
			close(fd);
		}
		vmm_close(&fe);
	}
	check_next_front_end();
}
END_TEST

#define N(a)	(int)(sizeof(a) / sizeof((a)[0]))

static void add_messages(TCase *tc)
{
	tcase_add_test(tc, get_features_offers_what_is_implemented);
	tcase_add_test(tc, get_protocol_features_offers_nothing_half_done);
	tcase_add_test(tc, only_offered_bits_are_taken);
	tcase_add_test(tc, get_queue_num_3);
	tcase_add_test(tc, get_max_mem_slots_509);
	tcase_add_test(tc, get_config_any_offset_and_size_padded_with_zeroes);
	tcase_add_test(tc, set_config_never_harms);
	tcase_add_loop_test(tc, unknown_request_nack_and_session_goes_on, 0, N(unknown));
	tcase_add_loop_test(tc, unknown_request_without_ack_ignored_or_closed, 0,
			    N(unknown));
	tcase_add_loop_test(tc, wrong_size_refused, 0, N_SHAPES);
	tcase_add_loop_test(tc, wrong_number_of_fds_refused_and_none_leaks, 0, N_SHAPES);
	tcase_add_test(tc, queue_index_out_of_range_refused);
	tcase_add_loop_test(tc, vring_num_not_a_power_of_two_or_too_large_refused, 0,
			    N(bad_nums));
	tcase_add_test(tc, message_in_pieces);
	tcase_add_test(tc, message_byte_by_byte_with_fd);
	tcase_add_test(tc, many_messages_in_one_write);
	tcase_add_loop_test(tc, huge_size_refused, 0, 3);
	tcase_add_loop_test(tc, wrong_version_refused, 0, 3);
	tcase_add_loop_test(tc, fuzzed_messages_never_end_the_daemon, 0, 4);
}

int main(void)
{
	Suite *s = suite_create("control");

	add_messages(e2e_case(s, "messages", e2e_setup_daemon, 60));
	return e2e_run(s);
}
