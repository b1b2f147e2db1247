/* SPDX-License-Identifier: BSD-3-Clause */
/* The supervisor: what the engine says. */
#include <stdio.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>

#include "control/events.h"
#include "daemon/notify.h"
#include "daemon/prepare.h"
#include "daemon/supervisor_internal.h"
#include "util/clock.h"
#include "util/error.h"
#include "util/log.h"

enum { MESSAGES_PER_TURN = 64 };

/* For a thread that knows of no object. */
static struct supervisor *sole;

static void ping(struct supervisor *s)
{
	if (s->state == SUPERVISOR_SERVING)
		supervisor_say(s, SUPERVISE_PING, atomic_load(&s->ping));
}

static void on_ping(struct loop_source *source, uint32_t events)
{
	struct supervisor *s = container_of(source, struct supervisor, pings);
	eventfd_t count;

	(void)events;
	eventfd_read(source->fd, &count);
	ping(s);
}

/* From the thread that tells the service manager: has the engine not answered since it was
 * asked last? It is asked again. */
static bool is_engine_held_up(void)
{
	struct supervisor *s = sole;
	bool is_held_up = atomic_load(&s->pong) != atomic_load(&s->ping);

	atomic_fetch_add(&s->ping, 1);
	eventfd_write(s->ping_fd, 1);
	return is_held_up;
}

void supervisor_notify(struct supervisor *s)
{
	int r = notify_start(supervisor_count_served(s), is_engine_held_up);

	if (r < 0)
		log_err("main", "no thread to tell the service manager: %s", error_str(r));
	for (size_t i = 0; i < s->n_vms; i++)
		if (s->vms[i]->has_front_end)
			notify_front_end(1);
}

/* Said once: 0; CHANNEL_E_GARBAGE. */
static int on_ready(struct supervisor *s)
{
	if (s->state != SUPERVISOR_STARTING)
		return CHANNEL_E_GARBAGE;
	s->state = SUPERVISOR_SERVING;
	events_put(&(struct event){ .kind = EVENT_ENGINE_STARTED, .pid = (int)s->engine });
	if (s->has_served) {
		log_info("main", "another engine serves, process %d", (int)s->engine);
		ping(s);
		if (s->wants_upgrade)		/* what was leaving has left with the other */
			supervisor_upgrade(s);
		return 0;
	}
	s->has_served = true;
	prepare_log_serving(s->plan, supervisor_count_served(s), s->n_vms);
	supervisor_notify(s);
	return 0;
}

static void on_session(struct supervisor *s, struct held_vm *h, bool has_come)
{
	supervisor_note_session(h, has_come);
	if (!has_come)
		supervisor_catch_up(s, h);
}

static void on_hung(struct supervisor *s)
{
	char why[64];

	snprintf(why, sizeof why, "hangs%s", supervisor_busy_with(s).text);
	s->is_hung = true;
	supervisor_replace_engine(s, why);
}

/* About a VM that was removed meanwhile: nothing. */
static int on_vm_message(struct supervisor *s, struct held_vm *h, struct channel_msg *msg)
{
	const struct supervise_msg *m = &msg->m;

	switch (m->type) {
	case SUPERVISE_KEEP:
		supervisor_passed_on(h);
		return held_vm_keep(h, m->u.kept.slot, channel_take_fd(msg, 0));
	case SUPERVISE_DROP:
		held_vm_drop(h, m->u.kept.slot);
		return 0;
	case SUPERVISE_CAME:
	case SUPERVISE_GONE:
		on_session(s, h, m->type == SUPERVISE_CAME);
		return 0;
	case SUPERVISE_LEFT_OUT:
		supervisor_take_out(s, h);
		return 0;
	case SUPERVISE_OVER:
		return supervisor_on_over(s, h);
	case SUPERVISE_CAPTURE_ENDED:
		supervisor_on_capture_ended(s, h, m->u.number);
		return 0;
	case SUPERVISE_ACCEPT:
		return supervisor_accept(s, h);
	case SUPERVISE_AGAIN:			/* of one that takes over only */
		return CHANNEL_E_GARBAGE;
	case SUPERVISE_CALL:
		return connects_call(&s->connects, h, s->channel, clock_ms());
	default:
		return connects_begin(&s->connects, h, s->channel,
				      m->type == SUPERVISE_CONNECT ? SOCK_STREAM : SOCK_SEQPACKET,
				      m->u.connect.port, m->u.connect.id, clock_ms());
	}
}

static int on_message(struct supervisor *s, struct channel_msg *msg)
{
	struct held_vm *h = msg->m.cid ? supervisor_find(s, msg->m.cid) : NULL;

	if (supervisor_is_order(msg->m.type))
		return supervisor_on_order(s, msg);
	if (msg->m.type == SUPERVISE_REMOVED)
		supervisor_on_removed(s, msg->m.cid);
	else if (h)
		return on_vm_message(s, h, msg);
	if (msg->m.cid)
		return 0;
	switch (msg->m.type) {
	case SUPERVISE_READY:
		return on_ready(s);
	case SUPERVISE_FAILED:
		s->has_failed = true;
		return 0;
	case SUPERVISE_STUCK:
		on_hung(s);
		return 0;
	case SUPERVISE_PARKED:
		supervisor_on_parked(s);
		return 0;
	default:
		atomic_store(&s->pong, msg->m.u.number);
		return 0;
	}
}

/* False: no more to be heard. */
static bool hear_one(struct supervisor *s)
{
	struct channel_msg msg;
	int r = channel_receive(s->channel, CHANNEL_ENGINE, &msg);

	if (r == CHANNEL_E_NONE)
		return false;
	if (!r) {
		r = on_message(s, &msg);
		channel_msg_deinit(&msg);
	}
	if (!r)
		return true;
	loop_remove(s->loop, &s->from_engine);
	if (s->is_killed)
		return false;
	if (r == CHANNEL_E_END)			/* it ends, or is of no use any more */
		kill(s->engine, SIGKILL);
	else if (s->state != SUPERVISOR_ENDING)
		supervisor_replace_engine(s, r == HELD_VM_E_SLOT ? "keeps too much" :
					  channel_str_error(r));
	return false;
}

static void hear_all(struct supervisor *s)
{
	while (s->from_engine.fd >= 0 && hear_one(s))
		;
}

bool supervisor_part_with_engine(struct supervisor *s)
{
	s->is_killed = true;			/* its number may be another's soon */
	hear_all(s);
	supervisor_forget_engine(s);
	if (s->state == SUPERVISOR_ENDING)
		loop_stop(s->loop);
	return s->state != SUPERVISOR_ENDING;
}

static void on_channel(struct loop_source *source, uint32_t events)
{
	struct supervisor *s = container_of(source, struct supervisor, from_engine);

	(void)events;
	for (int i = 0; i < MESSAGES_PER_TURN && source->fd >= 0 && hear_one(s); i++)
		;
}

void supervisor_hear_init(struct supervisor *s)
{
	sole = s;
	s->from_engine = (struct loop_source){ .dispatch = on_channel, .fd = -1 };
	s->pings = (struct loop_source){ .dispatch = on_ping, .fd = -1 };
}
