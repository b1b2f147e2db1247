/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What passes between guest and device is in a capture file, as others read it: whole, in
 * order, over an upgrade and a crash; and nothing that befalls the file befalls the guest.
 */
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "e2e/e2e.h"
#include "e2e/reloads.h"
#include "e2e/upgrade.h"
#include "support/captured.h"

#define CAPTURED(rest) "vms:\n  - { guest-cid: 3, socket: $/vhost.sock, uds-path: $/vm.sock" rest " }\n"

#define COUNT(array) ((int)(sizeof (array) / sizeof *(array)))

enum { BULK = 8 << 20, PIECE = 128 * 1024 };

static const char *const at_info[] = { "--log-level=info", NULL };

/* A daemon that captures VM 3 as @rest says, and a guest. */
static void start(const char *rest)
{
	char text[512];

	snprintf(text, sizeof text, "vms:\n  - { guest-cid: 3, socket: $/vhost.sock, "
		 "uds-path: $/vm.sock%s }\n", rest);
	reloads_spawn(text, at_info);
	ck_assert(daemon_wait_listening(&vhd, reloads_path("vhost.sock")));
	driver_up(&vm, reloads_path("vhost.sock"), &(struct driver_options){ .cid = 3 });
	reloads_wait_guest(3);
}

/* What is captured is written soon, but not at once; nor is the file's header. */
static void read_when(struct captured_file *f, const char *name, size_t at_least)
{
	int64_t deadline = deadline_in(DEADLINE_MS);
	struct stat st;

	for (;;) {
		if (stat(reloads_path(name), &st) == 0 && st.st_size) {
			captured_read_so_far(f, reloads_path(name));
			if (f->n >= at_least || !deadline_left(deadline))
				break;
			captured_free(f);
		}
		ck_assert(deadline_left(deadline));
		poll(NULL, 0, 5);
	}
	ck_assert_uint_ge(f->n, at_least);
}

/* A capture that begins under the guest begins a little later than it is logged. */
static void talk_until(struct captured_file *f, struct pair p, const char *name)
{
	int64_t deadline = deadline_in(DEADLINE_MS);
	struct stat st;

	for (;;) {
		e2e_check_talks(p);
		if (stat(reloads_path(name), &st) == 0 && st.st_size) {
			captured_read_so_far(f, reloads_path(name));
			if (f->n)
				return;
			captured_free(f);
		}
		ck_assert(deadline_left(deadline));
	}
}

static const struct captured *find(const struct captured_file *f, size_t from, uint16_t op,
				   uint64_t src_cid)
{
	for (size_t i = from; i < f->n; i++)
		if (f->packets[i].op == op && f->packets[i].src_cid == src_cid)
			return &f->packets[i];
	return NULL;
}

static void check_times(const struct captured_file *f)
{
	uint64_t now_s = (uint64_t)time(NULL);

	for (size_t i = 1; i < f->n; i++)
		ck_assert_uint_ge(f->packets[i].nanos, f->packets[i - 1].nanos);
	ck_assert_uint_le(f->packets[0].nanos / 1000000000, now_s);
	ck_assert_uint_ge(f->packets[0].nanos / 1000000000, now_s - 60);
}

