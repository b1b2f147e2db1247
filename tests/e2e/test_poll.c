/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A VM with poll-us: whatever happens while its worker polls, nothing is lost by it, others have
 * what they have without, and an idle guest is left alone. Whether a poll pays depends on the
 * machine, and a busy one rests from it for long, so nothing here asks for more than the first.
 */
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "e2e/apis.h"
#include "e2e/reloads.h"

enum { TRIPS = 300, SPINS = 2000, SPIN_US_MAX = 300, STRAYS = 2000 };

#define POLLED	"vms:\n  - { guest-cid: 3, socket: $/vhost.sock, uds-path: $/vm.sock, poll-us: 1000 }\n" \
		VM4(VM4_PATHS)

/* A byte there, and a byte back. */
static void make_trip(struct pair p)
{
	uint8_t byte = 1;

	ck_assert(sock_send(p.guest, &byte, 1));
	ck_assert_uint_eq(host_read(p.host, &byte, 1), 1);
	ck_assert(host_write(p.host, &byte, 1));
	ck_assert_uint_eq(sock_recv_full(p.guest, &byte, 1), 1);
}

static void make_trips(struct pair p, unsigned n)
{
	while (n--)
		make_trip(p);
}

static double count_polls(const char *vm_cid)
{
	char paid[96], wasted[96];

	snprintf(paid, sizeof paid, "vhost_vsock_polls_total{vm=\"%s\",outcome=\"paid\"}", vm_cid);
	snprintf(wasted, sizeof wasted, "vhost_vsock_polls_total{vm=\"%s\",outcome=\"wasted\"}",
		 vm_cid);
	return apis_metric(paid) + apis_metric(wasted);
}

static bool has_polled(void)
{
	return count_polls("3") > 0 && apis_metric("vhost_vsock_polled_seconds_total{vm=\"3\"}") > 0;
}

/* Round trips, until some poll has been made, and has taken time. */
static void wait_polled(struct pair p)
{
	int64_t deadline = deadline_in(DEADLINE_MS);

	do
		make_trips(p, TRIPS);
	while (!has_polled() && deadline_left(deadline));
	ck_assert(has_polled());
}

static void setup(void)
{
	apis_setup();
	reloads_wait_guest(3);
	reloads_do(POLLED, "vm 3: changed: poll-us");
}

/* From then on, under the guest, and until it is told otherwise. */
START_TEST(changes_under_a_running_guest)
{
	struct pair p = e2e_guest_connects(&vm, vhd.uds);
	double before;

	wait_polled(p);
	ck_assert(count_polls("4") < 1);
	reloads_do(BOTH, "vm 3: changed: poll-us");
	make_trips(p, 3);
	before = count_polls("3");
	make_trips(p, TRIPS);
	ck_assert(count_polls("3") <= before);
	e2e_close(p);
}
END_TEST

static void spin_until(int64_t until_us)
{
	while (now_us() < until_us)
		;
}

/* The guest's next packet comes at any time of a poll, also when that ends. */
START_TEST(no_kick_is_lost)
{
	const struct driver_options options = {
		.without = _i ? UINT64_C(1) << VIRTIO_F_EVENT_IDX : 0,
	};
	struct pair p;

	driver_deinit(&vm);
	driver_up(&vm, vhd.socket, &options);
	p = e2e_guest_connects(&vm, vhd.uds);
	for (int i = 0; i < SPINS; i++) {
		make_trip(p);
		spin_until(now_us() + i % SPIN_US_MAX);
	}
	e2e_close(p);
	e2e_check_alive();
}
END_TEST

/* The device wants to be kicked for the next packet. */
static bool wants_kick(void)
{
	const struct guest_ring *tx = &vm.vq[VSOCK_TXQ];

	if (tx->event_idx)
		return guest_ring_avail_event(tx) == tx->published;
	return guest_ring_used_flags(tx) == 0;
}

/* It has done nothing for a while. What others have asked it is over in a moment. */
static bool is_idle(void)
{
	struct daemon_usage before = daemon_usage(&vhd), after;

	deadline_poll(vhd.pidfd, POLLIN, deadline_in(QUIET_MS));
	after = daemon_usage(&vhd);
	return daemon_wakeups_between(&before, &after) <= E2E_WAKEUPS(1) &&
		after.cpu_ms - before.cpu_ms < QUIET_MS / 4;
}

START_TEST(an_idle_guest_is_not_polled)
{
	const struct driver_options options = {
		.without = _i ? UINT64_C(1) << VIRTIO_F_EVENT_IDX : 0,
	};
	double polls, seconds;
	int64_t deadline;
	struct pair p;

	driver_deinit(&vm);
	driver_up(&vm, vhd.socket, &options);
	p = e2e_guest_connects(&vm, vhd.uds);
	wait_polled(p);
	deadline = deadline_in(DEADLINE_MS);
	while (!wants_kick() && deadline_left(deadline))
		deadline_poll(vhd.pidfd, POLLIN, deadline_in(1));
	ck_assert(wants_kick());
	polls = count_polls("3");
	seconds = apis_metric("vhost_vsock_polled_seconds_total{vm=\"3\"}");
	while (!is_idle())
		ck_assert(deadline_left(deadline));
	ck_assert(wants_kick());
	ck_assert(count_polls("3") <= polls);
	ck_assert(apis_metric("vhost_vsock_polled_seconds_total{vm=\"3\"}") <= seconds);
	make_trip(p);
	e2e_close(p);
}
END_TEST

