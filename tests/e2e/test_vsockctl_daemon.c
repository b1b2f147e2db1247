/* SPDX-License-Identifier: BSD-3-Clause */
/* vsockctl at the API of a real daemon, and the doctor's causes that only that can tell. */
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "e2e/ctl.h"
#include "e2e/e2e.h"
#include "e2e/upgrade.h"
#include "support/captured.h"

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
	siginfo_t ended = { .si_pid = 0 };

	ck_assert_int_eq(ctl_run(&ctl, &vm, ARGS("shutdown")), 0);
	must(waitid(P_PID, (id_t)vhd.pid, &ended, WEXITED | WNOHANG | WNOWAIT) == 0);
	ck_assert_int_eq(ended.si_pid, vhd.pid);
	ck_assert_int_eq(access(api_path, F_OK), -1);
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

/* Starts a capture, and has it see something. */
static struct pair start_capture(struct ctl *c, const char *file, const char *const *args)
{
	struct pair p = e2e_guest_connects(&vm, vhd.uds);
	int64_t deadline = deadline_in(DEADLINE_MS);
	struct stat st;

	ctl_start(c, args, -1, -1);
	ctl_end_input(c);
	do {
		e2e_check_talks(p);
		ctl_has_said(c, &vm, "");
	} while ((stat(file, &st) != 0 || st.st_size <= 24) && deadline_left(deadline));
	ck_assert_msg(st.st_size > 24, "%s", c->complained);
	e2e_check_talks(p);			/* it may have come in the middle of the last one */
	e2e_check_talks(p);
	return p;
}

static const char *in_dir(const char *name)
{
	static char path[4][160];
	static unsigned i;

	i = (i + 1) % 4;
	snprintf(path[i], sizeof path[i], "%s/%s", vhd.dir, name);
	return path[i];
}

static void check_pcap(const char *file, size_t at_least)
{
	struct captured_file f;

	captured_read(&f, file);
	ck_assert_uint_ge(f.n, at_least);
	ck_assert(captured_is_sound(file, f.n));
	captured_free(&f);
}

START_TEST(capture_until_it_is_interrupted)
{
	static struct ctl c;
	const char *file = in_dir("a.pcap");
	struct pair p = start_capture(&c, file, ARGS("capture", "3", file, "--port=1234+77"));

	e2e_close(p);
	kill(c.pid, _i ? SIGTERM : SIGINT);
	ck_assert_int_eq(ctl_finish(&c, &vm), 0);
	ck_assert_msg(strstr(c.complained, " packets, 0 lost\n"), "%s", c.complained);
	check_pcap(file, 6);
	e2e_check_alive();
}
END_TEST

/* Its reader has left: another signal. */
static void check_ends_without_reader(struct ctl *c, struct pair p)
{
	int64_t deadline = deadline_in(DEADLINE_MS);
	int status;

	do
		e2e_check_talks(p);
	while (waitpid(c->pid, &status, WNOHANG) == 0 && deadline_left(deadline));
	ck_assert(WIFSIGNALED(status) && WTERMSIG(status) == SIGPIPE);
	close(c->err);
	e2e_close(p);
}

/* To whoever reads it as it comes. */
START_TEST(capture_to_a_reader)
{
	static struct ctl c;
	struct pair p = e2e_guest_connects(&vm, vhd.uds);
	int64_t deadline = deadline_in(DEADLINE_MS);

	ctl_start(&c, ARGS("capture", "3", "-", "-s", "76"), -1, -1);
	ctl_end_input(&c);
	while (c.n_said <= 24 && deadline_left(deadline)) {
		e2e_check_talks(p);
		ctl_has_said(&c, &vm, "");
	}
	ck_assert_uint_gt(c.n_said, 24);
	close(c.out);
	c.out = -1;
	check_ends_without_reader(&c, p);
}
END_TEST

START_TEST(capture_goes_on_with_the_next_engine)
{
	static struct ctl c;
	const char *file = in_dir("a.pcap");
	struct pair p = start_capture(&c, file, ARGS("capture", "3", file));
	struct captured_file f;
	size_t n = 0, so_far;

	for (int i = 0; i < 2; i++) {
		pid_t engine = daemon_engine(&vhd);
		int64_t deadline = deadline_in(DEADLINE_MS);

		if (i == 0)
			upgrade_begin(engine);
		else
			must(kill(engine, SIGKILL) == 0);
		must(daemon_wait_gone(engine, DEADLINE_MS));
		while (i && !sock_wait_reset(p.guest, DEADLINE_MS))
			;
		captured_read(&f, file);
		n = f.n;
		captured_free(&f);
		do {
			e2e_check_alive();
			ctl_has_said(&c, &vm, "");
			captured_read_so_far(&f, file);
			so_far = f.n;
			captured_free(&f);
			ck_assert_msg(deadline_left(deadline), "%d: %zu, %zu: %s", i, n, so_far,
				      c.complained);
		} while (so_far <= n);
		ck_assert_ptr_nonnull(strstr(c.complained, "some packets are missing"));
	}
	sock_free(p.guest);
	close(p.host);
	kill(c.pid, SIGINT);
	ck_assert_int_eq(ctl_finish(&c, &vm), 0);
	check_pcap(file, n + 1);
}
END_TEST

