/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The AF_VSOCK backend, inside a guest: the daemon and the scripted front-end
 * run there, and the host programs are this program's AF_VSOCK sockets, which
 * reach the daemon by the kernel's vsock_loopback.
 *
 * It refuses to run anywhere else (test_afvsock.py sets the scene), so that no
 * machine's own AF_VSOCK is touched.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <linux/vm_sockets.h>

#include "e2e/endings.h"
#include "vm/afvsock.h"

enum { BULK = 4 << 20 };

/* ---- host programs ---- */

int vsock_socket(int type)
{
	int fd = socket(AF_VSOCK, type | SOCK_CLOEXEC, 0);

	must(fd >= 0);
	return fd;
}

int vsock_listen(int type, uint32_t port, uint64_t room)
{
	struct sockaddr_vm at = {
		.svm_family = AF_VSOCK, .svm_cid = VMADDR_CID_ANY, .svm_port = port,
	};
	int fd = vsock_socket(type);

	if (room)
		must(setsockopt(fd, AF_VSOCK, SO_VM_SOCKETS_BUFFER_SIZE, &room, sizeof room) == 0);
	must(bind(fd, (struct sockaddr *)&at, sizeof at) == 0);
	must(listen(fd, MANY) == 0);
	return fd;
}

int vsock_connect(int fd, uint32_t port)
{
	struct sockaddr_vm to = {
		.svm_family = AF_VSOCK, .svm_cid = VMADDR_CID_LOCAL, .svm_port = port,
	};

	return connect(fd, (struct sockaddr *)&to, sizeof to);
}

int vsock_dial(int type, uint32_t port)
{
	int fd = vsock_socket(type);

	must(vsock_connect(fd, port) == 0);
	return fd;
}

bool vsock_is_hung_up_on(int type, uint32_t port, int ms)
{
	int fd = vsock_socket(type);
	bool is_closed;

	if (vsock_connect(fd, port) == 0)
		is_closed = host_is_closed(fd, ms);
	else
		is_closed = errno == ECONNRESET;
	close(fd);
	return is_closed;
}

/* ---- set-up ---- */

void afvsock_spawn(void)
{
	const char *const args[] = {
		"--socket", vhd.socket, "--forward-cid", "1",
		"--forward-listen", "7001+7002+seqpacket:7003", "--linger", "2", NULL,
	};

	daemon_spawn(&vhd, args);
	ck_assert(daemon_wait_listening(&vhd, vhd.socket));
}

static void setup_daemon(void)
{
	e2e_setup_bare();
	afvsock_spawn();
}

void afvsock_setup_vm(void)
{
	setup_daemon();
	driver_up(&vm, vhd.socket, NULL);
}

static struct pair guest_connects(struct driver *d)
{
	int listener = vsock_listen(SOCK_STREAM, PORT, 0);
	struct pair p = { .guest = sock_connect(d, PORT) };

	p.host = host_accept(listener);
	close(listener);
	return p;
}

static struct pair host_connects(struct driver *d, uint32_t port)
{
	struct pair p;

	sock_listen(d, port);
	p.host = vsock_dial(SOCK_STREAM, port);
	p.guest = sock_accept(d, port);
	return p;
}

/* ---- connections ---- */

START_TEST(guest_to_host)
{
	struct pair p = guest_connects(&vm);

	e2e_check_talks(p);
	e2e_close(p);
}
END_TEST

START_TEST(host_to_guest)
{
	struct pair p = host_connects(&vm, FORWARDED), q;

	ck_assert_uint_eq(p.guest->peer_cid, VSOCK_CID_HOST);
	e2e_check_talks(p);
	q = host_connects(&vm, FORWARDED + 1);
	ck_assert_uint_eq(q.guest->peer_cid, VSOCK_CID_HOST);
	e2e_check_talks(q);
	e2e_close(p);
	e2e_close(q);
}
END_TEST

START_TEST(host_speaks_before_the_guest_accepts)
{
	char got[6] = "";
	struct sock *s;
	int fd;

	sock_listen(&vm, FORWARDED);
	fd = vsock_dial(SOCK_STREAM, FORWARDED);
	ck_assert(host_write(fd, "early", 5));
	close(fd);
	s = sock_accept(&vm, FORWARDED);
	ck_assert_uint_eq(sock_recv_full(s, got, 5), 5);
	ck_assert_str_eq(got, "early");
	ck_assert(sock_wait_shutdown(s, VSOCK_SHUTDOWN_BOTH, DEADLINE_MS));
	ck_assert(sock_close(s));
}
END_TEST

