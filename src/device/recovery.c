/* SPDX-License-Identifier: BSD-3-Clause */
/* What makes a device outlive a crash of the process. */
#include "device/recovery.h"

#include <stdlib.h>
#include <string.h>

#include "util/blob.h"
#include "util/closer.h"
#include "util/error.h"
#include "util/fd.h"
#include "util/log_limit.h"

/* Names are kept from now on. Those that are there are of connections that are void. */
static void load_names(struct recovery *r)
{
	size_t size;
	void *names = journal_names(r->journal, &size);
	int e;

	if (!names || r->has_names)
		return;
	e = mux_load_names(r->config.mux, names, size, journal_take_new_names(r->journal),
			   loop_now_ms(r->config.loop));
	if (e == MUX_E_NAMES_LOST || (e < 0 && r->is_loading))
		r->config.events->reset_pending = true;
	if (e < 0)
		log_limited(LEVEL_WARN, r->config.tag, "cannot keep names of connections: %s",
			    error_str(e));
	r->has_names = e >= 0;
}

void recovery_on_came(struct recovery *r)
{
	r->has_come = true;
	if (r->journal)
		load_names(r);
}

static void save(struct recovery *r, struct blob *out)
{
	size_t section = blob_open(out, BLOB_TAG('D', 'E', 'V', 'C'), 1);

	blob_put_u8(out, r->config.events->reset_pending);
	blob_put_u8(out, r->has_names);
	blob_close(out, section);
	frontend_save(r->config.frontend, out);
}

/* A VM without a front-end costs nothing, here or at the keeper, once its connections have
 * drained to the host. */
static void forget_if_idle(struct recovery *r)
{
	if (!r->is_idle || r->is_loading || (r->has_names && !mux_forget_names(r->config.mux)))
		return;
	journal_forget(r->journal);
	r->has_names = false;
	r->is_idle = false;
}

void recovery_commit(struct recovery *r)
{
	struct blob facts;

	journal_begin(&facts);
	save(r, &facts);
	r->is_idle = !facts.n_fds && !blob_error(&facts);
	journal_commit(r->journal, &facts);
	r->reset_noted = r->config.events->reset_pending;
	if (!r->is_loading && !r->is_idle)
		load_names(r);			/* there is a place for them now */
	forget_if_idle(r);
}

static void drop_accepted(struct recovery *r)
{
	const struct journal_keeper *keeper = r->config.keeper;

	keeper->drop(keeper->ctx, JOURNAL_SLOT_ACCEPTED);
}

/* Whoever was asked twice answers twice. One that is here already was dropped when it came, and
 * by now the slot may be that of the next one. */
void recovery_accepted(struct recovery *r, int outcome, int fd)
{
	if (frontend_accepted(r->config.frontend, outcome, fd) && !outcome)
		drop_accepted(r);
}

void recovery_settle(struct recovery *r)
{
	journal_settle(r->journal);
}

struct msghdr *recovery_receipt(struct recovery *r)
{
	return journal_receipt(r->journal);
}

void recovery_begin_turn(struct recovery *r)
{
	if (r->journal)
		frontend_commit_rings(r->config.frontend);
}

void recovery_end_turn(struct recovery *r)
{
	if (r->journal && r->reset_noted != r->config.events->reset_pending)
		recovery_commit(r);
	forget_if_idle(r);
}

/* ---- in another's place ---- */

static int load_facts(struct recovery *r)
{
	struct blob_reader section;
	uint32_t version;
	int e;

	blob_enter(&r->facts.in, &section, BLOB_TAG('D', 'E', 'V', 'C'), 1, &version);
	r->is_reset_pending = blob_get_bool(&section);
	r->had_names = blob_get_bool(&section);
	if (!blob_is_whole(&section))
		return JOURNAL_E_STATE;
	e = frontend_load(r->config.frontend, &r->facts.in, r->facts.is_settled);
	return e > 0 ? JOURNAL_E_STATE : e;
}

