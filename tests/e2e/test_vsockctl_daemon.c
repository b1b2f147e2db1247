/* SPDX-License-Identifier: BSD-3-Clause */
/* vsockctl at the API of a real daemon, and the doctor's causes that only that can tell. */
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "e2e/ctl.h"
#include "e2e/e2e.h"
#include "e2e/upgrade.h"

static struct ctl ctl;
static struct driver *guest;			/* NULL: there is none so far */
static char api_path[108];

#define ARGS(...)	((const char *const []){ __VA_ARGS__, NULL })

/* A daemon with an API, and @more options; no VM so far. */
static void start_with(const char *const *more)
{
	const char *args[16] = { "--api-socket" };
	char option[128];
	unsigned n = 2;

	snprintf(api_path, sizeof api_path, "%s/api", vhd.dir);
	snprintf(option, sizeof option, "path=%s", api_path);
	args[1] = option;
	while (*more && n < 15)
		args[n++] = *more++;
	setenv("VSOCKCTL_API", api_path, 1);
	daemon_start(&vhd, args);
	ck_assert(daemon_wait_listening(&vhd, api_path));
}

static void setup_daemon(void)
{
	e2e_setup_bare();
	start_with(ARGS(NULL));
}

static void setup_vm(void)
{
	setup_daemon();
	driver_up(&vm, vhd.socket, NULL);
	guest = &vm;
}

/* ---- what it shows, and orders ---- */

START_TEST(list_and_show)
{
	struct pair p = e2e_host_connects(&vm, vhd.uds);

	e2e_check_guest_to_host(p, 5000, 1);
	ck_assert_int_eq(ctl_run(&ctl, &vm, ARGS("list")), 0);
	ck_assert_ptr_nonnull(strstr(ctl.said, "\n         3  connected  running         1         0      4.8K"));
	ck_assert_int_eq(ctl_run(&ctl, &vm, ARGS("show", "3")), 0);
	ck_assert_ptr_nonnull(strstr(ctl.said, "VIRTIO_F_VERSION_1"));
	ck_assert_ptr_nonnull(strstr(ctl.said, "\nrx      runs"));
	ck_assert_ptr_nonnull(strstr(ctl.said, "\n      1234  2:"));
	ck_assert_int_eq(ctl_run(&ctl, &vm, ARGS("show", "3", "--json")), 0);
	ck_assert_ptr_nonnull(strstr(ctl.said, "\"connection_list\": [\n"));
	ck_assert_int_eq(ctl_run(&ctl, &vm, ARGS("show", "5")), 3);
	e2e_close(p);
}
END_TEST

START_TEST(orders)
{
	ck_assert_int_eq(ctl_run(&ctl, &vm, ARGS("log-level")), 0);
	ck_assert_str_eq(ctl.said, "warn\n");
	ck_assert_int_eq(ctl_run(&ctl, &vm, ARGS("log-level", "info")), 0);
	ck_assert_int_eq(ctl_run(&ctl, &vm, ARGS("log-level")), 0);
	ck_assert_str_eq(ctl.said, "info\n");
	ck_assert_int_eq(ctl_run(&ctl, &vm, ARGS("metrics")), 0);
	ck_assert_ptr_nonnull(strstr(ctl.said, "# TYPE "));
	ck_assert_int_eq(ctl_run(&ctl, &vm, ARGS("reload")), 3);	/* it has no file */
	ck_assert_ptr_nonnull(strstr(ctl.complained, "--config"));
}
END_TEST

START_TEST(upgrade_by_order)
{
	pid_t before = daemon_engine(&vhd);

	ck_assert_int_eq(ctl_run(&ctl, &vm, ARGS("upgrade")), 0);
	ck_assert_int_ne(daemon_engine(&vhd), before);
	e2e_check_alive();
}
END_TEST

START_TEST(shutdown_ends_it)
{
	ck_assert_int_eq(ctl_run(&ctl, &vm, ARGS("shutdown")), 0);
	ck_assert_int_eq(daemon_wait_exit(&vhd, END_MS), 0);
	ck_assert_int_eq(ctl_run(&ctl, NULL, ARGS("list")), 5);
}
END_TEST

/* ---- what goes on ---- */

