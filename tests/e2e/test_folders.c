/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Where sockets are: paths with ".." and links in them, folders that come late, go and come
 * back, names that somebody removes, sockets behind links. All with the sandbox: what it
 * keeps the engine from seeing, the supervisor sees.
 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include "e2e/e2e.h"
#include "e2e/upgrade.h"
#include "protocol/hybrid.h"
#include "support/scratch.h"

#define COUNT(array) ((int)(sizeof (array) / sizeof *(array)))

#define UNCONFINED "connects are not confined"

enum { REST_MS = 1500 };

struct place {					/* of a VM's sockets */
	char socket[104], uds[104], words[400];
};

/* "%s/..." below the test's folder. */
static const char *in_folder(const char *name)
{
	static char paths[4][240];
	static unsigned n;
	char *path = paths[n++ % 4];

	snprintf(path, sizeof paths[0], "%s/%s", vhd.dir, name);
	return path;
}

static void make_folder(const char *name)
{
	must(mkdir(in_folder(name), 0755) == 0);
}

static void make_link(const char *name, const char *to)
{
	must(symlink(to, in_folder(name)) == 0);
}

static struct place place_in(uint64_t cid, const char *socket_folder, const char *uds_folder)
{
	struct place p;

	snprintf(p.socket, sizeof p.socket, "%s/%s/s", vhd.dir, socket_folder);
	snprintf(p.uds, sizeof p.uds, "%s/%s/u", vhd.dir, uds_folder);
	snprintf(p.words, sizeof p.words, "guest-cid=%u,socket=%s,uds-path=%s", (unsigned)cid,
		 p.socket, p.uds);
	return p;
}

static void spawn(const char *const *more)
{
	const char *args[16] = { "--supervise=on", "--log-level=info" };
	size_t n = 2;

	while (*more && n < 15)
		args[n++] = *more++;
	daemon_spawn(&vhd, args);
}

/* The fixtures' VM, in folders of the test's choice. */
static void start_in(const char *socket_folder, const char *uds_folder)
{
	struct place p = place_in(3, socket_folder, uds_folder);
	const char *const args[] = { "--vm", p.words, NULL };

	memcpy(vhd.socket, p.socket, sizeof vhd.socket);
	memcpy(vhd.uds, p.uds, sizeof vhd.uds);
	spawn(args);
	ck_assert(daemon_wait_listening(&vhd, vhd.uds));
	ck_assert(daemon_wait_listening(&vhd, vhd.socket));
	driver_up(&vm, vhd.socket, NULL);
}

/* By polling: what is waited for may be in any folder. */
static bool wait_for(bool (*is_so)(const char *path), const char *path)
{
	int64_t deadline = deadline_in(DEADLINE_MS);
	bool yes;

	while (!(yes = is_so(path)) && deadline_left(deadline))
		poll(NULL, 0, 5);
	return yes;
}

static bool listens(const char *path)
{
	int fd = host_connect(path);

	if (fd < 0)
		return false;
	close(fd);
	return true;
}

static void check_comes_back(const char *path)
{
	ck_assert_msg(wait_for(listens, path), "nobody listens at %s", path);
	ck_assert_uint_ge(e2e_count_listed(path), 1);
}

static void check_names_go(void)
{
	ck_assert_int_eq(daemon_stop(&vhd, DEADLINE_MS), 0);
	ck_assert_int_ne(access(vhd.socket, F_OK), 0);
	ck_assert_int_ne(access(vhd.uds, F_OK), 0);
}

/* A front-end that comes after another one. */
static void check_next_front_end(void)
{
	driver_deinit(&vm);
	driver_up(&vm, vhd.socket, NULL);
	e2e_check_alive();
}

static void crash(void)
{
	pid_t engine = daemon_engine(&vhd);

	must(kill(engine, SIGKILL) == 0);
	must(daemon_wait_gone(engine, DEADLINE_MS));
	daemon_engine(&vhd);
}

