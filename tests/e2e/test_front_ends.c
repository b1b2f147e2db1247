/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The front-ends that need KVM, each as a table of what it says, in its order, from its
 * source:
 *
 *   cloud-hypervisor  53.0 and ae44c2971 (2026-08-22), generic vhost-user device, with the
 *                     vhost crate 0.16 and 0.17
 *   crosvm            f1e797a68 (2026-08-21), devices/src/virtio/vhost_user_frontend
 *   libkrun           6ed74facc (2026-06-12, after 1.19.0, which has no vhost-user), with the
 *                     vhost crate 0.15
 *   StratoVirt        vhost-user-vsock as proposed in 2026 (210cffb71), which no release has,
 *                     over the client of d5b320371 (2026-04-24, after 2.5.0)
 *
 * Their guests run the scripted driver, and talk both ways after each step.
 */
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "e2e/e2e.h"
#include "e2e/front_end.h"
#include "e2e/upgrade.h"

#define BIT(n)	(UINT64_C(1) << (n))

#define PROTOCOL_FEATURES	BIT(VHOST_USER_F_PROTOCOL_FEATURES)
#define MQ			BIT(VHOST_USER_PROTOCOL_F_MQ)
#define REPLY_ACK		BIT(VHOST_USER_PROTOCOL_F_REPLY_ACK)
#define CONFIG			BIT(VHOST_USER_PROTOCOL_F_CONFIG)

/* What Linux's virtio_vsock takes of what it is shown; newer kernels IN_ORDER as well. */
#define LINUX	(BIT(1) | BIT(VIRTIO_F_INDIRECT_DESC) | BIT(VIRTIO_F_EVENT_IDX) | \
		 BIT(VIRTIO_F_VERSION_1) | BIT(33) | BIT(34) | BIT(36) | BIT(38))
#define LINUX_IN_ORDER	(LINUX | BIT(VIRTIO_F_IN_ORDER))

#define ASK(name)	.request = VHOST_USER_GET_##name
#define TELL(name)	.request = VHOST_USER_SET_##name
#define ACKED		.need_reply = true

/* What a driver of Linux reads of the configuration space: the CID, by two reads. */
#define CID_READS(config_flags, ...) { \
	{ ASK(CONFIG), .offset = 0, .size = 4, .flags = (config_flags), __VA_ARGS__ }, \
	{ ASK(CONFIG), .offset = 4, .size = 4, .flags = (config_flags), __VA_ARGS__ }, \
}

/*
 * Acknowledges all once REPLY_ACK is agreed, and flags what has a reply anyhow, too. All
 * queues get their size before anything else. The base is what the guest's memory says has
 * been offered.
 */
#define CH_SET_UP(first_base) \
	{ TELL(FEATURES), ACKED, .value = PROTOCOL_FEATURES }, \
	{ TELL(MEM_TABLE), ACKED }, \
	{ TELL(VRING_NUM), ACKED, .round = 1 }, \
	{ TELL(VRING_ADDR), ACKED, .round = 2 }, \
	{ TELL(VRING_BASE), ACKED, .round = 2, .base = (first_base) }, \
	{ TELL(VRING_CALL), ACKED, .round = 2 }, \
	{ TELL(VRING_KICK), ACKED, .round = 2 }, \
	{ TELL(VRING_ENABLE), ACKED, .round = 3, .value = 1 }

#define CH_PROTOCOL \
	(CONFIG | MQ | BIT(VHOST_USER_PROTOCOL_F_CONFIGURE_MEM_SLOTS) | REPLY_ACK | \
	 BIT(VHOST_USER_PROTOCOL_F_INFLIGHT_SHMFD) | BIT(VHOST_USER_PROTOCOL_F_LOG_SHMFD) | \
	 BIT(VHOST_USER_PROTOCOL_F_DEVICE_STATE) | BIT(VHOST_USER_PROTOCOL_F_BACKEND_REQ))

