/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Another engine takes over from the one that serves, without a guest noticing
 * (protocol/supervise.h has who says what). Whatever goes wrong before it has said that it has
 * everything, the old one goes on as if nothing had been.
 */
#include <signal.h>
#include <sys/epoll.h>
#include <sys/wait.h>

#include "daemon/engine_process.h"
#include "daemon/supervisor_internal.h"
#include "util/clock.h"
#include "util/error.h"
#include "util/fd.h"
#include "util/log.h"

enum {
	PATIENCE_MS = 10 * 1000,		/* with both of them, for each step */
	RETRY_MS = 100,				/* while something else is under way */
	AGAIN_MS = 2000,			/* after one that has failed */
};

static void wait_for(struct supervisor *s, enum successor_state state)
{
	s->successor.state = state;
	loop_timer_set(s->loop, &s->successor.patience, clock_ms() + PATIENCE_MS);
}

/* It is no more, or is the engine. */
static void forget(struct supervisor *s)
{
	struct successor *next = &s->successor;

	if (next->source.fd >= 0)
		loop_remove(s->loop, &next->source);
	fd_close(&next->channel);
	loop_timer_cancel(s->loop, &next->patience);
	next->pid = 0;
	next->state = SUCCESSOR_NONE;
}

bool supervisor_needs_vsock(const struct supervisor *s)
{
	for (size_t i = 0; i < s->n_vms; i++)
		if (s->vms[i]->is_served && s->vms[i]->plan.has_forward_cid)
			return true;
	return false;
}

static bool is_outgrown(const struct supervisor *s)
{
	return !s->has_vsock && supervisor_needs_vsock(s);
}

void supervisor_give_up_successor(struct supervisor *s, const char *why)
{
	struct successor *next = &s->successor;
	bool was_parked = next->state > SUCCESSOR_PREPARING;

	if (next->state == SUCCESSOR_NONE)
		return;
	if (s->state != SUPERVISOR_ENDING)
		log_err("main", "no other engine takes over: %s%s", why,
			s->engine ? "; the present one goes on" : "");
	if (next->pid)
		kill(next->pid, SIGKILL);
	forget(s);
	if (was_parked && s->engine)
		supervisor_say(s, SUPERVISE_GO_ON, 0);
	if (is_outgrown(s))
		loop_timer_set(s->loop, &s->outgrown, clock_ms() + AGAIN_MS);
	supervisor_upgraded(s, why);
}

static void on_impatient(struct loop_timer *timer)
{
	struct supervisor *s = container_of(timer, struct supervisor, successor.patience);

	supervisor_give_up_successor(s, "it takes too long");
}

/* ---- one that may do more ---- */

bool supervisor_outgrows(struct supervisor *s, const struct held_vm *h)
{
	bool needs_more = h->plan.has_forward_cid && !s->has_vsock;

	if (needs_more && !s->outgrown.is_set)
		loop_timer_set(s->loop, &s->outgrown, clock_ms());
	return needs_more;
}

/* Once all that is being done is done; an engine that begins meanwhile knows of it. */
static void on_outgrown(struct loop_timer *timer)
{
	struct supervisor *s = container_of(timer, struct supervisor, outgrown);

	if (s->state == SUPERVISOR_ENDING || !is_outgrown(s))
		return;
	if (s->state != SUPERVISOR_SERVING || s->is_upgrading || s->n_leaving) {
		loop_timer_set(s->loop, timer, clock_ms() + RETRY_MS);
		return;
	}
	log_info("main", "a VM needs AF_VSOCK, and none did before: another engine is made");
	s->is_upgrading = true;
	supervisor_hand_over(s);
}

/* ---- step by step ---- */

/* What is kept does not change any more: both get their end of a socket between them. */
static int introduce(struct supervisor *s)
{
	const struct supervise_msg take = { .type = SUPERVISE_TAKE_OVER };
	const struct supervise_msg give = { .type = SUPERVISE_HAND_OVER };
	int pair[2], r = channel_pair(pair);

	if (r < 0)
		return r;
	r = supervisor_feed_changes(s, s->successor.channel);
	if (!r)
		r = channel_send(s->successor.channel, &take, &pair[0], 1, false);
	if (!r)
		r = channel_send(s->channel, &give, &pair[1], 1, false);
	fd_close(&pair[0]);
	fd_close(&pair[1]);
	return r;
}

void supervisor_on_parked(struct supervisor *s)
{
	int r;

	if (s->successor.state != SUCCESSOR_PARKING)
		return;				/* it took too long */
	wait_for(s, SUCCESSOR_LOADING);
	r = introduce(s);
	if (r)
		supervisor_give_up_successor(s, channel_str_error(r));
}

