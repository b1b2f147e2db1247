/* SPDX-License-Identifier: BSD-3-Clause */
/* The engine as a process of its own. */
#include <sys/mman.h>

#include "config/plan_state.h"
#include "daemon/hosted_internal.h"
#include "device/device.h"
#include "sandbox/launch.h"
#include "util/closer.h"
#include "util/error.h"
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

static const struct device_hooks hooks = { .came = on_came, .gone = on_gone, .over = on_over };

static void on_hung(void)
{
	hosted_tell(SUPERVISE_STUCK, 0, 0);
}

/* ---- what it is told ---- */

int hosted_read_plan(struct plan *plan, struct vm_plan *row)
{
	struct blob_reader in;
	int r;

	blob_read(&in, hosted.state.bytes, hosted.state.len, NULL);
	r = row ? plan_state_load_vm(row, &in) : plan_state_load(plan, &in);
	blob_deinit(&hosted.state);
	blob_init(&hosted.state, SUPERVISE_BLOB_MAX, 0);
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
	}
	plan_deinit(&next);
	return r;
}

/* 0; CHANNEL_E_END: it is to end; CHANNEL_E_GARBAGE; -errno. */
static int obey(struct channel_msg *msg)
{
	switch (msg->m.type) {
	case SUPERVISE_STATE:
		return channel_take_piece(msg, &hosted.state);
	case SUPERVISE_SETTINGS:
		return hosted.has_started ? take_other_settings() : take_settings(msg);
	case SUPERVISE_VM:
		return hosted_take_vm(msg);
	case SUPERVISE_KEPT:
		return hosted_take_kept(msg);
	case SUPERVISE_REMOVE:
		hosted_remove_vm(msg->m.cid);
		return 0;
	case SUPERVISE_CONNECTED:
		hosted_take_connected(msg);
		return 0;
	case SUPERVISE_PING:
		if (!watchdog_has_stuck())
			hosted_tell(SUPERVISE_PONG, 0, msg->m.u.number);
		return 0;
	default:
		return CHANNEL_E_END;
	}
}

/* One message; @type: it may be. As obey(). */
static int listen_once(uint32_t *type)
{
	struct channel_msg msg;
	int r = channel_receive(hosted.channel, CHANNEL_SUPERVISOR, &msg);

	if (r)
		return r;
	*type = msg.m.type;
	if (msg.m.type != SUPERVISE_START)
		r = obey(&msg);
	channel_msg_deinit(&msg);
	return r;
}

/* ---- a life ---- */

static int fail(const char *why)
{
	log_err("main", "cannot start: %s", why);
	hosted_tell(SUPERVISE_FAILED, 0, 0);
	return 1;
}

static int learn(void)
{
	uint32_t type = SUPERVISE_STATE;
	int r = 0;

	while (!r && type != SUPERVISE_START)
		r = listen_once(&type);
	return r;
}

static int start(void)
{
	const struct engine_config config = {
		.plan = &hosted.plan, .hooks = &hooks, .failed = launch_end, .is_hosted = true,
	};

	launch_grow_files(hosted.plan.n_files);
	return hosted_start_engine(&config);
}

/* As obey(); or a signal: a worker has failed. */
static int listen_until_end(const sigset_t *ends)
{
	uint32_t type;
	int r;

	do {
		r = watchdog_wait(ends, hosted.channel);
		if (!r)
			r = listen_once(&type);
	} while (!r);
	return r;
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
	hosted_tell(SUPERVISE_READY, 0, 0);
	r = listen_until_end(&ends);
	engine_deinit(&hosted.engine);
	closer_deinit();
	return r != CHANNEL_E_END;
}

int hosted_run(int channel)
{
	int status;

	hosted.channel = channel;
	blob_init(&hosted.state, SUPERVISE_BLOB_MAX, 0);
	plan_init(&hosted.plan);
	status = serve();
	hosted_free_vms();
	log_stop_thread();
	plan_deinit(&hosted.plan);
	blob_deinit(&hosted.state);
	return status;
}
