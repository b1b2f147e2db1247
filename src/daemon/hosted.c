/* SPDX-License-Identifier: BSD-3-Clause */
/* The engine as a process of its own. */
#include "daemon/hosted.h"

#include <stdlib.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include "config/plan.h"
#include "config/plan_state.h"
#include "daemon/channel.h"
#include "daemon/engine.h"
#include "daemon/vm.h"
#include "device/device.h"
#include "sandbox/launch.h"
#include "util/closer.h"
#include "util/error.h"
#include "util/fd.h"
#include "util/log.h"
#include "util/watchdog.h"
#include "vhost/gmem.h"

/* There is one in the process, and hooks of devices come from any worker. */
static struct hosted {
	int channel;
	struct plan plan;
	struct vm *vms;				/* of the plan, until the engine has them */
	struct supervise_shared *shared;	/* NULL: there is none */
	struct blob state;			/* for the next message */
	struct engine engine;
} hosted;

/* From any worker, which waits for the supervisor then: it is quick, or the end. */
static void tell(enum supervise_type type, uint64_t cid, uint64_t number)
{
	const struct supervise_msg m = { .type = type, .cid = cid, .u.number = number };

	channel_send(hosted.channel, &m, NULL, 0, true);
}

static void on_came(uint64_t cid)
{
	tell(SUPERVISE_CAME, cid, 0);
}

static void on_gone(uint64_t cid)
{
	tell(SUPERVISE_GONE, cid, 0);
}

static void on_over(uint64_t cid)
{
	tell(SUPERVISE_OVER, cid, 0);
}

static const struct device_hooks hooks = { .came = on_came, .gone = on_gone, .over = on_over };

/* ---- what the supervisor does for a device ---- */

static int keep(void *ctx, uint32_t slot, int fd)
{
	const struct vm *vm = ctx;
	const struct supervise_msg m = {
		.type = SUPERVISE_KEEP, .cid = vm->plan->guest_cid, .u.kept.slot = slot,
	};
	int r = channel_send(hosted.channel, &m, &fd, 1, true);

	return r > 0 ? -EPIPE : r;
}

static void drop(void *ctx, uint32_t slot)
{
	const struct vm *vm = ctx;
	const struct supervise_msg m = {
		.type = SUPERVISE_DROP, .cid = vm->plan->guest_cid, .u.kept.slot = slot,
	};

	channel_send(hosted.channel, &m, NULL, 0, true);
}

static int ask(void *ctx, uint32_t port, uint32_t id)
{
	const struct vm *vm = ctx;
	const struct supervise_msg m = {
		.type = SUPERVISE_CONNECT, .cid = vm->plan->guest_cid,
		.u.connect = { .port = port, .id = id },
	};
	int r = channel_send(hosted.channel, &m, NULL, 0, false);

	return r > 0 ? -EPIPE : r;
}

static void on_hung(void)
{
	tell(SUPERVISE_STUCK, 0, 0);
}

/* ---- what is to be served ---- */

/* Of the plan, or of one VM. */
static int read_plan(struct plan *plan, struct vm_plan *vm)
{
	struct blob_reader in;
	int r;

	blob_read(&in, hosted.state.bytes, hosted.state.len, NULL);
	r = vm ? plan_state_load_vm(vm, &in) : plan_state_load(plan, &in);
	blob_deinit(&hosted.state);
	blob_init(&hosted.state, SUPERVISE_BLOB_MAX, 0);
	return r == PLAN_STATE_E_BAD ? CHANNEL_E_GARBAGE : r;
}

/* Log lines go where those of the supervisor go. */
static int take_settings(struct channel_msg *msg)
{
	int r = read_plan(&hosted.plan, NULL);
	void *shared;

	if (r)
		return r;
	log_adopt((enum log_level)hosted.plan.log_level, channel_take_fd(msg, 0));
	if (msg->n_fds < 2)
		return 0;
	shared = mmap(NULL, sizeof *hosted.shared, PROT_READ | PROT_WRITE, MAP_SHARED,
		      msg->fds[1], 0);
	if (shared == MAP_FAILED)
		return error_last();
	hosted.shared = shared;
	return 0;
}

static bool is_listening(int fd)
{
	int value = 0;
	socklen_t len = sizeof value;

	return getsockopt(fd, SOL_SOCKET, SO_ACCEPTCONN, &value, &len) == 0 && value;
}

static int take_vm(struct channel_msg *msg)
{
	struct plan *plan = &hosted.plan;
	struct vm *vms = realloc(hosted.vms, (plan->n_vms + 1) * sizeof *vms), *vm;
	struct vm_plan *row;
	size_t next = 0;
	int r;

	if (!vms)
		return -ENOMEM;
	hosted.vms = vms;
	vm = &vms[plan->n_vms];
	row = plan_add_vm(plan, NULL);
	if (!row)
		return -ENOMEM;
	r = read_plan(plan, row);
	if (r)
		return r;
	vm_init(vm, NULL);
	vm->is_wanted = true;
	if (msg->m.u.vm.sockets & SUPERVISE_HAS_SOCKET) {
		vm->sockets.vhost.fd = channel_take_fd(msg, next++);
		row->vhost_socket.fd_listens = is_listening(vm->sockets.vhost.fd);
	}
	if (msg->m.u.vm.sockets & SUPERVISE_HAS_UDS)
		vm->sockets.uds.fd = channel_take_fd(msg, next++);
	return 0;
}