START_TEST(capture_in_a_circle)
{
	static struct ctl c;
	const char *file = in_dir("a.pcap"), *next = in_dir("a.pcap.1");
	struct pair p = start_capture(&c, file, ARGS("capture", "3", file, "--size=5000", "--files=2"));

	for (int i = 0; i < 20; i++)
		e2e_check_guest_to_host(p, 2000, 1);
	e2e_close(p);
	kill(c.pid, SIGINT);
	ck_assert_int_eq(ctl_finish(&c, &vm), 0);
	check_pcap(file, 1);
	check_pcap(next, 1);
	ck_assert_int_ne(access(in_dir("a.pcap.2"), F_OK), 0);
	for (int i = 0; i < 2; i++) {
		struct stat st;

		ck_assert(stat(i ? next : file, &st) == 0 && st.st_size <= 5000);
	}
	/* One that is full is its end. */
	p = start_capture(&c, in_dir("b.pcap"), ARGS("capture", "3", in_dir("b.pcap"), "--size=5000",
						     "--files=1"));
	for (int i = 0; i < 20; i++)
		e2e_check_guest_to_host(p, 2000, 1);
	ck_assert_int_eq(ctl_finish(&c, &vm), 0);
	ck_assert_ptr_nonnull(strstr(c.complained, " lost: the file is as large as it may be"));
	check_pcap(in_dir("b.pcap"), 1);
	e2e_close(p);
	ck_assert_int_eq(ctl_run(&c, &vm, ARGS("capture", "3", "-", "--size=5000")), 2);
	ck_assert_int_eq(ctl_run(&c, &vm, ARGS("capture", "3", "/dev/null", "--size=5000")), 1);
	ck_assert_int_eq(ctl_run(&c, &vm, ARGS("capture", "5", in_dir("c.pcap"))), 3);
	ck_assert_int_ne(access(in_dir("c.pcap"), F_OK), 0);
}
END_TEST

/* By another command, or by the daemon itself; also one of those that are still to come. */
START_TEST(capture_of_a_file_that_is_taken)
{
	static struct ctl c;
	const char *file = in_dir("a.pcap"), *next = in_dir("a.pcap.1"), *before = in_dir("a");
	struct pair p = start_capture(&c, next, ARGS("capture", "3", next));
	int fd = open(before, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);

	ck_assert_int_eq(ctl_run(&ctl, &vm, ARGS("capture", "3", next)), 3);
	ck_assert_ptr_nonnull(strstr(ctl.complained, "another capture writes to it"));
	must(fd >= 0 && write(fd, "kept", 4) == 4 && rename(before, file) == 0);
	ck_assert_int_eq(ctl_run(&ctl, &vm, ARGS("capture", "3", file, "--size=5000")), 3);
	ck_assert_ptr_nonnull(strstr(ctl.complained, "a.pcap.1: another capture"));
	ck_assert_int_eq(lseek(fd, 0, SEEK_END), 4);
	close(fd);
	e2e_close(p);
	kill(c.pid, SIGINT);
	ck_assert_int_eq(ctl_finish(&c, &vm), 0);
	check_pcap(next, 2);
}
END_TEST

START_TEST(capture_to_a_pipe_that_nobody_reads)
{
	static struct ctl c;
	const char *name = in_dir("pipe");
	struct pair p = e2e_guest_connects(&vm, vhd.uds);
	int64_t deadline = deadline_in(DEADLINE_MS);
	char header[24];
	int fd;

	must(mkfifo(name, 0600) == 0);
	ctl_start(&c, ARGS("capture", "3", name), -1, -1);
	ctl_end_input(&c);
	ctl_wait_said(&c, &vm, "waits until somebody reads it");
	fd = open(name, O_RDONLY | O_NONBLOCK | O_CLOEXEC);
	must(fd >= 0);
	while (read(fd, header, sizeof header) != sizeof header) {
		ck_assert(deadline_left(deadline));
		e2e_check_talks(p);
		ctl_has_said(&c, &vm, "");
	}
	close(fd);
	close(c.out);
	check_ends_without_reader(&c, p);
}
END_TEST

/* Nothing has come that it has not taken: with a full pipe, it waits for that. */
static void wait_asleep(pid_t pid)
{
	int64_t deadline = deadline_in(DEADLINE_MS);

	while (!daemon_is_all_asleep(pid)) {
		ck_assert(deadline_left(deadline));
		poll(NULL, 0, 1);
	}
}

