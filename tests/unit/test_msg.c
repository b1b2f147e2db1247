/* SPDX-License-Identifier: BSD-3-Clause */
/* Framing, descriptors and shapes of vhost-user messages. */
#include "vhost/msg.h"

#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include "support/vmm.h"
#include "unit.h"
#include "util/blob.h"
#include "util/fd.h"
#include "vhost/request.h"

enum { RINGS = 3, HDR = sizeof(struct vhost_user_hdr), FDS_MAX = 40 };

static struct vmm f;
static int other;			/* the end that is tested */
static struct msg_reader reader;
static int fds_before;

static void setup(void)
{
	fds_before = unit_count_fds();
	other = vmm_pair(&f);
	msg_reader_init(&reader);
}

static void teardown(void)
{
	msg_reader_deinit(&reader);
	vmm_close(&f);
	fd_close(&other);
	ck_assert_int_eq(unit_count_fds(), fds_before);
}

/* Any bytes, with @n_fds descriptors (all of them standard error). */
static void send_bytes(const void *bytes, size_t len, unsigned n_fds)
{
	int fds[FDS_MAX];

	for (unsigned i = 0; i < n_fds; i++)
		fds[i] = STDERR_FILENO;
	ck_assert(vmm_send_bytes(&f, bytes, len, fds, n_fds));
}

static int read_msg(void)
{
	return msg_read(&reader, other);
}

struct wire {
	struct vhost_user_hdr hdr;
	uint8_t payload[64];
};

static struct wire make(uint32_t request, uint32_t size)
{
	struct wire w = { .hdr = { request, VHOST_USER_VERSION, size } };

	for (uint32_t i = 0; i < sizeof w.payload; i++)
		w.payload[i] = (uint8_t)(i + 1);
	return w;
}

static void expect(const struct wire *w, unsigned n_fds)
{
	ck_assert_int_eq(read_msg(), 0);
	ck_assert_mem_eq(&reader.msg.hdr, &w->hdr, HDR);
	ck_assert_mem_eq(reader.msg.payload.bytes, w->payload, w->hdr.size);
	ck_assert_uint_eq(reader.msg.n_fds, n_fds);
}

/* _i: where it is cut; descriptors come with both pieces. */
START_TEST(any_cut)
{
	struct wire w = make(VHOST_USER_SET_VRING_ADDR, 40);
	size_t total = HDR + 40, cut = (size_t)_i;
	unsigned n_fds = 0;

	if (cut) {
		send_bytes(&w, cut, 1);
		ck_assert_int_eq(read_msg(), VU_MSG_E_AGAIN);
		ck_assert_int_eq(read_msg(), VU_MSG_E_AGAIN);
		n_fds++;
	}
	send_bytes((uint8_t *)&w + cut, total - cut, 1);
	expect(&w, n_fds + 1);
	msg_reader_next(&reader);
	ck_assert_int_eq(read_msg(), VU_MSG_E_AGAIN);
}
END_TEST

START_TEST(byte_by_byte)
{
	struct wire w = make(VHOST_USER_SET_FEATURES, 8);

	for (size_t i = 0; i < HDR + 8; i++) {
		ck_assert_int_eq(read_msg(), VU_MSG_E_AGAIN);
		send_bytes((uint8_t *)&w + i, 1, 0);
	}
	expect(&w, 0);
}
END_TEST

/* Descriptors of the second do not become the first's. */
START_TEST(several_at_once)
{
	struct wire w[] = {
		make(VHOST_USER_SET_FEATURES, 8), make(VHOST_USER_SET_VRING_KICK, 8),
		make(VHOST_USER_GET_FEATURES, 0),
	};

	for (int i = 0; i < COUNT(w); i++)
		send_bytes(&w[i], HDR + w[i].hdr.size, i == 1 ? 2 : 0);
	for (int i = 0; i < COUNT(w); i++) {
		expect(&w[i], i == 1 ? 2 : 0);
		msg_reader_next(&reader);
	}
	ck_assert_int_eq(read_msg(), VU_MSG_E_AGAIN);
}
END_TEST

START_TEST(taken_fd_is_the_takers)
{
	struct wire w = make(VHOST_USER_SET_VRING_KICK, 8);
	int fd, before;

	send_bytes(&w, HDR + 8, 2);
	expect(&w, 2);
	before = unit_count_fds();
	fd = msg_take_fd(&reader.msg, 0);
	ck_assert_int_ge(fd, 0);
	ck_assert_int_eq(msg_take_fd(&reader.msg, 0), -1);
	ck_assert_int_eq(msg_take_fd(&reader.msg, 2), -1);
	ck_assert_int_eq(msg_take_fd(&reader.msg, VU_MSG_FDS_MAX), -1);
	msg_reader_next(&reader);
	ck_assert_int_eq(unit_count_fds(), before - 1);
	ck_assert_int_eq(close(fd), 0);
}
END_TEST

