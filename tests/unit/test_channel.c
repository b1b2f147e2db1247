/* SPDX-License-Identifier: BSD-3-Clause */
/* The channel: who may say what, what comes with it, and that nothing of it is left. */
#include "daemon/channel.h"

#include <fcntl.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "unit.h"
#include "util/error.h"
#include "util/fd.h"

#define S CHANNEL_SUPERVISOR
#define E CHANNEL_ENGINE
#define P CHANNEL_PREDECESSOR

static int ends[2], fds_before;

static void setup(void)
{
	fds_before = unit_count_fds();
	ck_assert_int_eq(channel_pair(ends), 0);
	ck_assert_int_eq(fcntl(ends[1], F_SETFL, O_NONBLOCK), 0);
}

/* The closer has not been begun, so all is closed at once. */
static void teardown(void)
{
	fd_close(&ends[0]);
	fd_close(&ends[1]);
	ck_assert_int_eq(unit_count_fds(), fds_before);
}

/* ---- who may say what ---- */

/* As the protocol has it: by whom, about a VM or not, with how many descriptors. */
static const struct {
	const char *name;
	uint32_t type;
	unsigned senders;
	bool has_cid;
	size_t min, max;
} types[] = {
	{ "0", 0, 0, false, 0, 0 },
	{ "STATE", SUPERVISE_STATE, S | P, false, 0, SUPERVISE_FDS_MAX },
	{ "SETTINGS", SUPERVISE_SETTINGS, S, false, 1, 2 },
	{ "VM", SUPERVISE_VM, S, true, 0, 3 },
	{ "KEPT", SUPERVISE_KEPT, S, true, 0, 0 },
	{ "START", SUPERVISE_START, S, false, 0, 0 },
	{ "REMOVE", SUPERVISE_REMOVE, S, true, 0, 0 },
	{ "CONNECTED", SUPERVISE_CONNECTED, S, true, 0, 1 },
	{ "ACCEPT", SUPERVISE_ACCEPT, E, true, 0, 0 },
	{ "ACCEPTED", SUPERVISE_ACCEPTED, S, true, 0, 1 },
	{ "PING", SUPERVISE_PING, S, false, 0, 0 },
	{ "STOP", SUPERVISE_STOP, S, false, 0, 0 },
	{ "PREPARE", SUPERVISE_PREPARE, S, false, 0, 0 },
	{ "TAKE_OVER", SUPERVISE_TAKE_OVER, S, false, 1, 1 },
	{ "PARK", SUPERVISE_PARK, S, false, 0, 0 },
	{ "HAND_OVER", SUPERVISE_HAND_OVER, S, false, 1, 1 },
	{ "GO_ON", SUPERVISE_GO_ON, S, false, 0, 0 },
	{ "READY", SUPERVISE_READY, E, false, 0, 0 },
	{ "FAILED", SUPERVISE_FAILED, E, false, 0, 0 },
	{ "KEEP", SUPERVISE_KEEP, E, true, 1, 1 },
	{ "DROP", SUPERVISE_DROP, E, true, 0, 0 },
	{ "CAME", SUPERVISE_CAME, E, true, 0, 0 },
	{ "GONE", SUPERVISE_GONE, E, true, 0, 0 },
	{ "OVER", SUPERVISE_OVER, E, true, 0, 0 },
	{ "CONNECT", SUPERVISE_CONNECT, E, true, 0, 0 },
	{ "CONNECT_SEQPACKET", SUPERVISE_CONNECT_SEQPACKET, E, true, 0, 0 },
	{ "CALL", SUPERVISE_CALL, E, true, 0, 0 },
	{ "PONG", SUPERVISE_PONG, E, false, 0, 0 },
	{ "STUCK", SUPERVISE_STUCK, E, false, 0, 0 },
	{ "PREPARED", SUPERVISE_PREPARED, E, false, 0, 0 },
	{ "PARKED", SUPERVISE_PARKED, E, false, 0, 0 },
	{ "DEVICE", SUPERVISE_DEVICE, P, true, 0, 0 },
	{ "API", SUPERVISE_API, S, false, 1, 1 },
	{ "DONE", SUPERVISE_DONE, S, false, 0, 1 },
	{ "ADD", SUPERVISE_ADD, E, true, 0, 0 },
	{ "DELETE", SUPERVISE_DELETE, E, true, 0, 0 },
	{ "SET_LEVEL", SUPERVISE_SET_LEVEL, E, false, 0, 0 },
	{ "UPGRADE", SUPERVISE_UPGRADE, E, false, 1, 1 },
	{ "RELOAD", SUPERVISE_RELOAD, E, false, 0, 0 },
	{ "SHUTDOWN", SUPERVISE_SHUTDOWN, E, false, 0, 0 },
	{ "EVENT", SUPERVISE_EVENT, S, false, 0, 0 },
	{ "AGAIN", SUPERVISE_AGAIN, E, true, 0, 0 },
	{ "beyond the last", SUPERVISE_NUM_TYPES, 0, false, 0, 0 },
	{ "far beyond it", UINT32_MAX, 0, false, 0, 0 },
};

