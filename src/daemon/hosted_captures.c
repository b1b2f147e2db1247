/* SPDX-License-Identifier: BSD-3-Clause */
/* The captures that a hosted engine is told of: files that the supervisor has opened. */
#include <stdlib.h>

#include "control/capture.h"
#include "daemon/hosted_internal.h"
#include "daemon/vm.h"
#include "daemon/vm_job.h"
#include "util/clock.h"
#include "util/error.h"
#include "util/log.h"

enum {
	FLUSH_MS = 50,				/* while guests stand still */
	END_MS = 700,				/* for all of them together */
};

/* In the capture's thread. */
static void on_ended(uint64_t cid, uint64_t id, const struct capture_state *last)
{
	(void)last;
	hosted_tell(SUPERVISE_CAPTURE_ENDED, cid, id);
}

/* ---- jobs ---- */

static void on_set(struct vm_job *job, int r)
{
	(void)r;
	free(job);
}

/* Takes @c over; NULL: nothing is captured any more. */
static int set_capture(struct vm *vm, struct capture *c)
{
	struct vm_job *job;

	if (!hosted.has_started) {
		capture_free(vm->capture);
		vm->capture = c;
		return 0;
	}
	job = calloc(1, sizeof *job);
	if (!job)
		return -ENOMEM;
	job->done = on_set;
	vm_post_capture(job, vm, c);
	return 0;
}

/* ---- what it is told ---- */

/* 0; CHANNEL_E_GARBAGE; -errno. */
static int make(struct channel_msg *msg, struct capture **out)
{
	struct capture_config config = {
		.cid = msg->m.cid, .id = msg->m.u.number, .ended = on_ended,
		.n_files = msg->n_fds - 1,
	};
	struct capture_settings settings;
	struct blob_reader in;
	bool is_good;

	channel_state_read(&hosted.state, &in);
	is_good = capture_settings_load(&settings, &in) && msg->n_fds > 1;
	hosted_forget_state();
	if (!is_good)
		return CHANNEL_E_GARBAGE;
	config.settings = &settings;
	config.shared_fd = channel_take_fd(msg, 0);
	for (size_t i = 0; i < config.n_files; i++)
		config.fds[i] = channel_take_fd(msg, i + 1);
	return capture_new(out, &config);
}

/* What does not work ends the capture, and nothing else. */
static void fail(uint64_t cid, uint64_t id, int r)
{
	log_err("main", "vm %llu: nothing is captured: %s", (unsigned long long)cid, error_str(r));
	hosted_tell(SUPERVISE_CAPTURE_ENDED, cid, id);
}

int hosted_take_capture(struct channel_msg *msg)
{
	struct vm *vm = hosted_find_vm(msg->m.cid);
	struct capture *c = NULL;
	int r = 0;

	/* That of a VM which is not there is told again when it comes; or it is that one. */
	if (!vm || (msg->n_fds && vm->capture_id == msg->m.u.number)) {
		hosted_forget_state();
		return 0;
	}
	if (msg->n_fds)
		r = make(msg, &c);
	if (r == CHANNEL_E_GARBAGE)
		return r;
	if (!r && c && hosted.has_started)
		r = capture_start(c);
	if (!r)
		r = set_capture(vm, c);
	if (!r) {
		vm->capture_id = msg->n_fds ? msg->m.u.number : 0;
		return 0;
	}
	capture_free(c);
	fail(msg->m.cid, msg->m.u.number, r);
	return 0;
}

/* ---- all of them ---- */

void hosted_start_captures(void)
{
	for (size_t i = 0; i < hosted.n_vms; i++) {
		struct vm *vm = hosted_vm(i);
		int r = vm->capture ? capture_start(vm->capture) : 0;

		if (r)
			fail(vm->cid, vm->capture_id, r);
	}
}

void hosted_flush_captures(void)
{
	uint64_t until_ms = clock_ms() + FLUSH_MS;

	for (size_t i = 0; i < hosted.n_vms; i++)
		if (hosted_vm(i)->capture)
			capture_flush(hosted_vm(i)->capture, until_ms);
}

void hosted_end_captures(void)
{
	uint64_t until_ms = clock_ms() + END_MS;

	for (size_t i = 0; i < hosted.n_vms; i++)
		if (hosted_vm(i)->capture)
			capture_end(hosted_vm(i)->capture);
	for (size_t i = 0; i < hosted.n_vms; i++)
		if (hosted_vm(i)->capture)
			capture_wait(hosted_vm(i)->capture, until_ms);
}