/* _i: that many descriptors. Kept at most VU_MSG_FDS_MAX, never taken for fewer. */
START_TEST(many_fds)
{
	struct wire w = make(VHOST_USER_SET_VRING_KICK, 8);
	unsigned n = (unsigned)_i;

	send_bytes(&w, HDR + 8, n);
	ck_assert_int_eq(read_msg(), 0);
	ck_assert_uint_ge(reader.msg.n_fds, n);
	if (n <= 32)
		ck_assert_uint_eq(reader.msg.n_fds, n);
	ck_assert_int_eq(unit_count_fds(), fds_before + 2 + (int)(n < VU_MSG_FDS_MAX ? n : VU_MSG_FDS_MAX));
	msg_reader_next(&reader);
	ck_assert_int_eq(unit_count_fds(), fds_before + 2);
}
END_TEST

/* With no room for it in the process a descriptor is lost, and that is noticed. */
START_TEST(lost_fds)
{
	struct wire w = make(VHOST_USER_REM_MEM_REG, 40);
	struct rlimit limit;

	ck_assert_int_eq(getrlimit(RLIMIT_NOFILE, &limit), 0);
	limit.rlim_cur = 3;			/* all of them in use */
	send_bytes(&w, HDR + 40, 1);
	ck_assert_int_eq(setrlimit(RLIMIT_NOFILE, &limit), 0);
	ck_assert_int_eq(read_msg(), 0);
	ck_assert_uint_gt(reader.msg.n_fds, VU_MSG_FDS_MAX);
	ck_assert_int_eq(request_check(&reader.msg, RINGS), REQUEST_E_FDS);
	limit.rlim_cur = limit.rlim_max;
	ck_assert_int_eq(setrlimit(RLIMIT_NOFILE, &limit), 0);
}
END_TEST

/* Whatever else the kernel has to say about a message is no descriptor. */
START_TEST(credentials)
{
	struct wire w = make(VHOST_USER_SET_VRING_KICK, 8);
	int on = 1;

	ck_assert_int_eq(setsockopt(other, SOL_SOCKET, SO_PASSCRED, &on, sizeof on), 0);
	send_bytes(&w, HDR + 8, 1);
	expect(&w, 1);
}
END_TEST

struct hdr_case {
	const char *name;
	uint32_t flags, size;
	int result;
};

static const struct hdr_case hdr_cases[] = {
	{ "version 0", 0, 0, VU_MSG_E_GARBAGE },
	{ "version 2", 2, 0, VU_MSG_E_GARBAGE },
	{ "version 3", 3, 0, VU_MSG_E_GARBAGE },
	{ "a reply", 5, 0, VU_MSG_E_GARBAGE },
	{ "wants an answer", 9, 0, 0 },
	{ "unknown flags", 0xfffffff1, 0, 0 },
	{ "longest payload", 1, VU_MSG_PAYLOAD_MAX, VU_MSG_E_AGAIN },
	{ "longest to skip", 1, VU_MSG_SKIP_MAX, VU_MSG_E_AGAIN },
	{ "longer", 1, VU_MSG_SKIP_MAX + 1, VU_MSG_E_GARBAGE },
	{ "longest", 1, UINT32_MAX, VU_MSG_E_GARBAGE },
};

START_TEST(headers)
{
	const struct hdr_case *c = &hdr_cases[_i];
	struct vhost_user_hdr hdr = { VHOST_USER_GET_FEATURES, c->flags, c->size };

	send_bytes(&hdr, sizeof hdr, 1);
	ck_assert_msg(read_msg() == c->result, "%s", c->name);
}
END_TEST

/* Skipped, so that the next one is found; its descriptors are closed. */
START_TEST(oversized_payload)
{
	enum { LEN = 2 * VU_MSG_SKIP_CHUNK + 5000 };
	struct vhost_user_hdr hdr = { VHOST_USER_GET_CONFIG, VHOST_USER_VERSION, LEN };
	static const uint8_t rest[LEN];
	struct wire next = make(VHOST_USER_SET_FEATURES, 8);

	send_bytes(&hdr, sizeof hdr, 1);
	send_bytes(rest, 5000, 1);
	ck_assert_int_eq(read_msg(), VU_MSG_E_MORE);
	ck_assert_int_eq(read_msg(), VU_MSG_E_AGAIN);
	send_bytes(rest, LEN - 5000, 1);
	send_bytes(&next, HDR + 8, 0);
	ck_assert_int_eq(read_msg(), VU_MSG_E_MORE);	/* a bounded piece at a time */
	ck_assert_int_eq(read_msg(), 0);
	ck_assert_int_eq(request_check(&reader.msg, RINGS), REQUEST_E_SIZE);
	msg_reader_next(&reader);
	expect(&next, 0);
}
END_TEST

