/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The file is read again: what has changed is changed, also under a running guest, and a VM
 * beside it under full load loses nothing.
 */
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "e2e/e2e.h"
#include "e2e/flow.h"
#include "e2e/reloads.h"
#include "e2e/upgrade.h"
#include "support/host_messages.h"

#define COUNT(array) ((int)(sizeof (array) / sizeof *(array)))

enum { LOAD_PIECE = 512 * 1024 };		/* each way, between two looks */

static struct driver other;			/* of VM 4; vm is that of VM 3 */

static const char *const at_info[] = { "--log-level=info", NULL };

static void bring_up(struct driver *d, const char *name, uint64_t cid)
{
	const struct driver_options opt = { .cid = cid };

	ck_assert(daemon_wait_listening(&vhd, reloads_path(name)));
	driver_up(d, reloads_path(name), &opt);
	reloads_wait_guest(cid);
}

/* Two VMs, each with a guest. */
static void start_both(void)
{
	reloads_spawn(BOTH, at_info);
	bring_up(&vm, "vhost.sock", 3);
	bring_up(&other, "4.vhost", 4);
}

static void teardown(void)
{
	driver_deinit(&other);
	e2e_teardown();
}

static void check_host_reaches(struct driver *d, const char *uds)
{
	e2e_close(e2e_host_connects(d, uds));
}

static void check_guest_reaches(struct driver *d, const char *uds)
{
	e2e_close(e2e_guest_connects(d, uds));
}

/* ---- a VM under load ---- */

/* A connection of each kind, whose other end gives all back. */
static struct load {
	struct pair pairs[2];
	struct host_job jobs[2];
	struct flow flows[2];
} load;

static void load_start(void)
{
	load.pairs[0] = e2e_guest_connects(&vm, vhd.uds);
	load.pairs[1] = e2e_host_connects(&vm, vhd.uds);
	for (uint32_t i = 0; i < 2; i++) {
		load.jobs[i] = (struct host_job){
			.fd = load.pairs[i].host, .to_read = UINT64_MAX, .read_seed = i,
			.echo = true,
		};
		load.flows[i] = (struct flow){
			.sock = load.pairs[i].guest, .send_seed = i, .recv_seed = i,
		};
		host_job_start(&load.jobs[i]);
	}
}

/* Every byte is checked where it comes back. */
static void load_go_on(void)
{
	for (int i = 0; i < 2; i++) {
		load.flows[i].to_send += LOAD_PIECE;
		load.flows[i].to_recv += LOAD_PIECE;
	}
	flow_run(&vm, load.flows, 2);
}

static void load_until_logged(const char *text)
{
	int64_t deadline = deadline_in(DEADLINE_MS);

	do {
		load_go_on();
		ck_assert_msg(deadline_left(deadline), "%s: %s", text, daemon_log(&vhd));
	} while (!daemon_has_logged(&vhd, text));
	load_go_on();
}

static void load_stop(void)
{
	load_go_on();
	for (int i = 0; i < 2; i++) {
		shutdown(load.pairs[i].host, SHUT_RDWR);
		host_job_finish(&load.jobs[i]);
		ck_assert_str_eq(load.jobs[i].error, "closed early");
		close(load.pairs[i].host);
	}
	ck_assert_uint_eq(vm.n_strangers, 0);
}

static void reload_under_load(const char *text, const char *logged)
{
	load_start();
	reloads_ask(text);
	load_until_logged(logged);
	load_stop();
}

/* ---- one VM changes under its guest ---- */

static void uds_has_moved(void)
{
	ck_assert(reloads_wait_gone(reloads_path("4.sock")));
	check_host_reaches(&other, reloads_path("moved"));
	check_guest_reaches(&other, reloads_path("moved"));
}

static void uds_has_mode(void)
{
	struct stat st;

	ck_assert_int_eq(stat(reloads_path("4.sock"), &st), 0);
	ck_assert_int_eq(st.st_mode & 07777, 0622);
	check_host_reaches(&other, reloads_path("4.sock"));
}

static struct sock *dial_until(uint64_t cid, bool (*is_so)(struct sock *s))
{
	int64_t deadline = deadline_in(DEADLINE_MS);

	for (;;) {				/* the engine hears of it a little later */
		struct sock *s = sock_dial_to(&other, cid, PORT);

		sock_wait_open(s);
		if (is_so(s))
			return s;
		ck_assert(deadline_left(deadline));
		sock_free(s);
	}
}

static bool is_open(struct sock *s)
{
	return s->state == SOCK_OPEN;
}