static void send_msg(const struct supervise_msg *m, size_t n_fds)
{
	int fds[SUPERVISE_FDS_MAX];

	for (size_t i = 0; i < n_fds; i++)
		fds[i] = ends[0];
	ck_assert_int_eq(channel_send(ends[0], m, fds, n_fds, false), 0);
}

static void check_received(int expected, enum channel_sender sender, size_t n_fds,
			   const char *name)
{
	struct channel_msg msg;
	int fds = unit_count_fds(), r = channel_receive(ends[1], sender, &msg);

	ck_assert_msg(r == expected, "%s, said by %d with %zu: %d", name, (int)sender, n_fds, r);
	ck_assert_int_eq(unit_count_fds() - fds, r ? 0 : (int)n_fds);
	if (r)
		return;
	ck_assert_uint_eq(msg.n_fds, n_fds);
	for (size_t i = 0; i < n_fds; i++)
		ck_assert_int_eq(fcntl(msg.fds[i], F_GETFD), FD_CLOEXEC);
	channel_msg_deinit(&msg);
	ck_assert_int_eq(unit_count_fds(), fds);
}

/* _i: the type. Each of those who could say it, about a VM or none, with any number. */
START_TEST(what_may_be_said)
{
	static const enum channel_sender senders[] = { S, E, P };
	static const size_t counts[] = { 0, 1, 2, 3, SUPERVISE_FDS_MAX };

	for (int i = 0; i < COUNT(senders) * COUNT(counts) * 2; i++) {
		enum channel_sender sender = senders[i % COUNT(senders)];
		size_t n = counts[i / 2 / COUNT(senders)];
		bool has_cid = i / COUNT(senders) % 2;
		const struct supervise_msg m = { .type = types[_i].type, .cid = has_cid ? 3 : 0 };
		bool is_legal = types[_i].senders & sender && types[_i].has_cid == has_cid &&
			n >= types[_i].min && n <= types[_i].max;

		send_msg(&m, n);
		check_received(is_legal ? 0 : CHANNEL_E_GARBAGE, sender, n, types[_i].name);
	}
}
END_TEST

/* ---- the shape of it ---- */

static void send_raw(const struct supervise_msg *m, size_t len, size_t n_fds)
{
	enum { ROOM = sizeof(struct supervise_msg) + SUPERVISE_PIECE_MAX + 8, MANY = 100 };
	static char bytes[ROOM];
	union {
		char bytes[CMSG_SPACE(MANY * sizeof(int))];
		struct cmsghdr align;
	} control = { .bytes = "" };
	struct iovec iov = { bytes, len };
	struct msghdr hdr = { .msg_iov = &iov, .msg_iovlen = 1 };

	ck_assert_uint_le(len, ROOM);
	ck_assert_uint_le(n_fds, MANY);
	memcpy(bytes, m, sizeof *m);
	if (n_fds) {
		control.align = (struct cmsghdr){
			.cmsg_level = SOL_SOCKET, .cmsg_type = SCM_RIGHTS,
			.cmsg_len = CMSG_LEN(n_fds * sizeof(int)),
		};
		for (size_t i = 0; i < n_fds; i++)
			memcpy(CMSG_DATA(&control.align) + i * sizeof(int), &ends[0], sizeof(int));
		hdr.msg_control = &control;
		hdr.msg_controllen = CMSG_SPACE(n_fds * sizeof(int));
	}
	ck_assert_int_eq(sendmsg(ends[0], &hdr, MSG_DONTWAIT), (ssize_t)len);
}