/* In pieces: 0, the message is whole. */
static int peek_msg(void)
{
	struct msghdr receipt;
	int r;

	while ((r = msg_peek(&reader, other)) == VU_MSG_E_PIECE) {
		ck_assert_int_eq(msg_take(&reader, other, &receipt), 0);
		msg_settle_fds(&reader, &receipt);
	}
	return r;
}

/* Messages that wait behind one another are peeked at: each has the descriptors that it came
 * with. _i: after so many bytes of it a message is cut; its descriptors come with the first
 * piece, or where there is a payload, with the last. */
START_TEST(peeked_in_a_row)
{
	static const struct {
		uint32_t request, size;
		unsigned n_fds;
	} row[] = {
		{ VHOST_USER_SET_OWNER, 0, 0 }, { VHOST_USER_SET_FEATURES, 8, 0 },
		{ VHOST_USER_SET_VRING_KICK, 8, 1 }, { VHOST_USER_SET_VRING_CALL, 8, 0 },
		{ VHOST_USER_SET_MEM_TABLE, 40, 2 }, { VHOST_USER_SET_VRING_KICK, 8, 1 },
		{ VHOST_USER_SET_OWNER, 0, 0 },
	};
	size_t cut = (size_t)_i / 2;

	ck_assert_int_eq(msg_begin_peeking(other), 0);
	for (size_t i = 0; i < COUNT(row); i++) {
		struct wire w = make(row[i].request, row[i].size);
		bool is_cut = cut && cut < HDR + row[i].size, is_last = _i % 2 && is_cut;

		if (is_cut)
			send_bytes(&w, cut, is_last ? 0 : row[i].n_fds);
		send_bytes((char *)&w + (is_cut ? cut : 0), HDR + row[i].size - (is_cut ? cut : 0),
			   is_cut && !is_last ? 0 : row[i].n_fds);
	}
	for (size_t i = 0; i < COUNT(row); i++) {
		struct wire w = make(row[i].request, row[i].size);

		ck_assert_int_eq(peek_msg(), 0);
		ck_assert_mem_eq(&reader.msg.hdr, &w.hdr, HDR);
		ck_assert_mem_eq(reader.msg.payload.bytes, w.payload, w.hdr.size);
		ck_assert_uint_eq(reader.msg.n_fds, row[i].n_fds);
		msg_reader_next(&reader);
	}
	ck_assert_int_eq(peek_msg(), VU_MSG_E_AGAIN);
}
END_TEST

/* As version 1 had it: no more than 8 of them. */
static void save_as_1(struct blob *b)
{
	size_t section = blob_open(b, BLOB_TAG('M', 'E', 'S', 'G'), 1);

	blob_put_u32(b, (uint32_t)reader.got);
	blob_put_u32(b, 0);
	blob_put_u32(b, 0);
	blob_put_bytes(b, &reader.msg.hdr, HDR);
	blob_put_bytes(b, reader.msg.payload.bytes, reader.msg.hdr.size);
	blob_put_u32(b, reader.msg.n_fds);
	for (unsigned i = 0; i < reader.msg.n_fds && i < 8; i++)
		blob_put_fd(b, reader.msg.fds[i]);
	blob_close(b, section);
}

/* _i: descriptors of a message that is saved by this version, or by the first, and loaded. */
START_TEST(saved)
{
	unsigned n = (unsigned)_i / 2, kept = n < VU_MSG_FDS_MAX ? n : VU_MSG_FDS_MAX;
	struct wire w = make(VHOST_USER_SET_VRING_KICK, 8);
	struct msg_reader then;
	struct blob_reader in;
	struct blob_fds fds;
	struct blob b;

	send_bytes(&w, HDR + 8, n);
	ck_assert_int_eq(read_msg(), 0);
	blob_init(&b, 1024, FDS_MAX);
	if (_i % 2) {
		save_as_1(&b);
		kept = kept < 8 ? kept : 8;
	} else {
		msg_reader_save(&reader, &b);
	}
	ck_assert_int_eq(blob_error(&b), 0);
	ck_assert_uint_eq(b.n_fds, kept);
	for (size_t i = 0; i < b.n_fds; i++)
		ck_assert_int_ge(b.fds[i] = dup(b.fds[i]), 0);
	fds = (struct blob_fds){ b.fds, b.n_fds };
	blob_read(&in, b.bytes, b.len, &fds);
	ck_assert_int_eq(msg_reader_load(&then, &in), 0);
	ck_assert_uint_eq(then.msg.n_fds, reader.msg.n_fds);
	ck_assert_mem_eq(then.msg.payload.bytes, w.payload, 8);
	for (unsigned i = 0; i < VU_MSG_FDS_MAX; i++)
		ck_assert_int_eq(then.msg.fds[i] >= 0, i < kept);
	msg_reader_deinit(&then);
	blob_deinit(&b);
}
END_TEST