static void host_has_cid(void)
{
	int listener = host_listen(reloads_path("4.sock"), PORT, 16);

	dial_until(77, is_open);
	host_unlisten(listener, reloads_path("4.sock"), PORT);
}

static bool has_little_credit(struct sock *s)
{
	return is_open(s) && s->peer_buf_alloc <= 4096;
}

static void credit_is_less(void)
{
	int listener = host_listen(reloads_path("4.sock"), PORT, 64);

	dial_until(VSOCK_CID_HOST, has_little_credit);
	host_unlisten(listener, reloads_path("4.sock"), PORT);
}

static bool is_refused(struct sock *s)
{
	return s->state == SOCK_RESET;
}

static void one_more_is_refused(void)
{
	int listener = host_listen(reloads_path("4.sock"), PORT, 64);

	dial_until(VSOCK_CID_HOST, is_refused);
	host_unlisten(listener, reloads_path("4.sock"), PORT);
}

/* Nobody listens in the sibling: as long as it is one, it is asked. */
static void sibling_is_a_stranger(void)
{
	int64_t deadline = deadline_in(DEADLINE_MS);
	uint64_t asked;

	do {
		ck_assert(deadline_left(deadline));
		asked = vm.n_strangers;
		sock_dial_to(&other, 3, 9);
		driver_flush(&other);
		while (!driver_is_quiet(&vm, 20))
			;
	} while (vm.n_strangers != asked);
	vm.n_strangers = 0;
}

static void nothing_to_see(void)
{
	check_host_reaches(&other, reloads_path("4.sock"));
}

static const struct {
	const char *row;			/* of VM 4 */
	const char *keys;			/* as they are logged */
	void (*check)(void);
} changes[] = {
	{ VM4("socket: $/4.vhost, uds-path: $/moved"), "uds-path", uds_has_moved },
	{ VM4(VM4_PATHS ", uds-mode: 622"), "uds-mode", uds_has_mode },
	{ VM4(VM4_PATHS ", host-cid: 77"), "host-cid", host_has_cid },
	{ VM4(VM4_PATHS ", groups: apart"), "groups", sibling_is_a_stranger },
	{ VM4(VM4_PATHS ", tx-buffer-size: 4096"), "tx-buffer-size", credit_is_less },
	{ VM4(VM4_PATHS ", max-connections: 1"), "max-connections", one_more_is_refused },
	{ VM4(VM4_PATHS ", max-buffered: 100000"), "max-buffered", nothing_to_see },
	{ VM4(VM4_PATHS ", queue-size: 256"), "queue-size", nothing_to_see },
	{ VM4("socket: $/4.vhost, uds-path: $/moved, groups: apart, max-buffered: 1000000"),
	  "uds-path, max-buffered, groups", uds_has_moved },
};

/* Its own connections go on, too. */
START_TEST(changed_under_its_guest)
{
	char text[512], logged[128];
	struct pair kept;
	pid_t engine;

	start_both();
	engine = daemon_engine(&vhd);
	kept = e2e_guest_connects(&other, reloads_path("4.sock"));
	snprintf(text, sizeof text, "vms:\n" VM3 "%s", changes[_i].row);
	snprintf(logged, sizeof logged, "main: vm 4: changed: %s\n", changes[_i].keys);
	reload_under_load(text, logged);
	changes[_i].check();
	e2e_check_talks(kept);
	reloads_do(BOTH, logged);			/* and back */
	e2e_check_talks(kept);
	e2e_check_alive();
	ck_assert(!daemon_has_logged(&vhd, "vm 3"));
	ck_assert_int_eq(daemon_engine(&vhd), engine);
}
END_TEST

/* ---- what waits for the front-end ---- */

static void socket_has_moved(void)
{
	ck_assert_msg(reloads_wait_gone(reloads_path("4.vhost")), "%s", daemon_log(&vhd));
	bring_up(&other, "4.new", 4);
}

static void socket_has_mode(void)
{
	int64_t deadline = deadline_in(DEADLINE_MS);
	struct stat st;

	while (stat(reloads_path("4.vhost"), &st) < 0 || (st.st_mode & 07777) != 0622) {
		ck_assert(deadline_left(deadline));
		poll(NULL, 0, 1);
	}
	bring_up(&other, "4.vhost", 4);
}

static const struct {
	const char *row, *keys, *uds;
	void (*check)(void);
} late_changes[] = {
	{ VM4("socket: $/4.new, uds-path: $/4.sock"), "socket", "4.sock", socket_has_moved },
	{ VM4(VM4_PATHS ", socket-mode: 622, uds-mode: 600"), "socket-mode", "4.sock", socket_has_mode },
	{ VM4("socket: $/4.new, uds-path: $/moved"), "socket, uds-path", "moved", socket_has_moved },
};

