/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * "My guest cannot connect": each cause is made, and the log, at the level that a user has
 * who has set none, says what is wrong: once for each kind, with the path or the port, the
 * reason, and what to do.
 */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "e2e/e2e.h"
#include "e2e/sibs.h"

enum { REPEATS = 5 };

static char path[108];				/* "<uds-path>_<PORT>" */

static int bind_to_path(int type)
{
	struct sockaddr_un addr = { .sun_family = AF_UNIX };
	int fd = socket(AF_UNIX, type | SOCK_CLOEXEC, 0);

	memcpy(addr.sun_path, path, sizeof path);
	ck_assert_int_eq(bind(fd, (struct sockaddr *)&addr, sizeof addr), 0);
	return fd;
}

static void nobody(void)
{
}

static void stale_socket(void)
{
	close(bind_to_path(SOCK_STREAM));
}

static void plain_file(void)
{
	FILE *f = fopen(path, "w");

	ck_assert_ptr_nonnull(f);
	fclose(f);
}

static void dangling_link(void)
{
	ck_assert_int_eq(symlink("/nowhere/at/all", path), 0);
}

static void other_type(void)
{
	int fd = bind_to_path(SOCK_DGRAM);

	(void)fd;				/* open until the end of the test */
}

static void not_ours(void)
{
	ck_assert_int_eq(listen(bind_to_path(SOCK_STREAM), 5), 0);
	ck_assert_int_eq(chmod(path, 0), 0);
}

static void full_backlog(void)
{
	int fd = host_listen(vhd.uds, PORT, 0);

	(void)fd;
	host_connect(path);			/* takes the only place, and keeps it */
}

/* The guest connects to PORT of CID 2. */
static const struct {
	const char *name;
	void (*make)(void);
	const char *text;
} listeners[] = {
	{ "nobody listens", nobody, "No such file or directory; nobody listens there, the program has" },
	{ "the program has ended", stale_socket, "Connection refused; nobody listens there any more" },
	{ "a plain file", plain_file, "Connection refused; a file that is no socket is in the way" },
	{ "a link to nowhere", dangling_link, "No such file or directory; a symbolic link that leads nowhere" },
	{ "another type", other_type, "Protocol wrong type for socket; a socket of another type listens there" },
	{ "no permission", not_ours, "Permission denied; the socket has to be writable" },
	{ "nobody accepts", full_backlog, "Resource temporarily unavailable; the program that listens" },
};

static unsigned count(const char *text)
{
	char *log = daemon_log(&vhd);
	unsigned n = 0;

	for (const char *at = log; (at = strstr(at, text)); at++)
		n++;
	free(log);
	return n;
}

/* It is there, it is a warning of the VM, and it is there once. */
static void expect_once(const char *text)
{
	char *log, *at, line[1024] = "";

	ck_assert_msg(daemon_wait_log(&vhd, text), "not in the log: %s", text);
	ck_assert_int_eq(daemon_stop(&vhd, DEADLINE_MS), 0);	/* all is written */
	ck_assert_uint_eq(count(text), 1);
	log = daemon_log(&vhd);
	at = strstr(log, text);
	while (at > log && at[-1] != '\n')
		at--;
	snprintf(line, sizeof line, "%.*s", (int)strcspn(at, "\n"), at);
	ck_assert_msg(strstr(line, " warn vm 3: "), "%s", line);
	free(log);
}

static void guest_connects(uint64_t cid, uint32_t port)
{
	struct sock *s = sock_dial_to(&vm, cid, port);

	ck_assert(!sock_wait_open(s));
	sock_free(s);
}

START_TEST(guest_to_host)
{
	char text[512];

	bool may_all = vhd.is_supervised || (getenv("TEST_SANDBOX") &&
					     !strcmp(getenv("TEST_SANDBOX"), "off"));

	if (listeners[_i].make == not_ours && geteuid() == 0 && may_all)
		return;				/* root may: only alone in the sandbox it may not */
	driver_up(&vm, vhd.socket, NULL);
	snprintf(path, sizeof path, "%s_%d", vhd.uds, PORT);
	listeners[_i].make();
	for (int i = 0; i < (listeners[_i].make == full_backlog ? 2 : REPEATS); i++)
		guest_connects(VSOCK_CID_HOST, PORT);
	snprintf(text, sizeof text, ">2:%d refused: %s: %s", PORT, path, listeners[_i].text);
	expect_once(text);
}
END_TEST