static const struct {
	const char *name;
	struct supervise_msg m;
	size_t len, n_fds;
	bool is_legal;
} shapes[] = {
	{ "whole", { .type = SUPERVISE_STOP }, 24, 0, true },
	{ "a byte short", { .type = SUPERVISE_STOP }, 23, 0, false },
	{ "one byte", { .type = SUPERVISE_STOP }, 1, 0, false },
	{ "one byte and descriptors", { .type = SUPERVISE_STOP }, 1, 2, false },
	{ "a byte more", { .type = SUPERVISE_STOP }, 25, 0, false },
	{ "not zero", { .type = SUPERVISE_STOP, .zero = 1 }, 24, 0, false },
	{ "no piece", { .type = SUPERVISE_STATE }, 24, 0, true },
	{ "a piece", { .type = SUPERVISE_STATE, .u.number = 100 }, 124, 0, true },
	{ "the largest", { .type = SUPERVISE_STATE, .u.number = SUPERVISE_PIECE_MAX },
		24 + SUPERVISE_PIECE_MAX, 0, true },
	{ "too large", { .type = SUPERVISE_STATE, .u.number = SUPERVISE_PIECE_MAX + 1 },
		25 + SUPERVISE_PIECE_MAX, 0, false },
	{ "less than it says", { .type = SUPERVISE_STATE, .u.number = 100 }, 123, 0, false },
	{ "more than it says", { .type = SUPERVISE_STATE, .u.number = 100 }, 125, 0, false },
	{ "far more", { .type = SUPERVISE_STATE, .u.number = UINT64_MAX }, 24, 0, false },
	{ "all descriptors", { .type = SUPERVISE_STATE }, 24, SUPERVISE_FDS_MAX, true },
	{ "one too many", { .type = SUPERVISE_STATE }, 24, SUPERVISE_FDS_MAX + 1, false },
	{ "far too many", { .type = SUPERVISE_STATE }, 24, 100, false },
};

START_TEST(what_it_looks_like)
{
	send_raw(&shapes[_i].m, shapes[_i].len, shapes[_i].n_fds);
	check_received(shapes[_i].is_legal ? 0 : CHANNEL_E_GARBAGE, S, shapes[_i].n_fds,
		       shapes[_i].name);
}
END_TEST

START_TEST(ends_of_it)
{
	const struct supervise_msg m = { .type = SUPERVISE_STOP };
	struct channel_msg msg;
	int r;

	ck_assert_int_eq(channel_receive(ends[1], S, &msg), CHANNEL_E_NONE);
	do
		r = channel_send(ends[0], &m, NULL, 0, false);
	while (!r);
	ck_assert_int_eq(r, -EAGAIN);
	while (!(r = channel_receive(ends[1], S, &msg)))
		channel_msg_deinit(&msg);
	ck_assert_int_eq(r, CHANNEL_E_NONE);
	fd_close(&ends[0]);
	ck_assert_int_eq(channel_receive(ends[1], S, &msg), CHANNEL_E_END);
	ck_assert_int_eq(channel_send(ends[1], &m, NULL, 0, true), CHANNEL_E_END);
}
END_TEST