/* A back-end that comes back is told what was agreed with the one before, and is not asked. */
#define CH_RECONNECT(first_base) \
	{ TELL(OWNER) }, \
	{ ASK(FEATURES), .value = PROTOCOL_FEATURES }, \
	{ TELL(PROTOCOL_FEATURES), .value = CH_PROTOCOL }, \
	CH_SET_UP(first_base)

#define CLOUD_HYPERVISOR(base_when_back) { \
	.name = "cloud-hypervisor", \
	.passes = BIT(VIRTIO_F_INDIRECT_DESC) | BIT(VIRTIO_F_EVENT_IDX) | \
		BIT(VIRTIO_F_VERSION_1) | BIT(VIRTIO_F_IN_ORDER) | BIT(36) | BIT(38), \
	.queue_size = 128, \
	.meet = { \
		{ TELL(OWNER) }, \
		{ ASK(FEATURES), .value = PROTOCOL_FEATURES | BIT(VIRTIO_F_VERSION_1) }, \
		{ ASK(PROTOCOL_FEATURES), .value = MQ | CONFIG }, \
		{ TELL(PROTOCOL_FEATURES), .value = CH_PROTOCOL }, \
		{ ASK(QUEUE_NUM), ACKED, .value = VSOCK_NUM_QUEUES }, \
	}, \
	.config = CID_READS(0, ACKED), \
	/* Ends then, as after any access that fails. */ \
	.config_write = { { TELL(CONFIG), ACKED, .size = 4, .flags = 1, .is_refused = true } }, \
	.start = { CH_SET_UP(BASE_AVAIL) }, \
	.pause = { { TELL(VRING_ENABLE), ACKED, .round = 1 } }, \
	.resume = { { TELL(VRING_ENABLE), ACKED, .round = 1, .value = 1 } }, \
	.reset = { \
		{ TELL(VRING_ENABLE), ACKED, .round = 1 }, \
		{ ASK(VRING_BASE), ACKED, .round = 1 }, \
	}, \
	.restart = { CH_SET_UP(BASE_AVAIL) }, \
	.reconnects = true, \
	.reconnect = { CH_RECONNECT(base_when_back) }, \
}

/* With IN_ORDER, after 53.0: goes on after the last buffer that was given back. */
static const struct front_end cloud_hypervisor = CLOUD_HYPERVISOR(BASE_USED);
/* 53.0, or without IN_ORDER: after the last one that was offered. */
static const struct front_end cloud_hypervisor_53 = CLOUD_HYPERVISOR(BASE_AVAIL);

/*
 * Takes REPLY_ACK, and never asks for an acknowledgement. The features are said when they
 * change: not after a reset. To sleep is to stop the rings, as a reset does.
 */
#define CROSVM_RINGS(first_base) \
	{ TELL(MEM_TABLE) }, \
	{ TELL(VRING_NUM), .round = 1 }, \
	{ TELL(VRING_ADDR), .round = 1 }, \
	{ TELL(VRING_BASE), .round = 1, .base = (first_base) }, \
	{ TELL(VRING_CALL), .round = 1 }, \
	{ TELL(VRING_KICK), .round = 1 }, \
	{ TELL(VRING_ENABLE), .round = 1, .value = 1 }

#define CROSVM_STOP \
	{ TELL(VRING_ENABLE), .round = 1 }, \
	{ ASK(VRING_BASE), .round = 1 }