/* Of the same error, each time for another cause: at level info all of them are told. */
START_TEST(later_times_are_explained_too)
{
	static const char *const info[] = { "--log-level=info", NULL };
	char text[512];

	e2e_start(info, NULL);
	snprintf(path, sizeof path, "%s_%d", vhd.uds, PORT);
	for (size_t i = 0; i < 4; i++) {
		listeners[i].make();
		guest_connects(VSOCK_CID_HOST, PORT);
		snprintf(text, sizeof text, ">2:%d refused: %s: %s", PORT, path, listeners[i].text);
		ck_assert_msg(daemon_wait_log(&vhd, text), "not in the log: %s", text);
		unlink(path);
	}
	for (int i = 0; i < 2; i++)
		guest_connects(77, PORT);
	ck_assert_int_eq(daemon_stop(&vhd, DEADLINE_MS), 0);
	ck_assert_uint_eq(count(">77:1234 refused: nobody has CID 77: the host is CID 2"), 2);
}
END_TEST

START_TEST(cid_of_nobody)
{
	driver_up(&vm, vhd.socket, NULL);
	for (int i = 0; i < REPEATS; i++)
		guest_connects(77, PORT);
	expect_once(">77:1234 refused: nobody has CID 77");
}
END_TEST

START_TEST(sibling_without_a_common_group)
{
	static const char *const groups[] = { "a", "b" };

	sibs_spawn(2, groups);
	sib_up(&sibs[0], NULL);
	ck_assert(!sock_wait_open(sock_dial_to(&sibs[0].d, 4, PORT)));
	ck_assert(daemon_wait_log(&vhd, ">4:1234 refused: VM 4 shares no group with this one"));
}
END_TEST

START_TEST(sibling_without_a_guest)
{
	sibs_spawn(2, NULL);
	sib_up(&sibs[0], NULL);
	ck_assert(!sock_wait_open(sock_dial_to(&sibs[0].d, 4, PORT)));
	ck_assert(daemon_wait_log(&vhd, ">4:1234 refused: VM 4 runs no guest, or nobody in it"));
}
END_TEST

static void dial(int times)
{
	for (int i = 0; i < times; i++) {
		int fd = host_dial(vhd.uds, PORT);

		while (!host_is_closed(fd, 1))
			driver_turn(&vm);
		close(fd);
	}
}

START_TEST(no_guest)
{
	for (int i = 0; i < REPEATS; i++) {
		int fd = host_dial(vhd.uds, PORT);

		ck_assert(host_is_closed(fd, DEADLINE_MS));
		close(fd);
	}
	expect_once("port 1234 refused: no guest is running");
}
END_TEST

START_TEST(guest_refuses)
{
	driver_up(&vm, vhd.socket, NULL);
	dial(REPEATS);
	expect_once(">3:1234 refused by the guest: nobody in it listens on vsock port 1234");
}
END_TEST

static void ignore(struct driver *d, const struct driver_pkt *p, const uint8_t *data)
{
	(void)d, (void)p, (void)data;
}

START_TEST(guest_does_not_answer)
{
	driver_up(&vm, vhd.socket, NULL);
	vm.input = ignore;
	dial(2);
	expect_once(">3:1234 refused: the guest has not answered for 2000 ms");
	vm.input = sock_input;
}
END_TEST

/* What clients say instead of their line, and whether they leave then. */
static const struct {
	const char *name, *words;
	bool leaves;
	const char *text;
} clients[] = {
	{ "another protocol", "GET / HTTP/1.1\r\n", false, "its first line is not \"CONNECT <port>\"" },
	{ "no port", "CONNECT\n", false, "its first line is not \"CONNECT <port>\"" },
	{ "no end of line", "CONNECT 000000000000000000000000000001234", false,
	  "no end of line within 32 bytes" },
	{ "half a line", "CONNECT 12", true, "it left before the end of its \"CONNECT <port>\" line" },
};

