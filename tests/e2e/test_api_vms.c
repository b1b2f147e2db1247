/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * VMs that come and go by the control API: what that means for those that are there, and where
 * their sockets may be, whatever becomes of the folders.
 */
#include <signal.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "e2e/apis.h"
#include "e2e/reloads.h"
#include "e2e/upgrade.h"
#include "support/scratch.h"

enum { FEW_FILES = 1500, SEVERAL = 8, ORDERS_AT_ONCE = 100 };

static void put(int cid, int status)
{
	char url[32], name[16];

	snprintf(url, sizeof url, "/v1/vms/%d", cid);
	snprintf(name, sizeof name, "%d", cid);
	apis_do("PUT", "/v1/vms/{cid}", url, apis_row(name), status);
}

static void take_away(int cid)
{
	char url[32];

	snprintf(url, sizeof url, "/v1/vms/%d", cid);
	apis_do("DELETE", "/v1/vms/{cid}", url, NULL, 200);
}

/* ---- shares ---- */

static void limit_files(void)
{
	const struct rlimit limit = { FEW_FILES, FEW_FILES };

	must(setrlimit(RLIMIT_NOFILE, &limit) == 0);
}

static void setup_few_files(void)
{
	apis_prepare = limit_files;
	apis_setup();
}

/* How many connections VM 3 may have: workers hear of it in their time. */
static unsigned limit_now(void)
{
	return (unsigned)apis_metric("vhost_vsock_connections_limit{vm=\"3\"}");
}

static void wait_for_limit(unsigned least, unsigned most)
{
	int64_t deadline = deadline_in(DEADLINE_MS);
	unsigned n;

	do
		n = limit_now();
	while ((n < least || n > most) && deadline_left(deadline));
	ck_assert_msg(n >= least && n <= most, "%u is not from %u to %u", n, least, most);
}

START_TEST(descriptors_follow_who_comes_and_goes)
{
	unsigned n_two = limit_now(), n_all;

	ck_assert_uint_lt(n_two, 800);		/* half of what there is */
	for (int cid = 10; cid < 10 + SEVERAL; cid++)
		put(cid, 201);
	wait_for_limit(1, n_two / 4);
	n_all = limit_now();
	for (int cid = 10; cid < 10 + SEVERAL; cid++)
		take_away(cid);
	wait_for_limit(n_two, n_two);
	put(9, 201);
	reloads_do("vms:\n" VM3, "was read again");	/* in which 4 is not, and 9 neither */
	wait_for_limit(n_two, n_two);
	reloads_do("vms:\n" VM3 "  - { guest-cid: 5, socket: $/5.vhost, uds-path: $/5.sock }\n"
		   "  - { guest-cid: 6, socket: $/6.vhost, uds-path: $/6.sock }\n", "vm 6: added");
	wait_for_limit(n_all, n_two - 1);
	e2e_check_alive();
}
END_TEST

/* VMs that come and go, and come again: shares that become larger wait for a pass, in which the
 * others hear of it once, and those that are back where they were hear of nothing. */
START_TEST(shares_that_come_and_go)
{
	enum { PASS_MS = 1000, LINES = 4, ROUNDS = 3 };	/* in each pass, at most */
	unsigned n_two = limit_now();
	int64_t began = now_ms(), passes;
	int lines;

	for (int i = 0; i < ROUNDS; i++) {
		for (int cid = 10; cid < 10 + SEVERAL; cid++)
			put(cid, 201);
		for (int cid = 10; cid < 10 + SEVERAL; cid++)
			take_away(cid);
	}
	wait_for_limit(n_two, n_two);
	passes = (now_ms() - began) / PASS_MS + 1;
	lines = upgrade_count_logged("changed: max-connections");
	ck_assert_msg(lines <= passes * LINES, "%d in %lld passes", lines, (long long)passes);
}
END_TEST

static void setup_installed(void)
{
	e2e_setup_bare();
	upgrade_install();
	apis_setup();
}

