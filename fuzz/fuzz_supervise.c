/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The channel between supervisor and engine, from both sides: what one that was taken over
 * makes of the other.
 *
 * Input: who is attacked (1 byte: the supervisor, also with an upgrade under way; the engine, that has not
 * begun), then messages: type, VM, descriptors, length and what else is in it (1 byte each), and bytes.
 * A type beyond the last is another happening: time passes, all children end.
 *
 * Asserted, after each message: the supervisor keeps no more than SUPERVISE_SLOTS_MAX
 * descriptors of a VM, each slot once, in order; it has killed nobody but the engine, and an
 * engine of which it hears nothing more; it has children for connects up to CONNECTS_MAX.
 * At the end, on either side, no descriptor is left.
 */
#include <assert.h>
#include <errno.h>
#include <signal.h>
#include <stdbool.h>
#include <sys/socket.h>
#include <sys/wait.h>

#include "config/plan.h"
#include "config/plan_state.h"
#include "daemon/hosted.h"
#include "daemon/supervisor_internal.h"
#include "input.h"
#include "util/closer.h"
#include "util/log.h"

enum { ENGINE = 4242, SUCCESSOR = 4243, N_VMS = 3, FIRST_CID = 3 };

/* ---- processes that there are not ---- */

static unsigned n_killed;
static pid_t next_child = 10000;

int kill(pid_t pid, int sig)
{
	assert((pid == ENGINE || pid == SUCCESSOR) && sig == SIGKILL);
	n_killed++;
	return 0;
}

pid_t fork(void)
{
	return next_child++;
}