START_TEST(a_session_is_captured)
{
	static const char hello[] = "hello, host", answer[] = "hello, guest";
	const struct captured *c;
	struct captured_file f;
	struct pair p;
	char text[32];

	start(", capture: $/a.pcap");
	p = e2e_guest_connects(&vm, vhd.uds);
	ck_assert(sock_send(p.guest, hello, sizeof hello));
	ck_assert_uint_eq(host_read(p.host, text, sizeof hello), sizeof hello);
	ck_assert(host_write(p.host, answer, sizeof answer));
	ck_assert_uint_eq(sock_recv_full(p.guest, text, sizeof answer), sizeof answer);
	e2e_close(p);
	e2e_check_alive();			/* the guest's last packet has been seen */
	reloads_do(CAPTURED(""), "a.pcap ends: ");
	captured_read(&f, reloads_path("a.pcap"));
	ck_assert_uint_ge(f.n, 6);
	ck_assert_uint_eq(f.packets[0].op, VSOCK_OP_REQUEST);
	ck_assert_uint_eq(f.packets[0].mon_op, 1);
	ck_assert_uint_eq(f.packets[0].src_cid, 3);
	ck_assert_uint_eq(f.packets[0].dst_cid, 2);
	ck_assert_uint_eq(f.packets[0].dst_port, PORT);
	ck_assert_uint_eq(f.packets[1].op, VSOCK_OP_RESPONSE);
	c = find(&f, 0, VSOCK_OP_RW, 3);
	ck_assert_ptr_nonnull(c);
	ck_assert_uint_eq(c->mon_op, 4);
	ck_assert_uint_eq(c->n_payload, sizeof hello);
	ck_assert_uint_eq(c->len, sizeof hello);
	ck_assert_mem_eq(c->payload, hello, sizeof hello);
	c = find(&f, 0, VSOCK_OP_RW, 2);
	ck_assert_ptr_nonnull(c);
	ck_assert_uint_eq(c->n_payload, sizeof answer);
	ck_assert_mem_eq(c->payload, answer, sizeof answer);
	ck_assert_uint_eq(c->orig_len, 76 + sizeof answer);
	c = find(&f, 0, VSOCK_OP_SHUTDOWN, 2);
	ck_assert_ptr_nonnull(c);
	ck_assert_uint_eq(c->mon_op, 2);
	ck_assert_ptr_nonnull(find(&f, 0, VSOCK_OP_RST, 3));
	check_times(&f);
	ck_assert(captured_is_sound(reloads_path("a.pcap"), f.n));
	captured_free(&f);
}
END_TEST

/* Every byte of a bulk transfer each way is in it: what was not is counted as lost. */
static void bulk(void)
{
	struct pair p = e2e_guest_connects(&vm, vhd.uds);

	for (uint32_t i = 0; i < BULK / PIECE; i++) {
		e2e_check_guest_to_host(p, PIECE, i);
		e2e_check_host_to_guest(p, PIECE, i);
	}
	e2e_close(p);
}

static uint64_t payload_of(const struct captured_file *f, uint64_t src_cid)
{
	uint64_t n = 0;

	for (size_t i = 0; i < f->n; i++)
		if (f->packets[i].op == VSOCK_OP_RW && f->packets[i].src_cid == src_cid)
			n += f->packets[i].len;
	return n;
}

START_TEST(bulk_is_captured)
{
	struct captured_file f;
	int64_t deadline = deadline_in(DEADLINE_MS);
	char *log;

	start(", capture: $/a.pcap, capture-size: 0, capture-files: 1");
	bulk();
	for (;;) {
		captured_read_so_far(&f, reloads_path("a.pcap"));
		log = daemon_log(&vhd);
		if ((payload_of(&f, 3) == BULK && payload_of(&f, 2) == BULK) ||
		    strstr(log, "lost so far") || !deadline_left(deadline))
			break;
		free(log);
		captured_free(&f);
		poll(NULL, 0, 20);
	}
	ck_assert(strstr(log, "lost so far") || payload_of(&f, 3) == BULK);
	ck_assert(strstr(log, "lost so far") || payload_of(&f, 2) == BULK);
	free(log);
	ck_assert(captured_is_sound(reloads_path("a.pcap"), f.n));
	captured_free(&f);
}
END_TEST

START_TEST(by_port_and_cut)
{
	struct captured_file f;
	struct pair p;

	start(", capture: $/a.pcap, capture-port: 77+1234, capture-snaplen: 80");
	ck_assert(!sock_wait_open(sock_dial(&vm, 99)));
	ck_assert(!sock_wait_open(sock_dial(&vm, 77)));
	p = e2e_guest_connects(&vm, vhd.uds);
	e2e_check_talks(p);
	e2e_close(p);
	read_when(&f, "a.pcap", 8);
	for (size_t i = 0; i < f.n; i++) {
		const struct captured *c = &f.packets[i];

		ck_assert_uint_ne(c->dst_port, 99);
		ck_assert_uint_ne(c->src_port, 99);
		ck_assert_uint_eq(c->n_payload, c->len < 4 ? c->len : 4);
		ck_assert_uint_eq(c->orig_len, 76 + c->len);
	}
	ck_assert_uint_eq(f.packets[0].dst_port, 77);
	ck_assert(captured_is_sound(reloads_path("a.pcap"), f.n));
	captured_free(&f);
}
END_TEST

