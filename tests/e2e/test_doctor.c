/* SPDX-License-Identifier: BSD-3-Clause */
/* vsockctl doctor, each cause made for real. */
#include <fcntl.h>
#include <grp.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "e2e/ctl.h"
#include "e2e/e2e.h"
#include "support/scratch.h"

static struct ctl ctl;

#define ARGS(...)	((const char *const []){ __VA_ARGS__, NULL })

/* It finds @cause, which is a problem or (@status 0) is not, and names @text. */
static void check_finds(struct driver *guest, const char *uds, const char *port, int status,
			const char *cause, const char *text)
{
	char wanted[128];

	snprintf(wanted, sizeof wanted, "\"severity\": \"%s\", \"cause\": \"%s\"",
		 status ? "problem" : "note", cause);
	ck_assert_int_eq(ctl_run(&ctl, guest, ARGS("doctor", "--json", uds, port)), status);
	ck_assert_msg(strstr(ctl.said, wanted), "%s, in:\n%s", wanted, ctl.said);
	ck_assert_msg(strstr(ctl.said, text), "%s, in:\n%s", text, ctl.said);
	ck_assert_ptr_nonnull(strstr(ctl.said, status ? "\"ok\": false" : "\"ok\": true"));
	ck_assert_str_eq(ctl.complained, "");
	ck_assert_int_eq(ctl_run(&ctl, guest, ARGS("doctor", uds, port)), status);
	ck_assert_ptr_nonnull(strstr(ctl.said, status ? "Problem: " : "Nothing is wrong."));
}

static char path[108];

static const char *in_folder(const char *name)
{
	snprintf(path, sizeof path, "%s/%s", vhd.dir, name);
	return path;
}

START_TEST(no_daemon)
{
	check_finds(NULL, vhd.uds, "1234", 6, "no-daemon", "There is no socket");
}
END_TEST

START_TEST(no_folder)
{
	check_finds(NULL, in_folder("none/x"), "1234", 6, "no-daemon", "There is no folder");
}
END_TEST

START_TEST(stale_socket)
{
	daemon_start(&vhd, NULL);
	daemon_kill(&vhd);
	check_finds(NULL, vhd.uds, "1234", 6, "stale-socket", "Nobody listens at");
}
END_TEST

START_TEST(no_socket)
{
	close(open(in_folder("file"), O_CREAT | O_WRONLY, 0600));
	check_finds(NULL, path, "1234", 6, "not-a-socket", "file of another kind");
}
END_TEST

static int listen_at(const char *name, int type)
{
	struct sockaddr_un addr = { .sun_family = AF_UNIX };
	int fd = socket(AF_UNIX, type | SOCK_CLOEXEC, 0);

	snprintf(addr.sun_path, sizeof addr.sun_path, "%s", in_folder(name));
	must(bind(fd, (struct sockaddr *)&addr, sizeof addr) == 0);
	must(listen(fd, 0) == 0);
	return fd;
}

START_TEST(socket_of_another_type)
{
	int fd = listen_at("messages", SOCK_SEQPACKET);

	check_finds(NULL, path, "1234", 6, "other-socket-type", "another type");
	close(fd);
}
END_TEST

/* Its listener is stopped: the backlog is full. */
START_TEST(not_accepting)
{
	int fd = listen_at("full", SOCK_STREAM), client = host_connect(path);

	ck_assert_int_ge(client, 0);
	ck_assert_int_eq(ctl_run(&ctl, NULL, ARGS("doctor", "--json", path, "1")), 6);
	ck_assert_ptr_nonnull(strstr(ctl.said, "\"cause\": \"not-accepting\""));
	ck_assert_ptr_null(strstr(ctl.said, "pid 0"));
	close(client);
	close(fd);
}
END_TEST