/* ---- paths ---- */

static const char *const spellings[][2] = {
	{ "real", "real" },
	{ "real/../real/.", "real/deep/.." },
	{ "link", "real" },
	{ "link", "link" },
	{ "to_link", "link_up/real" },
	{ "link_deep/..", "link_deep/../deep" },
	{ "outside", "outside/../out" },
};

static void make_spelled_folders(void)
{
	char out[160];

	make_folder("real");
	make_folder("real/deep");
	make_folder("elsewhere");
	make_folder("elsewhere/out");
	make_link("link", "real");
	make_link("to_link", "link");
	make_link("link_up", ".");
	make_link("link_deep", "real/deep");
	snprintf(out, sizeof out, "%s/elsewhere/out", vhd.dir);
	make_link("outside", out);
}

START_TEST(as_they_are_spelled)
{
	make_spelled_folders();
	start_in(spellings[_i][0], spellings[_i][1]);
	ck_assert_uint_eq(e2e_count_listed(vhd.socket), 1);
	ck_assert_uint_eq(e2e_count_listed(vhd.uds), 1);
	e2e_check_alive();
	crash();
	e2e_check_alive();
	check_names_go();
}
END_TEST

static void leave_no_folder(void)
{
	must(chdir(vhd.dir) == 0 && mkdir("gone", 0700) == 0 && chdir("gone") == 0);
	must(rmdir("../gone") == 0);
}

START_TEST(without_a_working_directory)
{
	struct place late;

	make_folder("f");
	vhd.prepare = leave_no_folder;
	start_in("f", "f");
	e2e_check_alive();
	late = place_in(3, "f", "f");
	must(unlink(late.socket) == 0);
	check_comes_back(late.socket);
	check_next_front_end();
	check_names_go();
}
END_TEST

/* ---- sockets behind links, and of others ---- */

/* Below another folder than the sandbox keeps in sight. */
static int listen_elsewhere(void)
{
	make_folder("elsewhere");
	return host_listen(in_folder("elsewhere/x"), PORT, 16);
}

static void check_talks_to(int listener)
{
	struct pair p = { .guest = sock_connect(&vm, PORT) };

	p.host = host_accept(listener);
	e2e_check_talks(p);
	e2e_close(p);
}

START_TEST(host_program_behind_a_link)
{
	int listener;
	char name[128];

	make_folder("f");
	start_in("f", "f");
	listener = listen_elsewhere();
	snprintf(name, sizeof name, "f/u_%d", PORT);
	make_link(name, _i ? in_folder("elsewhere/x_1234") : "../elsewhere/x_1234");
	for (int i = 0; i < 3; i++)
		check_talks_to(listener);
	crash();
	check_talks_to(listener);
	close(listener);
	ck_assert(!sock_wait_open(sock_dial(&vm, PORT)));
}
END_TEST

/* One that listens, where the engine does not see it: in time, and late. */
START_TEST(front_end_behind_a_link)
{
	const char *args[] = { "--socket-connect", NULL, "--uds-path", vhd.uds, NULL };
	char name[160], target[160];
	int listener = -1;

	snprintf(vhd.uds, sizeof vhd.uds, "%s", in_folder("f/u"));
	snprintf(name, sizeof name, "%s", in_folder("f/fe"));
	snprintf(target, sizeof target, "%s", in_folder("elsewhere/x_0"));
	args[1] = name;
	make_folder("f");
	make_folder("elsewhere");
	if (_i & 1)
		listener = host_listen(in_folder("elsewhere/x"), 0, 16);
	make_link("f/fe", target);
	spawn(args);
	ck_assert(daemon_wait_listening(&vhd, vhd.uds));
	if (listener < 0) {
		ck_assert(daemon_wait_log(&vhd, "there is no such socket yet"));
		listener = host_listen(in_folder("elsewhere/x"), 0, 16);
	}
	for (int i = 0; i < 3; i++) {
		driver_init(&vm, NULL);
		ck_assert_int_eq(driver_attach_to(&vm, host_accept(listener)), 0);
		e2e_check_alive();
		if (i < 2)
			driver_deinit(&vm);
	}
	crash();
	e2e_check_alive();
	close(listener);
}
END_TEST

