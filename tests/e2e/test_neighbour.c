/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What one VM's front-end, guest and host programs hand over and say, and another VM
 * on the same worker that must not notice: descriptors whose close, stat, poll or write
 * takes as long as somebody likes, and messages without end.
 */
#include <fcntl.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>
#include <linux/aio_abi.h>

#include "e2e/awkward.h"
#include "e2e/flow.h"
#include "e2e/neighbour.h"

enum { MIB = 1 << 20 };

static void setup(void)
{
	neighbour_setup_vm();
	neighbour_stop();			/* until there is something to measure */
}

/* ---- descriptors that linger ---- */

enum {
	LINGERING = 20,				/* more than there are threads that close */
	LINGERING_MAX = 4 * LINGERING,
	WHILE_MS = 500,				/* one act lasts as long as it is measured */
};

static struct lingering lingering[LINGERING_MAX];
static unsigned n_lingering;
static struct pair passing;
static bool (*pass)(int fd);			/* false: the kernel refuses */
static void (*passed)(void);			/* and the test has closed its own */

static bool pass_by_stream(int fd)
{
	return send_with_fd(passing.host, "x", 1, fd);
}

/* One of the wrong kind, if it is none that calls. */
static bool pass_by_front_end(int fd)
{
	const uint64_t ring = VSOCK_EVENTQ;

	return vmm_send(&vm.fe, VHOST_USER_SET_VRING_CALL, VHOST_USER_F_NEED_REPLY, &ring,
			sizeof ring, &fd, 1);
}

static void passed_by_front_end(void)
{
	struct vmm_msg answer;

	ck_assert_int_eq(vmm_recv(&vm.fe, &answer), 0);
}

static void do_nothing(void)
{
}

/* Instead of a CONNECT line; it is hung up on. */
static bool pass_by_stranger(int fd)
{
	static const char garbage[] = "no line of any length that is allowed here\n";
	int client = host_connect(vhd.uds);
	bool is_sent;

	must(client >= 0);
	is_sent = send_with_fd(client, garbage, sizeof garbage - 1, fd);
	close(client);
	return is_sent;
}

/* A second front-end is refused, what it has sent is not read. */
static bool pass_by_second_front_end(int fd)
{
	int client = host_connect(vhd.socket);

	must(client >= 0);
	send_with_fd(client, "x", 1, fd);
	close(client);
	return true;
}

/* The daemon is the last to close it. (Or the test is, which then lingers itself.) */
static void pass_and_close(struct lingering *l)
{
	const struct linger at_once = { .l_onoff = 1 };
	bool is_passed = pass(l->fd);

	if (!is_passed)
		setsockopt(l->fd, SOL_SOCKET, SO_LINGER, &at_once, sizeof at_once);
	close(l->fd);
	if (is_passed)
		passed();
}

static void pass_lingering_ones(void)
{
	for (int i = 0; i < LINGERING && n_lingering < LINGERING_MAX; i++) {
		lingering[n_lingering] = lingering_new();
		pass_and_close(&lingering[n_lingering++]);
	}
	poll(NULL, 0, WHILE_MS);			/* with all of them */
}

/* The same, but their close takes no time. */
static void pass_ordinary_ones(void)
{
	for (int i = 0; i < LINGERING; i++) {
		struct lingering none = { eventfd(0, EFD_CLOEXEC), -1 };

		pass_and_close(&none);
	}
	poll(NULL, 0, WHILE_MS);
}

/* Its bytes are of no interest. */
static void ignore(struct sock *s, const uint8_t *data, size_t len)
{
	(void)s, (void)data, (void)len;
}

enum { BY_FRONT_END, BY_SECOND_FRONT_END, BY_CLIENT, BY_LISTENER, BY_STRANGER, WAYS };

/* _i from WAYS on: programs of the host again, where the kernel cannot refuse descriptors. */
START_TEST(descriptors_that_linger)
{
	static bool (*const ways[WAYS])(int fd) = {
		[BY_CLIENT] = pass_by_stream, [BY_LISTENER] = pass_by_stream,
		[BY_STRANGER] = pass_by_stranger, [BY_FRONT_END] = pass_by_front_end,
		[BY_SECOND_FRONT_END] = pass_by_second_front_end,
	};
	int way = _i < WAYS ? _i : BY_CLIENT + _i - WAYS;
	unsigned fds;

	if (_i >= WAYS)
		take_away_passrights();
	setup();
	pass = ways[way];
	passed = way == BY_FRONT_END ? passed_by_front_end : do_nothing;
	if (way == BY_CLIENT || way == BY_LISTENER) {
		passing = way == BY_CLIENT ? e2e_host_connects(&vm, vhd.uds) :
			e2e_guest_connects(&vm, vhd.uds);
		passing.guest->sink = ignore;
	}
	fds = daemon_usage(&vhd).fds;
	neighbour_compare(pass_ordinary_ones, pass_lingering_ones);
	for (unsigned i = 0; i < n_lingering; i++)
		close(lingering[i].peer);
	ck_assert(daemon_wait_fds(&vhd, fds, DEADLINE_MS));
	e2e_check_alive();
}
END_TEST