START_TEST(another_program)
{
	int fd = listen_at("other", SOCK_STREAM), client;
	char me[32];

	snprintf(me, sizeof me, "pid %d", (int)getpid());
	ctl_start(&ctl, ARGS("doctor", "--json", path, "1234"), -1, -1);
	client = host_accept(fd);
	ck_assert(host_write(client, "220 \x1b[2Jftp\r\n", 13));
	ck_assert_int_eq(ctl_finish(&ctl, NULL), 6);
	ck_assert_ptr_nonnull(strstr(ctl.said, "\"cause\": \"other-daemon\""));
	ck_assert_ptr_nonnull(strstr(ctl.said, me));
	ck_assert_ptr_null(strchr(ctl.said, '\x1b'));
	close(client);
	close(fd);
}
END_TEST

/* The folders of this test are everybody's. */
static void open_folders(void)
{
	must(chmod(scratch_path(), 0755) == 0);
	must(chmod(vhd.dir, 0777) == 0);
}

static void become_nobody(void)
{
	if (setgroups(0, NULL) < 0 || setresgid(65534, 65534, 65534) < 0 ||
	    setresuid(65534, 65534, 65534) < 0)
		_exit(125);
}

/* As another user, if we are root. */
static void run_denied(const char *at)
{
	if (geteuid() == 0) {
		open_folders();
		ctl_prepare = become_nobody;
	}
	ck_assert_int_eq(ctl_run(&ctl, NULL, ARGS("doctor", "--json", at)), 6);
	ck_assert_ptr_nonnull(strstr(ctl.said, "\"cause\": \"permission\""));
}

START_TEST(folder_that_may_not_be_searched)
{
	must(mkdir(in_folder("closed"), 0600) == 0);
	in_folder("closed/x");
	run_denied(path);
	ck_assert_ptr_nonnull(strstr(ctl.said, "has mode 0600"));
	ck_assert_ptr_nonnull(strstr(ctl.said, "/closed belongs to user "));
	must(rmdir(in_folder("closed")) == 0);
}
END_TEST

START_TEST(socket_that_may_not_be_connected_to)
{
	int fd = listen_at("mine", SOCK_STREAM);

	must(chmod(path, 0400) == 0);
	run_denied(path);
	ck_assert_ptr_nonnull(strstr(ctl.said, "has mode 0400"));
	close(fd);
}
END_TEST

START_TEST(no_vm)
{
	daemon_start(&vhd, NULL);
	check_finds(NULL, vhd.uds, "1234", 6, "refused", "no VM is connected");
}
END_TEST

START_TEST(nobody_listens)
{
	check_finds(&vm, vhd.uds, "1234", 6, "refused", "nobody listens there");
}
END_TEST

START_TEST(guest_listens)
{
	sock_listen(&vm, PORT);
	check_finds(&vm, vhd.uds, "1234", 0, "listener-guest", "In the guest somebody listens");
	check_finds(&vm, vhd.uds, "1234", 0, "no-listener-host", "On the host nobody listens");
	check_finds(&vm, vhd.uds, NULL, 0, "no-api", "");
}
END_TEST

/* It is not connected to: who waits for one connection does not get ours. */
START_TEST(host_listens)
{
	int listener = host_listen(vhd.uds, PORT, 1);

	check_finds(&vm, vhd.uds, "1234", 0, "listener-host", "On the host somebody listens");
	ck_assert(!deadline_poll(listener, POLLIN, deadline_in(QUIET_MS)));
	host_unlisten(listener, vhd.uds, PORT);
}
END_TEST

/* The same for one that was bound by another spelling of its path, or from its own folder. */
static const char *const spellings[] = { "/./", "//" };

START_TEST(host_listens_by_another_name)
{
	struct sockaddr_un addr = { .sun_family = AF_UNIX };
	char here[256], name[32];
	int listener = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	must(getcwd(here, sizeof here) && chdir(vhd.dir) == 0);
	snprintf(name, sizeof name, "%s_1234", strrchr(vhd.uds, '/') + 1);
	if (_i == 2)
		snprintf(addr.sun_path, sizeof addr.sun_path, "%s", name);
	else
		snprintf(addr.sun_path, sizeof addr.sun_path, "%s%s%s", vhd.dir, spellings[_i], name);
	must(bind(listener, (struct sockaddr *)&addr, sizeof addr) == 0);
	must(listen(listener, 1) == 0 && chdir(here) == 0);
	check_finds(&vm, vhd.uds, "1234", 0, "listener-host", "On the host somebody ");
	ck_assert(!deadline_poll(listener, POLLIN, deadline_in(QUIET_MS)));
	host_unlisten(listener, vhd.uds, PORT);
}
END_TEST