static const uint64_t cids[] = { 0, 1, 2, 3, 4, 77, UINT32_MAX - 1 };

/* All go to the one CID, and are answered from the one that was named. */
START_TEST(guest_to_any_cid)
{
	struct driver_pkt request = driver_pkt(&vm, VSOCK_OP_REQUEST, 5000, PORT);
	int listener = vsock_listen(SOCK_STREAM, PORT, 0), host;
	const struct driver_kept *k;

	request.dst_cid = cids[_i];
	request.buf_alloc = 65536;
	driver_keep_packets(&vm);
	ck_assert(driver_send(&vm, &request, NULL));
	k = driver_next(&vm, DEADLINE_MS);
	ck_assert_ptr_nonnull(k);
	ck_assert_uint_eq(k->pkt.src_cid, cids[_i]);
	ck_assert_uint_eq(k->pkt.dst_port, 5000);
	if (cids[_i] == vm.opt.cid) {		/* nobody's sibling is itself */
		ck_assert_uint_eq(k->pkt.op, VSOCK_OP_RST);
	} else {
		ck_assert_uint_eq(k->pkt.op, VSOCK_OP_RESPONSE);
		host = host_accept(listener);
		ck_assert(host_write(host, "x", 1));
		k = driver_next(&vm, DEADLINE_MS);
		ck_assert_ptr_nonnull(k);
		ck_assert_uint_eq(k->pkt.op, VSOCK_OP_RW);
		ck_assert_uint_eq(k->pkt.src_cid, cids[_i]);
		close(host);
	}
	close(listener);
}
END_TEST

START_TEST(nobody_listens)
{
	for (int i = 0; i < MANY; i++) {
		int64_t begin = now_ms();
		struct sock *s = sock_dial(&vm, PORT);

		ck_assert(!sock_wait_open(s));
		ck_assert_int_lt(now_ms() - begin, AT_ONCE_MS);
		sock_free(s);
	}
}
END_TEST

START_TEST(guest_gives_up_while_connecting)
{
	unsigned fds = daemon_usage(&vhd).fds;
	struct sock *s = sock_dial(&vm, PORT);

	sock_send_rst(s);
	sock_free(s);
	ck_assert(daemon_wait_fds(&vhd, fds, DEADLINE_MS));
	e2e_close(guest_connects(&vm));
}
END_TEST

/* ---- endings: those of all kinds of host programs ---- */

static struct pair vms_guest_connects(void)
{
	return guest_connects(&vm);
}

static struct pair vms_host_connects(void)
{
	return host_connects(&vm, FORWARDED);
}

/* The kernel's transport between them knows a close, but not what of it was unread. */
static const struct host_kind at_afvsock = {
	.guest_connects = vms_guest_connects, .host_connects = vms_host_connects,
};

/* ---- bytes ---- */

/* The guest's bytes come back from the host, or the host's from the guest. */
static void guest_exchanges(struct sock *s, size_t total, uint32_t seed)
{
	int64_t deadline = deadline_in(6 * DEADLINE_MS);
	uint8_t *out = malloc(total), got[65536];
	size_t sent = 0, received = 0;

	pattern_fill(out, total, 0, seed);
	while (received < total) {
		ssize_t n;

		ck_assert(deadline_left(deadline));
		sent += sock_send_some(s, out + sent, total - sent);
		n = sock_recv(s, got, sizeof got, 0);
		if (n < 0) {
			driver_wait(s->d, deadline_in(100), sent < total);
			continue;
		}
		ck_assert_int_gt(n, 0);
		ck_assert_uint_eq(pattern_check(got, (size_t)n, received, seed), (size_t)n);
		received += (size_t)n;
	}
	ck_assert_uint_eq(sent, total);
	free(out);
}

START_TEST(bulk_both_ways)
{
	struct pair p = _i ? guest_connects(&vm) : host_connects(&vm, FORWARDED);
	struct host_job job = {
		.fd = p.host, .to_read = BULK, .read_seed = 7, .echo = true,
	};

	host_job_start(&job);
	guest_exchanges(p.guest, BULK, 7);
	ck_assert_msg(host_job_finish(&job), "%s", job.error);
	e2e_close(p);
}
END_TEST