/* SIGTERM comes while they are being closed. */
START_TEST(end_with_descriptors_that_linger)
{
	pass = pass_by_front_end;
	passed = passed_by_front_end;
	pass_lingering_ones();
	ck_assert_int_eq(daemon_stop(&vhd, END_MS), 0);
}
END_TEST

/* ---- a file whose server is silent ---- */

static struct silent_file silent;

static void hand_over_silent_file(void)
{
	ck_assert_int_ne(vmm_set_vring_kick(&vm.fe, VSOCK_TXQ, silent.fd), 0);
	ck_assert_int_ne(vmm_set_vring_call(&vm.fe, VSOCK_TXQ, silent.fd), 0);
	ck_assert_int_ne(vmm_set_vring_err(&vm.fe, VSOCK_TXQ, silent.fd), 0);
	poll(NULL, 0, 100);
}

static void hand_over_eventfds(void)
{
	struct guest_ring *tx = &vm.vq[VSOCK_TXQ];

	ck_assert_int_eq(vmm_set_vring_kick(&vm.fe, VSOCK_TXQ, tx->kick_fd), 0);
	ck_assert_int_eq(vmm_set_vring_call(&vm.fe, VSOCK_TXQ, tx->call_fd), 0);
	ck_assert_int_eq(vmm_set_vring_err(&vm.fe, VSOCK_TXQ, tx->err_fd), 0);
	poll(NULL, 0, 100);
}

START_TEST(file_of_a_silent_server)
{
	const char *why;

	why = silent_file_new(&silent);
	if (why) {
		printf("# SKIP a file of a silent server: %s\n", why);
		return;
	}
	neighbour_compare(hand_over_eventfds, hand_over_silent_file);
	e2e_check_alive();
	silent_file_end(&silent);
}
END_TEST

/* ---- eventfds that block ---- */

static const uint64_t most = UINT64_MAX - 1;	/* that a write makes of it */

static bool fill(int fd)
{
	return write(fd, &most, sizeof most) == (ssize_t)sizeof most;
}

/* One more than that, as only the kernel does, and not even zero can be added. */
static bool overfill(int fd)
{
	struct iocb cb = {
		.aio_lio_opcode = IOCB_CMD_POLL, .aio_fildes = (uint32_t)fd, .aio_buf = POLLIN,
		.aio_flags = IOCB_FLAG_RESFD, .aio_resfd = (uint32_t)fd,
	}, *list[] = { &cb };
	struct pollfd p = { .fd = fd };
	aio_context_t aio = 0;

	must(fill(fd));
	if (syscall(SYS_io_setup, 1, &aio) < 0)
		return false;
	if (syscall(SYS_io_submit, aio, 1, list) == 1)
		poll(&p, 1, DEADLINE_MS);	/* POLLERR: it has overflown */
	syscall(SYS_io_destroy, aio);
	return p.revents & POLLERR;
}

static void make_call(void)
{
	struct driver_pkt stray = driver_pkt(&vm, VSOCK_OP_CREDIT_UPDATE, 1, 2);

	guest_ring_want_call(&vm.vq[VSOCK_RXQ]);
	driver_send(&vm, &stray, NULL);		/* is answered */
}

static void break_ring(void)
{
	guest_ring_raw_post(&vm.vq[VSOCK_RXQ], 0xffff);
	make_call();
}

static const struct trap {
	bool (*spoil_before)(int fd);
	int (*hand_over)(struct vmm *f, uint32_t ring, int fd);
	bool (*spoil_after)(int fd);
	void (*provoke)(void);			/* a write to it */
} traps[] = {
	{ NULL, vmm_set_vring_call, fill, make_call },
	{ NULL, vmm_set_vring_err, fill, break_ring },
	{ overfill, vmm_set_vring_call, NULL, do_nothing },
}, *trap;

/* A new session, as far as it is let. With @is_spoilt, the eventfd can be written to no
 * more, and a write waits. */
static void use_eventfd(bool is_spoilt)
{
	int fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);

	driver_deinit(&vm);
	driver_init(&vm, NULL);
	if (driver_attach(&vm, vhd.socket) == 0) {
		if (is_spoilt && trap->spoil_before)
			must(trap->spoil_before(fd) && fcntl(fd, F_SETFL, 0) == 0);
		if (trap->hand_over(&vm.fe, VSOCK_RXQ, fd) == 0) {
			if (is_spoilt && trap->spoil_after)
				must(trap->spoil_after(fd) && fcntl(fd, F_SETFL, 0) == 0);
			trap->provoke();
		}
	}
	vmm_is_closed(&vm.fe, 20);
	close(fd);
}

