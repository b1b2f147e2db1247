/* SPDX-License-Identifier: BSD-3-Clause */
/* The other end of a device's vhost-user socket: one that takes another's place. */
#include <fcntl.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/stat.h>

#include "device/frontend_internal.h"
#include "util/blob.h"
#include "util/closer.h"
#include "util/error.h"
#include "util/fd.h"
#include "util/unix_socket.h"

/* What has been read, and not taken effect. */
struct frontend_loaded {
	int candidates[FRONTEND_CANDIDATES_MAX];	/* the oldest first; -1: no more */
	struct session *session;
	bool was_held_up;
	bool is_paused;
	uint64_t pause_ms;			/* until when */
};

static struct frontend_loaded *loaded_new(void)
{
	struct frontend_loaded *l = calloc(1, sizeof *l);

	for (int i = 0; l && i < FRONTEND_CANDIDATES_MAX; i++)
		l->candidates[i] = -1;
	return l;
}

void frontend_forget_loaded(struct frontend *fe)
{
	struct frontend_loaded *l = fe->loaded;

	if (!l)
		return;
	fe->loaded = NULL;
	for (int i = 0; i < FRONTEND_CANDIDATES_MAX; i++)
		closer_close(&l->candidates[i]);
	if (l->session)
		frontend_wait_no_more(fe);
	session_free(l->session);
	free(l);
}

static const struct frontend_candidate *next_candidate(const struct frontend *fe, uint64_t from)
{
	const struct frontend_candidate *next = NULL;

	for (int i = 0; i < FRONTEND_CANDIDATES_MAX; i++) {
		const struct frontend_candidate *c = &fe->candidates[i];

		if (c->fd >= 0 && c->number >= from && (!next || c->number < next->number))
			next = c;
	}
	return next;
}

static void save_candidates(const struct frontend *fe, struct blob *out)
{
	const struct frontend_candidate *c;
	uint32_t n = 0;

	for (int i = 0; i < FRONTEND_CANDIDATES_MAX; i++)
		n += fe->candidates[i].fd >= 0;
	blob_put_u32(out, n);
	for (c = next_candidate(fe, 0); c; c = next_candidate(fe, c->number + 1))
		blob_put_fd(out, c->fd);
}

void frontend_save(const struct frontend *fe, struct blob *out)
{
	size_t section = blob_open(out, BLOB_TAG('F', 'R', 'N', 'T'), 1);
	bool has_session = fe->session && session_is_journalled(fe->session);

	blob_put_u8(out, fe->was_held_up);
	blob_put_u8(out, fe->pause.is_set);
	blob_put_u64(out, fe->pause.is_set ? fe->pause.deadline_ms : 0);
	save_candidates(fe, out);
	blob_put_u8(out, has_session);
	if (has_session)
		session_save(fe->session, out);
	blob_close(out, section);
}

static bool is_socket(int fd)
{
	struct statx st;

	return fd >= 0 && fd_stat(fd, STATX_TYPE, &st) == 0 && S_ISSOCK(st.stx_mode);
}

static int load(struct frontend *fe, struct frontend_loaded *l, bool is_settled,
		struct blob_reader *in)
{
	struct session_config config;
	uint32_t n;
	int r;

	l->was_held_up = blob_get_bool(in);
	l->is_paused = blob_get_bool(in);
	l->pause_ms = blob_get_u64(in);
	n = blob_get_u32(in);
	if (in->is_short || n > FRONTEND_CANDIDATES_MAX)
		return FRONTEND_E_STATE;
	for (uint32_t i = 0; i < n; i++)
		if (!is_socket(l->candidates[i] = blob_get_fd(in)))
			return FRONTEND_E_STATE;
	config = frontend_session_config(fe);
	config.distrusts_eventfds |= l->was_held_up;
	if (blob_get_bool(in) && (r = session_load(&l->session, &config, is_settled, in)))
		return r < 0 ? r : FRONTEND_E_STATE;
	return blob_is_whole(in) ? 0 : FRONTEND_E_STATE;
}

