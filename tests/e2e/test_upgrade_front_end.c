/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Another engine takes over (SIGUSR2), whatever a front-end is about to do, and whatever
 * VMs there are.
 */
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "e2e/sibs.h"
#include "e2e/upgrade.h"

enum { VMS = 4 };

/* ---- one front-end ---- */

START_TEST(none_yet)
{
	upgrade();
	upgrade();
	driver_up(&vm, vhd.socket, NULL);
	e2e_check_alive();
	upgrade();
	driver_deinit(&vm);
	upgrade();
	driver_up(&vm, vhd.socket, NULL);
	e2e_check_alive();
}
END_TEST

/* Connected, and silent: the first that says something is the front-end. */
START_TEST(candidates)
{
	struct vmm silent[3];
	uint64_t features;

	for (int i = 0; i < 3; i++)
		ck_assert(vmm_connect(&silent[i], vhd.socket));
	upgrade();
	silent[1].reply_ms = DEADLINE_MS;
	ck_assert_int_eq(vmm_get_features(&silent[1], &features), 0);
	vmm_close(&silent[1]);
	upgrade();
	silent[2].reply_ms = DEADLINE_MS;
	ck_assert_int_eq(vmm_get_features(&silent[2], &features), 0);
	vmm_close(&silent[2]);
	vmm_close(&silent[0]);
	driver_up(&vm, vhd.socket, NULL);
	e2e_check_alive();
}
END_TEST

/* One that has connected while nobody could accept it. */
START_TEST(comes_meanwhile)
{
	for (int i = 0; i < 5; i++) {
		pid_t engine = daemon_engine(&vhd);

		upgrade_begin(engine);
		driver_up(&vm, vhd.socket, NULL);
		e2e_check_alive();
		ck_assert(daemon_wait_gone(engine, DEADLINE_MS));
		e2e_check_alive();
		driver_deinit(&vm);
	}
}
END_TEST

/* Cut everywhere: it is answered once. */
START_TEST(half_a_request)
{
	const struct vhost_user_hdr set = { VHOST_USER_SET_PROTOCOL_FEATURES, VHOST_USER_VERSION,
					    sizeof(uint64_t) };
	char request[sizeof set + sizeof(uint64_t)] = "";
	const struct vhost_user_hdr ask = { VHOST_USER_GET_FEATURES, VHOST_USER_VERSION, 0 };
	struct vmm_msg answer;
	struct vmm fe;

	memcpy(request, &set, sizeof set);
	for (size_t cut = 0; cut <= sizeof request; cut++) {
		ck_assert(vmm_connect(&fe, vhd.socket));
		fe.reply_ms = DEADLINE_MS;
		ck_assert(vmm_send_bytes(&fe, request, cut, NULL, 0));
		upgrade();
		ck_assert(vmm_send_bytes(&fe, request + cut, sizeof request - cut, NULL, 0));
		ck_assert(vmm_send_bytes(&fe, &ask, sizeof ask, NULL, 0));
		ck_assert_int_eq(vmm_recv(&fe, &answer), 0);
		ck_assert_uint_eq(answer.hdr.request, VHOST_USER_GET_FEATURES);
		fe.reply_ms = 20;
		ck_assert_int_eq(vmm_recv(&fe, &answer), VMM_SILENT);
		vmm_close(&fe);
	}
}
END_TEST

/* A front-end that asks all the time. */
START_TEST(requests_meanwhile)
{
	struct upgrades u;
	struct vmm fe;
	uint64_t first, features;
	int n = 0;

	ck_assert(vmm_connect(&fe, vhd.socket));
	fe.reply_ms = DEADLINE_MS;
	ck_assert_int_eq(vmm_get_features(&fe, &first), 0);
	upgrades_start(&u, 5);
	for (; upgrades_go_on(&u); n++) {
		ck_assert_int_eq(vmm_get_features(&fe, &features), 0);
		ck_assert_uint_eq(features, first);
	}
	upgrades_finish(&u);
	fe.reply_ms = 50;
	ck_assert_int_eq(vmm_recv(&fe, &(struct vmm_msg){ .hdr.size = 0 }), VMM_SILENT);
	vmm_close(&fe);
	printf("# %d requests\n", n);
}
END_TEST

/* ---- a guest that stands still ---- */

