/* SPDX-License-Identifier: BSD-3-Clause */
/* The engine as a process of its own. */
#include <sys/mman.h>
#include <unistd.h>

#include "config/plan_state.h"
#include "control/events.h"
#include "daemon/hosted_internal.h"
#include "device/device.h"
#include "sandbox/launch.h"
#include "util/closer.h"
#include "util/error.h"
#include "util/fd.h"
#include "util/log.h"
#include "util/watchdog.h"
#include "vhost/gmem.h"

struct hosted hosted;

void hosted_tell(enum supervise_type type, uint64_t cid, uint64_t number)
{
	const struct supervise_msg m = { .type = type, .cid = cid, .u.number = number };

	channel_send(hosted.channel, &m, NULL, 0, true);
}

static void on_came(uint64_t cid)
{
	hosted_tell(SUPERVISE_CAME, cid, 0);
}

static void on_gone(uint64_t cid)
{
	hosted_tell(SUPERVISE_GONE, cid, 0);
}

static void on_over(uint64_t cid)
{
	hosted_tell(SUPERVISE_OVER, cid, 0);
}

static struct device_hooks hooks = {
	.came = on_came, .gone = on_gone, .over = on_over, .wants_events = events_are_wanted,
};

static void on_beat(void)
{
	if (!hosted.is_parked)
		engine_balance(&hosted.engine, hosted_vm, hosted.n_vms);
}

static void on_hung(void)
{
	hosted_tell(SUPERVISE_STUCK, 0, 0);
}

/* ---- what it is told ---- */

void hosted_vanish(void)
{
	_exit(1);
}

/* As channel_receive(). */
static int receive(struct channel_msg *msg)
{
	int r = channel_receive(hosted.channel, CHANNEL_SUPERVISOR, msg);

	if (r == CHANNEL_E_END)
		hosted_vanish();
	return r;
}

void hosted_forget_state(void)
{
	channel_state_deinit(&hosted.state);
	channel_state_init(&hosted.state, SUPERVISE_BLOB_MAX, SUPERVISE_SLOTS_MAX);
}

int hosted_read_plan(struct plan *plan, struct vm_plan *row)
{
	struct blob_reader in;
	int r;

	channel_state_read(&hosted.state, &in);
	r = row ? plan_state_load_vm(row, &in) : plan_state_load(plan, &in);
	hosted_forget_state();
	return r == PLAN_STATE_E_BAD ? CHANNEL_E_GARBAGE : r;
}

static int map_shared(int fd)
{
	void *shared = mmap(NULL, sizeof *hosted.shared, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);

	if (shared == MAP_FAILED)
		return error_last();
	hosted.shared = shared;
	return 0;
}

/* Log lines go where those of the supervisor go. */
static int take_settings(struct channel_msg *msg)
{
	int r = hosted_read_plan(&hosted.plan, NULL);

	if (r)
		return r;
	log_adopt((enum log_level)hosted.plan.log_level, channel_take_fd(msg, 0));
	return msg->n_fds > 1 ? map_shared(msg->fds[1]) : 0;
}

/* What may be another while the engine runs. */
static int take_other_settings(void)
{
	struct plan next;
	int r;

	plan_init(&next);
	r = hosted_read_plan(&next, NULL);
	if (!r) {
		log_level = (enum log_level)next.log_level;
		hosted.plan.pause_grace_ms = next.pause_grace_ms;
		hosted.plan.handshake_ms = next.handshake_ms;
		hosted.plan.mem_slots = next.mem_slots;
	}
	plan_deinit(&next);
	return r;
}

/* Once, before it starts. */
static int take_api(struct channel_msg *msg)
{
	if (hosted.has_started || hosted.api_fd >= 0)
		return CHANNEL_E_GARBAGE;
	hosted.api_fd = channel_take_fd(msg, 0);
	hooks.event = events_put_device;
	return 0;
}