/* What is there instead of a listener is said once, and nothing against it. */
START_TEST(host_has_something_else)
{
	char name[128];

	snprintf(name, sizeof name, "%s_1234", vhd.uds);
	if (_i)
		must(symlink("nowhere", name) == 0);
	else
		close(open(name, O_CREAT | O_WRONLY, 0600));
	check_finds(&vm, vhd.uds, "1234", 6, "not-a-socket",
		    _i ? "a link to a file that is not there" : "a file of another kind");
	ck_assert_ptr_null(strstr(ctl.said, "nor "));
	must(unlink(name) == 0);
}
END_TEST

START_TEST(host_listener_is_gone)
{
	close(host_listen(vhd.uds, PORT, 1));
	check_finds(&vm, vhd.uds, "1234", 6, "stale-listener", "Nobody listens at");
}
END_TEST

/* Our own right is not what counts: the daemon connects. */
START_TEST(host_listener_closed_to_the_daemon)
{
	char name[128];
	int listener;

	if (geteuid() != 0)
		return;
	open_folders();
	close(open(vhd.log, O_CREAT | O_WRONLY, 0600));
	must(chmod(vhd.log, 0666) == 0);
	vhd.prepare = become_nobody;
	daemon_start(&vhd, NULL);
	driver_up(&vm, vhd.socket, NULL);
	listener = host_listen(vhd.uds, PORT, 1);
	snprintf(name, sizeof name, "%s_1234", vhd.uds);
	must(chmod(name, 0640) == 0);
	check_finds(&vm, vhd.uds, "1234", 6, "listener-permission", "the daemon (user nobody)");
	ck_assert_ptr_nonnull(strstr(ctl.said, "belongs to user root"));
	ck_assert_ptr_null(strstr(ctl.said, "Become"));
	ck_assert_ptr_null(strstr(ctl.said, "nor "));
	ck_assert(!deadline_poll(listener, POLLIN, now_ms()));
	host_unlisten(listener, vhd.uds, PORT);
}
END_TEST

START_TEST(guest_says_nothing)
{
	driver_keep_packets(&vm);
	check_finds(&vm, vhd.uds, "1234", 6, "guest-silent", "does not answer");
	vm.input = sock_input;
}
END_TEST

int main(void)
{
	Suite *s = suite_create("doctor");
	TCase *bare = e2e_case(s, "bare", e2e_setup_bare, 60);
	TCase *tc = e2e_case(s, "vm", e2e_setup_vm, 60);

	tcase_add_test(bare, no_daemon);
	tcase_add_test(bare, no_folder);
	tcase_add_test(bare, stale_socket);
	tcase_add_test(bare, no_socket);
	tcase_add_test(bare, socket_of_another_type);
	tcase_add_test(bare, not_accepting);
	tcase_add_test(bare, another_program);
	tcase_add_test(bare, folder_that_may_not_be_searched);
	tcase_add_test(bare, socket_that_may_not_be_connected_to);
	tcase_add_test(bare, no_vm);
	tcase_add_test(bare, host_listener_closed_to_the_daemon);
	tcase_add_test(tc, nobody_listens);
	tcase_add_test(tc, guest_listens);
	tcase_add_test(tc, host_listens);
	tcase_add_loop_test(tc, host_listens_by_another_name, 0, 3);
	tcase_add_loop_test(tc, host_has_something_else, 0, 2);
	tcase_add_test(tc, host_listener_is_gone);
	tcase_add_test(tc, guest_says_nothing);
	return e2e_run(s);
}