/* What only the user who has started us may connect to. */
START_TEST(host_program_of_the_one_who_started_us)
{
	const char *const args[] = { "--user", "65534", "--group", "65534", NULL };
	int listener;

	if (geteuid() != 0)
		return;
	must(chmod(getenv("TMPDIR"), 0755) == 0 && chmod(vhd.dir, 0755) == 0);
	umask(077);
	e2e_start(args, NULL);
	listener = host_listen(vhd.uds, PORT, 16);
	check_talks_to(listener);
	crash();
	check_talks_to(listener);
	host_unlisten(listener, vhd.uds, PORT);
	check_names_go();
}
END_TEST

/* A VM's folder, in that of another, has become a link out of both: the next engine has a tree of
 * its own nevertheless, and the supervisor connects where that does not lead. */
START_TEST(folder_behind_a_link)
{
	const struct place inner = place_in(4, "f", "f"), outer = place_in(3, ".", ".");
	const char *const args[] = { "--vm", outer.words, "--vm", inner.words, NULL };
	const struct driver_options options = { .cid = 4 };
	int n_warnings, listener;
	char away[128], target[64];

	snprintf(away, sizeof away, "%s/away-%d", scratch_path(), (int)getpid());
	snprintf(target, sizeof target, "../away-%d", (int)getpid());
	make_folder("f");
	spawn(args);
	ck_assert(daemon_wait_listening(&vhd, inner.uds) && daemon_wait_listening(&vhd, outer.uds));
	n_warnings = upgrade_count_logged(UNCONFINED);
	must(rename(in_folder("f"), away) == 0);
	make_link("f", target);
	crash();
	driver_up(&vm, inner.socket, &options);
	listener = host_listen(inner.uds, PORT, 16);
	check_talks_to(listener);
	ck_assert_int_eq(upgrade_count_logged(UNCONFINED), 2 * n_warnings);
	host_unlisten(listener, inner.uds, PORT);
}
END_TEST

/* ---- names that go ---- */

static bool is_gone(const char *path)
{
	return access(path, F_OK) != 0;
}

static void remove_name(const char *path)
{
	must(unlink(path) == 0);
}

static void move_name(const char *path)
{
	must(rename(path, in_folder("moved")) == 0);
}

static void (*const losses[])(const char *path) = { remove_name, move_name };

START_TEST(names_come_back)
{
	struct pair there;

	make_folder("f");
	start_in("f", "f");
	there = e2e_guest_connects(&vm, vhd.uds);
	for (int i = 0; i < 3; i++) {
		losses[_i](vhd.socket);
		check_comes_back(vhd.socket);
		losses[_i](vhd.uds);
		check_comes_back(vhd.uds);
		e2e_check_alive();
	}
	e2e_check_talks(there);
	ck_assert_uint_eq(e2e_count_listed(vhd.socket), 1);
	ck_assert_uint_eq(e2e_count_listed(vhd.uds), 1);
	crash();
	e2e_check_alive();
	check_next_front_end();
	check_names_go();
}
END_TEST

/* Listens at @path, in place of whoever did. */
static int take_name(const char *path)
{
	struct sockaddr_un at = { .sun_family = AF_UNIX };
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	snprintf(at.sun_path, sizeof at.sun_path, "%s/other", vhd.dir);
	must(bind(fd, (struct sockaddr *)&at, sizeof at) == 0 && listen(fd, 16) == 0);
	must(rename(at.sun_path, path) == 0);
	return fd;
}