/* Before the loop runs: what comes meanwhile is an event of its first batch. */
static void wait_ahead(struct frontend *fe, struct session *s)
{
	frontend_wait_for_messages(fe, session_sock(s));
	for (unsigned i = 0; i < VSOCK_NUM_QUEUES; i++)
		frontend_wait_for_kicks(fe, i, session_vring(s, i)->kick_fd);
}

/* The guest may have been about to be called, and about to kick. */
static void go_on(struct frontend *fe, const struct frontend_loaded *l, bool was_parked)
{
	if (frontend_session_wait(fe) < 0)
		return;
	for (unsigned i = 0; i < VSOCK_NUM_QUEUES; i++) {
		frontend_wait_for_kicks(fe, i, session_vring(fe->session, i)->kick_fd);
		if (!was_parked && frontend_running(fe, i))
			vring_call(session_vring(fe->session, i));
	}
	if (l->is_paused)
		loop_timer_set(fe->config.loop, &fe->pause, l->pause_ms);
	fe->config.ops->rings_changed(fe->config.ctx);
	frontend_session_resume(fe);
}

/* All of them are in place before any commit, which would forget those that are not. */
static void take_over(struct frontend *fe, struct frontend_loaded *l, bool was_parked)
{
	fd_close(&fe->waiting_fd);		/* it is among them */
	fe->was_held_up = l->was_held_up;
	fe->session = l->session;
	l->session = NULL;
	if (fe->session)
		session_enter_thread(fe->session);
	for (int i = 0; i < FRONTEND_CANDIDATES_MAX && l->candidates[i] >= 0; i++) {
		session_forget_peeks(l->candidates[i]);
		fe->candidates[i].fd = fd_take(&l->candidates[i]);
		fe->candidates[i].number = fe->n_candidates++;
	}
	if (fe->session || fe->n_candidates)
		connector_hold(&fe->connector);
	else
		frontend_on_lost(fe);
	for (int i = 0; i < FRONTEND_CANDIDATES_MAX; i++)
		if (fe->candidates[i].fd >= 0)
			frontend_wait_for_candidate(&fe->candidates[i]);
	if (!fe->session)
		return;
	log_limited(LEVEL_INFO, fe->config.tag, "front-end kept");
	go_on(fe, l, was_parked);
}

int frontend_load(struct frontend *fe, struct blob_reader *in, bool is_settled)
{
	struct blob_reader section;
	uint32_t version;
	int r = FRONTEND_E_STATE;

	fe->loaded = loaded_new();
	if (!fe->loaded)
		return -ENOMEM;
	if (blob_enter(in, &section, BLOB_TAG('F', 'R', 'N', 'T'), 1, &version))
		r = load(fe, fe->loaded, is_settled, &section);
	if (r) {
		frontend_forget_loaded(fe);
	} else if (fe->loaded->session) {
		session_leave_thread(fe->loaded->session);
		wait_ahead(fe, fe->loaded->session);
	}
	return r;
}

void frontend_go_on(struct frontend *fe, bool was_parked)
{
	take_over(fe, fe->loaded, was_parked);
	frontend_forget_loaded(fe);
}

void frontend_begin(struct frontend *fe, bool is_lost)
{
	if (fe->waiting_fd < 0) {
		frontend_on_lost(fe);
		return;
	}
	if (!is_lost) {
		if (frontend_add_candidate(fe, fd_take(&fe->waiting_fd)) < 0)
			frontend_on_lost(fe);
		return;
	}
	shutdown(fe->waiting_fd, SHUT_RDWR);
	unix_close(&fe->waiting_fd);
	frontend_on_lost(fe);
}

void frontend_commit_rings(struct frontend *fe)
{
	if (fe->session)
		session_commit_rings(fe->session);
}
