/* SPDX-License-Identifier: BSD-3-Clause */
/* Front-ends that come and go, and a guest that is paused or reset, at one socket. */
#include "device/frontend.h"

#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "support/deadline.h"
#include "support/scratch.h"
#include "support/start.h"
#include "support/vmm.h"
#include "unit.h"
#include "util/blob.h"
#include "util/error.h"
#include "util/fd.h"

enum { NUM = 16, GRACE_MS = 60000, RINGS = VSOCK_NUM_QUEUES };

static char path[96];
static struct loop *loop;
static struct frontend fe;
static struct vmm vmm;				/* the first, if there are several */
static struct guest guest;
static struct guest_ring rings[RINGS];
static unsigned n_kicked, n_changed, n_reset, n_gone, n_overdue, n_commits;
static bool is_journalled, waits;

static void on_kicked(void *ctx, unsigned ring)
{
	(void)ring;
	ck_assert_ptr_eq(ctx, &fe);
	n_kicked++;
}

static void on_rings_changed(void *ctx)
{
	ck_assert_ptr_eq(ctx, &fe);
	n_changed++;
}

static void on_guest_reset(void *ctx)
{
	ck_assert_ptr_eq(ctx, &fe);
	n_reset++;
}

static void on_gone(void *ctx)
{
	ck_assert_ptr_eq(ctx, &fe);
	ck_assert(!frontend_has_guest(&fe));
	n_gone++;
}

static void on_guest_overdue(void *ctx)
{
	ck_assert_ptr_eq(ctx, &fe);
	n_overdue++;
}

static void on_came(void *ctx)
{
	ck_assert_ptr_eq(ctx, &fe);
}

/* It listens: another may come. */
static void on_over(void *ctx)
{
	(void)ctx;
	ck_abort_msg("it is over");
}

static void on_read_config(void *ctx, uint32_t offset, void *out, size_t len)
{
	ck_assert_ptr_eq(ctx, &fe);
	memset(out, (int)offset, len);
}

static void on_handles(void *ctx, bool is_begun)
{
	ck_assert_ptr_eq(ctx, &fe);
	(void)is_begun;
}

/* Nobody outlives us here. */
static void on_commit(void *ctx)
{
	ck_assert_ptr_eq(ctx, &fe);
	n_commits++;
}

static struct msghdr *on_receipt(void *ctx)
{
	ck_assert_ptr_eq(ctx, &fe);
	return NULL;
}

static const struct frontend_ops ops = {
	.handles = on_handles, .kicked = on_kicked, .rings_changed = on_rings_changed, .guest_reset = on_guest_reset,
	.came = on_came, .gone = on_gone, .over = on_over, .guest_overdue = on_guest_overdue,
	.read_config = on_read_config, .commit = on_commit, .settle = on_commit,
	.receipt = on_receipt,
};

static int listen_as(struct frontend *f)
{
	const struct frontend_config config = {
		.ops = &ops, .ctx = &fe, .tag = "test", .loop = loop,
		.address = {
			.listen = path, .fd = -1,
			.access = { .mode = 0600, .uid = (uid_t)-1, .gid = (gid_t)-1 },
		},
		.queue_size = 256, .pause_grace_ms = GRACE_MS,
		.memory = { .max_memory = 1 << 30, .mem_slots = VHOST_USER_MEM_SLOTS_MAX },
		.is_journalled = is_journalled, .waits = waits,
	};

	return frontend_init(f, &config);
}

static void setup(void)
{
	log_level = LEVEL_ERR;
	n_kicked = n_changed = n_reset = n_gone = n_overdue = 0;
	snprintf(path, sizeof path, "%s/%d.sock", scratch_path(), (int)getpid());
	ck_assert_int_eq(loop_new(&loop), 0);
	ck_assert_int_eq(listen_as(&fe), 0);
	guest_init(&guest);
	guest_add_region(&guest, 0, 1 << 20, 0);
	for (int i = 0; i < RINGS; i++)
		guest_ring_init(&rings[i], &guest, 0, NUM, 0);
	vmm.sock = -1;
}

static void teardown(void)
{
	vmm_close(&vmm);
	frontend_deinit(&fe);
	frontend_deinit(&fe);			/* safe, and twice */
	ck_assert_int_eq(access(path, F_OK), -1);
	loop_free(loop);
	for (int i = 0; i < RINGS; i++)
		guest_ring_deinit(&rings[i]);
	guest_deinit(&guest);
}

/* Handles what is there, and what that brings about. */
static void look(void)
{
	for (int i = 0; i < 8; i++)
		ck_assert_int_eq(loop_step(loop, 0), 0);
}