static void postpone(int i)
{
	char text[512], logged[128];

	snprintf(text, sizeof text, "vms:\n" VM3 "%s", late_changes[i].row);
	snprintf(logged, sizeof logged, "main: vm 4: %s: changed once its front-end has left\n",
		 late_changes[i].keys);
	reload_under_load(text, logged);
	check_host_reaches(&other, reloads_path("4.sock"));
}

START_TEST(changed_once_its_front_end_has_left)
{
	struct pair kept;

	start_both();
	kept = e2e_guest_connects(&other, reloads_path("4.sock"));
	postpone(_i);
	e2e_check_talks(kept);
	driver_deinit(&other);
	late_changes[_i].check();
	check_guest_reaches(&other, reloads_path(late_changes[_i].uds));
	check_host_reaches(&other, reloads_path(late_changes[_i].uds));
	e2e_check_alive();
}
END_TEST

/* It is forgotten where the file says otherwise before the front-end leaves. */
START_TEST(changed_back_before_its_front_end_has_left)
{
	start_both();
	postpone(0);
	reloads_do(_i ? "vms:\n" VM3 VM4(VM4_PATHS ", max-buffered: 1000000") : BOTH,
	       _i ? "vm 4: changed: max-buffered" : "was read again");
	driver_deinit(&other);
	bring_up(&other, "4.vhost", 4);
	check_host_reaches(&other, reloads_path("4.sock"));
	ck_assert_int_ne(access(reloads_path("4.new"), F_OK), 0);
}
END_TEST

/* Puts another program in the place of the present one, which asks it then. False: it was asked, and has
 * taken over, before anybody could see that. */
static bool is_being_asked(void)
{
	upgrade_install_another();
	must(truncate(vhd.log, 0) == 0);
	must(kill(vhd.pid, SIGUSR2) == 0);
	while (!daemon_has_child(&vhd))
		if (daemon_has_logged(&vhd, "another engine has taken over"))
			return false;
	return true;
}

/* While another program is asked whether it can take over: that one reads the file. */
START_TEST(asked_for_in_an_upgrade)
{
	int n = 0;

	upgrade_install();
	reloads_spawn("vms:\n" VM3, at_info);
	bring_up(&vm, "vhost.sock", 3);
	for (int i = 0; i < 20 && n < 3; i++) {
		reloads_write(n % 2 ? "vms:\n" VM3 : BOTH);
		if (!is_being_asked())
			continue;
		must(kill(vhd.pid, SIGHUP) == 0);
		ck_assert_msg(daemon_wait_log(&vhd, "another engine has taken over"), "%s",
			      daemon_log(&vhd));
		ck_assert_msg(daemon_wait_log(&vhd, n % 2 ? "vm 4: removed" : "vm 4: added"), "%s",
			      daemon_log(&vhd));
		n++;
	}
	printf("# asked_for_in_an_upgrade: %d times\n", n);
	e2e_check_alive();
}
END_TEST

/* Its front-end leaves when there is nobody to see it. */
START_TEST(changed_while_the_engine_is_replaced)
{
	pid_t engine;

	start_both();
	postpone(0);
	engine = daemon_engine(&vhd);
	must(kill(engine, SIGSTOP) == 0);
	driver_deinit(&other);
	must(kill(engine, SIGKILL) == 0);
	socket_has_moved();
	check_host_reaches(&other, reloads_path("4.sock"));
	e2e_check_alive();
}
END_TEST

/* What it has mapped is more than it may from now on: it stays, in each engine to come. */
START_TEST(limits_are_below_what_is_mapped)
{
	pid_t engine;

	start_both();
	reloads_do("vms:\n" VM3 VM4(VM4_PATHS ", max-memory: 4096"), "vm 4: changed: max-memory\n");
	upgrade();
	check_host_reaches(&other, reloads_path("4.sock"));
	engine = daemon_engine(&vhd);
	must(kill(engine, SIGKILL) == 0);
	ck_assert(daemon_wait_gone(engine, DEADLINE_MS));
	check_host_reaches(&other, reloads_path("4.sock"));
	ck_assert(!daemon_has_logged(&vhd, "lost"));
	e2e_check_alive();
}
END_TEST