/* Before there are workers that could tell of anything. 0; CHANNEL_E_GARBAGE. */
static int take_events(struct channel_msg *msg)
{
	if (hosted.has_started)
		return CHANNEL_E_GARBAGE;
	events_adopt(channel_take_fd(msg, 0));
	hooks.event = events_put_device;
	return 0;
}

static void go_on(void)
{
	if (hosted.is_parked) {
		events_start_thread();		/* without it, workers would write */
		engine_go_on(&hosted.engine);
	}
	hosted.is_parked = false;
}

/* Of an engine that has not started there is little to be asked. */
static bool is_in_time(uint32_t type)
{
	return hosted.has_started || type == SUPERVISE_STATE || type == SUPERVISE_SETTINGS ||
		type == SUPERVISE_VM || type == SUPERVISE_KEPT || type == SUPERVISE_CAPTURE ||
		type == SUPERVISE_API || type == SUPERVISE_EVENTS || type == SUPERVISE_EVENT ||
		type == SUPERVISE_STOP;
}

int hosted_obey(struct channel_msg *msg)
{
	if (!is_in_time(msg->m.type))
		return CHANNEL_E_GARBAGE;
	switch (msg->m.type) {
	case SUPERVISE_STATE:
		return channel_take_piece(msg, &hosted.state);
	case SUPERVISE_SETTINGS:
		return hosted.has_started ? take_other_settings() : take_settings(msg);
	case SUPERVISE_VM:
		return hosted_take_vm(msg);
	case SUPERVISE_KEPT:
		return hosted_take_kept(msg);
	case SUPERVISE_EVENTS:
		return take_events(msg);
	case SUPERVISE_CAPTURE:
		return hosted_take_capture(msg);
	case SUPERVISE_REMOVE:
		hosted_remove_vm(msg->m.cid);
		return 0;
	case SUPERVISE_CONNECTED:
		hosted_take_connected(msg);
		return 0;
	case SUPERVISE_ACCEPTED:
		hosted_take_accepted(msg);
		return 0;
	case SUPERVISE_API:
		return take_api(msg);
	case SUPERVISE_DONE:
		hosted_take_done(msg);
		return 0;
	case SUPERVISE_EVENT:
		return hosted_take_event(msg);
	case SUPERVISE_PARK:
		engine_park(&hosted.engine);
		hosted_flush_captures();
		events_flush();
		hosted.is_parked = true;
		hosted_tell(SUPERVISE_PARKED, 0, 0);
		return 0;
	case SUPERVISE_HAND_OVER:
		hosted_hand_over(msg);
		return 0;
	case SUPERVISE_GO_ON:
		go_on();
		return 0;
	case SUPERVISE_PING:
		if (!watchdog_has_stuck())
			hosted_tell(SUPERVISE_PONG, 0, msg->m.u.number);
		return 0;
	default:
		return CHANNEL_E_END;
	}
}

/* ---- a life ---- */

/* A successor is ended as soon as the supervisor hears that it has failed. */
static int fail(const char *why)
{
	log_err("main", "cannot start: %s", why);
	log_stop_thread();
	hosted_tell(SUPERVISE_FAILED, 0, 0);
	return 1;
}

int hosted_learn(uint32_t type, uint32_t or_type, struct channel_msg *msg)
{
	int r;

	for (;;) {
		r = receive(msg);
		if (r || msg->m.type == type || msg->m.type == or_type)
			return r;
		r = hosted_obey(msg);
		channel_msg_deinit(msg);
		if (r)
			return r;
	}
}