START_TEST(client_says_something_else)
{
	char text[256];

	driver_up(&vm, vhd.socket, NULL);
	for (int i = 0; i < REPEATS; i++) {
		int fd = host_connect(vhd.uds);

		ck_assert(host_write(fd, clients[_i].words, strlen(clients[_i].words)));
		if (!clients[_i].leaves)
			ck_assert(host_is_closed(fd, DEADLINE_MS));
		close(fd);
	}
	snprintf(text, sizeof text, "client of %s closed: %s", vhd.uds, clients[_i].text);
	expect_once(text);
}
END_TEST

START_TEST(client_says_nothing)
{
	int fd;

	driver_up(&vm, vhd.socket, NULL);
	fd = host_connect(vhd.uds);
	ck_assert(host_is_closed(fd, DEADLINE_MS));
	expect_once("no \"CONNECT <port>\" line for 10 s");
}
END_TEST

/* A person who types, a program under a debugger, may need longer; a test, less. */
START_TEST(client_says_nothing_for_as_long_as_told)
{
	const char *const options[] = { "--handshake-timeout", "0.25", NULL };
	int64_t began;
	int fd;

	e2e_start(options, NULL);
	began = now_ms();
	fd = host_connect(vhd.uds);
	ck_assert(host_is_closed(fd, DEADLINE_MS));
	ck_assert_int_ge(now_ms() - began, 200);
	ck_assert_int_lt(now_ms() - began, 8000);
	expect_once("no \"CONNECT <port>\" line for 0.25 s");
}
END_TEST

/* QEMU without share=on: rings, and not one region; or an empty table. */
START_TEST(memory_is_not_shared)
{
	const struct guest none = { .n_regions = 0 };
	uint64_t features;
	int64_t began;

	driver_init(&vm, NULL);
	ck_assert(vmm_connect(&vm.fe, vhd.socket));
	ck_assert_int_eq(vmm_get_features(&vm.fe, &features), 0);
	ck_assert_int_eq(vmm_set_owner(&vm.fe), 0);
	ck_assert_int_eq(vmm_set_features(&vm.fe, features), 0);
	if (_i)
		ck_assert_int_eq(vmm_set_mem_table(&vm.fe, &none), 0);
	began = daemon_clock_ms(&vhd);
	for (uint32_t q = 0; q < 2; q++)
		ck_assert_int_eq(vmm_start_ring(&vm.fe, q, &vm.vq[q]), 0);
	ck_assert(daemon_wait_log(&vhd, "shares no memory: the guest's memory has to be shared"));
	ck_assert_int_lt(daemon_clock_ms(&vhd) - began, 5000);
	expect_once("share=on");
}
END_TEST

/* Memory that has a descriptor, but the front-end and its guest write into pages of their own
 * (QEMU 7.2: a memfd, or a file, with share=off). */
START_TEST(memory_is_private)
{
	struct guest_region *r;
	int64_t began;

	driver_init(&vm, NULL);
	r = &vm.guest.regions[0];
	close(r->fd);
	r->fd = memfd_create("private", MFD_CLOEXEC);
	ck_assert_int_ge(r->fd, 0);
	ck_assert_int_eq(ftruncate(r->fd, (off_t)(r->mmap_offset + r->size)), 0);
	began = daemon_clock_ms(&vhd);
	ck_assert_int_eq(driver_attach(&vm, vhd.socket), 0);
	ck_assert(daemon_wait_log(&vhd, "its memory has to be shared"));
	ck_assert_int_lt(daemon_clock_ms(&vhd) - began, 5000);
	expect_once("share=on");
}
END_TEST

/* A descriptor that cannot be mapped for writing. */
START_TEST(memory_cannot_be_mapped)
{
	char name[64];
	int fd;

	driver_init(&vm, NULL);
	snprintf(name, sizeof name, "/proc/self/fd/%d", vm.guest.regions[0].fd);
	fd = open(name, O_RDONLY | O_CLOEXEC);
	ck_assert_int_ge(fd, 0);
	close(vm.guest.regions[0].fd);
	vm.guest.regions[0].fd = fd;
	ck_assert_int_ne(driver_attach(&vm, vhd.socket), 0);
	ck_assert(daemon_wait_log(&vhd, "ADD_MEM_REG (37) refused: region cannot be mapped: "
				  "Permission denied; the guest's memory has to be shared"));
}
END_TEST