START_TEST(files_are_used_in_a_circle)
{
	static const char *const names[] = { "a.pcap", "a.pcap.1", "a.pcap.2" };
	struct captured_file f;

	start(", capture: $/a.pcap, capture-size: 500000, capture-files: 3");
	bulk();
	bulk();
	ck_assert(daemon_wait_asleep(&vhd, DEADLINE_MS));
	for (int i = 0; i < 3; i++) {
		captured_read(&f, reloads_path(names[i]));
		ck_assert_uint_le(f.n_bytes, 500000);
		ck_assert_uint_gt(f.n, 0);
		ck_assert(captured_is_sound(reloads_path(names[i]), f.n));
		captured_free(&f);
	}
	ck_assert_int_ne(access(reloads_path("a.pcap.3"), F_OK), 0);
}
END_TEST

START_TEST(a_full_file_ends_it)
{
	struct captured_file f;

	start(", capture: $/a.pcap, capture-size: 100000, capture-files: 1");
	bulk();
	ck_assert(daemon_wait_log(&vhd, "ends: the file is as large as it may be"));
	captured_read(&f, reloads_path("a.pcap"));
	ck_assert_uint_le(f.n_bytes, 100000);
	captured_free(&f);
	e2e_check_alive();
}
END_TEST

START_TEST(begins_and_ends_by_a_reload)
{
	struct captured_file f;
	struct pair p;
	size_t n;

	start("");
	p = e2e_guest_connects(&vm, vhd.uds);
	reloads_do(CAPTURED(", capture: $/a.pcap"), "vm 3: capture ");
	talk_until(&f, p, "a.pcap");
	captured_free(&f);
	reloads_do(CAPTURED(""), "a.pcap ends: ");
	captured_read(&f, reloads_path("a.pcap"));
	n = f.n;
	captured_free(&f);
	e2e_check_talks(p);
	captured_read(&f, reloads_path("a.pcap"));
	ck_assert_uint_eq(f.n, n);
	captured_free(&f);
	e2e_close(p);
}
END_TEST

/* The same files, so the one that ends has to be done first. */
START_TEST(another_filter_begins_it_anew)
{
	struct captured_file f;
	struct pair p;

	start(", capture: $/a.pcap");
	p = e2e_guest_connects(&vm, vhd.uds);
	for (int i = 0; i < 5; i++) {
		reloads_do(i % 2 ? CAPTURED(", capture: $/a.pcap") :
			   CAPTURED(", capture: $/a.pcap, capture-snaplen: 100"), "a.pcap begins");
		talk_until(&f, p, "a.pcap");
		ck_assert_uint_eq(f.snaplen, i % 2 ? 262144 : 100);
		captured_free(&f);
	}
	e2e_close(p);
}
END_TEST

static void check_4_is_captured(void)
{
	struct captured_file f;
	struct driver other;

	driver_up(&other, reloads_path("4.vhost"), &(struct driver_options){ .cid = 4 });
	reloads_wait_guest(4);
	e2e_close(e2e_host_connects(&other, reloads_path("4.sock")));
	read_when(&f, "b.pcap", 2);
	ck_assert_uint_eq(f.packets[0].dst_cid, 4);
	captured_free(&f);
	driver_deinit(&other);
	ck_assert(daemon_wait_log(&vhd, "vm 4: front-end disconnected"));
}

/* VMs that are new, made anew, or have the CID of one that has just left. */
START_TEST(vms_that_come_are_captured)
{
	const char *const with = "vms:\n" VM3 VM4(VM4_PATHS ", capture: $/b.pcap");

	start("");
	reloads_do(with, "vm 4: added");
	check_4_is_captured();
	reloads_do("vms:\n" VM3, "vm 4: removed");
	reloads_do(with, "b.pcap begins");
	check_4_is_captured();
	reloads_do("vms:\n" VM3 VM4(VM4_PATHS ", capture: $/b.pcap, socket_mode: 0666"), "b.pcap begins");
	check_4_is_captured();
}
END_TEST

/* How many data packets go from the guest, each with its number. */
static void send_numbers(struct pair p, uint32_t from, uint32_t to)
{
	for (uint32_t i = from; i < to; i++) {
		uint32_t back;

		ck_assert(sock_send(p.guest, &i, sizeof i));
		ck_assert_uint_eq(host_read(p.host, &back, sizeof back), sizeof back);
		ck_assert_uint_eq(back, i);
	}
}