static int load(struct recovery *r)
{
	int e = journal_load(r->journal, r->kept, r->n_kept, &r->facts);

	if (e)
		return e;
	e = load_facts(r);
	if (e) {
		journal_loaded(r->journal, &r->facts);
		journal_forget(r->journal);
	}
	return e;
}

int recovery_load(struct recovery *r)
{
	if (!r->kept)
		return 0;
	if (!r->is_loaded)
		r->outcome = load(r);
	r->is_loaded = true;
	return r->outcome == JOURNAL_E_NONE ? 0 : r->outcome;
}

bool recovery_is_current(const struct recovery *r)
{
	if (!r->is_loaded || r->outcome)	/* nothing is there, if nothing has been kept since */
		return !r->is_loaded || r->outcome == JOURNAL_E_NONE;
	return journal_is_current(r->journal, &r->facts);
}

static void go_on(struct recovery *r, bool was_parked)
{
	r->reset_noted = r->is_reset_pending;
	r->config.events->reset_pending = r->is_reset_pending || !r->had_names;
	frontend_go_on(r->config.frontend, was_parked);
	journal_loaded(r->journal, &r->facts);
	if (!r->has_come)
		journal_clear_names(r->journal);	/* of a guest that had left */
}

/* In the device's thread, in which a fault of guest memory has to be caught. */
static void begin(struct loop_work *work)
{
	struct recovery *r = container_of(work, struct recovery, work);
	bool was_parked = r->is_loaded;
	int e;

	r->is_loading = true;
	recovery_load(r);
	e = r->outcome;
	free(r->kept);
	r->kept = NULL;
	if (!e)
		go_on(r, was_parked);
	r->is_loading = false;
	if (e)
		frontend_begin(r->config.frontend, e != JOURNAL_E_NONE);
	if (e && e != JOURNAL_E_NONE)
		log_limited(LEVEL_ERR, r->config.tag, "front-end lost: %s", journal_str_error(e));
	r->config.begun(r->config.ctx);
	load_names(r);
	if (r->accepted_fd < 0)
		return;
	frontend_accepted(r->config.frontend, 0, fd_take(&r->accepted_fd));
	drop_accepted(r);			/* who has died may not have come so far */
}

bool recovery_is_due(const struct recovery *r)
{
	return r->kept != NULL;
}

void recovery_close_kept(const struct journal_kept *kept, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		int fd = kept[i].fd;

		closer_close(&fd);
	}
}

static int take_kept(struct recovery *r)
{
	const struct recovery_config *config = &r->config;

	r->kept = malloc((config->n_kept + 1) * sizeof *r->kept);
	if (!r->kept)
		return -ENOMEM;
	for (size_t i = 0; i < config->n_kept; i++) {
		if (config->kept[i].slot == JOURNAL_SLOT_ACCEPTED)
			r->accepted_fd = config->kept[i].fd;
		else
			r->kept[r->n_kept++] = config->kept[i];
	}
	return 0;
}

int recovery_init(struct recovery *r, const struct recovery_config *config)
{
	const struct journal_config journal = {
		.keeper = config->keeper, .tag = config->tag,
		.names_bytes = conn_names_size(config->max_connections),
	};
	int e = 0;

	*r = (struct recovery){ .config = *config, .accepted_fd = -1 };
	loop_work_init(&r->work, begin);
	if (config->keeper)
		e = journal_new(&r->journal, &journal);
	if (!e && r->journal && config->kept)
		e = take_kept(r);
	if (e || !r->kept)
		recovery_close_kept(config->kept, config->n_kept);
	else
		loop_work_schedule(config->loop, &r->work);
	return e;
}

void recovery_move(struct recovery *r, struct loop_move *m)
{
	loop_move_pointer(m, &r->config.loop);
}

void recovery_deinit(struct recovery *r)
{
	if (!r->config.loop)			/* no init */
		return;
	loop_work_cancel(&r->work);
	if (r->kept)
		recovery_close_kept(r->kept, r->n_kept);
	free(r->kept);
	closer_close(&r->accepted_fd);
	if (r->journal)
		journal_loaded(r->journal, &r->facts);
	journal_free(r->journal);
	r->config.loop = NULL;
}
