/* SPDX-License-Identifier: BSD-3-Clause */
/* A capture that somebody begins while the daemon runs. */
#include "control/live_capture.h"

#include <fcntl.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <unistd.h>

#include "control/snapshots.h"
#include "device/survey.h"
#include "util/error.h"
#include "util/fd.h"

/*
 * Whose it is: the caller's until live_capture_free(), and the worker's until the mail of that,
 * which comes after the survey's, has been delivered and the survey is done. Neither waits for the
 * other; who is last frees it.
 */
struct live_capture {
	atomic_int n_refs;
	struct capture *capture;		/* owned */
	struct survey survey;
	struct mail leave;

	/* The worker's. */
	struct device_tap tap;
	bool is_surveyed, leaves;
};

static void unref(struct live_capture *t)
{
	if (atomic_fetch_sub(&t->n_refs, 1) > 1)
		return;
	capture_free(t->capture);
	free(t);
}

/* The device goes. */
static void on_gone(void *ctx)
{
	capture_end(ctx);			/* of capture_tap(): the capture */
}

static void leave(struct live_capture *t)
{
	device_remove_tap(&t->tap);
	unref(t);
}

static void on_surveyed(struct survey *s, int result)
{
	struct live_capture *t = container_of(s, struct live_capture, survey);

	if (result || !s->was_found)
		capture_end(t->capture);
	t->is_surveyed = true;
	if (t->leaves)
		leave(t);
}

static void on_leave(struct mail *mail)
{
	struct live_capture *t = container_of(mail, struct live_capture, leave);

	t->leaves = true;
	if (t->is_surveyed)
		leave(t);
}

static int make(struct live_capture **out, const struct capture_config *config)
{
	struct live_capture *t = calloc(1, sizeof *t);
	int r;

	if (!t) {
		for (size_t i = 0; i < config->n_files; i++) {
			int fd = config->fds[i];

			fd_close(&fd);
		}
		return -ENOMEM;
	}
	r = capture_new(&t->capture, config);
	if (r) {
		free(t);
		return r;
	}
	t->n_refs = 2;
	t->tap = capture_tap(t->capture);
	t->tap.gone = on_gone;
	list_init(&t->tap.node);
	t->survey = (struct survey){ .cid = config->cid, .tap = &t->tap, .done = on_surveyed };
	t->leave.deliver = on_leave;
	*out = t;
	return 0;
}

int live_capture_new(struct live_capture **out, int *fd, struct snapshots *s, unsigned worker,
		    const struct capture_config *config)
{
	struct capture_config own = *config;
	struct live_capture *t;
	int pipe[2], r;

	if (pipe2(pipe, O_CLOEXEC | O_NONBLOCK) < 0)
		return error_last();
	own.shared_fd = -1;
	own.n_files = 1;
	own.may_be_many = true;
	own.fds[0] = pipe[1];
	r = make(&t, &own);
	if (!r) {
		r = capture_start(t->capture);
		if (!r && snapshots_post(s, worker, &t->survey))
			r = -ECANCELED;
		if (r) {
			capture_free(t->capture);
			free(t);
		}
	}
	if (r) {
		fd_close(&pipe[0]);
		return r;
	}
	*fd = pipe[0];
	*out = t;
	return 0;
}

const struct capture *live_capture_capture(const struct live_capture *t)
{
	return t->capture;
}

void live_capture_end(struct live_capture *t)
{
	capture_end(t->capture);
}

void live_capture_free(struct live_capture *t)
{
	capture_end(t->capture);
	mailbox_post(worker_mailbox(t->survey.worker), &t->leave);
	unref(t);
}