static void wait_for(const unsigned *count, unsigned n)
{
	int64_t deadline = deadline_in(DEADLINE_MS);

	while (*count < n) {
		ck_assert(deadline_left(deadline));
		ck_assert_int_eq(loop_step(loop, 10), 0);
	}
}

static struct vmm arrive(void)
{
	struct vmm v;

	ck_assert(vmm_connect(&v, path));
	v.reply_ms = 0;
	return v;
}

/* Says something, and is answered or not. */
static bool is_served(struct vmm *v)
{
	struct vmm_msg m;

	if (!vmm_send(v, VHOST_USER_GET_FEATURES, 0, NULL, 0, NULL, 0))
		return false;
	look();
	return vmm_recv(v, &m) == 0 && m.hdr.request == VHOST_USER_GET_FEATURES;
}

static bool is_closed(struct vmm *v)
{
	look();
	return vmm_recv(v, &(struct vmm_msg){ .hdr.size = 0 }) == VMM_GONE;
}

/* The guest of a front-end that negotiates nothing: its rings run once they have a kick. */
static void start(void)
{
	vmm = arrive();
	ck_assert_int_eq(vmm_set_features(&vmm, UINT64_C(1) << VIRTIO_F_VERSION_1), 0);
	ck_assert_int_eq(vmm_set_mem_table(&vmm, &guest), 0);
	for (uint32_t i = 0; i < RINGS; i++)
		ck_assert_int_eq(vmm_start_ring(&vmm, i, &rings[i]), 0);
	look();
	ck_assert(frontend_has_guest(&fe));
	n_changed = n_kicked = 0;
}

/* GET_VRING_BASE; where it stood. */
static uint32_t stop(uint32_t ring)
{
	struct vhost_user_vring_state state = { .index = ring };
	struct vmm_msg m;

	ck_assert(vmm_send(&vmm, VHOST_USER_GET_VRING_BASE, 0, &state, sizeof state, NULL, 0));
	look();
	ck_assert_int_eq(vmm_recv(&vmm, &m), 0);
	memcpy(&state, m.body, sizeof state);
	ck_assert_uint_eq(state.index, ring);
	return state.num;
}

static void stop_all(void)
{
	for (uint32_t i = 0; i < RINGS; i++)
		stop(i);
	ck_assert(!frontend_has_guest(&fe));
}

static void resume_at(uint32_t base)
{
	for (uint32_t i = 0; i < RINGS; i++) {
		ck_assert_int_eq(vmm_set_vring_base(&vmm, i, base), 0);
		ck_assert_int_eq(vmm_set_vring_kick(&vmm, i, rings[i].kick_fd), 0);
	}
	look();
	ck_assert(frontend_has_guest(&fe));
}

/* Is somebody waited for? */
static bool is_paused(void)
{
	return fe.pause.is_set;
}

START_TEST(nobody)
{
	look();
	for (unsigned i = 0; i < RINGS; i++) {
		ck_assert_ptr_null(frontend_running(&fe, i));
		ck_assert_ptr_null(frontend_vring(&fe, i));
	}
	ck_assert(!frontend_has_guest(&fe) && !frontend_is_polled(&fe));
	ck_assert(!frontend_lost_memory(&fe) && !frontend_has_held_up(&fe));
	frontend_drop(&fe);
	ck_assert_uint_eq(n_gone, 0);
}
END_TEST

START_TEST(socket_is_taken)
{
	struct frontend other;

	ck_assert_int_eq(listen_as(&other), LISTENER_E_BUSY);
	frontend_deinit(&other);
	vmm = arrive();				/* the first still has it */
	ck_assert(is_served(&vmm));
}
END_TEST

/* One after the other; each is a session of its own. */
START_TEST(comes_again)
{
	for (unsigned i = 0; i < 3; i++) {
		start();
		vmm_close(&vmm);
		wait_for(&n_gone, i + 1);
		ck_assert(!frontend_has_guest(&fe));
	}
	ck_assert_uint_eq(n_gone, 3);
}
END_TEST

/* A front-end sees the end of its session, whoever else keeps the socket for a crash; and
 * nothing is committed where nobody does. _i: is it kept? */
START_TEST(end_is_seen)
{
	int kept;

	is_journalled = _i;
	frontend_deinit(&fe);
	ck_assert_int_eq(listen_as(&fe), 0);
	start();
	ck_assert_int_eq(n_commits > 0, is_journalled);
	kept = is_journalled ? dup(session_sock(fe.session)) : -1;
	frontend_drop(&fe);
	ck_assert(is_closed(&vmm));
	fd_close(&kept);
}
END_TEST