#define CROSVM(size_of_queues) { \
	.name = "crosvm", \
	/* What is the device's own, and of the rest what its other devices have. */ \
	.passes = UINT64_C(0xfffc000000ffffff) | BIT(VIRTIO_F_EVENT_IDX) | \
		BIT(VIRTIO_F_VERSION_1) | BIT(42), \
	.queue_size = (size_of_queues), \
	.meet = { \
		{ TELL(OWNER) }, \
		{ ASK(FEATURES), .value = PROTOCOL_FEATURES | BIT(VIRTIO_F_VERSION_1) }, \
		{ ASK(PROTOCOL_FEATURES), .value = MQ | CONFIG }, \
		{ TELL(PROTOCOL_FEATURES), .value = CONFIG | MQ | REPLY_ACK | BIT(22) | \
			BIT(VHOST_USER_PROTOCOL_F_BACKEND_REQ) | \
			BIT(VHOST_USER_PROTOCOL_F_DEVICE_STATE) }, \
		{ ASK(QUEUE_NUM), .value = VSOCK_NUM_QUEUES }, \
	}, \
	.config = CID_READS(1, .need_reply = false), \
	.config_write = { { TELL(CONFIG), .size = 4 } }, \
	.start = { \
		{ TELL(FEATURES), .value = PROTOCOL_FEATURES }, \
		CROSVM_RINGS(BASE_ZERO), \
	}, \
	.pause = { CROSVM_STOP }, \
	.resume = { CROSVM_RINGS(BASE_STOPPED) }, \
	.reset = { CROSVM_STOP }, \
	.restart = { CROSVM_RINGS(BASE_ZERO) }, \
}

static const struct front_end crosvm = CROSVM(256);	/* max-queue-size=256 */
static const struct front_end crosvm_default = CROSVM(32768);

/*
 * SET_OWNER comes at each start, also after a reset, which does not stop the rings; memory
 * comes before the features. One descriptor for the calls of all rings. The driver's
 * buffers are counted from 0.
 */
#define LIBKRUN_SET_UP \
	{ TELL(OWNER) }, \
	{ TELL(MEM_TABLE) }, \
	{ TELL(FEATURES), .value = PROTOCOL_FEATURES }, \
	{ TELL(VRING_NUM), .round = 1 }, \
	{ TELL(VRING_BASE), .round = 1, .base = BASE_ZERO }, \
	{ TELL(VRING_ADDR), .round = 1 }, \
	{ TELL(VRING_KICK), .round = 1 }, \
	{ TELL(VRING_CALL), .round = 1 }, \
	{ TELL(VRING_ENABLE), .round = 1, .value = 1 }

static const struct front_end libkrun = {
	.name = "libkrun",
	.passes = ~PROTOCOL_FEATURES,
	.queue_size = 128,
	.shares_call = true,
	.meet = {				/* its caller has said how many queues */
		{ ASK(FEATURES), .value = PROTOCOL_FEATURES },
		{ ASK(PROTOCOL_FEATURES), .value = MQ | CONFIG },
		{ TELL(PROTOCOL_FEATURES), .value = MQ | CONFIG },
	},
	.config = CID_READS(0, .need_reply = false),
	.config_write = { { TELL(CONFIG), .size = 4 } },
	.start = { LIBKRUN_SET_UP },
	.reset = { { TELL(VRING_ENABLE), .round = 1 } },
	.restart = { LIBKRUN_SET_UP },
};

/*
 * Flags what has a reply anyhow, without REPLY_ACK. Shows its guest VERSION_1 alone. Its
 * GET_CONFIG has four bytes more than the specification says, as the CID is aligned; it wants
 * them back, and fails there with any back-end.
 */
#define STRATOVIRT_SET_UP \
	{ TELL(OWNER) }, \
	{ TELL(FEATURES), .value = PROTOCOL_FEATURES }, \
	{ TELL(MEM_TABLE) }, \
	{ TELL(VRING_NUM), .round = 1 }, \
	{ TELL(VRING_ADDR), .round = 2 }, \
	{ TELL(VRING_BASE), .round = 2, .base = BASE_USED }, \
	{ TELL(VRING_CALL), .round = 2 }, \
	{ TELL(VRING_KICK), .round = 2 }, \
	{ TELL(VRING_ENABLE), .round = 3, .value = 1 }