/* So many that the address space is shared: what they have of it is nothing that was said. */
START_TEST(another_program_knows_what_was_said)
{
	const struct driver_options options = { .cid = 30 };
	char socket[160], uds[160];
	static struct driver other;
	struct pair p;

	for (int cid = 10; cid < 10 + SEVERAL; cid++)
		put(cid, 201);
	upgrade_install_another();
	apis_do("POST", "/v1/upgrade", "/v1/upgrade", NULL, 200);
	put(30, 201);
	ck_assert_int_eq(upgrade_count_logged("address space"), 0);
	snprintf(socket, sizeof socket, "%s/30.vhost", apis_folder);
	snprintf(uds, sizeof uds, "%s/30.sock", apis_folder);
	driver_up(&other, socket, &options);
	p = e2e_guest_connects(&other, uds);
	e2e_check_talks(p);
	e2e_close(p);
	driver_deinit(&other);
}
END_TEST

/* ---- who is not served ---- */

START_TEST(who_is_not_served_is_let_alone)
{
	reloads_do("vms:\n" VM3 VM4(VM4_PATHS)
		   "  - { guest-cid: 5, socket: $/none/5.vhost, uds-path: $/5.sock }\n"
		   "  - { guest-cid: 6, socket: $/vms.yaml, uds-path: $/6.sock }\n", "vm 6 is left out");
	ck_assert_int_eq(upgrade_count_logged("vm 5 is left out"), 1);
	put(9, 201);
	take_away(9);
	ck_assert_int_eq(upgrade_count_logged("vm 5 is left out"), 1);
	ck_assert_int_eq(upgrade_count_logged("vm 6 is left out"), 1);
}
END_TEST

/* ---- two clients at once ---- */

static int answer_of(int fd)
{
	struct http_answer a = http_read(fd);
	int status = a.status;

	http_answer_deinit(&a);
	close(fd);
	return status;
}

/* One VM leaves, and another comes under its CID: that has to wait for the first to be gone, or is
 * there; nobody hears of a failure that there is not. */
START_TEST(two_clients_at_once)
{
	for (int i = 0; i < ORDERS_AT_ONCE / 5; i++) {
		int leaving, coming, status;

		put(9, 201);
		leaving = host_connect(apis_socket);
		coming = host_connect(apis_socket);
		http_send(leaving, "DELETE", "/v1/vms/9", NULL);
		http_send(coming, "PUT", "/v1/vms/9", apis_row("9"));
		ck_assert_int_eq(answer_of(leaving), 200);
		status = answer_of(coming);
		ck_assert_msg(status == 201 || status == 409, "%d\n%s", status, daemon_log(&vhd));
		if (status == 201)
			take_away(9);
	}
}
END_TEST

/* ---- the service manager ---- */

static char notify[64];
static int manager;

static void name_manager(void)
{
	setenv("NOTIFY_SOCKET", notify, 1);
}

static void setup_manager(void)
{
	struct sockaddr_un addr = { .sun_family = AF_UNIX };
	socklen_t len;

	snprintf(notify, sizeof notify, "@api-vms-%d", (int)getpid());
	len = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + strlen(notify));
	memcpy(addr.sun_path, notify, strlen(notify));
	addr.sun_path[0] = '\0';
	manager = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	must(bind(manager, (struct sockaddr *)&addr, len) == 0);
	apis_prepare = name_manager;
	apis_setup();
}

static void wait_to_hear(const char *status)
{
	int64_t deadline = deadline_in(DEADLINE_MS);
	char text[512];
	ssize_t n;

	do {
		ck_assert_msg(deadline_poll(manager, POLLIN, deadline), "%s", status);
		n = recv(manager, text, sizeof text - 1, 0);
		must(n >= 0);
		text[n] = '\0';
	} while (!strstr(text, status));
}

