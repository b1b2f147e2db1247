/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Another process takes over the AF_VSOCK backend. Its sockets listen for real; nobody connects
 * to them here, for what would answer is not this machine's to say. How a socket as a stream is
 * handed over is in test_uds_state.c, which has the same code.
 */
#include "backend/afvsock.h"

#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>

#include <linux/vm_sockets.h>

#include "fake_core.h"
#include "support/deadline.h"
#include "unit.h"
#include "util/blob.h"
#include "util/closer.h"
#include "util/error.h"
#include "util/fd.h"
#include "util/socket_kind.h"

enum { PORTS = 3 };

static uint32_t ports[PORTS];
static int fds_before;

static int vsock_of(int type)
{
	return socket(AF_VSOCK, type | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
}

static int vsock(void)
{
	return vsock_of(SOCK_STREAM);
}

static int vsock_messages(void)
{
	return vsock_of(SOCK_SEQPACKET);
}

/* 0 or -errno, as it is for whoever else wants the port. */
static int bind_to(int fd, uint32_t port)
{
	struct sockaddr_vm at = {
		.svm_family = AF_VSOCK, .svm_cid = VMADDR_CID_ANY, .svm_port = port,
	};

	return bind(fd, (struct sockaddr *)&at, sizeof at) < 0 ? -errno : 0;
}

static bool is_free(uint32_t port)
{
	int fd = vsock(), r = bind_to(fd, port);

	fd_close(&fd);
	ck_assert(r == 0 || r == -EADDRINUSE);
	return r == 0;
}

/* Ports that nobody has. */
static void choose_ports(void)
{
	int fds[PORTS];

	for (int i = 0; i < PORTS; i++) {
		struct sockaddr_vm at = { .svm_family = 0 };
		socklen_t len = sizeof at;

		fds[i] = vsock();
		ck_assert_int_eq(bind_to(fds[i], VMADDR_PORT_ANY), 0);
		ck_assert_int_eq(getsockname(fds[i], (struct sockaddr *)&at, &len), 0);
		ports[i] = at.svm_port;
	}
	for (int i = 0; i < PORTS; i++)
		fd_close(&fds[i]);
}

static int add_both(const uint32_t *listen, size_t n, size_t n_seqpacket, bool is_held)
{
	struct afvsock_config config = {
		.cid = 1, .listen = listen, .n_listen = n, .listen_seqpacket = listen + n,
		.n_listen_seqpacket = n_seqpacket, .tag = "vm 3", .loop = core.loop,
		.mux = &core, .is_held = is_held,
	};

	return afvsock_new(&core.backend, &config);
}

static int add_backend(const uint32_t *listen, size_t n, bool is_held)
{
	return add_both(listen, n, 0, is_held);
}

static void setup(void)
{
	ck_assert_int_eq(closer_init(), 0);
	closer_start();
	fds_before = unit_count_fds();
	choose_ports();
	core_begin();
}

static void expect_fds(int n)
{
	int64_t deadline = deadline_in(DEADLINE_MS);

	while (unit_count_fds() != n && deadline_left(deadline))
		poll(NULL, 0, 1);
	ck_assert_int_eq(unit_count_fds(), n);
}

static void teardown(void)
{
	core_end();
	expect_fds(fds_before);
}

/* A port that listens does so all the time; one that is new, from then on; one that is gone,
 * no more. */
START_TEST(ports_that_listen)
{
	ck_assert_int_eq(add_backend(ports, 2, false), 0);
	core_hand_over();
	ck_assert_uint_eq(core_blob.n_fds, 2);
	ck_assert_int_eq(add_backend(ports + 1, 2, true), 0);
	ck_assert_int_eq(core_load(core_blob.bytes, core_blob.len), 0);
	ck_assert(!is_free(ports[0]));		/* the other process's */
	ck_assert(!is_free(ports[2]));
	core_resume();
	for (int64_t deadline = deadline_in(DEADLINE_MS); !is_free(ports[0]); poll(NULL, 0, 1))
		ck_assert_int_gt(deadline_left(deadline), 0);	/* another thread closes it */
	ck_assert(!is_free(ports[1]));
	ck_assert(!is_free(ports[2]));
	core_run_for(0);
}
END_TEST

START_TEST(ports_of_both_types)
{
	ck_assert_int_eq(add_both(ports, 1, 2, false), 0);
	core_hand_over();
	ck_assert_uint_eq(core_blob.n_fds, 3);
	for (int i = 0; i < PORTS; i++) {
		ck_assert_int_eq(socket_option(core_blob.fds[i], SO_TYPE),
				 i ? SOCK_SEQPACKET : SOCK_STREAM);
		ck_assert_int_eq(socket_option(core_blob.fds[i], SO_ACCEPTCONN), 1);
	}
	ck_assert_int_eq(add_both(ports, 1, 2, true), 0);
	ck_assert_int_eq(core_load(core_blob.bytes, core_blob.len), 0);
	core_resume();
	for (int i = 0; i < PORTS; i++)
		ck_assert(!is_free(ports[i]));
	core_run_for(0);
}
END_TEST

/* A port may change its type, but not under those who wait at it. */
START_TEST(a_port_of_the_other_type)
{
	ck_assert_int_eq(add_both(ports, 0, 1, false), 0);
	core_hand_over();
	ck_assert_int_eq(add_both(ports, 1, 0, true), 0);
	ck_assert_int_eq(core_load(core_blob.bytes, core_blob.len), BACKEND_E_BAD_STATE);
}
END_TEST

/* The other process goes on with its ports. */
START_TEST(taken_back)
{
	ck_assert_int_eq(add_backend(ports, 2, false), 0);
	core_hand_over();
	ck_assert_int_eq(add_backend(ports, 3, true), 0);
	ck_assert_int_eq(core_load(core_blob.bytes, core_blob.len), 0);
	core_go_back();
	ck_assert(!is_free(ports[0]));
	ck_assert(!is_free(ports[1]));
	ck_assert(is_free(ports[2]));
}
END_TEST

/* A port of somebody else's is an error only where nobody hands it over. */
START_TEST(a_port_that_is_taken)
{
	int theirs = vsock();

	ck_assert_int_eq(bind_to(theirs, ports[0]), 0);
	ck_assert_int_eq(add_backend(ports, 1, false), -EADDRINUSE);
	ck_assert_int_eq(add_backend(ports, 1, true), 0);
	fd_close(&theirs);
}
END_TEST

/* @message: what is said of the one that was being sent; -1: nothing, it is of bytes. */
static void put_stream(struct blob *b, int fd, uint8_t flags, uint32_t n_early, int message)
{
	size_t outer = blob_open(b, BLOB_TAG('A', 'F', 'V', 'S'), message < 0 ? 1 : 2);
	size_t inner = blob_open(b, BLOB_TAG('S', 'O', 'C', 'K'), 1);

	blob_put_fd(b, fd);
	blob_put_u8(b, flags);
	blob_put_u32(b, 0);
	blob_put_u32(b, n_early);
	for (uint32_t i = 0; i < n_early; i++)
		blob_put_u8(b, 'x');
	blob_close(b, inner);
	if (message >= 0)
		blob_put_u8(b, (uint8_t)message);
	blob_close(b, outer);
}

static int unix_stream(void)
{
	return socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
}

static int none(void)
{
	return -1;
}

static int plain_file(void)
{
	return open("/dev/null", O_RDWR | O_CLOEXEC);
}

static const struct {
	const char *name;
	int (*make)(void);
	uint8_t flags;
	uint32_t n_early;
	int result;
	int message;				/* and one; 0: it is of bytes */
} streams[] = {
	{ "live", vsock, 1, 0, 0, 0 },
	{ "connecting", vsock, 0, 0, BACKEND_E_PENDING, 0 },
	{ "of another family", unix_stream, 1, 0, BACKEND_E_BAD_STATE, 0 },
	{ "a file", plain_file, 1, 0, BACKEND_E_BAD_STATE, 0 },
	{ "none", none, 1, 0, BACKEND_E_BAD_STATE, 0 },
	{ "with descriptors", vsock, 5, 0, BACKEND_E_BAD_STATE, 0 },
	{ "with early bytes", vsock, 1, 1, BACKEND_E_BAD_STATE, 0 },
	{ "with flags that nobody knows", vsock, 9, 0, BACKEND_E_BAD_STATE, 0 },
	{ "of messages", vsock_messages, 1, 0, 0, 1 },
	{ "... with one that has been sent", vsock_messages, 1, 0, 0, 2 },
	{ "... with one that may be torn", vsock_messages, 1, 0, BACKEND_E_TIMEOUT, 3 },
	{ "... with what nobody knows", vsock_messages, 1, 0, BACKEND_E_BAD_STATE, 4 },
	{ "... connecting", vsock_messages, 0, 0, BACKEND_E_PENDING, 1 },
	{ "... connecting, with one sent", vsock_messages, 0, 0, BACKEND_E_BAD_STATE, 2 },
	{ "... by a socket of bytes", vsock, 1, 0, BACKEND_E_BAD_STATE, 1 },
	{ "of bytes, by one of messages", vsock_messages, 1, 0, BACKEND_E_BAD_STATE, 0 },
};

START_TEST(a_stream)
{
	struct blob b;
	int fd = streams[_i].make(), dup_fd = fd < 0 ? -1 : dup(fd);
	struct blob_fds fds = { &dup_fd, fd >= 0 };
	struct vsock_addr guest = { 3, 1024 }, peer = { 1, 80 };
	struct stream *s = NULL;
	struct blob_reader in;

	ck_assert_int_eq(add_backend(NULL, 0, true), 0);
	blob_init(&b, 1000, 1);
	put_stream(&b, fd, streams[_i].flags, streams[_i].n_early, streams[_i].message - 1);
	blob_read(&in, b.bytes, b.len, &fds);
	ck_assert_int_eq(core.backend->ops->load_stream(core.backend, &guest, &peer, &in, &s),
			 streams[_i].result);
	ck_assert_int_eq(dup_fd, -1);		/* taken over, if there was one */
	if (s) {
		core.streams[core.n_streams++] = s;
		ck_assert_uint_eq(s->ready, streams[_i].flags & 1 ? STREAM_IN | STREAM_OUT : 0);
		ck_assert_int_eq(s->type, streams[_i].message ? VSOCK_TYPE_SEQPACKET :
				 VSOCK_TYPE_STREAM);
		if (streams[_i].message == 2) {	/* not once more */
			struct iovec v = { (char[]){ "hello" }, 5 };

			ck_assert_int_eq(s->ops->write_message(s, &v, 1, 0), 0);
		}
		core_run_for(5);
		ck_assert_uint_eq(core.n_ready + core.n_connected, 0);
		core_close_all();
	}
	fd_close(&fd);
	blob_deinit(&b);
}
END_TEST

static const struct {
	const char *name;
	int (*make)(void);
	int result;
} listeners[] = {
	{ "one that does not listen", vsock, BACKEND_E_BAD_STATE },
	{ "a file", plain_file, BACKEND_E_BAD_STATE },
	{ "of another family", unix_stream, BACKEND_E_BAD_STATE },
	{ "none", none, 0 },			/* the other process had not got it either */
};

START_TEST(what_does_not_listen)
{
	int theirs = vsock(), stranger = listeners[_i].make(), was;

	ck_assert_int_eq(add_backend(ports, 2, false), 0);
	core_hand_over();
	ck_assert_int_eq(add_backend(ports, 2, true), 0);
	was = core_blob.fds[1];
	if (stranger >= 0)
		core_blob.fds[1] = stranger;
	else
		memset(core_blob.bytes + core_blob.len - 4, 0xff, 4);
	ck_assert_int_eq(core_load(core_blob.bytes, core_blob.len), listeners[_i].result);
	core_blob.fds[1] = was;
	for (size_t n = 0; n < core_blob.len; n++)
		ck_assert_int_eq(core_load(core_blob.bytes, n), BACKEND_E_BAD_STATE);
	fd_close(&stranger);
	fd_close(&theirs);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("afvsock_state");
	TCase *tc = tcase_create("afvsock_state");
	int fd = vsock();

	if (fd < 0) {
		puts("1..0 # SKIP this kernel has no AF_VSOCK");
		return 0;
	}
	close(fd);
	tcase_add_checked_fixture(tc, setup, teardown);
	tcase_set_timeout(tc, 60);
	tcase_add_test(tc, ports_that_listen);
	tcase_add_test(tc, ports_of_both_types);
	tcase_add_test(tc, a_port_of_the_other_type);
	tcase_add_test(tc, taken_back);
	tcase_add_test(tc, a_port_that_is_taken);
	tcase_add_loop_test(tc, a_stream, 0, COUNT(streams));
	tcase_add_loop_test(tc, what_does_not_listen, 0, COUNT(listeners));
	suite_add_tcase(suite, tc);
	return unit_main(suite);
}