/* Takes over from another engine, which still serves; the supervisor says when. */
static int take_over(void)
{
	struct channel_msg msg;
	int r;

	if ((r = hosted_open_ahead()) || (r = engine_begin(&hosted.engine, true)))
		return r;
	hosted_tell(SUPERVISE_PREPARED, 0, 0);
	r = hosted_learn(SUPERVISE_TAKE_OVER, SUPERVISE_TAKE_OVER, &msg);
	if (r)
		return r;
	r = hosted_take_over(&msg);
	channel_msg_deinit(&msg);
	if (r)
		return r;
	hosted_tell(SUPERVISE_READY, 0, 0);
	r = hosted_learn(SUPERVISE_START, SUPERVISE_START, &msg);
	if (r)
		return r;
	hosted.may_serve = true;
	hosted_tell_left_out();
	hosted_start_captures();
	engine_go_on(&hosted.engine);
	return 0;
}

/* Nothing that a peer sends can end it before the supervisor has heard that it serves. 0;
 * LISTENER_E_*, -errno. */
static int begin(void)
{
	int r;

	hosted.may_serve = true;
	r = hosted_open_vms(false);
	if (r)
		return r;
	hosted_tell_left_out();
	r = engine_begin(&hosted.engine, true);
	if (r)
		return r;
	hosted_tell(SUPERVISE_READY, 0, 0);
	hosted_start_captures();
	engine_go_on(&hosted.engine);
	return 0;
}

/* @is_next: of another engine that serves. 0; the exit status. */
static int start(bool is_next)
{
	const struct engine_config config = {
		.plan = &hosted.plan, .hooks = &hooks, .failed = launch_end, .is_hosted = true,
		.handling = hosted.shared ? hosted.shared->handling : NULL,
		.api_fd = fd_take(&hosted.api_fd), .order = hosted_order,
		.upgrades = hosted.shared ? &hosted.shared->upgrades : NULL,
		.crashes = hosted.shared ? &hosted.shared->crashes : NULL,
	};
	int r;

	launch_grow_files(hosted.plan.n_files);
	if ((r = hosted_prepare_engine(&config)) < 0)
		return fail(error_str(r));
	if (is_next && (r = take_over()))
		return fail(channel_str_error(r));
	if (!is_next && (r = begin()))
		return fail(listener_str_error(r));
	hosted.has_started = true;
	watchdog_set_limit(hosted.plan.watchdog_ms, on_hung);
	watchdog_set_beat(on_beat);
	return 0;
}

/* As hosted_obey(); or a signal: a worker has failed. */
static int listen_until_end(const sigset_t *ends)
{
	struct channel_msg msg;
	int r;

	do {
		r = watchdog_wait(ends, hosted.channel);
		if (!r)
			r = receive(&msg);
		if (!r) {
			r = hosted_obey(&msg);
			channel_msg_deinit(&msg);
		}
	} while (!r);
	return r;
}

/* Returns the exit status. */
static int serve(void)
{
	struct channel_msg msg;
	sigset_t ends;
	int r;

	launch_ignore_ends(&ends);
	if ((r = gmem_catch_sigbus()) < 0 || (r = closer_init()) < 0 ||
	    (r = watchdog_init()) < 0 || (r = watchdog_open(&ends)) < 0)
		return fail(error_str(r));
	r = hosted_learn(SUPERVISE_START, SUPERVISE_PREPARE, &msg);
	if (r)
		return fail(channel_str_error(r));
	r = start(msg.m.type == SUPERVISE_PREPARE);
	if (!r)
		r = listen_until_end(&ends) != CHANNEL_E_END;
	engine_deinit(&hosted.engine);
	hosted_end_captures();
	closer_deinit();
	return r;
}

int hosted_run(int channel)
{
	int status;

	hosted.channel = channel;
	hosted.api_fd = -1;
	channel_state_init(&hosted.state, SUPERVISE_BLOB_MAX, SUPERVISE_SLOTS_MAX);
	plan_init(&hosted.plan);
	status = serve();
	hosted_free_vms();
	events_stop_thread();
	log_stop_thread();
	plan_deinit(&hosted.plan);
	channel_state_deinit(&hosted.state);
	fd_close(&hosted.api_fd);
	return status;
}
