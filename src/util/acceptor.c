/* SPDX-License-Identifier: BSD-3-Clause */
/* Takes connections from a listening socket, and rests when it cannot. */
#include "util/acceptor.h"

#include <sys/epoll.h>

#include "util/error.h"
#include "util/fd.h"
#include "util/log_limit.h"
#include "util/unix_socket.h"

enum { REST_MS = 100, ANSWER_MS = 1000, LAST_MAX = 64 };

void acceptor_init(struct acceptor *a)
{
	*a = (struct acceptor){ .source = { .fd = -1 } };
}

static void set_rest(struct acceptor *a, uint32_t ms)
{
	struct loop *loop = a->config.loop;

	loop_timer_set(loop, &a->rest, loop_now_ms(loop) + ms);
}

static void on_rested(struct loop_timer *timer)
{
	struct acceptor *a = container_of(timer, struct acceptor, rest);

	a->is_asked = false;
	if (loop_add(a->config.loop, &a->source, a->config.listener->fd, EPOLLIN) < 0)
		set_rest(a, REST_MS);
}

static void log_failure(const struct acceptor *a, int r)
{
	log_limited(LEVEL_WARN, a->config.tag, "cannot accept %s: %s; again in %d ms",
		    a->config.what, error_str(r), REST_MS);
}

static void ask(struct acceptor *a)
{
	a->is_asked = a->config.ask(a->config.ask_ctx) == 0;
	loop_remove(a->config.loop, &a->source);
	set_rest(a, a->is_asked ? ANSWER_MS : REST_MS);
}

void acceptor_answer(struct acceptor *a, int outcome, int fd)
{
	if (!a->config.loop) {
		unix_close(&fd);
		return;
	}
	if (outcome < 0 && outcome != -EAGAIN)
		log_failure(a, outcome);
	if (a->is_asked)
		set_rest(a, outcome ? REST_MS : 0);
	a->is_asked = false;
	if (!outcome)
		a->config.accepted(a->config.ctx, fd);
}

/* How many to take: @batch is that of the loop. */
static int next_burst(const struct acceptor *a, uint64_t batch)
{
	if (batch != a->full_batch + 1)
		return 1;
	return a->burst < a->config.per_event / 2 ? a->burst * 2 : a->config.per_event;
}

static void on_readable(struct loop_source *source, uint32_t events)
{
	struct acceptor *a = container_of(source, struct acceptor, source);
	uint64_t batch = loop_batch(a->config.loop);

	(void)events;
	if (a->config.is_held)
		return;
	if (a->config.ask) {
		ask(a);
		return;
	}
	a->burst = next_burst(a, batch);
	for (int i = 0; i < a->burst && source->fd >= 0; i++) {
		int fd, r = listener_accept(a->config.listener, &fd);

		if (r == LISTENER_E_NONE)
			return;
		if (r < 0) {
			log_failure(a, r);
			loop_remove(a->config.loop, source);
			set_rest(a, REST_MS);
			return;
		}
		a->config.accepted(a->config.ctx, fd);
	}
	a->full_batch = batch;
}

static void set_up(struct acceptor *a, const struct acceptor_config *config)
{
	*a = (struct acceptor){
		.config = *config, .full_batch = UINT64_MAX,
		.source = { .dispatch = on_readable, .fd = -1 },
		.rest = { .expire = on_rested },
	};
}

void acceptor_start_late(struct acceptor *a, const struct acceptor_config *config)
{
	set_up(a, config);
	loop_timer_set(config->loop, &a->rest, loop_now_ms(config->loop));
}

int acceptor_start(struct acceptor *a, const struct acceptor_config *config)
{
	set_up(a, config);
	return loop_add(config->loop, &a->source, config->listener->fd, EPOLLIN);
}

/* What has come since is the socket's next event again. */
void acceptor_resume(struct acceptor *a)
{
	a->config.is_held = false;
}

int acceptor_exchange(struct acceptor *a, int fd)
{
	const struct acceptor_config config = a->config;
	struct listener fresh;
	int r = 0;

	if (config.loop)
		r = listener_adopt(&fresh, fd);
	else
		fd_close(&fd);
	if (r < 0 || !config.loop)
		return r;
	acceptor_stop(a);
	for (int i = 0; i < LAST_MAX && listener_accept(config.listener, &fd) == 0; i++)
		config.accepted(config.ctx, fd);
	listener_deinit(config.listener);
	listener_move(config.listener, &fresh);
	acceptor_start_late(a, &config);
	return 0;
}

void acceptor_stop(struct acceptor *a)
{
	if (!a->config.loop)
		return;
	loop_timer_cancel(a->config.loop, &a->rest);
	loop_remove(a->config.loop, &a->source);
}

/* The other loop counts batches of its own. */
void acceptor_move(struct acceptor *a, struct loop_move *m)
{
	loop_move_source(m, &a->source, EPOLLIN);
	loop_move_timer(m, &a->rest);
	loop_move_pointer(m, &a->config.loop);
	if (loop_move_is_done(m))
		a->full_batch = UINT64_MAX;
}