/* It takes no answers, so what it says stays in its ring: that is no reason to look there. */
START_TEST(a_clogged_guest_is_not_polled)
{
	const struct driver_pkt stray = driver_pkt(&vm, VSOCK_OP_RW, 4000, 5000);
	struct pair p = e2e_guest_connects(&vm, vhd.uds);
	int64_t deadline = deadline_in(DEADLINE_MS);

	wait_polled(p);
	make_trips(p, 3);
	vm.holds_rx = true;
	for (int i = 0; i < STRAYS; i++) {
		while (!driver_can_send(&vm) && driver_wait(&vm, deadline_in(QUIET_MS), false))
			;
		if (!driver_can_send(&vm))
			break;
		ck_assert(driver_send(&vm, &stray, NULL));
	}
	ck_assert(!driver_can_send(&vm));
	while (!is_idle())
		ck_assert(deadline_left(deadline));
	driver_release_rx(&vm);
	ck_assert(driver_flush(&vm));
	make_trip(p);
	e2e_close(p);
}
END_TEST

static void wait_more_polls(struct pair p, double before)
{
	int64_t deadline = deadline_in(DEADLINE_MS);

	while (count_polls("3") <= before && deadline_left(deadline))
		make_trips(p, TRIPS);
	ck_assert(count_polls("3") > before);
}

/* ---- what ends it: each right after a round trip, so that it is polled for if it ever is ---- */

static void leave_and_come(void)
{
	driver_detach(&vm);
	driver_deinit(&vm);
	driver_up(&vm, vhd.socket, NULL);
}

static void reboot(void)
{
	driver_reboot(&vm);
}

static void break_ring(void)
{
	struct guest_ring *tx = &vm.vq[VSOCK_TXQ];

	guest_ring_raw_avail_idx(tx, (uint16_t)(tx->avail_idx + 1000));
	guest_ring_kick(tx);
	ck_assert(daemon_wait_log(&vhd, "ring 1 broken: available index jumped"));
	driver_deinit(&vm);
	driver_up(&vm, vhd.socket, NULL);
}

static void crash(void)
{
	pid_t engine = daemon_engine(&vhd);

	ck_assert_int_eq(kill(engine, SIGKILL), 0);
	ck_assert(daemon_wait_gone(engine, DEADLINE_MS));
}

static void upgrade(void)
{
	apis_do("POST", "/v1/upgrade", "/v1/upgrade", NULL, 200);
}

static const struct {
	const char *what;
	void (*happens)(void);
	bool keeps_connection;
	bool begins_anew;			/* what it knows of the VM's waits */
} endings[] = {
	{ "the front-end leaves", leave_and_come, false, false },
	{ "the guest reboots", reboot, false, false },
	{ "the guest breaks its ring", break_ring, false, false },
	{ "the engine is killed", crash, false, true },
	{ "another engine takes over", upgrade, true, true },
};

START_TEST(serves_whatever_has_ended_a_poll)
{
	struct pair p = e2e_guest_connects(&vm, vhd.uds);
	double before;

	wait_polled(p);
	make_trips(p, 3);
	endings[_i].happens();
	if (!endings[_i].keeps_connection) {
		sock_forget_all(&vm);
		close(p.host);
		p = e2e_guest_connects(&vm, vhd.uds);
	}
	before = count_polls("3");
	make_trips(p, TRIPS);
	if (endings[_i].begins_anew)
		wait_more_polls(p, before);	/* the VM still has the key */
	e2e_close(p);
}
END_TEST

/* One that the API has made, with the key, and takes away. */
START_TEST(a_vm_that_is_removed)
{
	char row[512], socket[160], uds[160];
	struct driver other;
	struct pair p;

	snprintf(socket, sizeof socket, "%s/9.vhost", apis_folder);
	snprintf(uds, sizeof uds, "%s/9.sock", apis_folder);
	snprintf(row, sizeof row, "{\"socket\": \"%s\", \"uds_path\": \"%s\", \"poll_us\": 1000}",
		 socket, uds);
	apis_do("PUT", "/v1/vms/{cid}", "/v1/vms/9", row, 201);
	driver_up(&other, socket, &(struct driver_options){ .cid = 9 });
	p = e2e_guest_connects(&other, uds);
	make_trips(p, TRIPS);
	apis_do("DELETE", "/v1/vms/{cid}", "/v1/vms/9", NULL, 200);
	close(p.host);
	driver_deinit(&other);
	e2e_check_alive();
	p = e2e_guest_connects(&vm, vhd.uds);
	wait_polled(p);
	e2e_close(p);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("poll");
	TCase *reload = e2e_case(s, "reload", setup, 60), *tc = e2e_case(s, "poll", setup, 60);

	tcase_add_test(reload, changes_under_a_running_guest);
	tcase_add_loop_test(tc, no_kick_is_lost, 0, 2);
	tcase_add_loop_test(tc, an_idle_guest_is_not_polled, 0, 2);
	tcase_add_test(tc, a_clogged_guest_is_not_polled);
	tcase_add_loop_test(tc, serves_whatever_has_ended_a_poll, 0,
			    (int)(sizeof endings / sizeof *endings));
	tcase_add_test(tc, a_vm_that_is_removed);
	return e2e_run(s);
}