/* Packets are logged by those who ask for it, one line each. */
START_TEST(trace_shows_packets)
{
	static const char *const trace[] = { "--log-level=trace", NULL };
	struct pair p;
	char text[128];

	e2e_start(trace, NULL);
	p = e2e_guest_connects(&vm, vhd.uds);
	e2e_check_guest_to_host(p, 5, 1);
	e2e_check_host_to_guest(p, 7, 2);
	snprintf(text, sizeof text, "vm 3: 3:%u>2:%d REQUEST, len 0, type 1", p.guest->port, PORT);
	ck_assert(daemon_wait_log(&vhd, text));
	snprintf(text, sizeof text, "vm 3: 2:%d>3:%u RESPONSE, len 0, type 1", PORT, p.guest->port);
	ck_assert(daemon_wait_log(&vhd, text));
	snprintf(text, sizeof text, "vm 3: 3:%u>2:%d RW, len 5, type 1", p.guest->port, PORT);
	ck_assert(daemon_wait_log(&vhd, text));
	snprintf(text, sizeof text, "vm 3: 2:%d>3:%u RW, len 7, type 1", PORT, p.guest->port);
	ck_assert(daemon_wait_log(&vhd, text));
}
END_TEST

/* So are the states of connections, and who has ended them. */
START_TEST(debug_shows_connections)
{
	static const char *const debug[] = { "--log-level=debug", NULL };
	struct pair p;
	char text[128];

	e2e_start(debug, NULL);
	p = e2e_guest_connects(&vm, vhd.uds);
	snprintf(text, sizeof text, "vm 3: 3:%u>2:%d is open", p.guest->port, PORT);
	ck_assert(daemon_wait_log(&vhd, text));
	snprintf(text, sizeof text, "vm 3: 3:%u>2:%d has ended: closed by", p.guest->port, PORT);
	e2e_close(p);
	ck_assert(daemon_wait_log(&vhd, text));

	p = e2e_host_connects(&vm, vhd.uds);
	snprintf(text, sizeof text, "vm 3: 2:%u>3:%u has ended: the guest was reset or is gone",
		 p.guest->peer_port, p.guest->port);
	driver_reboot(&vm);
	close(p.host);
	ck_assert(daemon_wait_log(&vhd, text));
}
END_TEST

#define N(table) (int)(sizeof (table) / sizeof *(table))

int main(void)
{
	Suite *s = suite_create("diagnosis");
	TCase *tc = e2e_case(s, "daemon", e2e_setup_daemon, 60);
	TCase *bare = e2e_case(s, "bare", e2e_setup_bare, 60), *sib = tcase_create("siblings");

	tcase_add_loop_test(tc, guest_to_host, 0, N(listeners));
	tcase_add_test(bare, later_times_are_explained_too);
	tcase_add_test(tc, cid_of_nobody);
	tcase_add_test(tc, no_guest);
	tcase_add_test(tc, guest_refuses);
	tcase_add_test(tc, guest_does_not_answer);
	tcase_add_loop_test(tc, client_says_something_else, 0, N(clients));
	tcase_add_test(tc, client_says_nothing);
	tcase_add_test(bare, client_says_nothing_for_as_long_as_told);
	tcase_add_loop_test(tc, memory_is_not_shared, 0, 2);
	tcase_add_test(tc, memory_is_private);
	tcase_add_test(tc, memory_cannot_be_mapped);
	tcase_add_test(bare, trace_shows_packets);
	tcase_add_test(bare, debug_shows_connections);
	tcase_add_checked_fixture(sib, e2e_setup_bare, sibs_teardown);
	tcase_add_test(sib, sibling_without_a_common_group);
	tcase_add_test(sib, sibling_without_a_guest);
	suite_add_tcase(s, sib);
	return e2e_run(s);
}