static void stop_rings(void)
{
	for (uint32_t q = 0; q < VSOCK_NUM_QUEUES; q++) {
		uint32_t base;

		ck_assert_int_eq(vmm_get_vring_base(&vm.fe, q, &base), 0);
		vm.vq[q].base = (uint16_t)base;
	}
}

/* As QEMU does when a VM is paused, and goes on. */
static void start_rings(void)
{
	for (uint32_t q = 0; q < VSOCK_NUM_QUEUES; q++)
		ck_assert_int_eq(vmm_start_ring(&vm.fe, q, &vm.vq[q]), 0);
}

START_TEST(paused)
{
	struct pair p;

	e2e_setup_daemon();
	driver_up(&vm, vhd.socket, NULL);
	p = e2e_guest_connects(&vm, vhd.uds);
	e2e_check_talks(p);
	stop_rings();
	ck_assert(host_write(p.host, "x", 1));
	upgrade();
	upgrade();
	start_rings();
	ck_assert_uint_eq(sock_recv_full(p.guest, &(char){ 0 }, 1), 1);
	e2e_check_talks(p);
	e2e_close(p);
	e2e_check_alive();
}
END_TEST

/* The grace runs on, and not anew with each engine. */
START_TEST(paused_for_too_long)
{
	static const char *const extra[] = { "--pause-grace=3", NULL };
	struct pair p;
	int64_t begin, end;

	e2e_setup_bare();
	e2e_start(extra, NULL);
	p = e2e_guest_connects(&vm, vhd.uds);
	begin = now_ms();
	stop_rings();
	do
		upgrade();
	while (now_ms() - begin < 2500);
	/* An upgrade may last longer than the grace, which ends with it then. */
	end = now_ms() > begin + 3000 ? now_ms() : begin + 3000;
	ck_assert(host_is_closed(p.host, DEADLINE_MS));
	ck_assert_int_ge(now_ms() - begin, 3000);
	ck_assert_int_lt(now_ms() - end, 2000);
	start_rings();
	ck_assert(sock_wait_reset(p.guest, DEADLINE_MS));
	e2e_check_alive();
}
END_TEST

START_TEST(reset_and_gone)
{
	e2e_setup_daemon();
	driver_up(&vm, vhd.socket, NULL);
	for (int i = 0; i < 3; i++) {
		struct pair p = e2e_guest_connects(&vm, vhd.uds);

		upgrade();
		if (i == 2) {
			driver_detach(&vm);
			driver_deinit(&vm);
			driver_up(&vm, vhd.socket, NULL);
		} else {
			driver_reboot(&vm);
		}
		ck_assert(host_is_closed(p.host, DEADLINE_MS));
		e2e_check_alive();
	}
}
END_TEST

/* ---- sockets that were passed ---- */

enum { PASSED = 30 };

static int passed;

static void pass(void)
{
	must(dup2(passed, PASSED) >= 0);
}

/* _i: it is in session; it has not said a word. */
START_TEST(passed_connection)
{
	const char *const args[] = { "--fd", "30", "--uds-path", vhd.uds, "--log-level=info", NULL };
	pid_t engine;
	int pair[2];

	must(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) == 0);
	passed = pair[1];
	vhd.prepare = pass;
	daemon_spawn(&vhd, args);
	close(pair[1]);
	ck_assert(daemon_wait_listening(&vhd, vhd.uds));
	if (_i)
		upgrade();
	driver_init(&vm, NULL);
	ck_assert_int_eq(driver_attach_to(&vm, pair[0]), 0);
	e2e_check_alive();
	for (int i = 0; i < 3; i++) {
		upgrade();
		e2e_check_alive();
	}
	engine = daemon_engine(&vhd);		/* the same after a crash */
	must(kill(engine, SIGKILL) == 0 && daemon_wait_gone(engine, DEADLINE_MS));
	e2e_check_alive();
	driver_detach(&vm);
	ck_assert_int_eq(daemon_wait_exit(&vhd, DEADLINE_MS), 0);
	ck_assert(daemon_has_logged(&vhd, "no other can come"));
}
END_TEST