/* _i: how often it is interrupted. Its pipe is full, and stays it. */
START_TEST(ends_without_being_read)
{
	static const char *const commands[][4] = { { "capture", "3", "-", NULL }, { "events", NULL } };
	static struct ctl c;
	struct pair p = e2e_guest_connects(&vm, vhd.uds);
	int64_t deadline = deadline_in(DEADLINE_MS);
	int ends[2], n = 0;

	must(pipe2(ends, O_CLOEXEC) == 0 && fcntl(ends[0], F_SETPIPE_SZ, 4096) > 0);
	ctl_start(&c, commands[_i / 2], -1, ends[1]);
	close(ends[1]);
	ctl_end_input(&c);
	for (int more = 0; more < 3; more += n > 0) {	/* the next line or packet has no room */
		ck_assert(deadline_left(deadline));
		for (int i = 0; i < 4; i++)
			e2e_close(e2e_guest_connects(&vm, vhd.uds));
		e2e_check_talks(p);
		wait_asleep(c.pid);
		ck_assert(ioctl(ends[0], FIONREAD, &n) == 0);
	}
	kill(c.pid, SIGINT);
	if (_i % 2)
		kill(c.pid, SIGTERM);
	ck_assert_int_eq(ctl_finish(&c, &vm), 1);
	ck_assert_msg(strstr(c.complained, "nobody reads it"), "%s", c.complained);
	close(ends[0]);
	e2e_close(p);
}
END_TEST

START_TEST(capture_to_the_end)
{
	static struct ctl c;
	const char *file = in_dir("a.pcap");
	struct pair p = start_capture(&c, file, ARGS("capture", "3", file));

	e2e_close(p);
	must(kill(vhd.pid, SIGTERM) == 0);
	ck_assert_int_eq(daemon_wait_exit(&vhd, END_MS), 0);
	ck_assert_int_eq(ctl_finish(&c, NULL), 0);
	ck_assert_ptr_nonnull(strstr(c.complained, " packets\n"));
	check_pcap(file, 2);
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

/* Somebody has removed the socket's file, which the daemon soon makes anew. */
START_TEST(socket_gone)
{
	const char *const names[] = { "3", vhd.uds, strrchr(vhd.uds, '/') + 1 };
	int64_t deadline = deadline_in(DEADLINE_MS);
	char here[256];

	must(getcwd(here, sizeof here) && chdir(vhd.dir) == 0);
	do {
		unlink(vhd.uds);
		ctl_run(&ctl, guest, ARGS("doctor", "--json", names[_i]));
	} while (!strstr(ctl.said, "socket-gone") && deadline_left(deadline));
	ck_assert_int_eq(ctl.status, 6);
	ck_assert_ptr_nonnull(strstr(ctl.said, "\"severity\": \"problem\", \"cause\": \"socket-gone\""));
	must(chdir(here) == 0);
	ck_assert_int_eq(e2e_count_listed(vhd.uds), 1);
}
END_TEST

/* Other sockets of the daemon. */
START_TEST(path_of_something_else)
{
	char name[128];

	check_finds(api_path, NULL, 6, "not-uds-path");
	ck_assert_ptr_nonnull(strstr(ctl.said, "the API's socket"));
	check_finds(vhd.socket, NULL, 6, "not-uds-path");
	ck_assert_ptr_nonnull(strstr(ctl.said, "a VM's vhost-user --socket"));
	snprintf(name, sizeof name, "%s_1234", vhd.uds);
	close(host_listen(vhd.uds, PORT, 1));
	check_finds(name, NULL, 6, "stale-socket");
	must(unlink(name) == 0);
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
	tcase_add_test(daemon, path_of_something_else);
	tcase_add_test(daemon, front_end_silent);
	tcase_add_test(daemon, no_driver);
	tcase_add_test(daemon, memory_not_shared);
	tcase_add_test(tc, ring_broken);
	tcase_add_test(tc, list_and_show);
	tcase_add_test(tc, orders);
	tcase_add_test(tc, upgrade_by_order);
	tcase_add_test(tc, events_until_it_is_interrupted);
	tcase_add_loop_test(tc, capture_until_it_is_interrupted, 0, 2);
	tcase_add_test(tc, capture_to_a_reader);
	tcase_add_test(tc, capture_goes_on_with_the_next_engine);
	tcase_add_test(tc, capture_in_a_circle);
	tcase_add_test(tc, capture_of_a_file_that_is_taken);
	tcase_add_test(tc, capture_to_a_pipe_that_nobody_reads);
	tcase_add_loop_test(tc, ends_without_being_read, 0, 4);
	tcase_add_test(tc, guest_stopped);
	tcase_add_test(tc, nobody_listens);
	tcase_add_test(tc, stalled);
	tcase_add_loop_test(tc, socket_gone, 0, 3);
	tcase_add_test(tc, other_daemon);
	tcase_add_test(end, shutdown_ends_it);
	tcase_add_test(end, events_to_the_end);
	tcase_add_test(end, capture_to_the_end);
	return e2e_run(s);
}
