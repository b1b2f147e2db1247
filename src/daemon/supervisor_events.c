/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Events of the supervisor, for clients of the control API, which an engine serves: it is told of
 * each. The last ones are kept here, and told again to an engine that is new: so who was a client
 * of the one before it can hear how that ended.
 */
#include <string.h>

#include "control/events.h"
#include "daemon/supervisor_internal.h"

static_assert((int)EVENTS_LINE_MAX <= (int)SUPERVISE_LINE_MAX, "each fits");

/* An engine that does not read as fast hears how many it has missed, before the next. */
static void send_now(struct supervisor *s, const struct told_event *t)
{
	struct told *told = &s->told;
	char note[EVENTS_LINE_MAX];

	if (told->n_lost && channel_send_event(s->channel, false, t->at_ns, note,
					       events_format_lost(note, told->n_lost))) {
		told->n_lost++;
		return;
	}
	told->n_lost = 0;
	if (channel_send_event(s->channel, false, t->at_ns, t->line, t->len))
		told->n_lost++;
}

static void on_event(void *ctx, uint64_t at_ns, const char *line, size_t len)
{
	struct supervisor *s = ctx;
	struct told *told = &s->told;
	struct told_event *t = &told->last[told->n++ % TOLD_EVENTS];

	t->at_ns = at_ns;
	t->len = len;
	memcpy(t->line, line, len);
	if (s->engine && told->engine == s->engine)
		send_now(s, t);
}

void supervisor_events_init(struct supervisor *s)
{
	if (s->api.fd >= 0)
		events_watch(on_event, s);
}

void supervisor_feed_told(struct supervisor *s)
{
	struct told *told = &s->told;
	size_t first = told->n > TOLD_EVENTS ? told->n - TOLD_EVENTS : 0;

	if (s->api.fd < 0)
		return;
	told->n_lost = 0;			/* by another */
	for (size_t i = first; i < told->n; i++) {
		const struct told_event *t = &told->last[i % TOLD_EVENTS];

		if (channel_send_event(s->channel, true, t->at_ns, t->line, t->len))
			told->n_lost++;
	}
	told->engine = s->engine;
}