START_TEST(the_manager_hears_how_many_there_are)
{
	wait_to_hear("STATUS=2 VMs, 1 ");
	put(9, 201);
	wait_to_hear("STATUS=3 VMs, 1 ");
	take_away(9);
	wait_to_hear("STATUS=2 VMs, 1 ");
	close(manager);
}
END_TEST

/* ---- where names are ---- */

static char moved[128], below[160];

static const char *row_below(void)
{
	static char row[512];

	snprintf(row, sizeof row, "{\"socket\": \"%s/9.vhost\", \"uds-path\": \"%s/9.sock\"}", below,
		 below);
	return row;
}

static void check_names(const char *folder, bool are_there)
{
	static const char *const names[] = { "9.vhost", "9.sock", "9.sock_seqpacket" };
	char path[200];

	for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
		snprintf(path, sizeof path, "%s/%s", folder, names[i]);
		ck_assert_msg((access(path, F_OK) == 0) == are_there, "%s", path);
	}
}

/* The folder has moved, and a link leads there: out of what --api-folder names. Nothing is made,
 * or removed, by that way. _i: another program has taken over meanwhile. */
START_TEST(names_stay_in_their_folders)
{
	snprintf(moved, sizeof moved, "%s/moved", vhd.dir);
	snprintf(below, sizeof below, "%s/below", apis_folder);
	must(mkdir(below, 0700) == 0);
	apis_do("PUT", "/v1/vms/{cid}", "/v1/vms/9", row_below(), 201);
	check_names(below, true);
	must(rename(below, moved) == 0 && symlink(moved, below) == 0);
	ck_assert_msg(daemon_wait_log(&vhd, "leads out of the folders"), "%s", daemon_log(&vhd));
	if (_i) {
		pid_t engine = daemon_engine(&vhd);

		upgrade_install_another();
		apis_do("POST", "/v1/upgrade", "/v1/upgrade", NULL, 200);
		must(daemon_wait_gone(engine, DEADLINE_MS));	/* it still listens at those names */
	}
	apis_do("DELETE", "/v1/vms/{cid}", "/v1/vms/9", NULL, 200);
	check_names(moved, true);
	apis_do("PUT", "/v1/vms/{cid}", "/v1/vms/9", row_below(), 403);
	must(unlink(below) == 0 && rename(moved, below) == 0);
	apis_do("PUT", "/v1/vms/{cid}", "/v1/vms/9", row_below(), 201);
	apis_do("DELETE", "/v1/vms/{cid}", "/v1/vms/9", NULL, 200);
	check_names(below, false);
}
END_TEST

/* A folder that is made anew is one of those that were named, and sockets get their names back. */
START_TEST(names_come_back)
{
	char path[200];
	int64_t deadline = deadline_in(DEADLINE_MS);

	snprintf(moved, sizeof moved, "%s/moved", vhd.dir);
	put(9, 201);
	must(rename(apis_folder, moved) == 0 && symlink(moved, apis_folder) == 0);
	ck_assert_msg(daemon_wait_log(&vhd, "leads out of the folders"), "%s", daemon_log(&vhd));
	must(unlink(apis_folder) == 0 && mkdir(apis_folder, 0700) == 0);
	snprintf(path, sizeof path, "%s/9.sock", apis_folder);
	while (e2e_count_listed(path) != 1 || access(path, F_OK) != 0)
		ck_assert_msg(deadline_left(deadline), "%s", daemon_log(&vhd));
	take_away(9);
	ck_assert_int_ne(access(path, F_OK), 0);
}
END_TEST

/* ---- where connects lead ---- */

static char outside[128];			/* a folder of the API's with no other sockets */

static void setup_outside(void)
{
	const char *const extra[] = { "--api-folder", outside, NULL };

	snprintf(outside, sizeof outside, "%s/outside-%d", scratch_path(), (int)getpid());
	must(mkdir(outside, 0700) == 0);
	apis_setup_with(extra);
}

static void setup_unconfined(void)
{
	apis_setup_with((const char *const[]){ "--sandbox=off", NULL });
}