/* What somebody else has put there meanwhile is theirs. */
START_TEST(names_of_others_stay_theirs)
{
	int other;

	make_folder("f");
	start_in("f", "f");
	other = take_name(vhd.uds);
	ck_assert(daemon_wait_log(&vhd, "somebody listens there already"));
	must(unlink(vhd.socket) == 0);
	check_comes_back(vhd.socket);
	driver_deinit(&vm);
	driver_up(&vm, vhd.socket, NULL);
	ck_assert_int_eq(daemon_stop(&vhd, DEADLINE_MS), 0);
	ck_assert_int_eq(access(vhd.uds, F_OK), 0);
	close(other);
}
END_TEST

/* A program that serves one client, which is the daemon that looks who is there, removes its name
 * and ends: mostly before the daemon watches what it has found. */
static void lend_name(const char *path)
{
	int fd = take_name(path), status;
	pid_t pid = fork();

	must(pid >= 0);
	if (!pid) {
		int client = accept(fd, NULL, NULL);

		unlink(path);
		_exit(client < 0);
	}
	close(fd);
	must(waitpid(pid, &status, 0) == pid && status == 0);
}

START_TEST(names_come_back_from_others)
{
	make_folder("f");
	start_in("f", "f");
	for (int i = 0; i < 5; i++) {
		lend_name(vhd.uds);
		check_comes_back(vhd.uds);
	}
	e2e_check_alive();
}
END_TEST

/* ---- folders that go ---- */

/* With all that is in it, as rm -r does; names may come back in the middle of it. */
static void remove_folder(void)
{
	char seqpacket[sizeof vhd.uds + sizeof HYBRID_SEQPACKET];

	snprintf(seqpacket, sizeof seqpacket, "%s" HYBRID_SEQPACKET, vhd.uds);
	do {
		unlink(vhd.socket);
		unlink(vhd.uds);
		unlink(seqpacket);
	} while (rmdir(in_folder("f")) < 0 && errno == ENOTEMPTY);
	must(is_gone(in_folder("f")));
}

static void move_folder(void)
{
	must(rename(in_folder("f"), in_folder("moved")) == 0);
}

static void remove_folder_and_make_it(void)
{
	remove_folder();
	make_folder("f");
}

static void move_folder_and_make_it(void)
{
	move_folder();
	make_folder("f");
}

/* Somebody notices that it is missing, before it is there again. */
static void move_folder_for_a_while(void)
{
	move_folder();
	ck_assert(daemon_wait_log(&vhd, "No such file or directory"));
	make_folder("f");
}

static void (*const renewals[])(void) = {
	remove_folder_and_make_it, move_folder_and_make_it, move_folder_for_a_while,
};

START_TEST(folder_is_made_anew)
{
	struct pair there;

	make_folder("f");
	start_in("f", "f");
	there = e2e_guest_connects(&vm, vhd.uds);
	renewals[_i]();
	check_comes_back(vhd.socket);
	check_comes_back(vhd.uds);
	e2e_check_talks(there);
	e2e_check_alive();
	check_next_front_end();
	crash();
	e2e_check_alive();
	check_names_go();
}
END_TEST

/* Somewhere above it, or by a link that leads elsewhere now. */
START_TEST(way_to_the_folder_is_another)
{
	make_folder("a");
	make_folder("a/f");
	make_folder("b");
	make_folder("b/f");
	make_link("l", "a");
	start_in(_i ? "a/f" : "l/f", _i ? "a/f" : "l/f");
	if (_i) {
		must(rename(in_folder("a"), in_folder("c")) == 0);
		must(rename(in_folder("b"), in_folder("a")) == 0);
	} else {
		make_link("l2", "b");
		must(rename(in_folder("l2"), in_folder("l")) == 0);
	}
	check_comes_back(vhd.socket);
	check_comes_back(vhd.uds);
	e2e_check_alive();
	check_next_front_end();
	check_names_go();
}
END_TEST

/* ---- folders that come ---- */