/* A front-end that listens: the daemon does not connect again while it is there. */
START_TEST(socket_connect)
{
	char path[sizeof vhd.socket + 2];
	const char *const args[] = { "--socket-connect", path, "--uds-path", vhd.uds, NULL };
	int listener;

	snprintf(path, sizeof path, "%s_0", vhd.socket);
	listener = host_listen(vhd.socket, 0, 16);
	daemon_spawn(&vhd, args);
	driver_init(&vm, NULL);
	ck_assert_int_eq(driver_attach_to(&vm, host_accept(listener)), 0);
	for (int i = 0; i < 3; i++) {
		e2e_check_alive();
		upgrade();
		ck_assert(!deadline_poll(listener, POLLIN, deadline_in(QUIET_MS)));
	}
	driver_deinit(&vm);
	upgrade();
	driver_init(&vm, NULL);
	ck_assert_int_eq(driver_attach_to(&vm, host_accept(listener)), 0);
	e2e_check_alive();
	host_unlisten(listener, vhd.socket, 0);
}
END_TEST

/* ---- several VMs ---- */

static void write_config_with(const int *cids, const char *more)
{
	char path[128];
	FILE *f;

	snprintf(path, sizeof path, "%s/vms.yaml", vhd.dir);
	f = fopen(path, "we");
	must(f);
	fprintf(f, "vms:\n");
	for (; *cids; cids++) {
		struct sib *s = &sibs[*cids - 3];

		s->cid = (uint64_t)*cids;
		snprintf(s->socket, sizeof s->socket, "%s/vhost%d.sock", vhd.dir, *cids);
		snprintf(s->uds, sizeof s->uds, "%s/vm%d.sock", vhd.dir, *cids);
		fprintf(f, "  - guest_cid: %d\n    socket: %s\n    uds_path: %s\n%s", *cids,
			s->socket, s->uds, more);
	}
	must(fclose(f) == 0);
}

static void write_config(const int *cids)
{
	write_config_with(cids, "");
}

static void spawn_configured(const int *cids)
{
	char path[128];
	const char *const args[] = { "--config", path, "--log-level=info", NULL };

	snprintf(path, sizeof path, "%s/vms.yaml", vhd.dir);
	write_config(cids);
	daemon_spawn(&vhd, args);
	for (; *cids; cids++)
		ck_assert(daemon_wait_listening(&vhd, sibs[*cids - 3].uds));
}

/* Some have no front-end, some a guest, one a candidate. */
START_TEST(some_have_none)
{
	static const int cids[] = { 3, 4, 5, 6, 0 };
	struct vmm silent;
	struct pair p;

	spawn_configured(cids);
	sib_up(&sibs[1], NULL);
	ck_assert(vmm_connect(&silent, sibs[2].socket));
	p = e2e_guest_connects(&sibs[1].d, sibs[1].uds);
	for (int i = 0; i < 3; i++) {
		upgrade();
		e2e_check_talks(p);
	}
	sib_up(&sibs[0], NULL);
	sib_up(&sibs[3], NULL);
	vmm_close(&silent);
	sib_up(&sibs[2], NULL);
	for (int i = 0; i < VMS; i++)
		sibs_check_alive(&sibs[i], &sibs[(i + 1) % VMS]);
	e2e_close(p);
}
END_TEST

/* One could not be opened, and comes to nothing more; another is removed from before it. */
START_TEST(after_a_reload)
{
	static const int all[] = { 3, 4, 5, 6, 0 }, three[] = { 4, 5, 6, 0 }, swapped[] = { 6, 3, 5, 4, 0 };
	char in_the_way[128];
	struct pair p[2];
	FILE *f;

	snprintf(in_the_way, sizeof in_the_way, "%s/vhost3.sock", vhd.dir);
	f = fopen(in_the_way, "we");
	must(f && fclose(f) == 0);
	write_config(all);
	{
		char path[128];
		const char *const args[] = { "--config", path, NULL };

		snprintf(path, sizeof path, "%s/vms.yaml", vhd.dir);
		daemon_spawn(&vhd, args);
	}
	ck_assert(daemon_wait_listening(&vhd, sibs[3].uds));
	sib_up(&sibs[1], NULL);
	sib_up(&sibs[2], NULL);
	for (int i = 0; i < 2; i++)
		p[i] = e2e_guest_connects(&sibs[i + 1].d, sibs[i + 1].uds);
	write_config(three);			/* the one that is not served goes */
	must(kill(vhd.pid, SIGHUP) == 0);
	for (int round = 0; round < 3; round++) {
		upgrade();
		for (int i = 0; i < 2; i++)
			e2e_check_talks(p[i]);
		if (round)
			continue;
		must(unlink(in_the_way) == 0);
		write_config(swapped);
		must(kill(vhd.pid, SIGHUP) == 0);
		ck_assert(daemon_wait_listening(&vhd, sibs[0].uds));
	}
	sib_up(&sibs[0], NULL);
	sibs_check_alive(&sibs[0], &sibs[1]);
}
END_TEST