/* Returns when another engine serves. */
static void crash(void)
{
	pid_t engine = daemon_engine(&vhd);

	must(kill(engine, SIGKILL) == 0);
	must(daemon_wait_gone(engine, DEADLINE_MS));
	apis_get("/v1/vms");
}

/* Where the engine has a file tree of its own, and may be looked at. */
static void check_out_of_sight(const char *path)
{
	char through[256];
	struct stat st;

	snprintf(through, sizeof through, "/proc/%d/root%s", (int)daemon_engine(&vhd), apis_folder);
	if (upgrade_count_logged("connects are not confined") || lstat(through, &st) < 0)
		return;
	snprintf(through, sizeof through, "/proc/%d/root%s", (int)daemon_engine(&vhd), path);
	ck_assert_int_lt(lstat(through, &st), 0);
}

static struct driver other;

/* The guest of VM 9, and a pair of its own in each direction. */
static void check_nine(const char *folder)
{
	const struct driver_options options = { .cid = 9 };
	char socket[160], uds[160];
	struct pair p;

	snprintf(socket, sizeof socket, "%s/9.vhost", folder);
	snprintf(uds, sizeof uds, "%s/9.sock", folder);
	driver_up(&other, socket, &options);
	p = e2e_guest_connects(&other, uds);
	e2e_check_talks(p);
	e2e_close(p);
	p = e2e_host_connects(&other, uds);
	e2e_check_talks(p);
	e2e_close(p);
	driver_deinit(&other);
}

/* The folders of the API are the supervisor's business, with this engine and the next. */
START_TEST(the_engine_sees_no_folder_of_the_api)
{
	snprintf(below, sizeof below, "%s", outside);
	apis_do("PUT", "/v1/vms/{cid}", "/v1/vms/9", row_below(), 201);
	check_out_of_sight(outside);
	check_nine(outside);
	crash();
	check_out_of_sight(outside);
	check_nine(outside);
	upgrade();
	check_out_of_sight(outside);
	check_nine(outside);
}
END_TEST

/* A folder has become a link to where an engine's own tree does not lead: the next one has such a
 * tree nevertheless. */
START_TEST(a_link_in_the_way_of_the_next_engine)
{
	int n_warnings = upgrade_count_logged("connects are not confined");
	char target[64];

	snprintf(moved, sizeof moved, "%s/moved-%d", scratch_path(), (int)getpid());
	snprintf(target, sizeof target, "../../moved-%d", (int)getpid());
	snprintf(below, sizeof below, "%s/below", apis_folder);
	must(mkdir(below, 0700) == 0);
	apis_do("PUT", "/v1/vms/{cid}", "/v1/vms/9", row_below(), 201);
	must(rename(below, moved) == 0 && symlink(target, below) == 0);
	crash();
	ck_assert_int_eq(upgrade_count_logged("connects are not confined"), 2 * n_warnings);
	e2e_check_alive();
	must(unlink(below) == 0 && rename(moved, below) == 0);
	check_nine(below);
}
END_TEST

/* VM 9, whose guest finds at @name, its port of the host, a link to that of VM 3. */
static void nine_with_link(char *name, size_t size)
{
	const struct driver_options options = { .cid = 9 };
	char socket[160], target[160];

	put(9, 201);
	snprintf(socket, sizeof socket, "%s/9.vhost", apis_folder);
	snprintf(name, size, "%s/9.sock_%d", apis_folder, PORT);
	snprintf(target, sizeof target, "%s_%d", vhd.uds, PORT);
	must(symlink(target, name) == 0);
	driver_up(&other, socket, &options);
}

/* To a host program of another VM, whose folder the engine has in its tree. */
START_TEST(no_link_leads_to_another_vm)
{
	int listener = host_listen(vhd.uds, PORT, 4);
	char name[160];

	nine_with_link(name, sizeof name);
	ck_assert(!sock_wait_open(sock_dial(&other, PORT)));
	must(unlink(name) == 0);
	driver_deinit(&other);
	host_unlisten(listener, vhd.uds, PORT);
	check_nine(apis_folder);
}
END_TEST