/* Nobody has to leave where nobody is. */
START_TEST(changed_without_a_front_end)
{
	char text[512];

	reloads_spawn(BOTH, at_info);
	bring_up(&vm, "vhost.sock", 3);
	snprintf(text, sizeof text, "vms:\n" VM3 "%s", late_changes[_i].row);
	reloads_ask(text);
	late_changes[_i].check();
	check_host_reaches(&other, reloads_path(late_changes[_i].uds));
	ck_assert(!daemon_has_logged(&vhd, "front-end has left"));
}
END_TEST

/* ---- VMs come and go ---- */

START_TEST(added)
{
	reloads_spawn("vms:\n" VM3, at_info);
	bring_up(&vm, "vhost.sock", 3);
	reload_under_load(BOTH, "main: vm 4: added\n");
	bring_up(&other, "4.vhost", 4);
	check_host_reaches(&other, reloads_path("4.sock"));
	check_guest_reaches(&other, reloads_path("4.sock"));
	e2e_check_alive();
}
END_TEST

/* The name that a new VM is to have is that of a socket which another was given besides its
 * own: it goes. When the VM has gone, it comes back. */
START_TEST(added_where_a_socket_for_messages_is)
{
	int64_t deadline = deadline_in(3 * DEADLINE_MS);
	int fd;

	reloads_spawn("vms:\n" VM3, at_info);
	bring_up(&vm, "vhost.sock", 3);
	reload_under_load("vms:\n" VM3 VM4("socket: $/4.vhost, uds-path: $/vm.sock_seqpacket"),
			  "main: vm 4: added\n");
	bring_up(&other, "4.vhost", 4);
	check_host_reaches(&other, reloads_path("vm.sock_seqpacket"));
	driver_deinit(&other);
	reloads_do("vms:\n" VM3, "main: vm 4: removed\n");
	sock_listen_as(&vm, VSOCK_TYPE_SEQPACKET, PORT);
	while ((fd = host_messages_connect(vhd.uds)) < 0) {
		ck_assert(deadline_left(deadline));
		usleep(1000);
	}
	ck_assert(host_send_message(fd, "CONNECT 1234\n", 13));
	sock_accept(&vm, PORT);
	ck_assert_uint_eq(host_messages_read_ok(fd), PORT);
	close(fd);
	e2e_check_alive();
}
END_TEST

static bool has_vsock(void)
{
	int fd = socket(AF_VSOCK, SOCK_STREAM | SOCK_CLOEXEC, 0);

	if (fd < 0)
		printf("# added_with_a_new_need: no AF_VSOCK: %s\n", strerror(errno));
	else
		close(fd);
	return fd >= 0;
}

/* The sandbox of the engine that serves has no AF_VSOCK in it. */
START_TEST(added_with_a_new_need)
{
	char text[256];

	if (!has_vsock())
		return;
	snprintf(text, sizeof text, "vms:\n" VM3
		 VM4("socket: $/4.vhost, forward-cid: 1, forward-listen: %d"), 100000 + getpid());
	reloads_spawn("vms:\n" VM3, at_info);
	bring_up(&vm, "vhost.sock", 3);
	reload_under_load(text, "main: another engine has taken over");
	bring_up(&other, "4.vhost", 4);
	ck_assert_msg(!daemon_has_logged(&vhd, " error "), "%s", daemon_log(&vhd));
	reload_under_load("vms:\n" VM3, "main: vm 4: removed\n");
	e2e_check_alive();
}
END_TEST

static void check_is_gone(void)
{
	ck_assert(vmm_is_closed(&other.fe, DEADLINE_MS));
	ck_assert(reloads_wait_gone(reloads_path("4.vhost")) && reloads_wait_gone(reloads_path("4.sock")));
}

START_TEST(removed)
{
	struct pair open;

	start_both();
	open = e2e_guest_connects(&other, reloads_path("4.sock"));
	reload_under_load("vms:\n" VM3, "main: vm 4: removed\n");
	check_is_gone();
	ck_assert(host_is_closed(open.host, DEADLINE_MS));
	driver_deinit(&other);
	reload_under_load(BOTH, "main: vm 4: added\n");
	bring_up(&other, "4.vhost", 4);
	check_host_reaches(&other, reloads_path("4.sock"));
}
END_TEST

/* _i: how the engine ends, and whether it could hear of it before. */
START_TEST(removed_while_the_engine_is_replaced)
{
	pid_t engine;

	start_both();
	engine = daemon_engine(&vhd);
	if (_i)
		must(kill(engine, SIGSTOP) == 0);
	else
		must(kill(engine, SIGKILL) == 0);
	reloads_do("vms:\n" VM3, "main: vm 4: removed\n");
	if (_i)
		must(kill(engine, SIGKILL) == 0);
	check_is_gone();
	driver_deinit(&other);
	e2e_check_alive();
	reloads_do(BOTH, "main: vm 4: added\n");
	bring_up(&other, "4.vhost", 4);
	check_host_reaches(&other, reloads_path("4.sock"));
}
END_TEST