static const struct {
	const char *socket, *uds;		/* folders: of those, */
	const char *missing[3];			/* these are made late */
} late_cases[] = {
	{ "late", "late", { "late" } },
	{ "late", "f", { "late" } },
	{ "f", "late", { "late" } },
	{ "late", "later", { "late", "later" } },
	{ "late/deep/deeper", "f", { "late", "late/deep", "late/deep/deeper" } },
};

START_TEST(folder_comes_late)
{
	const struct driver_options fourth = { .cid = 4 };
	struct place early, late;
	const char *const args[] = { "--vm", late.words, "--vm", early.words, NULL };

	make_folder("f");
	make_folder("e");
	early = place_in(3, "e", "e");
	late = place_in(4, late_cases[_i].socket, late_cases[_i].uds);
	spawn(args);
	ck_assert(daemon_wait_listening(&vhd, early.socket));
	ck_assert(daemon_wait_log(&vhd, "main: serving 1 of 2 VMs"));
	driver_up(&vm, early.socket, NULL);
	memcpy(vhd.uds, early.uds, sizeof vhd.uds);
	e2e_check_alive();
	for (int i = 0; i < COUNT(late_cases[0].missing) && late_cases[_i].missing[i]; i++)
		make_folder(late_cases[_i].missing[i]);
	check_comes_back(late.socket);
	check_comes_back(late.uds);
	driver_deinit(&vm);
	driver_up(&vm, late.socket, &fourth);
	memcpy(vhd.uds, late.uds, sizeof vhd.uds);
	memcpy(vhd.socket, late.socket, sizeof vhd.socket);
	e2e_check_alive();
	crash();
	e2e_check_alive();
	check_names_go();
}
END_TEST

static void touch_others(void)
{
	int64_t end = deadline_in(REST_MS);

	while (deadline_left(end)) {
		close(open(in_folder("f/other"), O_CREAT | O_WRONLY | O_CLOEXEC, 0600));
		must(unlink(in_folder("f/other")) == 0);
		poll(NULL, 0, 10);
	}
}

/* All is well, so nobody wakes up, whatever others do in the folder. */
START_TEST(rests_while_all_is_well)
{
	make_folder("f");
	start_in("f", "f");
	must(unlink(vhd.socket) == 0);
	check_comes_back(vhd.socket);
	e2e_check_alive();
	ck_assert(daemon_wait_log(&vhd, "there again"));
	ck_assert(daemon_rests(&vhd, daemon_usage_supervisor, touch_others,
			       REST_MS / 2, E2E_WAKEUPS(REST_MS / 1000 + 1)));
}
END_TEST

int main(void)
{
	Suite *s = suite_create("folders");
	TCase *tc = e2e_case(s, "folders", e2e_setup_bare, 60);

	setenv("TEST_SUPERVISE", "on", 1);	/* it is what all of this is about */
	setenv("TEST_SANDBOX", "", 1);		/* it is what it is by default */
	tcase_add_loop_test(tc, as_they_are_spelled, 0, COUNT(spellings));
	tcase_add_test(tc, without_a_working_directory);
	tcase_add_loop_test(tc, host_program_behind_a_link, 0, 2);
	tcase_add_loop_test(tc, front_end_behind_a_link, 0, 2);
	tcase_add_test(tc, folder_behind_a_link);
	tcase_add_test(tc, host_program_of_the_one_who_started_us);
	tcase_add_loop_test(tc, names_come_back, 0, COUNT(losses));
	tcase_add_test(tc, names_of_others_stay_theirs);
	tcase_add_test(tc, names_come_back_from_others);
	tcase_add_loop_test(tc, folder_is_made_anew, 0, COUNT(renewals));
	tcase_add_loop_test(tc, way_to_the_folder_is_another, 0, 2);
	tcase_add_loop_test(tc, folder_comes_late, 0, COUNT(late_cases));
	tcase_add_test(tc, rests_while_all_is_well);
	return e2e_run(s);
}