static void move_reader(void)
{
	struct blob_fds none = { NULL, 0 };
	struct blob_reader in;
	struct blob b;

	blob_init(&b, 8192, 0);
	msg_reader_save(&reader, &b);
	ck_assert_int_eq(blob_error(&b), 0);
	msg_reader_deinit(&reader);
	blob_read(&in, b.bytes, b.len, &none);
	ck_assert_int_eq(msg_reader_load(&reader, &in), 0);
	blob_deinit(&b);
}

/* _i: bytes of the longest payload that have come when another process goes on with it. Of all
 * the first are kept, and the message after it is found. */
static const size_t long_cuts[] = {
	1, VU_MSG_KEPT_MAX - 1, VU_MSG_KEPT_MAX, VU_MSG_KEPT_MAX + 1, VU_MSG_PAYLOAD_MAX - 1,
};

START_TEST(longer_than_what_is_kept)
{
	struct {
		struct vhost_user_hdr hdr;
		uint8_t payload[VU_MSG_PAYLOAD_MAX];
	} w = { .hdr = { VHOST_USER_GET_CONFIG, VHOST_USER_VERSION, VU_MSG_PAYLOAD_MAX } };
	struct wire next = make(VHOST_USER_SET_VRING_KICK, 8);
	size_t cut = HDR + long_cuts[_i];
	int r;

	for (size_t i = 0; i < sizeof w.payload; i++)
		w.payload[i] = (uint8_t)(i * 7);
	send_bytes(&w, cut, 0);
	while ((r = read_msg()) == VU_MSG_E_MORE)
		;
	ck_assert_int_eq(r, VU_MSG_E_AGAIN);
	move_reader();
	send_bytes((char *)&w + cut, sizeof w - cut, 0);
	send_bytes(&next, HDR + 8, 0);
	while ((r = read_msg()) == VU_MSG_E_MORE)
		;
	ck_assert_int_eq(r, 0);
	ck_assert_mem_eq(&reader.msg.hdr, &w.hdr, HDR);
	ck_assert_mem_eq(reader.msg.payload.bytes, w.payload, VU_MSG_KEPT_MAX);
	msg_reader_next(&reader);
	expect(&next, 0);
}
END_TEST

/* _i: bytes of a message before the front-end leaves. */
START_TEST(ends)
{
	struct wire w = make(VHOST_USER_SET_FEATURES, 8);

	if (_i)
		send_bytes(&w, (size_t)_i, 1);
	vmm_close(&f);
	ck_assert_int_eq(read_msg(), VU_MSG_E_EOF);
}
END_TEST

START_TEST(reply)
{
	struct vmm_msg a;
	uint64_t v = 4711, got;

	ck_assert_int_eq(msg_send_reply(other, VHOST_USER_GET_FEATURES, &v, sizeof v), 0);
	ck_assert(vmm_recv(&f, &a) == 0);
	ck_assert_uint_eq(a.hdr.request, VHOST_USER_GET_FEATURES);
	ck_assert_uint_eq(a.hdr.flags, 5);
	ck_assert_uint_eq(a.hdr.size, 8);
	memcpy(&got, a.body, sizeof got);
	ck_assert_uint_eq(got, v);
	ck_assert_int_eq(msg_send_reply(other, VHOST_USER_GET_FEATURES, NULL, 0), 0);
	ck_assert(vmm_recv(&f, &a) == 0);
	ck_assert_uint_eq(a.hdr.size, 0);
	vmm_close(&f);
	ck_assert_int_eq(msg_send_reply(other, VHOST_USER_GET_FEATURES, &v, sizeof v), -EPIPE);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("msg");
	TCase *tc = tcase_create("msg");

	tcase_add_checked_fixture(tc, setup, teardown);
	tcase_add_loop_test(tc, any_cut, 0, HDR + 40);
	tcase_add_test(tc, byte_by_byte);
	tcase_add_test(tc, several_at_once);
	tcase_add_test(tc, taken_fd_is_the_takers);
	tcase_add_loop_test(tc, many_fds, 0, FDS_MAX + 1);
	tcase_add_test(tc, lost_fds);
	tcase_add_test(tc, credentials);
	tcase_add_loop_test(tc, headers, 0, COUNT(hdr_cases));
	tcase_add_test(tc, oversized_payload);
	tcase_add_loop_test(tc, peeked_in_a_row, 0, 2 * (HDR + 40));
	tcase_add_loop_test(tc, saved, 0, 2 * (FDS_MAX + 1));
	tcase_add_loop_test(tc, longer_than_what_is_kept, 0, COUNT(long_cuts));
	tcase_add_loop_test(tc, ends, 0, HDR + 8);
	tcase_add_test(tc, reply);
	suite_add_tcase(suite, tc);
	return unit_main(suite);
}