static void on_prepared(struct supervisor *s)
{
	int r;

	if (s->successor.state != SUCCESSOR_PREPARING) {
		supervisor_give_up_successor(s, channel_str_error(CHANNEL_E_GARBAGE));
		return;
	}
	wait_for(s, SUCCESSOR_PARKING);
	r = supervisor_say(s, SUPERVISE_PARK, 0);
	if (r)
		supervisor_give_up_successor(s, channel_str_error(r));
}

/*
 * It has everything, and begins. The old one is parked, and with SIGKILL pending none of its
 * threads wakes up to do anything: there are milliseconds until it is gone (its namespaces,
 * its memory), in which nobody has to wait for it.
 */
static void on_ready(struct supervisor *s)
{
	struct successor *next = &s->successor;
	pid_t pid = next->pid;
	int channel, r;

	if (next->state != SUCCESSOR_LOADING) {
		supervisor_give_up_successor(s, channel_str_error(CHANNEL_E_GARBAGE));
		return;
	}
	kill(s->engine, SIGKILL);
	if (!supervisor_part_with_engine(s))
		return;
	s->has_vsock = next->has_vsock;
	loop_remove(s->loop, &next->source);
	channel = fd_take(&next->channel);
	forget(s);
	supervisor_adopt_engine(s, pid, channel);
	supervisor_settle_captures(s);
	r = supervisor_say(s, SUPERVISE_START, 0);
	if (r)
		supervisor_replace_engine(s, channel_str_error(r));
	supervisor_take_out_again(s);
	supervisor_feed_told(s);
	supervisor_upgraded(s, NULL);
}

/* It has been told of the VM before, but that may have changed while it was told. */
static void on_again(struct supervisor *s, uint64_t cid)
{
	struct held_vm *h = supervisor_find(s, cid);
	int r = CHANNEL_E_GARBAGE;

	if (h && s->successor.state == SUCCESSOR_LOADING)
		r = supervisor_feed_again(s->successor.channel, h);
	if (r)
		supervisor_give_up_successor(s, channel_str_error(r));
}

static void on_message(struct supervisor *s, const struct channel_msg *msg)
{
	switch (msg->m.type) {
	case SUPERVISE_AGAIN:
		on_again(s, msg->m.cid);
		break;
	case SUPERVISE_PREPARED:
		on_prepared(s);
		break;
	case SUPERVISE_READY:
		on_ready(s);
		break;
	case SUPERVISE_FAILED:
		supervisor_give_up_successor(s, "it has said why");
		break;
	default:
		supervisor_give_up_successor(s, channel_str_error(CHANNEL_E_GARBAGE));
		break;
	}
}

static void on_channel(struct loop_source *source, uint32_t events)
{
	struct supervisor *s = container_of(source, struct supervisor, successor.source);
	struct channel_msg msg;
	int r = channel_receive(s->successor.channel, CHANNEL_ENGINE, &msg);

	(void)events;
	if (r == CHANNEL_E_NONE)
		return;
	if (r) {
		supervisor_give_up_successor(s, channel_str_error(r));
		return;
	}
	on_message(s, &msg);
	channel_msg_deinit(&msg);
}

bool supervisor_on_successor(struct supervisor *s, const siginfo_t *info)
{
	if (!s->successor.pid || info->si_pid != s->successor.pid)
		return false;
	if (info->si_code != CLD_STOPPED && info->si_code != CLD_CONTINUED) {
		s->successor.pid = 0;
		supervisor_give_up_successor(s, "it has ended");
	}
	return true;
}

/* ---- how it begins ---- */

void supervisor_handover_init(struct supervisor *s)
{
	s->successor = (struct successor){
		.channel = -1, .source = { .dispatch = on_channel, .fd = -1 },
		.patience = { .expire = on_impatient },
	};
	s->outgrown.expire = on_outgrown;
}

void supervisor_hand_over(struct supervisor *s)
{
	struct successor *next = &s->successor;
	int r = engine_process_start(s->program, &next->pid, &next->channel);

	wait_for(s, SUCCESSOR_PREPARING);
	next->has_vsock = supervisor_needs_vsock(s);
	if (!r)
		r = supervisor_feed(s, next->channel, SUPERVISE_PREPARE);
	if (!r)
		r = loop_add(s->loop, &next->source, next->channel, EPOLLIN);
	if (r)
		supervisor_give_up_successor(s, channel_str_error(r));
}