static const struct front_end stratovirt = {
	.name = "StratoVirt",
	.passes = BIT(VIRTIO_F_VERSION_1),
	.queue_size = 256,
	.meet = {
		{ ASK(FEATURES), ACKED, .value = PROTOCOL_FEATURES },
		{ ASK(PROTOCOL_FEATURES), ACKED, .value = MQ | CONFIG },
		{ TELL(PROTOCOL_FEATURES), .value = MQ | CONFIG },
		{ ASK(CONFIG), ACKED, .offset = 0, .size = 8, .padding = 4 },
		{ ASK(QUEUE_NUM), ACKED, .value = VSOCK_NUM_QUEUES },
	},
	.start = { STRATOVIRT_SET_UP },
	.reset = {
		{ TELL(VRING_ENABLE), .round = 1 },
		{ ASK(VRING_BASE), ACKED, .round = 1 },
	},
	.restart = { STRATOVIRT_SET_UP },
	.reconnects = true,
	.reconnect = {
		{ TELL(PROTOCOL_FEATURES), .value = MQ | CONFIG },
		STRATOVIRT_SET_UP,
	},
};

static const struct front_end *const all[] = {
	&cloud_hypervisor, &crosvm, &libkrun, &stratovirt,
};
enum { N_ALL = sizeof all / sizeof *all };

/* _i: front-end, and whether its driver takes IN_ORDER. */
static const struct front_end *fe_of(int i)
{
	return all[i % N_ALL];
}

static uint64_t features_of(int i)
{
	return i / N_ALL ? LINUX_IN_ORDER : LINUX;
}

static void start_driver(const struct front_end *fe, const struct front_end_step *start)
{
	front_end_say(&vm, fe, fe->config);
	front_end_say(&vm, fe, start);
	driver_fill_rings(&vm);
}

static void start_vm(const struct front_end *fe, uint64_t features)
{
	front_end_init(&vm, fe, features);
	ck_assert(vmm_connect(&vm.fe, vhd.socket));
	front_end_say(&vm, fe, fe->meet);
	start_driver(fe, fe->start);
}

static void check_alive(const struct front_end *fe)
{
	e2e_check_alive();
	front_end_say(&vm, fe, fe->config);
}

/* The VMM ends: it closes its socket, and that is all. */
START_TEST(start_and_shutdown)
{
	const struct front_end *fe = fe_of(_i);
	unsigned fds = 0;
	struct pair a, b;

	for (int i = 0; i < 3; i++) {
		start_vm(fe, features_of(_i));
		check_alive(fe);
		a = e2e_guest_connects(&vm, vhd.uds);
		b = e2e_host_connects(&vm, vhd.uds);
		e2e_check_talks(a);
		if (!i)
			fds = daemon_usage(&vhd).fds;
		driver_detach(&vm);
		ck_assert(host_is_closed(a.host, DEADLINE_MS));
		ck_assert(host_is_closed(b.host, DEADLINE_MS));
		close(a.host);
		close(b.host);
		driver_deinit(&vm);
	}
	ck_assert(daemon_wait_fds(&vhd, fds, DEADLINE_MS));
	start_vm(fe, features_of(_i));
	check_alive(fe);
}
END_TEST

/*
 * The guest's driver resets its device. Not every front-end waits until that is done: its rings
 * are the guest's again when something that came later has been answered.
 */
static void reset_driver(const struct front_end *fe)
{
	front_end_say(&vm, fe, fe->reset);
	front_end_say(&vm, fe, fe->config);
	driver_rewind(&vm, 0);
}

/* A driver that writes to its CID changes nothing, and does not lose its device. */
START_TEST(configuration_written)
{
	const struct front_end *fe = fe_of(_i);
	struct pair p;

	start_vm(fe, features_of(_i));
	p = e2e_host_connects(&vm, vhd.uds);
	for (int i = 0; i < 3; i++) {
		front_end_say(&vm, fe, fe->config_write);
		front_end_say(&vm, fe, fe->config);
		e2e_check_talks(p);
	}
	check_alive(fe);
}
END_TEST

