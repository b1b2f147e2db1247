/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Captures: the supervisor opens their files, and keeps them while engines come and go; an
 * engine writes them.
 *
 * One that is told to end takes its time for what it has not written yet, and says when it is
 * done. So long the next capture of the VM waits, which may be of the same files; these are
 * locked, so others see that they are in use.
 */
#include <stdlib.h>
#include <sys/file.h>
#include <unistd.h>

#include "control/capture_files.h"
#include "control/events.h"
#include "daemon/supervisor_internal.h"
#include "util/clock.h"
#include "util/error.h"
#include "util/fd.h"
#include "util/log.h"

enum { AGAIN_MS = 100, TRIES = 20 };		/* for files that others have */

static unsigned long long cid_of(const struct held_vm *h)
{
	return h->plan.guest_cid;
}

/* ---- what an engine is told ---- */

/* The files of @h, or that there are none: which ends what it captures. As channel_send(). */
static int send_capture(int channel, const struct held_vm *h)
{
	const struct held_capture *c = &h->capture;
	struct supervise_msg m = {
		.type = SUPERVISE_CAPTURE, .cid = h->plan.guest_cid, .u.number = c->id,
	};
	int fds[1 + CAPTURE_FILES_MAX], r = 0;
	size_t n = 0;
	struct blob b;

	blob_init(&b, SUPERVISE_BLOB_MAX, 0);
	if (c->settings) {
		capture_settings_save(c->settings, &b);
		r = channel_send_blob(channel, &b);
		fds[n++] = c->files.shared_fd;
		for (size_t i = 0; i < c->files.n; i++)
			fds[n++] = c->files.fds[i];
	}
	if (!r)
		r = channel_send(channel, &m, fds, n, true);
	blob_deinit(&b);
	return r;
}

int supervisor_feed_capture(int channel, struct held_vm *h)
{
	if (!h->capture.settings)
		return 0;
	h->capture.is_told = true;
	return send_capture(channel, h);
}

int supervisor_send_capture(struct supervisor *s, struct held_vm *h)
{
	if ((!h->capture.settings && !h->capture.is_told) || s->has_older_engine)
		return 0;
	h->capture.is_told = h->capture.settings != NULL;
	return send_capture(s->channel, h);
}

static int tell(struct supervisor *s, struct held_vm *h)
{
	return s->channel >= 0 && !h->waits ? supervisor_send_capture(s, h) : 0;
}

/* ---- beginning, ending ---- */

/* The last words of what has come so far as @shared_fd says. */
static void note_end(struct held_vm *h, int shared_fd)
{
	struct capture_state last = { 0 };
	struct capture_shared shared;

	if (pread(shared_fd, &shared, sizeof shared, 0) == sizeof shared)
		capture_read_state(&shared, &last);
	events_put(&(struct event){
		.kind = EVENT_CAPTURE_ENDED, .cid = h->plan.guest_cid,
		.number = (int64_t)last.packets, .lost = last.lost, .error = last.error,
	});
}

/* The engine is done with the one that it was told to end, or there is none. */
static void forget_leaving(struct held_vm *h)
{
	if (h->capture.leaving)
		note_end(h, h->capture.leaving_fd);
	fd_close(&h->capture.leaving_fd);
	h->capture.leaving = 0;
}

static void forget(struct held_vm *h)
{
	struct held_capture *c = &h->capture;

	if (!c->is_told)
		capture_files_unlock(&c->files);
	capture_files_close(&c->files);
	free(c->settings);
	c->settings = NULL;
}

static int open_files(struct held_capture *c, const struct capture_plan *plan)
{
	struct capture_settings *settings = malloc(sizeof *settings);
	int r = settings ? capture_files_open(&c->files, plan) : -ENOMEM;

	if (r) {
		free(settings);
		return r;
	}
	capture_settings_of(settings, plan);
	c->settings = settings;
	return 0;
}

int supervisor_begin_capture(struct supervisor *s, struct held_vm *h,
			     const struct capture_plan *plan)
{
	struct held_capture *c = &h->capture;
	int r;

	if (c->settings)
		return CAPTURE_FILES_E_TAKEN;
	if (s->is_upgrading)
		return -EBUSY;
	r = open_files(c, plan);
	if (r)
		return r;
	c->id = ++s->n_captures;
	log_info("main", "vm %llu: capture %s begins", cid_of(h), c->settings->name);
	events_put_vm(EVENT_CAPTURE_STARTED, cid_of(h));
	return tell(s, h);
}