/* Gone and back before its old self has left the engine: that is not taken for it. */
START_TEST(removed_and_added_at_once)
{
	static const char again[] = "main: vm 4: added\n";

	start_both();
	for (int i = 0; i < 20; i++) {
		reloads_do("vms:\n" VM3, "main: vm 4: removed\n");
		reloads_do(BOTH, again);
		ck_assert(vmm_is_closed(&other.fe, DEADLINE_MS));
		driver_deinit(&other);
		bring_up(&other, "4.vhost", 4);
		check_host_reaches(&other, reloads_path("4.sock"));
		if (i % 5 == 4)			/* the supervisor has what the new one needs */
			must(kill(daemon_engine(&vhd), SIGKILL) == 0);
		check_host_reaches(&other, reloads_path("4.sock"));
	}
	e2e_check_alive();
}
END_TEST

static const char *const swaps[] = {
	"vms:\n"
	  "  - { guest-cid: 3, socket: $/vhost.sock, uds-path: $/4.sock }\n"
	  "  - { guest-cid: 4, socket: $/4.vhost, uds-path: $/vm.sock }\n",
	"vms:\n"
	  "  - { guest-cid: 3, socket: $/4.vhost, uds-path: $/vm.sock }\n"
	  "  - { guest-cid: 4, socket: $/vhost.sock, uds-path: $/4.sock }\n",
	"vms:\n"
	  "  - { guest-cid: 3, socket: $/vm.sock, uds-path: $/vhost.sock }\n"
	  "  - { guest-cid: 4, socket: $/4.sock, uds-path: $/4.vhost }\n",
};

START_TEST(paths_are_swapped)
{
	struct driver *third = &vm, *fourth = &other;

	reloads_spawn(BOTH, at_info);
	if (_i == 0) {				/* under their guests */
		bring_up(&vm, "vhost.sock", 3);
		bring_up(&other, "4.vhost", 4);
	} else {
		ck_assert(daemon_wait_listening(&vhd, reloads_path("4.sock")));
	}
	reloads_do(swaps[_i], _i ? "main: vm 4: added\n" : "main: vm 4: changed: uds-path\n");
	if (_i == 1) {
		bring_up(&vm, "4.vhost", 3);
		bring_up(&other, "vhost.sock", 4);
	} else if (_i == 2) {
		bring_up(&vm, "vm.sock", 3);
		bring_up(&other, "4.sock", 4);
	}
	check_host_reaches(third, reloads_path(_i == 0 ? "4.sock" : _i == 1 ? "vm.sock" : "vhost.sock"));
	check_host_reaches(fourth, reloads_path(_i == 0 ? "vm.sock" : _i == 1 ? "4.sock" : "4.vhost"));
	check_guest_reaches(third, reloads_path(_i == 0 ? "4.sock" : _i == 1 ? "vm.sock" : "vhost.sock"));
	ck_assert(!daemon_has_logged(&vhd, "error"));
}
END_TEST

int main(void)
{
	Suite *s = suite_create("reload");
	TCase *tc = e2e_case_with(s, "changes", e2e_setup_bare, teardown, 120);

	tcase_add_loop_test(tc, changed_under_its_guest, 0, COUNT(changes));
	tcase_add_loop_test(tc, changed_once_its_front_end_has_left, 0, COUNT(late_changes));
	tcase_add_loop_test(tc, changed_back_before_its_front_end_has_left, 0, 2);
	tcase_add_test(tc, changed_while_the_engine_is_replaced);
	tcase_add_test(tc, limits_are_below_what_is_mapped);
	tcase_add_loop_test(tc, changed_without_a_front_end, 0, COUNT(late_changes));
	tc = e2e_case_with(s, "sets", e2e_setup_bare, teardown, 120);
	tcase_add_test(tc, asked_for_in_an_upgrade);
	tcase_add_test(tc, added);
	tcase_add_test(tc, added_where_a_socket_for_messages_is);
	tcase_add_test(tc, added_with_a_new_need);
	tcase_add_test(tc, removed);
	tcase_add_loop_test(tc, removed_while_the_engine_is_replaced, 0, 2);
	tcase_add_test(tc, removed_and_added_at_once);
	tcase_add_loop_test(tc, paths_are_swapped, 0, COUNT(swaps));
	return e2e_run(s);
}