/* A crash when a session was about to begin leaves a candidate whose socket counts peeks
 * already: its first byte could be looked at only once. */
START_TEST(candidate_goes_on)
{
	int offset = 0, fd;
	socklen_t len = sizeof offset;
	struct blob_reader in;
	struct blob saved;

	vmm = arrive();
	look();
	fd = fe.candidates[0].fd;
	ck_assert_int_eq(setsockopt(fd, SOL_SOCKET, SO_PEEK_OFF, &offset, sizeof offset), 0);
	blob_init(&saved, 4096, 8);
	frontend_save(&fe, &saved);
	ck_assert(blob_error(&saved) == 0 && saved.n_fds == 1);
	fd = dup(fd);
	acceptor_stop(&fe.acceptor);		/* as if its process had gone */
	loop_remove(loop, &fe.candidates[0].source);
	fd_close(&fe.candidates[0].fd);
	frontend_deinit(&fe);
	waits = true;
	ck_assert_int_eq(listen_as(&fe), 0);
	blob_read(&in, saved.bytes, saved.len, &(struct blob_fds){ &fd, 1 });
	ck_assert_int_eq(frontend_load(&fe, &in, false), 0);
	ck_assert_int_eq(fd, -1);
	frontend_go_on(&fe, false);
	ck_assert_int_eq(getsockopt(fe.candidates[0].fd, SOL_SOCKET, SO_PEEK_OFF, &offset, &len), 0);
	ck_assert_int_eq(offset, -1);
	ck_assert(is_served(&vmm));
	blob_deinit(&saved);
}
END_TEST

/* Who says nothing takes nobody's place, and keeps its own. */
START_TEST(silent_one)
{
	struct vmm silent = arrive();

	look();
	vmm = arrive();
	ck_assert(is_served(&vmm));
	ck_assert(!is_closed(&silent));
	vmm_close(&vmm);
	wait_for(&n_gone, 1);
	ck_assert(is_served(&silent));
	vmm_close(&silent);
	wait_for(&n_gone, 2);
}
END_TEST

START_TEST(probe_is_no_front_end)
{
	struct vmm probe;

	start();
	stop_all();
	probe = arrive();
	vmm_close(&probe);
	look();
	ck_assert_uint_eq(n_gone, 0);
	resume_at(0);
	ck_assert_uint_eq(n_reset, 0);
}
END_TEST

/* There are few places for those that say nothing: the next comer gets the oldest one's. */
START_TEST(many_silent_ones)
{
	struct vmm silent[FRONTEND_CANDIDATES_MAX + 1];

	for (int i = 0; i <= FRONTEND_CANDIDATES_MAX; i++) {
		silent[i] = arrive();
		look();
	}
	ck_assert(is_closed(&silent[0]));
	for (int i = 1; i <= FRONTEND_CANDIDATES_MAX; i++)
		ck_assert(!is_closed(&silent[i]));
	ck_assert(is_served(&silent[1]));
	for (int i = 0; i <= FRONTEND_CANDIDATES_MAX; i++)
		vmm_close(&silent[i]);
}
END_TEST

/* As long as there is a free place, those who come and go take nobody's. */
START_TEST(probes_take_nobodys_place)
{
	struct vmm silent = arrive(), probe;

	look();
	for (int i = 0; i < 2 * FRONTEND_CANDIDATES_MAX; i++) {
		probe = arrive();
		look();
		vmm_close(&probe);
		look();
	}
	ck_assert(is_served(&silent));
	vmm_close(&silent);
	wait_for(&n_gone, 1);
}
END_TEST

/* The oldest is who has waited longest, not who sits in the first place. */
START_TEST(oldest_one_goes)
{
	struct vmm silent[FRONTEND_CANDIDATES_MAX], late[2];

	for (int i = 0; i < FRONTEND_CANDIDATES_MAX; i++) {
		silent[i] = arrive();
		look();
	}
	vmm_close(&silent[0]);
	look();
	for (int i = 0; i < 2; i++) {
		late[i] = arrive();
		look();
	}
	ck_assert(is_closed(&silent[1]));
	ck_assert(!is_closed(&late[0]));
	ck_assert(is_served(&late[1]));
	for (int i = 0; i < 2; i++)
		vmm_close(&late[i]);
	for (int i = 1; i < FRONTEND_CANDIDATES_MAX; i++)
		vmm_close(&silent[i]);
}
END_TEST

