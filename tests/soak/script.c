/* SPDX-License-Identifier: BSD-3-Clause */
/* The list of actions: see script.h. */
#include "soak/script.h"

enum { SEND_MAX = 1024 * 1024, SHORT_MAX = 300, LONG_MAX = 3000 };

static const struct {
	const char *name;
	uint32_t weight;
} actions[ACT_COUNT] = {
	[ACT_OPEN_TO_HOST] = { "guest connects to the host", 120 },
	[ACT_OPEN_TO_GUEST] = { "host connects to a guest", 120 },
	[ACT_OPEN_TO_SIBLING] = { "guest connects to a sibling", 120 },
	[ACT_OPEN_TO_NOBODY] = { "connect that must be refused", 40 },
	[ACT_SEND] = { "send", 600 },
	[ACT_FIN] = { "half-close", 60 },
	[ACT_DEAF] = { "close for reading", 20 },
	[ACT_CLOSE] = { "close behind the data", 50 },
	[ACT_CLOSE_NOW] = { "close at once", 30 },
	[ACT_ABORT] = { "abort", 20 },
	[ACT_STOP_READING] = { "reader pauses", 120 },
	[ACT_HOLD_RX] = { "guest keeps its RX buffers", 15 },
	[ACT_GARBAGE] = { "packet of no connection", 30 },
	[ACT_PAUSE] = { "rings stop and resume", 5 },
	[ACT_DISABLE] = { "rings disabled and enabled", 5 },
	[ACT_REBOOT] = { "guest reboots", 3 },
	[ACT_KILL] = { "VMM killed", 3 },
	[ACT_RECONNECT] = { "VMM comes back to its guest", 2 },
	[ACT_HOTPLUG] = { "memory plugged or unplugged", 8 },
	[ACT_PROBE] = { "probe connects and vanishes", 20 },
	[ACT_SECOND_VMM] = { "a second VMM", 1 },
	[ACT_MUTE_CLIENT] = { "host client that does not ask", 12 },
};

struct script script_new(uint64_t seed)
{
	return (struct script){ .rng = rng_new(seed, 1) };
}

static enum action draw(struct rng *r)
{
	uint32_t total = 0, at;
	int kind;

	for (kind = 0; kind < ACT_COUNT; kind++)
		total += actions[kind].weight;
	at = rng_below(r, total);
	for (kind = 0; at >= actions[kind].weight; kind++)
		at -= actions[kind].weight;
	return (enum action)kind;
}

struct act script_next(struct script *s)
{
	struct act a = { .kind = draw(&s->rng) };

	a.slot = rng_below(&s->rng, SOAK_SLOTS);
	a.end = rng_below(&s->rng, 2);
	a.vm = rng_below(&s->rng, SOAK_VMS);
	a.other_vm = rng_below(&s->rng, SOAK_VMS);
	a.size = rng_size(&s->rng, SEND_MAX);
	a.steps = rng_size(&s->rng, a.kind == ACT_KILL ? LONG_MAX : SHORT_MAX);
	a.variant = (uint32_t)rng_u64(&s->rng);
	return a;
}

const char *action_name(enum action kind)
{
	return actions[kind].name;
}