/* What does not fit into the socket waits for it to be writable again. */
START_TEST(host_reads_late)
{
	struct pair p = guest_connects(&vm);
	struct host_job job = { .fd = p.host, .to_read = BULK, .read_seed = 8, .chunk = 1000 };
	int64_t deadline = deadline_in(6 * DEADLINE_MS);
	uint8_t *bytes = malloc(BULK);
	size_t sent = 0, n;

	pattern_fill(bytes, BULK, 0, 8);
	do {
		n = sock_send_some(p.guest, bytes + sent, BULK - sent);
		sent += n;
	} while (n || driver_wait(&vm, deadline_in(QUIET_MS), true));
	ck_assert_uint_lt(sent, BULK);		/* all is full now */
	host_job_start(&job);
	while (sent < BULK) {
		ck_assert(deadline_left(deadline));
		sent += sock_send_some(p.guest, bytes + sent, BULK - sent);
		driver_wait(&vm, deadline_in(10), true);
	}
	ck_assert_msg(host_job_finish(&job), "%s", job.error);
	free(bytes);
	e2e_close(p);
}
END_TEST

START_TEST(many_at_once)
{
	unsigned fds = daemon_usage(&vhd).fds;
	struct pair pairs[MANY];

	for (int i = 0; i < MANY; i++)
		pairs[i] = i % 2 ? guest_connects(&vm) : host_connects(&vm, FORWARDED);
	for (int i = 0; i < MANY; i++) {
		e2e_check_guest_to_host(pairs[i], 1000, (uint32_t)i);
		e2e_check_host_to_guest(pairs[i], 1000, (uint32_t)i);
	}
	for (int i = 0; i < MANY; i++)
		e2e_close(pairs[i]);
	ck_assert(daemon_wait_fds(&vhd, fds, DEADLINE_MS));
}
END_TEST

/* ---- life ---- */

START_TEST(no_guest_is_running)
{
	ck_assert(vsock_is_hung_up_on(SOCK_STREAM, FORWARDED, AT_ONCE_MS));
	driver_up(&vm, vhd.socket, NULL);
	e2e_close(host_connects(&vm, FORWARDED));
	driver_detach(&vm);
	ck_assert(vsock_is_hung_up_on(SOCK_STREAM, FORWARDED, DEADLINE_MS));
}
END_TEST

START_TEST(front_end_vanishes)
{
	struct pair p = guest_connects(&vm), q = host_connects(&vm, FORWARDED);

	driver_detach(&vm);
	ck_assert(host_is_closed(p.host, DEADLINE_MS));
	ck_assert(host_is_closed(q.host, DEADLINE_MS));
	close(p.host);
	close(q.host);
}
END_TEST

static void path_in(char *out, size_t size, const char *name)
{
	ck_assert_int_lt(snprintf(out, size, "%s/%s", vhd.dir, name), (int)size);
}

/* One VM with unix sockets, one with AF_VSOCK, and they are siblings. */
START_TEST(mixed_vms)
{
	struct driver_options options = { .cid = 4 };
	struct driver other = { 0 };
	char a[256], b[256], socket[128];
	const char *const args[] = { "--vm", a, "--vm", b, NULL };
	struct driver_pkt request;
	const struct driver_kept *k;
	struct sock *s;

	path_in(socket, sizeof socket, "vm4.sock");
	snprintf(a, sizeof a, "guest-cid=3,socket=%s,uds-path=%s", vhd.socket, vhd.uds);
	snprintf(b, sizeof b, "guest-cid=4,socket=%s,forward-cid=1,forward-listen=7001", socket);
	daemon_spawn(&vhd, args);
	ck_assert(daemon_wait_listening(&vhd, vhd.socket));
	ck_assert(daemon_wait_listening(&vhd, socket));
	driver_up(&vm, vhd.socket, NULL);
	driver_up(&other, socket, &options);
	e2e_check_alive();
	e2e_close(guest_connects(&other));
	e2e_close(host_connects(&other, FORWARDED));

	driver_keep_packets(&other);
	request = driver_pkt(&other, VSOCK_OP_REQUEST, 5000, PORT);
	request.dst_cid = 3;
	request.buf_alloc = 65536;
	sock_listen(&vm, PORT);
	ck_assert(driver_send(&other, &request, NULL));
	s = sock_accept(&vm, PORT);
	ck_assert_uint_eq(s->peer_cid, 4);
	k = driver_next(&other, DEADLINE_MS);
	ck_assert_ptr_nonnull(k);
	ck_assert_uint_eq(k->pkt.op, VSOCK_OP_RESPONSE);
	ck_assert_uint_eq(k->pkt.src_cid, 3);
	driver_deinit(&other);
}
END_TEST