/* Whoever ends has said what it has said, also if it has not heard all. */
START_TEST(last_words)
{
	const struct supervise_msg m = { .type = SUPERVISE_DROP, .cid = 3 };

	for (int i = 0; i < 2; i++) {
		ck_assert_int_eq(channel_send(ends[1], &m, NULL, 0, false), 0);
		ck_assert_int_eq(channel_send(ends[0], &m, NULL, 0, false), 0);
	}
	fd_close(&ends[0]);
	for (int i = 0; i < 2; i++)
		check_received(0, E, 0, "DROP");
	check_received(CHANNEL_E_END, E, 0, "the end");
}
END_TEST

START_TEST(taken_descriptors_stay)
{
	const struct supervise_msg m = { .type = SUPERVISE_VM, .cid = 3 };
	struct channel_msg msg;
	int fd;

	send_msg(&m, 2);
	ck_assert_int_eq(channel_receive(ends[1], S, &msg), 0);
	fd = channel_take_fd(&msg, 1);
	ck_assert_int_ge(fd, 0);
	ck_assert_int_eq(channel_take_fd(&msg, 1), -1);
	ck_assert_int_eq(channel_take_fd(&msg, 2), -1);
	channel_msg_deinit(&msg);
	ck_assert_int_ge(fcntl(fd, F_GETFD), 0);
	fd_close(&fd);
}
END_TEST

/* ---- blobs ---- */

enum { BLOB_BYTES = 3 * SUPERVISE_PIECE_MAX + 5, BLOB_FDS = SUPERVISE_FDS_MAX + 3 };

static void send_blob(void)
{
	static uint8_t bytes[BLOB_BYTES];
	struct blob b;

	for (size_t i = 0; i < sizeof bytes; i++)
		bytes[i] = (uint8_t)(i * 7);
	blob_init(&b, 1 << 20, BLOB_FDS);
	blob_put_bytes(&b, bytes, sizeof bytes);
	for (int i = 0; i < BLOB_FDS; i++)
		blob_put_fd(&b, ends[0]);
	ck_assert_int_eq(channel_send_blob(ends[0], &b), 0);
	blob_deinit(&b);
}

static int receive_state(struct channel_state *state)
{
	struct channel_msg msg;
	int r = 0;

	while (!r && !channel_receive(ends[1], S, &msg)) {
		r = channel_take_piece(&msg, state);
		channel_msg_deinit(&msg);
	}
	return r;
}

START_TEST(blob_in_pieces)
{
	struct channel_state state;
	size_t n_bytes;

	send_blob();
	channel_state_init(&state, 1 << 20, BLOB_FDS);
	ck_assert_int_eq(receive_state(&state), 0);
	n_bytes = state.bytes.len;
	ck_assert_uint_ge(n_bytes, BLOB_BYTES);
	ck_assert_uint_eq(state.bytes.bytes[BLOB_BYTES - 1], (uint8_t)((BLOB_BYTES - 1) * 7));
	ck_assert_uint_eq(state.fds.n, BLOB_FDS);
	channel_state_deinit(&state);
}
END_TEST

/* _i: of bytes, of descriptors. What had come goes with the rest. */
START_TEST(blob_beyond_its_limit)
{
	struct channel_state state;

	send_blob();
	channel_state_init(&state, _i ? 1 << 20 : BLOB_BYTES - 1, _i ? BLOB_FDS - 1 : BLOB_FDS);
	ck_assert_int_ne(receive_state(&state), 0);
	channel_state_deinit(&state);
	channel_state_deinit(&state);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("channel");
	TCase *tc = tcase_create("channel");

	suite_add_tcase(s, tc);
	tcase_add_checked_fixture(tc, setup, teardown);
	tcase_add_loop_test(tc, what_may_be_said, 0, COUNT(types));
	tcase_add_loop_test(tc, what_it_looks_like, 0, COUNT(shapes));
	tcase_add_test(tc, ends_of_it);
	tcase_add_test(tc, last_words);
	tcase_add_test(tc, taken_descriptors_stay);
	tcase_add_test(tc, blob_in_pieces);
	tcase_add_loop_test(tc, blob_beyond_its_limit, 0, 2);
	return unit_main(s);
}