/* What came while the guest slept is there when it wakes up. */
START_TEST(pause_and_resume)
{
	const struct front_end *fe = fe_of(_i);
	enum { LEN = 60000 };
	static uint8_t bytes[LEN];
	struct pair a, b;

	start_vm(fe, features_of(_i));
	a = e2e_host_connects(&vm, vhd.uds);
	b = e2e_guest_connects(&vm, vhd.uds);
	for (uint32_t i = 0; i < 5; i++) {
		e2e_check_talks(a);
		e2e_check_talks(b);
		front_end_say(&vm, fe, fe->pause);
		pattern_fill(bytes, LEN, 0, i);
		ck_assert(host_write(a.host, bytes, LEN));
		front_end_say(&vm, fe, fe->resume);
		memset(bytes, 0, LEN);
		ck_assert_uint_eq(sock_recv_full(a.guest, bytes, LEN), LEN);
		ck_assert_uint_eq(pattern_check(bytes, LEN, 0, i), LEN);
	}
	e2e_check_talks(b);
	check_alive(fe);
}
END_TEST

/* A packet that the driver has sent and the device has not taken yet stays in its ring. */
START_TEST(pause_with_packets_in_the_ring)
{
	const struct front_end *fe = fe_of(_i);
	enum { LEN = 200000 };
	static uint8_t bytes[LEN];
	struct pair p;
	size_t sent = 0, got = 0;

	start_vm(fe, features_of(_i));
	p = e2e_guest_connects(&vm, vhd.uds);
	pattern_fill(bytes, LEN, 0, 7);
	for (int i = 0; i < 8 && sent < LEN; i++) {
		sent += sock_send_some(p.guest, bytes + sent, LEN - sent);
		front_end_say(&vm, fe, fe->pause);
		front_end_say(&vm, fe, fe->resume);
		while (got < sent) {
			uint8_t chunk[4096];
			size_t n = sent - got < sizeof chunk ? sent - got : sizeof chunk;

			ck_assert_uint_eq(host_read(p.host, chunk, n), n);
			ck_assert_uint_eq(pattern_check(chunk, n, got, 7), n);
			got += n;
		}
		driver_turn(&vm);
	}
	ck_assert_uint_gt(sent, 0);
	check_alive(fe);
}
END_TEST

/* The guest boots again, or its driver is bound again. */
START_TEST(reset_and_start)
{
	const struct front_end *fe = fe_of(_i);
	struct pair a, b;

	start_vm(fe, features_of(_i));
	for (int i = 0; i < 3; i++) {
		a = e2e_host_connects(&vm, vhd.uds);
		b = e2e_guest_connects(&vm, vhd.uds);
		e2e_check_talks(a);
		e2e_check_talks(b);
		reset_driver(fe);
		start_driver(fe, fe->restart);
		ck_assert(host_is_closed(a.host, DEADLINE_MS));
		ck_assert(host_is_closed(b.host, DEADLINE_MS));
		close(a.host);
		close(b.host);
		check_alive(fe);
	}
}
END_TEST

/* The guest's driver is there, and nobody listens. */
static void check_refused(int fd)
{
	int64_t deadline = deadline_in(DEADLINE_MS);

	while (!host_is_closed(fd, 0)) {
		ck_assert(deadline_left(deadline));
		driver_wait(&vm, deadline_in(5), false);
	}
	close(fd);
}

/* A host program calls while the guest is not there. */
START_TEST(reset_while_hosts_connect)
{
	const struct front_end *fe = fe_of(_i);
	int before, within;

	start_vm(fe, features_of(_i));
	for (int i = 0; i < 10; i++) {
		before = host_dial(vhd.uds, 99);
		front_end_say(&vm, fe, fe->reset);
		within = host_dial(vhd.uds, 99);
		front_end_say(&vm, fe, fe->config);
		driver_rewind(&vm, 0);
		start_driver(fe, fe->restart);
		check_refused(before);
		check_refused(within);
	}
	check_alive(fe);
}
END_TEST

/* Another daemon comes to the same name, and the VMM to that. */
static void come_back(const struct front_end *fe)
{
	ck_assert(driver_flush(&vm));
	ck_assert_int_eq(daemon_stop(&vhd, DEADLINE_MS), 0);
	ck_assert(vmm_is_closed(&vm.fe, DEADLINE_MS));
	driver_detach(&vm);
	daemon_start(&vhd, NULL);
	ck_assert(vmm_connect(&vm.fe, vhd.socket));
	front_end_say(&vm, fe, fe->reconnect);
}