static void check_numbers(const struct captured_file *f, uint32_t n)
{
	uint32_t next = 0, found;

	for (size_t i = 0; i < f->n; i++) {
		if (f->packets[i].op != VSOCK_OP_RW || f->packets[i].src_cid != 3)
			continue;
		memcpy(&found, f->packets[i].payload, sizeof found);
		ck_assert_uint_eq(found, next);
		next++;
	}
	ck_assert_uint_eq(next, n);
}

START_TEST(an_upgrade_goes_on_with_it)
{
	enum { EACH = 50, UPGRADES = 4 };
	struct captured_file f;
	struct pair p;

	start(", capture: $/a.pcap");
	p = e2e_guest_connects(&vm, vhd.uds);
	for (uint32_t i = 0; i < UPGRADES; i++) {
		send_numbers(p, i * EACH, (i + 1) * EACH);
		upgrade();
	}
	send_numbers(p, UPGRADES * EACH, (UPGRADES + 1) * EACH);
	e2e_close(p);
	read_when(&f, "a.pcap", (UPGRADES + 1) * EACH + 4);
	check_numbers(&f, (UPGRADES + 1) * EACH);
	ck_assert(captured_is_sound(reloads_path("a.pcap"), f.n));
	captured_free(&f);
	reloads_do(CAPTURED(""), "a.pcap ends: ");
	ck_assert(daemon_has_logged(&vhd, " packets, 0 lost"));
}
END_TEST

START_TEST(another_program_goes_on_with_it)
{
	struct captured_file f;
	struct pair p;

	upgrade_install();
	start(", capture: $/a.pcap");
	p = e2e_guest_connects(&vm, vhd.uds);
	send_numbers(p, 0, 10);
	upgrade_install_another();
	upgrade();
	send_numbers(p, 10, 20);
	e2e_close(p);
	read_when(&f, "a.pcap", 24);
	check_numbers(&f, 20);
	captured_free(&f);
	reloads_do(CAPTURED(""), "a.pcap ends: ");
}
END_TEST

/* The file has whole packets, those before the crash and those after it. */
START_TEST(a_crash_cuts_nothing)
{
	struct captured_file f;
	size_t n = 0;

	start(", capture: $/a.pcap, capture-size: 0");
	for (int i = 0; i < 3; i++) {
		struct pair p = e2e_guest_connects(&vm, vhd.uds);
		pid_t engine = daemon_engine(&vhd);
		static uint8_t bytes[64 * 1024];

		for (int k = 0; k < 20; k++) {
			sock_send_some(p.guest, bytes, sizeof bytes);
			driver_turn(&vm);
		}
		must(kill(engine, SIGKILL) == 0);
		must(daemon_wait_gone(engine, DEADLINE_MS));
		ck_assert(sock_wait_reset(p.guest, DEADLINE_MS));
		sock_free(p.guest);
		close(p.host);
		e2e_check_alive();
		read_when(&f, "a.pcap", n + 8);
		n = f.n;
		ck_assert(captured_is_sound(reloads_path("a.pcap"), f.n));
		captured_free(&f);
	}
}
END_TEST

START_TEST(a_full_disk_ends_it)
{
	start(", capture: /dev/full");
	ck_assert(daemon_wait_log(&vhd, "vm 3: capture /dev/full ends: No space left on device"));
	e2e_check_alive();
	e2e_check_alive();
}
END_TEST

static int make_pipe(const char *name)
{
	int fd;

	must(mkfifo(reloads_path(name), 0600) == 0);
	fd = open(reloads_path(name), O_RDONLY | O_NONBLOCK | O_CLOEXEC);
	must(fd >= 0 && fcntl(fd, F_SETFL, 0) == 0);
	return fd;
}

START_TEST(a_pipe_that_nobody_reads_delays_nobody)
{
	struct captured_file f;
	int fd = make_pipe("pipe");
	size_t n = 0;
	uint8_t *bytes = malloc(BULK * 4);

	start(", capture: $/pipe, capture-size: 1");
	for (int i = 0; i < 3; i++)
		bulk();
	ck_assert(daemon_wait_log(&vhd, "packets lost so far"));
	reloads_ask(CAPTURED(""));		/* it has half a second for what is left */
	for (ssize_t got; (got = read(fd, bytes + n, BULK)) > 0; n += (size_t)got)
		ck_assert_uint_lt(n, 3 * BULK);
	ck_assert(daemon_wait_log(&vhd, "pipe ends"));
	captured_parse(&f, bytes, n);		/* not cut */
	ck_assert_uint_gt(f.n, 0);
	captured_free(&f);
	close(fd);
	e2e_check_alive();
}
END_TEST