int supervisor_end_capture(struct supervisor *s, struct held_vm *h)
{
	bool was_told = h->capture.is_told;

	if (!h->capture.settings)
		return 0;
	if (s->is_upgrading)
		return -EBUSY;
	forget_leaving(h);
	if (was_told && s->engine) {
		h->capture.leaving = h->capture.id;
		h->capture.leaving_fd = fd_take(&h->capture.files.shared_fd);
	} else {
		note_end(h, h->capture.files.shared_fd);
	}
	forget(h);
	return tell(s, h);
}

/* What the plan says, or once the one before it is done. Of another VM it is not known when that
 * is. */
static void begin_planned(struct supervisor *s, struct held_vm *h)
{
	struct held_capture *c = &h->capture;
	int r;

	c->is_due = h->plan.capture.path != NULL;
	if (!c->is_due || c->leaving || c->settings)
		return;
	if (s->is_upgrading) {			/* both engines are to know of the same */
		loop_timer_set(s->loop, &s->captures_due, clock_ms() + AGAIN_MS);
		return;
	}
	r = supervisor_begin_capture(s, h, &h->plan.capture);
	c->is_due = r == CAPTURE_FILES_E_TAKEN && s->has_served && ++c->n_tries < TRIES;
	if (c->is_due)
		loop_timer_set(s->loop, &s->captures_due, clock_ms() + AGAIN_MS);
	else if (r)
		log_warn("main", "vm %llu: capture %s: %s: nothing is captured", cid_of(h),
			 h->plan.capture.path, capture_files_str_error(r));
}

static void on_due(struct loop_timer *timer)
{
	struct supervisor *s = container_of(timer, struct supervisor, captures_due);

	for (size_t i = 0; i < s->n_vms; i++)
		if (s->vms[i]->capture.is_due)
			begin_planned(s, s->vms[i]);
}

void supervisor_capture_init(struct supervisor *s)
{
	s->captures_due.expire = on_due;
}

void supervisor_plan_capture(struct supervisor *s, struct held_vm *h)
{
	h->capture.n_tries = 0;
	if (h->capture.settings)
		supervisor_end_capture(s, h);
	begin_planned(s, h);
}

/* ---- what the engine says ---- */

void supervisor_on_capture_ended(struct supervisor *s, struct held_vm *h, uint64_t id)
{
	struct held_capture *c = &h->capture;

	if (c->leaving == id)
		forget_leaving(h);
	if (c->settings && c->id == id) {
		note_end(h, c->files.shared_fd);
		c->is_told = false;		/* it has none any more */
		forget(h);
	}
	if (c->is_due)
		begin_planned(s, h);
}

void supervisor_settle_captures(struct supervisor *s)
{
	for (size_t i = 0; i < s->n_vms; i++) {
		struct held_capture *c = &s->vms[i]->capture;

		if (!c->leaving && !c->is_due)
			continue;
		forget_leaving(s->vms[i]);
		if (c->is_due)
			begin_planned(s, s->vms[i]);
	}
}

/* ---- state ---- */

bool supervisor_has_capture(const struct held_capture *c)
{
	return c->settings || c->leaving || c->is_due;
}

void supervisor_save_capture(const struct held_capture *c, struct blob *out)
{
	blob_put_u64(out, c->id);
	blob_put_u64(out, c->leaving);
	blob_put_fd(out, c->leaving_fd);
	blob_put_u8(out, c->is_due);
	blob_put_u8(out, c->is_told);
	blob_put_u8(out, c->settings != NULL);
	if (!c->settings)
		return;
	capture_settings_save(c->settings, out);
	blob_put_fd(out, c->files.shared_fd);
	blob_put_u32(out, (uint32_t)c->files.n);
	for (size_t i = 0; i < c->files.n; i++)
		blob_put_fd(out, c->files.fds[i]);
}

static int load_files(struct held_capture *c, struct blob_reader *in)
{
	uint32_t n;

	c->settings = malloc(sizeof *c->settings);
	if (!c->settings)
		return -ENOMEM;
	if (!capture_settings_load(c->settings, in))
		return SUPERVISOR_STATE_E_BAD;
	c->files.shared_fd = blob_get_fd(in);
	n = blob_get_u32(in);
	if (n < 1 || n > CAPTURE_FILES_MAX)
		return SUPERVISOR_STATE_E_BAD;
	while (c->files.n < n)
		c->files.fds[c->files.n++] = blob_get_fd(in);
	return 0;
}

int supervisor_load_capture(struct supervisor *s, struct held_capture *c, struct blob_reader *in)
{
	c->id = blob_get_u64(in);
	c->leaving = blob_get_u64(in);
	c->leaving_fd = blob_get_fd(in);
	c->is_due = blob_get_bool(in);
	c->is_told = blob_get_bool(in);
	if (c->id > s->n_captures)
		s->n_captures = c->id;
	return blob_get_bool(in) ? load_files(c, in) : 0;
}