/* The second VM wants a port that is taken: it alone is left out. */
START_TEST(port_is_taken)
{
	char a[256], b[256], other[128], *log;
	const char *const args[] = { "--vm", a, "--vm", b, NULL };
	int taken = vsock_listen(SOCK_STREAM, FORWARDED + 1, 0);

	path_in(other, sizeof other, "vm4.sock");
	snprintf(a, sizeof a, "guest-cid=4,socket=%s,forward-cid=1,forward-listen=7002", other);
	snprintf(b, sizeof b, "guest-cid=3,socket=%s,forward-cid=1,forward-listen=7001",
		 vhd.socket);
	daemon_spawn(&vhd, args);
	ck_assert(daemon_wait_listening(&vhd, vhd.socket));
	driver_up(&vm, vhd.socket, NULL);
	e2e_close(host_connects(&vm, FORWARDED));
	ck_assert_int_eq(access(other, F_OK), -1);
	log = daemon_log(&vhd);
	ck_assert_msg(strstr(log, "vm 4: forward-listen 7002: Address already in use"), "%s", log);
	ck_assert_msg(strstr(log, "vm 4 is left out"), "%s", log);
	free(log);
	close(taken);
}
END_TEST

/* ---- peers at other CIDs: the guest's host dials the three ports all the time ---- */

static const struct {
	const char *cid, *port, *any;
	bool is_let_in;
} peer_cases[] = {				/* the peer's CID is 2 */
	{ "1", "7001", NULL, false },
	{ "2", "7002", NULL, true },
	{ "1", "7003", "--forward-listen-any", true },
};

static void wait_until_refused(const char *port)
{
	char line[64];

	snprintf(line, sizeof line, "of CID 2 to port %s: not let in", port);
	ck_assert(daemon_wait_log(&vhd, line));
	ck_assert(driver_is_quiet(&vm, QUIET_MS));
}

START_TEST(peers_by_their_cid)
{
	const char *const args[] = {
		"--socket", vhd.socket, "--forward-cid", peer_cases[_i].cid,
		"--forward-listen", peer_cases[_i].port, peer_cases[_i].any, NULL,
	};
	uint32_t port = (uint32_t)atoi(peer_cases[_i].port);
	struct sock *s;

	daemon_spawn(&vhd, args);
	ck_assert(daemon_wait_listening(&vhd, vhd.socket));
	driver_up(&vm, vhd.socket, NULL);
	sock_listen(&vm, port);
	if (peer_cases[_i].is_let_in) {
		s = sock_accept(&vm, port);
		ck_assert_uint_eq(s->peer_cid, VSOCK_CID_HOST);
		ck_assert(sock_send(s, "hello", 5));
		ck_assert(sock_wait_shutdown(s, VSOCK_SHUTDOWN_BOTH, DEADLINE_MS));
	} else {
		wait_until_refused(peer_cases[_i].port);
	}
}
END_TEST

static Suite *make_peers_suite(void)
{
	Suite *s = suite_create("peers");

	tcase_add_loop_test(e2e_case(s, "peers", e2e_setup_bare, 120), peers_by_their_cid, 0, 3);
	return s;
}

static Suite *make_suite(void)
{
	Suite *s = suite_create("afvsock");
	TCase *tc = e2e_case(s, "connections", afvsock_setup_vm, 120);

	tcase_add_test(tc, guest_to_host);
	tcase_add_test(tc, host_to_guest);
	tcase_add_test(tc, host_speaks_before_the_guest_accepts);
	tcase_add_loop_test(tc, guest_to_any_cid, 0, sizeof cids / sizeof *cids);
	tcase_add_test(tc, nobody_listens);
	tcase_add_test(tc, guest_gives_up_while_connecting);
	endings_add(s, afvsock_setup_vm, &at_afvsock);
	tc = e2e_case(s, "bytes", afvsock_setup_vm, 240);
	tcase_add_loop_test(tc, bulk_both_ways, 0, 2);
	tcase_add_test(tc, host_reads_late);
	tcase_add_test(tc, many_at_once);
	tcase_add_test(e2e_case(s, "life", setup_daemon, 120), no_guest_is_running);
	tcase_add_test(e2e_case(s, "life of a VM", afvsock_setup_vm, 120), front_end_vanishes);
	tc = e2e_case(s, "VMs", e2e_setup_bare, 120);
	tcase_add_test(tc, mixed_vms);
	tcase_add_test(tc, port_is_taken);
	afvsock_messages_add(s);
	return s;
}

int main(int argc, char **argv)
{
	const char *where = getenv("AFVSOCK_TEST_IN");

	if (!where || strcmp(where, "guest") != 0 || access("/script", R_OK) < 0) {
		fputs("only inside the guest of test_afvsock.py\n", stderr);
		return EXIT_FAILURE;
	}
	return e2e_run(argc > 1 && strcmp(argv[1], "peers") == 0 ? make_peers_suite() :
		       make_suite());
}