/* Over the end of an engine, and another one's take-over, until the daemon ends. */
START_TEST(events_to_the_end)
{
	static struct ctl events;
	pid_t engine = daemon_engine(&vhd);

	ctl_start(&events, ARGS("events"), -1, -1);
	ctl_end_input(&events);
	do					/* until it is there, and hears of one */
		e2e_close(e2e_guest_connects(&vm, vhd.uds));
	while (!ctl_has_said(&events, &vm, "connection-closed"));
	must(kill(engine, SIGKILL) == 0);
	must(daemon_wait_gone(engine, DEADLINE_MS));
	ctl_wait_said(&events, &vm, "\"engine-died\"");
	ctl_wait_said(&events, &vm, "\"engine-started\"");
	e2e_check_alive();
	upgrade_begin(daemon_engine(&vhd));
	ctl_wait_said(&events, &vm, "\"upgraded\"");
	ck_assert_int_eq(daemon_stop(&vhd, END_MS), 0);
	ck_assert_int_eq(ctl_finish(&events, NULL), 0);
	ck_assert_ptr_nonnull(strstr(events.said, "\"daemon-ended\""));
	ck_assert_str_eq(events.said + events.n_said - 3, "}}\n");
	ck_assert_str_eq(events.complained, "");
}
END_TEST

START_TEST(events_until_it_is_interrupted)
{
	static struct ctl events;

	ctl_start(&events, ARGS("events"), -1, -1);
	ctl_end_input(&events);
	do
		e2e_close(e2e_guest_connects(&vm, vhd.uds));
	while (!ctl_has_said(&events, &vm, "connection-closed"));
	kill(events.pid, SIGINT);
	ck_assert_int_eq(ctl_finish(&events, &vm), 0);
	ck_assert_str_eq(events.said + events.n_said - 3, "}}\n");
}
END_TEST

/* ---- the doctor ---- */

/* Soon: whoever has looked whether the daemon listens is a front-end until that sees it leave. */
static void check_finds(const char *who, const char *port, int status, const char *cause)
{
	int64_t deadline = deadline_in(DEADLINE_MS);
	char wanted[128];
	int r;

	snprintf(wanted, sizeof wanted, "\"severity\": \"%s\", \"cause\": \"%s\"",
		 status ? "problem" : "note", cause);
	do
		r = ctl_run(&ctl, guest, ARGS("doctor", "--json", who, port));
	while ((r != status || !strstr(ctl.said, wanted)) && deadline_left(deadline));
	ck_assert_int_eq(r, status);
	ck_assert_msg(strstr(ctl.said, wanted), "%s, in:\n%s", wanted, ctl.said);
}

/* By its CID and by its socket. */
static void check_finds_both(const char *port, int status, const char *cause)
{
	check_finds("3", port, status, cause);
	check_finds(vhd.uds, port, status, cause);
}

START_TEST(no_front_end)
{
	check_finds_both("1234", 6, "no-front-end");
	ck_assert_ptr_null(strstr(ctl.said, "refused"));	/* the cause, and not what follows */
}
END_TEST

START_TEST(front_end_silent)
{
	int fd = host_connect(vhd.socket);

	ck_assert_int_ge(fd, 0);
	check_finds_both(NULL, 6, "front-end-silent");
	close(fd);
}
END_TEST

/* A VMM that has come, of a guest that has no driver. */
START_TEST(no_driver)
{
	struct vmm fe = { .sock = -1, .reply_ms = DEADLINE_MS };
	uint64_t features;

	ck_assert(vmm_connect(&fe, vhd.socket));
	ck_assert_int_eq(vmm_set_owner(&fe), 0);
	ck_assert_int_eq(vmm_get_features(&fe, &features), 0);
	check_finds_both("1234", 6, "no-driver");
	vmm_close(&fe);
}
END_TEST

/* QEMU without share=on: rings, and not one region. */
START_TEST(memory_not_shared)
{
	uint64_t features;

	driver_init(&vm, NULL);
	ck_assert(vmm_connect(&vm.fe, vhd.socket));
	ck_assert_int_eq(vmm_get_features(&vm.fe, &features), 0);
	ck_assert_int_eq(vmm_set_owner(&vm.fe), 0);
	ck_assert_int_eq(vmm_set_features(&vm.fe, features), 0);
	for (uint32_t q = 0; q < 2; q++)
		ck_assert_int_eq(vmm_start_ring(&vm.fe, q, &vm.vq[q]), 0);
	ck_assert(daemon_wait_log(&vhd, "shares no memory"));
	check_finds_both("1234", 6, "memory-not-shared");
}
END_TEST

/* The driver offers a descriptor that is not there. */
START_TEST(ring_broken)
{
	guest_ring_raw_post(&vm.vq[VSOCK_TXQ], (uint16_t)vm.vq[VSOCK_TXQ].num);
	guest_ring_kick(&vm.vq[VSOCK_TXQ]);
	ck_assert(daemon_wait_log(&vhd, "broken"));
	check_finds_both("1234", 6, "ring-broken");
}
END_TEST

START_TEST(guest_stopped)
{
	ck_assert(vmm_stop(&vm.fe, vm.vq, 2));
	check_finds_both("1234", 6, "guest-stopped");
}
END_TEST