/* _i: it speaks at once, or had come before the first spoke. */
START_TEST(second_one_is_refused)
{
	struct vmm second;

	if (_i)
		second = arrive();
	look();
	start();
	if (!_i)
		second = arrive();
	ck_assert(!is_served(&second));
	ck_assert(is_closed(&second));
	vmm_close(&second);
	ck_assert(frontend_has_guest(&fe));
	ck_assert(is_served(&vmm));
	ck_assert_uint_eq(n_gone, 0);
}
END_TEST

/* The VMM was killed, and its successor is there before we have heard of that. */
START_TEST(killed_and_started_anew)
{
	struct vmm next;

	start();
	next = arrive();
	vmm_close(&vmm);
	ck_assert(is_served(&next));
	ck_assert_uint_eq(n_gone, 1);
	vmm_close(&next);
	wait_for(&n_gone, 2);
}
END_TEST

START_TEST(dropped)
{
	start();
	frontend_drop(&fe);
	ck_assert_uint_eq(n_gone, 1);
	ck_assert_ptr_null(frontend_running(&fe, VSOCK_TXQ));
	frontend_drop(&fe);
	ck_assert_uint_eq(n_gone, 1);
	ck_assert(is_closed(&vmm));
}
END_TEST

/* _i: the ring. Each kick is told, and none is heard twice. */
START_TEST(kicks)
{
	start();
	ck_assert(!frontend_is_polled(&fe));
	guest_ring_kick(&rings[_i]);
	look();
	ck_assert_uint_eq(n_kicked, 1);
	guest_ring_kick(&rings[_i]);
	look();
	ck_assert_uint_eq(n_kicked, 2);
	stop((uint32_t)_i);
	guest_ring_kick(&rings[_i]);
	look();
	ck_assert_uint_eq(n_kicked, 2);
}
END_TEST

static bool has_warned(void)
{
	return fe.failures.seen[0];
}

/* A kick says that there is something in the RX ring. _i: it comes a moment later. */
START_TEST(kick_without_a_buffer)
{
	const struct guest_ring_buf b = { 4096, 64, true };

	start();
	guest_ring_kick(&rings[VSOCK_TXQ]);	/* of a ring that may be empty */
	look();
	ck_assert(!fe.no_memory.is_set);
	guest_ring_kick(&rings[VSOCK_RXQ]);
	look();
	ck_assert(fe.no_memory.is_set);
	if (_i) {
		ck_assert(guest_ring_add(&rings[VSOCK_RXQ], &b, 1, 0));
		guest_ring_publish(&rings[VSOCK_RXQ]);
	}
	loop_timer_set(loop, &fe.no_memory, loop_now_ms(loop));
	look();
	ck_assert(!fe.no_memory.is_set);
	ck_assert_int_eq(has_warned(), !_i);
}
END_TEST

START_TEST(kick_with_a_buffer)
{
	const struct guest_ring_buf b = { 4096, 64, true };

	start();
	ck_assert(guest_ring_add(&rings[VSOCK_RXQ], &b, 1, 0));
	guest_ring_publish(&rings[VSOCK_RXQ]);
	look();
	ck_assert_uint_eq(n_kicked, 1);
	ck_assert(!fe.no_memory.is_set);
}
END_TEST

START_TEST(ring_without_a_kick)
{
	start();
	ck_assert_int_eq(vmm_set_vring_kick(&vmm, VSOCK_TXQ, -1), 0);
	look();
	ck_assert(frontend_has_guest(&fe));
	ck_assert(frontend_is_polled(&fe));
	stop(VSOCK_TXQ);
	ck_assert(!frontend_is_polled(&fe));
}
END_TEST

START_TEST(rings_start_and_stop)
{
	start();
	stop(VSOCK_EVENTQ);
	ck_assert_uint_ge(n_changed, 1);
	ck_assert_ptr_null(frontend_running(&fe, VSOCK_EVENTQ));
	ck_assert_ptr_nonnull(frontend_vring(&fe, VSOCK_EVENTQ));
	ck_assert(frontend_has_guest(&fe));
	n_changed = 0;
	stop(VSOCK_RXQ);
	ck_assert_uint_ge(n_changed, 1);
	ck_assert(!frontend_has_guest(&fe));
	ck_assert_ptr_nonnull(frontend_running(&fe, VSOCK_TXQ));
}
END_TEST

/* Paused: the rings come back where they stopped, in time. */
START_TEST(paused)
{
	start();
	stop_all();
	ck_assert(is_paused());
	resume_at(0);
	ck_assert(!is_paused());
	ck_assert_uint_eq(n_reset, 0);
}
END_TEST