/* What an earlier engine has kept, of the VM that came last. */
static int take_kept(struct channel_msg *msg)
{
	struct plan *plan = &hosted.plan;

	if (!plan->n_vms || plan->vms[plan->n_vms - 1].guest_cid != msg->m.cid)
		return CHANNEL_E_GARBAGE;
	return vm_add_kept(&hosted.vms[plan->n_vms - 1], msg->m.u.kept.slot,
			   channel_take_fd(msg, 0));
}

/* 0: START came. */
static int learn(void)
{
	struct channel_msg msg;
	int r;

	do {
		r = channel_receive(hosted.channel, CHANNEL_SUPERVISOR, &msg);
		if (!r && msg.m.type == SUPERVISE_STATE)
			r = channel_take_piece(&msg, &hosted.state);
		else if (!r && msg.m.type == SUPERVISE_SETTINGS)
			r = take_settings(&msg);
		else if (!r && msg.m.type == SUPERVISE_VM)
			r = take_vm(&msg);
		else if (!r && msg.m.type == SUPERVISE_KEPT)
			r = take_kept(&msg);
		if (!r && msg.m.type == SUPERVISE_START)
			return 0;
		if (!r)
			channel_msg_deinit(&msg);
	} while (!r);
	return r;
}

/* ---- a life ---- */

/* Once all rows are there, and stay where they are. */
static int start(void)
{
	struct engine_config config = {
		.plan = &hosted.plan, .vms = hosted.vms, .hooks = &hooks, .failed = launch_end,
		.is_hosted = true,
	};

	for (size_t i = 0; i < hosted.plan.n_vms; i++) {
		struct vm *vm = &hosted.vms[i];

		vm->plan = &hosted.plan.vms[i];
		vm->keeper = (struct journal_keeper){ .keep = keep, .drop = drop, .ctx = vm };
		vm->ask = ask;
		vm->ask_ctx = vm;
	}
	hosted.vms = NULL;
	return engine_init(&hosted.engine, &config);
}

static struct vm *find_vm(uint64_t cid)
{
	struct engine *e = &hosted.engine;

	for (struct vm *vm = e->vms; vm < e->vms + e->n_vms; vm++)
		if (vm->plan->guest_cid == cid)
			return vm;
	return NULL;
}

static void on_connected(struct channel_msg *msg)
{
	struct vm *vm = find_vm(msg->m.cid);

	if (vm && vm->worker)
		vm_answer(vm, msg->m.u.connected.id, msg->m.u.connected.result,
			  channel_take_fd(msg, 0));
}

/* False: it is to end. */
static bool obey(void)
{
	struct channel_msg msg;
	bool goes_on = true;

	if (channel_receive(hosted.channel, CHANNEL_SUPERVISOR, &msg) != 0)
		return false;
	if (msg.m.type == SUPERVISE_STOP)
		goes_on = false;
	else if (msg.m.type == SUPERVISE_PING && !watchdog_has_stuck())
		tell(SUPERVISE_PONG, 0, msg.m.u.number);
	else if (msg.m.type == SUPERVISE_CONNECTED)
		on_connected(&msg);
	channel_msg_deinit(&msg);
	return goes_on;
}

static int fail(const char *why)
{
	log_err("main", "cannot start: %s", why);
	tell(SUPERVISE_FAILED, 0, 0);
	return 1;
}

/* Returns the exit status. */
static int serve(void)
{
	sigset_t ends;
	int r;

	launch_ignore_ends(&ends);
	if ((r = gmem_catch_sigbus()) < 0 || (r = closer_init()) < 0 ||
	    (r = watchdog_init()) < 0)
		return fail(error_str(r));
	if ((r = learn()))
		return fail(channel_str_error(r));
	if ((r = start()))
		return fail(listener_str_error(r));
	watchdog_set_limit(hosted.plan.watchdog_ms, on_hung);
	tell(SUPERVISE_READY, 0, 0);
	do
		r = watchdog_wait(&ends, hosted.channel);
	while (r == 0 && obey());
	engine_deinit(&hosted.engine);
	closer_deinit();
	return r ? 1 : 0;			/* a worker has failed */
}

int hosted_run(int channel)
{
	int r;

	hosted.channel = channel;
	blob_init(&hosted.state, SUPERVISE_BLOB_MAX, 0);
	plan_init(&hosted.plan);
	r = serve();
	log_stop_thread();
	plan_deinit(&hosted.plan);
	blob_deinit(&hosted.state);
	return r;
}