/* More connections, and more in them, than the VM may have by now. */
START_TEST(limits_lowered)
{
	enum { OPEN = 300, LEN = 50000 };
	static const int cids[] = { 3, 0 };
	static struct pair p[OPEN];
	static uint8_t bytes[LEN];
	int listener;

	spawn_configured(cids);
	sib_up(&sibs[0], NULL);
	listener = host_listen(sibs[0].uds, PORT, OPEN);
	for (uint32_t i = 0; i < OPEN; i++) {
		p[i].guest = sock_connect(&sibs[0].d, PORT);
		p[i].host = host_accept(listener);
		pattern_fill(bytes, LEN, 0, i);
		ck_assert(sock_send(p[i].guest, bytes, LEN));
	}
	write_config_with(cids, "    max_connections: 4\n    max_buffered: 300000\n");
	must(kill(vhd.pid, SIGHUP) == 0);
	ck_assert(daemon_wait_log(&vhd, "changed: "));
	for (int i = 0; i < 3; i++)
		upgrade();
	for (uint32_t i = 0; i < OPEN; i++) {
		ck_assert_uint_eq(host_read(p[i].host, bytes, LEN), LEN);
		ck_assert_uint_eq(pattern_check(bytes, LEN, 0, i), LEN);
		e2e_check_talks(p[i]);
	}
	for (int i = 0; i < OPEN; i++)
		e2e_close(p[i]);
	host_unlisten(listener, sibs[0].uds, PORT);
	sib_check_host(&sibs[0]);
}
END_TEST

/* A reload that is asked for in the middle comes after it. */
START_TEST(reload_in_the_middle)
{
	static const int three[] = { 3, 4, 5, 0 }, four[] = { 3, 4, 5, 6, 0 }, two[] = { 3, 5, 0 };
	struct pair p;
	pid_t engine;

	spawn_configured(three);
	sib_up(&sibs[0], NULL);
	p = e2e_guest_connects(&sibs[0].d, sibs[0].uds);
	for (int i = 0; i < 6; i++) {
		engine = daemon_engine(&vhd);
		write_config(i & 1 ? two : four);
		upgrade_begin(engine);
		must(kill(vhd.pid, SIGHUP) == 0);
		ck_assert(daemon_wait_gone(engine, DEADLINE_MS));
		e2e_check_talks(p);
		if (!(i & 1)) {
			ck_assert(daemon_wait_listening(&vhd, sibs[3].uds));
		} else {
			int64_t deadline = deadline_in(DEADLINE_MS);

			while (access(sibs[3].uds, F_OK) == 0)
				must(deadline_left(deadline));
		}
	}
	e2e_close(p);
	sib_check_host(&sibs[0]);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("upgrade_front_end");
	TCase *tc = e2e_case(s, "front-end", e2e_setup_daemon, 60);

	tcase_add_test(tc, none_yet);
	tcase_add_test(tc, candidates);
	tcase_add_test(tc, comes_meanwhile);
	tcase_add_test(tc, half_a_request);
	tcase_add_test(tc, requests_meanwhile);
	tc = e2e_case_with(s, "guest", NULL, e2e_teardown, 60);
	tcase_add_test(tc, paused);
	tcase_add_test(tc, paused_for_too_long);
	tcase_add_test(tc, reset_and_gone);
	tc = e2e_case(s, "sockets", e2e_setup_bare, 60);
	tcase_add_test(tc, socket_connect);
	tc = e2e_case_with(s, "passed", e2e_setup_bare, e2e_teardown_ended, 60);
	tcase_add_loop_test(tc, passed_connection, 0, 2);
	tc = e2e_case_with(s, "several", e2e_setup_bare, sibs_teardown, 60);
	tcase_add_test(tc, some_have_none);
	tcase_add_test(tc, after_a_reload);
	tcase_add_test(tc, limits_lowered);
	tcase_add_test(tc, reload_in_the_middle);
	return e2e_run(s);
}