START_TEST(paused_for_too_long)
{
	fe.config.pause_grace_ms = 10;
	start();
	stop_all();
	wait_for(&n_overdue, 1);
	ck_assert(!is_paused());
	ck_assert_uint_eq(n_gone, 0);
	resume_at(0);
	ck_assert(is_served(&vmm));
}
END_TEST

/* The event ring alone may stay away for as long as it likes. */
START_TEST(event_ring_is_no_pause)
{
	start();
	stop(VSOCK_EVENTQ);
	ck_assert(!is_paused());
	stop(VSOCK_RXQ);
	ck_assert(is_paused());
}
END_TEST

/* The rings come back elsewhere: another guest, or the same one, booted. */
START_TEST(reset)
{
	start();
	stop_all();
	for (int i = 0; i < RINGS; i++)
		guest_ring_rewind(&rings[i], 7);
	resume_at(7);
	ck_assert_uint_ge(n_reset, 1);
	ck_assert(!is_paused());
}
END_TEST

/* A front-end that says when it resets: what it stops is paused, for as long as it takes. */
START_TEST(says_reset)
{
	start();
	ck_assert_int_eq(vmm_set_protocol_features(&vmm, UINT64_C(1) << VHOST_USER_PROTOCOL_F_RESET_DEVICE), 0);
	ck_assert_int_eq(vmm_reset_device(&vmm), 0);
	look();
	ck_assert_uint_eq(n_reset, 1);
	for (uint32_t i = 0; i < RINGS; i++)
		ck_assert_int_eq(vmm_start_ring(&vmm, i, &rings[i]), 0);
	look();
	ck_assert(frontend_has_guest(&fe));
	stop_all();
	ck_assert(!is_paused());
	ck_assert_uint_eq(n_reset, 1);
}
END_TEST

/* Gone while it was paused: nobody is overdue. */
START_TEST(gone_while_paused)
{
	start();
	stop_all();
	vmm_close(&vmm);
	wait_for(&n_gone, 1);
	ck_assert(!is_paused());
	ck_assert_uint_eq(n_overdue, 0);
}
END_TEST

START_TEST(configuration_space)
{
	struct vhost_user_config ask = { .offset = 3, .size = 5 };
	uint8_t body[sizeof ask + 5] = { 0 };
	struct vmm_msg m;

	vmm = arrive();
	memcpy(body, &ask, sizeof ask);
	ck_assert(vmm_send(&vmm, VHOST_USER_GET_CONFIG, 0, body, sizeof body, NULL, 0));
	look();
	ck_assert_int_eq(vmm_recv(&vmm, &m), 0);
	ck_assert_uint_eq(m.hdr.size, sizeof body);
	for (size_t i = 0; i < 5; i++)
		ck_assert_uint_eq(m.body[sizeof ask + i], 3);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("frontend");
	TCase *tc = tcase_create("frontend");
	int status;

	tcase_add_checked_fixture(tc, setup, teardown);
	tcase_set_timeout(tc, 60);
	tcase_add_test(tc, nobody);
	tcase_add_test(tc, socket_is_taken);
	tcase_add_test(tc, comes_again);
	tcase_add_loop_test(tc, end_is_seen, 0, 2);
	tcase_add_test(tc, candidate_goes_on);
	tcase_add_test(tc, silent_one);
	tcase_add_test(tc, probe_is_no_front_end);
	tcase_add_test(tc, many_silent_ones);
	tcase_add_test(tc, probes_take_nobodys_place);
	tcase_add_test(tc, oldest_one_goes);
	tcase_add_loop_test(tc, second_one_is_refused, 0, 2);
	tcase_add_test(tc, killed_and_started_anew);
	tcase_add_test(tc, dropped);
	tcase_add_loop_test(tc, kicks, 0, RINGS);
	tcase_add_loop_test(tc, kick_without_a_buffer, 0, 2);
	tcase_add_test(tc, kick_with_a_buffer);
	tcase_add_test(tc, ring_without_a_kick);
	tcase_add_test(tc, rings_start_and_stop);
	tcase_add_test(tc, paused);
	tcase_add_test(tc, paused_for_too_long);
	tcase_add_test(tc, event_ring_is_no_pause);
	tcase_add_test(tc, reset);
	tcase_add_test(tc, says_reset);
	tcase_add_test(tc, gone_while_paused);
	tcase_add_test(tc, configuration_space);
	suite_add_tcase(suite, tc);
	scratch_begin();
	status = unit_main(suite);
	scratch_end();
	return status;
}