START_TEST(a_reader_that_leaves_ends_it)
{
	int fd = make_pipe("pipe");

	start(", capture: $/pipe");
	e2e_check_alive();
	close(fd);
	e2e_check_alive();
	ck_assert(daemon_wait_log(&vhd, "pipe ends: Broken pipe"));
	e2e_check_alive();
}
END_TEST

START_TEST(what_cannot_be_opened_is_logged)
{
	start(", capture: $/none/a.pcap");
	ck_assert(daemon_wait_log(&vhd, "none/a.pcap: No such file or directory: nothing is captured"));
	e2e_check_alive();
	must(mkfifo(reloads_path("pipe"), 0600) == 0);
	reloads_do(CAPTURED(", capture: $/pipe"), "pipe: nobody reads that pipe");
	e2e_check_alive();
}
END_TEST

/* One process, which has opened its files before it entered the sandbox. */
START_TEST(without_a_supervisor)
{
	const char *const args[] = {
		"--supervise=off", "--sandbox=on", "--log-level=info", "--capture", reloads_path("a.pcap"),
		"--capture-size", "10000", "--capture-files=3", "--event-monitor", NULL, NULL,
	};
	char *extra[COUNT(args)], events[160];
	struct captured_file f;
	struct stat st;

	snprintf(events, sizeof events, "path=%s", reloads_path("events"));
	memcpy(extra, args, sizeof args);
	extra[COUNT(args) - 2] = events;
	e2e_start((const char *const *)extra, &(struct driver_options){ .cid = 3 });
	for (int i = 0; i < 10; i++)
		e2e_check_alive();
	ck_assert_int_eq(daemon_stop(&vhd, END_MS), 0);
	for (int i = 0; i < 3; i++) {
		char name[16];

		snprintf(name, sizeof name, i ? "a.pcap.%d" : "a.pcap", i);
		captured_read(&f, reloads_path(name));
		ck_assert_uint_gt(f.n, 0);
		ck_assert_uint_le(f.n_bytes, 10000);
		captured_free(&f);
	}
	ck_assert_int_eq(stat(reloads_path("events"), &st), 0);
	ck_assert_int_gt(st.st_size, 1000);
}
END_TEST

START_TEST(two_do_not_share_a_file)
{
	reloads_spawn("vms:\n" VM3 VM4(VM4_PATHS), at_info);
	ck_assert(daemon_wait_log(&vhd, "serving 2 of 2 VMs"));
	reloads_do("vms:\n"
		   "  - { guest-cid: 3, socket: $/vhost.sock, uds-path: $/vm.sock, capture: $/a }\n"
		   "  - { guest-cid: 4, socket: $/4.vhost, uds-path: $/4.sock, capture: $/a }\n",
		   "another capture writes to it");
	ck_assert_int_eq(access(reloads_path("a"), F_OK), 0);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("capture");
	TCase *tc = e2e_case(s, "packets", e2e_setup_bare, 60);

	tcase_add_test(tc, a_session_is_captured);
	tcase_add_test(tc, bulk_is_captured);
	tcase_add_test(tc, by_port_and_cut);
	tc = e2e_case(s, "files", e2e_setup_bare, 60);
	tcase_add_test(tc, files_are_used_in_a_circle);
	tcase_add_test(tc, a_full_file_ends_it);
	tcase_add_test(tc, a_full_disk_ends_it);
	tcase_add_test(tc, a_pipe_that_nobody_reads_delays_nobody);
	tcase_add_test(tc, a_reader_that_leaves_ends_it);
	tcase_add_test(tc, what_cannot_be_opened_is_logged);
	tcase_add_test(tc, two_do_not_share_a_file);
	tc = e2e_case(s, "life", e2e_setup_bare, 60);
	tcase_add_test(tc, begins_and_ends_by_a_reload);
	tcase_add_test(tc, another_filter_begins_it_anew);
	tcase_add_test(tc, vms_that_come_are_captured);
	tcase_add_test(tc, an_upgrade_goes_on_with_it);
	tcase_add_test(tc, another_program_goes_on_with_it);
	tcase_add_test(tc, a_crash_cuts_nothing);
	tc = e2e_case_with(s, "alone", e2e_setup_bare, e2e_teardown_ended, 60);
	tcase_add_test(tc, without_a_supervisor);
	return e2e_run(s);
}