static void use_good_one(void)
{
	use_eventfd(false);
}

static void use_spoilt_one(void)
{
	use_eventfd(true);
}

/* Only a signal gets a worker out of such a write. That takes a moment, once: from then on
 * there is a look before each write. */
START_TEST(eventfd_that_blocks)
{
	int64_t honest, attack, begin;
	int fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);

	trap = &traps[_i];
	if (trap->spoil_before && !trap->spoil_before(fd)) {
		printf("# SKIP an eventfd that overflows: no asynchronous I/O\n");
		return;
	}
	close(fd);
	honest = neighbour_measure(use_good_one);
	begin = daemon_clock_ms(&vhd);
	use_spoilt_one();
	if (trap->spoil_after)			/* else it was refused */
		ck_assert(vmm_is_closed(&vm.fe, DEADLINE_MS));
	ck_assert_int_lt(daemon_clock_ms(&vhd) - begin, 2000);
	attack = neighbour_measure(use_spoilt_one);
	ck_assert_msg(neighbour_is_well(attack, honest), "%lld us, %lld us with honest work",
		      (long long)attack, (long long)honest);
}
END_TEST

/* ---- messages ---- */

static atomic_bool streams;
static void (*say_something)(void);

static void *stream(void *arg)
{
	while (atomic_load(&streams))
		say_something();
	return arg;
}

/* The session's front-end says something all the time, and others come by. */
static void say_while_others_come(void (*something)(void))
{
	pthread_t thread;

	say_something = something;
	atomic_store(&streams, true);
	must(pthread_create(&thread, NULL, stream, NULL) == 0);
	for (int i = 0; i < 40; i++) {
		int fd = host_connect(vhd.socket);

		must(fd >= 0);
		if (i % 2)
			send(fd, "x", 1, MSG_NOSIGNAL);
		host_is_closed(fd, 5);
		close(fd);
	}
	atomic_store(&streams, false);
	must(pthread_join(thread, NULL) == 0);
}

/* As much as the socket takes: all the time there is more than is heard in one turn. */
static void say_set_owner(void)
{
	static struct vhost_user_hdr owner[512];

	if (!owner[0].request)
		for (int i = 0; i < 512; i++)
			owner[i] = (struct vhost_user_hdr){ .request = VHOST_USER_SET_OWNER,
							    .flags = VHOST_USER_VERSION };
	must(vmm_send_bytes(&vm.fe, owner, sizeof owner, NULL, 0));
}

static void ask_for_features(void)
{
	uint64_t features;

	must(vmm_get_features(&vm.fe, &features) == 0);
}

static void owner_without_end(void)
{
	say_while_others_come(say_set_owner);
}

static void questions_with_pauses(void)
{
	say_while_others_come(ask_for_features);
}

START_TEST(messages_without_end)
{
	neighbour_compare(questions_with_pauses, owner_without_end);
	driver_deinit(&vm);
	driver_up(&vm, vhd.socket, NULL);
	e2e_check_alive();
}
END_TEST

enum { LONG_MESSAGES = 32 };

static void say_long_messages(void)
{
	static struct {
		struct vhost_user_hdr hdr;
		uint8_t junk[MIB];
	} m = { .hdr = { .request = 1000, .flags = VHOST_USER_VERSION, .size = MIB } };

	for (int i = 0; i < LONG_MESSAGES; i++)
		must(vmm_send_bytes(&vm.fe, &m, sizeof m, NULL, 0));
}

/* As many bytes, to the guest. */
static void move_as_much(void)
{
	struct pair p = e2e_host_connects(&vm, vhd.uds);
	struct host_job job = { .fd = p.host, .to_write = LONG_MESSAGES * MIB, .write_seed = 1 };
	struct flow flow = { .sock = p.guest, .to_recv = LONG_MESSAGES * MIB, .recv_seed = 1 };

	host_job_start(&job);
	flow_run(&vm, &flow, 1);
	must(host_job_finish(&job));
	e2e_close(p);
}

START_TEST(messages_with_long_payloads)
{
	neighbour_compare(move_as_much, say_long_messages);
	e2e_check_alive();
}
END_TEST

int main(void)
{
	Suite *s = suite_create("neighbour");
	TCase *tc = e2e_case_with(s, "bare", do_nothing, neighbour_teardown, 60);

	tcase_add_loop_test(tc, descriptors_that_linger, 0, 2 * WAYS - BY_CLIENT);
	tc = e2e_case_with(s, "vm", setup, neighbour_teardown, 60);
	tcase_add_test(tc, file_of_a_silent_server);
	tcase_add_test(tc, end_with_descriptors_that_linger);
	tcase_add_loop_test(tc, eventfd_that_blocks, 0, sizeof traps / sizeof *traps);
	tcase_add_test(tc, messages_without_end);
	tcase_add_test(tc, messages_with_long_payloads);
	return e2e_run(s);
}
