/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A capture that somebody begins while the daemon runs, from another thread than the VM's: the
 * VM's worker is asked to have it look on, and to leave off, by mail. Between the two the
 * device may go; then the capture ends.
 *
 * It writes into a pipe, whose other end is the caller's: end of file is its end, by whatever.
 */
#pragma once

#include "control/capture.h"

struct live_capture;
struct snapshots;

/*
 * @worker: as vm_snapshot::worker has it. @ended as capture_config::ended. *@out, and at @fd the
 * pipe's end to be read, which does not block; 0 or -errno. A VM that is not there any more ends
 * it at once. Never waits.
 */
int live_capture_new(struct live_capture **out, int *fd, struct snapshots *s, unsigned worker,
		    const struct capture_config *config);

const struct capture *live_capture_capture(const struct live_capture *t);

/* What has passed is still written, and then there is an end; for a short while. */
void live_capture_end(struct live_capture *t);

/* Ends it, if it has not ended, and forgets about it. The workers may be about to stop. */
void live_capture_free(struct live_capture *t);