/* Once the file names the VM, its paths are as good as any there. */
START_TEST(a_link_of_the_file_leads_anywhere)
{
	int listener = host_listen(vhd.uds, PORT, 4);
	char name[160];
	struct pair p;

	nine_with_link(name, sizeof name);
	reloads_do(BOTH "  - { guest-cid: 9, socket: $/folder/9.vhost, uds-path: $/folder/9.sock,"
		   " groups: [default, other], queue-size: 256 }\n", "was read again");
	p.guest = sock_connect(&other, PORT);
	p.host = host_accept(listener);
	e2e_check_talks(p);
	e2e_close(p);
	driver_deinit(&other);
	must(unlink(name) == 0);
	host_unlisten(listener, vhd.uds, PORT);
	check_nine(apis_folder);
	e2e_check_alive();
}
END_TEST

/* Nor to what listens for another VMM; then the VM's own is there. */
START_TEST(no_link_leads_to_another_front_end)
{
	char elsewhere[144], name[160], target[160], row[512];
	int listener, own;

	snprintf(elsewhere, sizeof elsewhere, "%s/fe", vhd.dir);
	snprintf(target, sizeof target, "%s_0", elsewhere);
	snprintf(name, sizeof name, "%s/9.fe_0", apis_folder);
	must(symlink(target, name) == 0);
	listener = host_listen(elsewhere, 0, 4);
	snprintf(row, sizeof row, "{\"socket-connect\": \"%s\", \"uds-path\": \"%s/9.sock\"}",
		 name, apis_folder);
	apis_do("PUT", "/v1/vms/{cid}", "/v1/vms/9", row, 201);
	ck_assert_msg(daemon_wait_log(&vhd, "9.fe_0: Permission denied; tried again"), "%s",
		      daemon_log(&vhd));
	ck_assert(!deadline_poll(listener, POLLIN, deadline_in(0)));
	must(unlink(name) == 0);
	snprintf(name, sizeof name, "%s/9.fe", apis_folder);
	own = host_listen(name, 0, 4);
	driver_init(&other, &(struct driver_options){ .cid = 9 });
	ck_assert_int_eq(driver_attach_to(&other, host_accept(own)), 0);
	driver_deinit(&other);
	close(own);
	host_unlisten(listener, elsewhere, 0);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("api_vms");
	TCase *tc = e2e_case(s, "few_files", setup_few_files, 60);

	setenv("TEST_SUPERVISE", "on", 1);
	tcase_add_test(tc, descriptors_follow_who_comes_and_goes);
	tcase_add_test(tc, shares_that_come_and_go);
	tc = e2e_case(s, "vms", apis_setup, 60);
	tcase_add_test(tc, who_is_not_served_is_let_alone);
	tcase_add_test(tc, names_come_back);
	tcase_add_test(tc, two_clients_at_once);
	tc = e2e_case(s, "manager", setup_manager, 60);
	tcase_add_test(tc, the_manager_hears_how_many_there_are);
	tc = e2e_case(s, "installed", setup_installed, 60);
	tcase_add_test(tc, another_program_knows_what_was_said);
	tcase_add_loop_test(tc, names_stay_in_their_folders, 0, 2);
	tc = e2e_case(s, "outside", setup_outside, 60);
	tcase_add_test(tc, the_engine_sees_no_folder_of_the_api);
	tc = e2e_case(s, "connects", apis_setup, 60);
	tcase_add_test(tc, a_link_in_the_way_of_the_next_engine);
	tcase_add_test(tc, no_link_leads_to_another_vm);
	tcase_add_test(tc, no_link_leads_to_another_front_end);
	tcase_add_test(tc, a_link_of_the_file_leads_anywhere);
	tc = e2e_case(s, "unconfined", setup_unconfined, 60);
	tcase_add_test(tc, no_link_leads_to_another_vm);
	return e2e_run(s);
}