/* The guest ran on: its connections are void, and it is told so. */
static void check_comes_back(const struct front_end *fe, uint64_t features, bool kicks)
{
	struct pair p;

	start_vm(fe, features);
	for (uint64_t i = 1; i <= 3; i++) {
		int64_t deadline = deadline_in(DEADLINE_MS);

		p = e2e_host_connects(&vm, vhd.uds);
		e2e_check_talks(p);
		come_back(fe);
		for (int q = 0; kicks && q < VSOCK_NUM_QUEUES; q++)
			if (guest_ring_in_flight(&vm.vq[q]))
				guest_ring_kick(&vm.vq[q]);
		ck_assert(host_is_closed(p.host, DEADLINE_MS));
		close(p.host);
		while (vm.n_events < i && deadline_left(deadline))
			driver_wait(&vm, deadline_in(10), false);
		ck_assert_uint_eq(vm.n_events, i);
		ck_assert_uint_eq(vm.last_event, VSOCK_EVENT_TRANSPORT_RESET);
		sock_forget_all(&vm);		/* what the event means */
		check_alive(fe);
	}
}

START_TEST(reconnect)
{
	check_comes_back(&cloud_hypervisor, LINUX_IN_ORDER, true);
}
END_TEST

START_TEST(reconnect_without_a_kick)
{
	check_comes_back(&stratovirt, LINUX, false);
}
END_TEST

/*
 * What the guest has offered is skipped: its device has no buffers, neither for data nor for
 * the event, until the driver starts over. Not ours to mend, and no harm to us.
 */
START_TEST(reconnect_that_skips_the_buffers)
{
	const struct front_end *fe = &cloud_hypervisor_53;
	struct pair p;

	start_vm(fe, LINUX);
	p = e2e_host_connects(&vm, vhd.uds);
	e2e_check_talks(p);
	come_back(fe);
	ck_assert(host_is_closed(p.host, DEADLINE_MS));
	close(p.host);
	ck_assert(driver_is_quiet(&vm, QUIET_MS));
	ck_assert_uint_eq(vm.n_events, 0);
	reset_driver(fe);
	start_driver(fe, fe->restart);
	check_alive(fe);
}
END_TEST

/* What another engine has found of a VM is what this VMM goes on with. */
static void check_goes_on(const struct front_end *fe)
{
	check_alive(fe);
	front_end_say(&vm, fe, fe->pause);
	front_end_say(&vm, fe, fe->resume);
	check_alive(fe);
	reset_driver(fe);
	start_driver(fe, fe->restart);
	check_alive(fe);
}

/* The front-end hears nothing of it. */
START_TEST(engine_dies)
{
	const struct front_end *fe = fe_of(_i);
	struct pair a, b;

	start_vm(fe, features_of(_i));
	for (int i = 0; i < 3; i++) {
		pid_t engine = daemon_engine(&vhd);

		a = e2e_host_connects(&vm, vhd.uds);
		b = e2e_guest_connects(&vm, vhd.uds);
		e2e_check_talks(a);
		ck_assert_int_eq(kill(engine, SIGKILL), 0);
		ck_assert(daemon_wait_gone(engine, DEADLINE_MS));
		ck_assert(sock_wait_reset(a.guest, DEADLINE_MS));
		ck_assert(sock_wait_reset(b.guest, DEADLINE_MS));
		ck_assert(host_is_closed(a.host, DEADLINE_MS));
		close(a.host);
		close(b.host);
		check_goes_on(fe);
	}
}
END_TEST

START_TEST(engine_is_replaced)
{
	const struct front_end *fe = fe_of(_i);
	struct pair a, b;

	start_vm(fe, features_of(_i));
	for (int i = 0; i < 3; i++) {
		a = e2e_host_connects(&vm, vhd.uds);
		b = e2e_guest_connects(&vm, vhd.uds);
		upgrade();
		e2e_check_talks(a);
		e2e_check_talks(b);
		e2e_close(a);
		e2e_close(b);
		check_goes_on(fe);
	}
}
END_TEST