START_TEST(nobody_listens)
{
	check_finds_both("1234", 6, "no-listener-guest");
	sock_listen(&vm, PORT);
	check_finds_both("1234", 0, "listener-guest");
	check_finds("4", NULL, 6, "no-vm");
}
END_TEST

/* The guest does not read: its buffer is full, and so is the host's socket. */
START_TEST(stalled)
{
	static uint8_t bytes[1 << 20];
	struct pair p = e2e_host_connects(&vm, vhd.uds);
	int64_t end = deadline_in(6000);

	must(fcntl(p.host, F_SETFL, O_NONBLOCK) == 0);
	while (deadline_left(end)) {
		if (send(p.host, bytes, sizeof bytes, MSG_NOSIGNAL) < 0)
			driver_wait(&vm, deadline_in(20), false);
		driver_turn(&vm);
	}
	check_finds_both(NULL, 6, "stalled");
	ck_assert_ptr_nonnull(strstr(ctl.said, "stream 3:1234 - 2:"));
	ck_assert_ptr_nonnull(strstr(ctl.said, "The program in the guest does not read"));
	close(p.host);
}
END_TEST

/* A path from where the daemon was started, which is not where we are. */
START_TEST(relative_path)
{
	char option[128], here[256];
	const char *args[] = {
		"--guest-cid", "3", "--socket", "v", "--uds-path", "u", "--api-socket", option, NULL,
	};

	snprintf(api_path, sizeof api_path, "%s/api", vhd.dir);
	snprintf(option, sizeof option, "path=%s", api_path);
	setenv("VSOCKCTL_API", api_path, 1);
	must(getcwd(here, sizeof here) && chdir(vhd.dir) == 0);
	daemon_spawn(&vhd, args);
	must(chdir(here) == 0);
	ck_assert(daemon_wait_listening(&vhd, api_path));
	check_finds("3", "1234", 6, "no-front-end");
	ck_assert_ptr_null(strstr(ctl.said, "socket-gone"));
	snprintf(option, sizeof option, "%s/u", vhd.dir);
	check_finds(option, "1234", 6, "no-front-end");
}
END_TEST

/* Somebody has removed the socket's file. */
START_TEST(socket_gone)
{
	must(unlink(vhd.uds) == 0);
	check_finds("3", "1234", 6, "socket-gone");
	ck_assert_int_eq(e2e_count_listed(vhd.uds), 1);
}
END_TEST

/* Another daemon has that uds-path: its file was removed under the first one. */
START_TEST(other_daemon)
{
	struct daemon other;

	must(unlink(vhd.uds) == 0);
	daemon_init(&other);
	snprintf(other.uds, sizeof other.uds, "%s", vhd.uds);
	daemon_start(&other, NULL);
	check_finds("3", "1234", 6, "other-daemon");
	ck_assert_int_eq(daemon_stop(&other, DEADLINE_MS), 0);
	daemon_deinit(&other);
}
END_TEST

/* ---- nothing of this where the daemon was built without ---- */

static bool has_api(void)
{
	char command[256], line[256];
	bool found = false;
	FILE *f;

	snprintf(command, sizeof command, "'%s' --help", getenv("VHOST_DEVICE_VSOCK"));
	f = popen(command, "re");
	must(f);
	while (fgets(line, sizeof line, f))
		found |= strstr(line, "--api-socket") != NULL;
	pclose(f);
	return found;
}

int main(void)
{
	Suite *s = suite_create("vsockctl_daemon");
	TCase *bare = e2e_case(s, "bare", e2e_setup_bare, 60);
	TCase *daemon = e2e_case(s, "daemon", setup_daemon, 60);
	TCase *tc = e2e_case(s, "vm", setup_vm, 60);
	TCase *end = e2e_case_with(s, "end", setup_vm, e2e_teardown_ended, 60);

	if (!has_api()) {
		puts("1..0 # SKIP the daemon was built without its API");
		return 0;
	}
	tcase_add_test(bare, relative_path);
	tcase_add_test(daemon, no_front_end);
	tcase_add_test(daemon, front_end_silent);
	tcase_add_test(daemon, no_driver);
	tcase_add_test(daemon, memory_not_shared);
	tcase_add_test(tc, ring_broken);
	tcase_add_test(tc, list_and_show);
	tcase_add_test(tc, orders);
	tcase_add_test(tc, upgrade_by_order);
	tcase_add_test(tc, events_until_it_is_interrupted);
	tcase_add_test(tc, guest_stopped);
	tcase_add_test(tc, nobody_listens);
	tcase_add_test(tc, stalled);
	tcase_add_test(tc, socket_gone);
	tcase_add_test(tc, other_daemon);
	tcase_add_test(end, shutdown_ends_it);
	tcase_add_test(end, events_to_the_end);
	return e2e_run(s);
}
