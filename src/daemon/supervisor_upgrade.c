/* SPDX-License-Identifier: BSD-3-Clause */
/* SIGUSR2: the program that is installed now takes over. */
#include "daemon/supervisor_internal.h"
#include "util/log.h"

void supervisor_upgrade(struct supervisor *s)
{
	if (s->state != SUPERVISOR_SERVING || s->successor.state != SUCCESSOR_NONE) {
		log_warn("main", "SIGUSR2: not now: an engine is about to begin");
		return;
	}
	supervisor_hand_over(s);
}

void supervisor_upgraded(struct supervisor *s, bool has_worked)
{
	if (has_worked)
		log_info("main", "another engine has taken over, process %d", (int)s->engine);
	if (s->wants_reload)
		supervisor_reload(s);
}