/*
 * cloud-hypervisor: `resize` adds a region; the next start shares all of them at once. That may
 * be more than the eight that the specification has; its library lets 32 through.
 */
static const uint64_t regions_added[] = { 1, 6, 7, 30 };

START_TEST(memory_added)
{
	static const struct front_end_step add[] = {
		{ .request = VHOST_USER_ADD_MEM_REG, ACKED }, { .request = 0 },
	};
	const struct front_end *fe = &cloud_hypervisor;
	struct pair p;

	start_vm(fe, LINUX_IN_ORDER);
	p = e2e_guest_connects(&vm, vhd.uds);
	for (uint64_t i = 0; i < regions_added[_i]; i++) {
		guest_add_region(&vm.guest, (i + 2) << 32, 1 << 16, 0);
		front_end_say(&vm, fe, add);
		e2e_check_talks(p);
	}
	reset_driver(fe);
	start_driver(fe, fe->restart);
	ck_assert(host_is_closed(p.host, DEADLINE_MS));
	check_alive(fe);
}
END_TEST

/* crosvm's default is larger than ours, and it does not ask: a line says what to do. */
START_TEST(crosvm_queues_too_large)
{
	front_end_init(&vm, &crosvm_default, LINUX);
	ck_assert(vmm_connect(&vm.fe, vhd.socket));
	front_end_say(&vm, &crosvm_default, crosvm_default.meet);
	vmm_set_vring_num(&vm.fe, 0, crosvm_default.queue_size);
	ck_assert(vmm_is_closed(&vm.fe, DEADLINE_MS));
	ck_assert(daemon_wait_log(&vhd, "SET_VRING_NUM (8) refused: ring size not a power of two "
				  "or above queue-size"));
	driver_deinit(&vm);
	start_vm(&crosvm, LINUX);
	check_alive(&crosvm);
}
END_TEST

START_TEST(crosvm_queues_of_its_default_size)
{
	static const char *const args[] = { "--queue-size", "32768", NULL };

	daemon_start(&vhd, args);
	start_vm(&crosvm_default, LINUX);
	check_alive(&crosvm_default);
}
END_TEST

int main(void)
{
	const char *supervise = getenv("TEST_SUPERVISE");
	Suite *s = suite_create("front_ends");
	TCase *tc = e2e_case(s, "front_ends", e2e_setup_daemon, 60);
	TCase *bare = e2e_case(s, "bare", e2e_setup_bare, 60);

	tcase_add_loop_test(tc, start_and_shutdown, 0, 2 * N_ALL);
	tcase_add_loop_test(tc, configuration_written, 0, N_ALL);
	for (int i = 0; i < 2 * N_ALL; i++) {
		if (!fe_of(i)->pause[0].request)
			continue;
		tcase_add_loop_test(tc, pause_and_resume, i, i + 1);
		tcase_add_loop_test(tc, pause_with_packets_in_the_ring, i, i + 1);
	}
	tcase_add_loop_test(tc, reset_and_start, 0, 2 * N_ALL);
	tcase_add_loop_test(tc, reset_while_hosts_connect, 0, 2 * N_ALL);
	if (!supervise || strcmp(supervise, "off") != 0) {
		tcase_add_loop_test(tc, engine_dies, 0, 2 * N_ALL);
		tcase_add_loop_test(tc, engine_is_replaced, 0, 2 * N_ALL);
	}
	tcase_add_test(tc, reconnect);
	tcase_add_test(tc, reconnect_without_a_kick);
	tcase_add_test(tc, reconnect_that_skips_the_buffers);
	tcase_add_loop_test(tc, memory_added, 0,
			    (int)(sizeof regions_added / sizeof *regions_added));
	tcase_add_test(tc, crosvm_queues_too_large);
	tcase_add_test(bare, crosvm_queues_of_its_default_size);
	return e2e_run(s);
}
