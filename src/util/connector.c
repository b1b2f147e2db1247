/* SPDX-License-Identifier: BSD-3-Clause */
/* Connects to a unix socket, again and again. */
#include "util/connector.h"

#include <stdlib.h>
#include <sys/socket.h>

#include "util/error.h"
#include "util/fd.h"
#include "util/log_limit.h"
#include "util/unix_socket.h"

enum { WAIT_FIRST_MS = 100, WAIT_LAST_MS = 5000, ANSWER_MS = 5000 };

void connector_init(struct connector *c)
{
	*c = (struct connector){ .wait_ms = WAIT_FIRST_MS };
}

static void try_later(struct connector *c)
{
	struct loop *loop = c->config.loop;

	loop_timer_set(loop, &c->timer, loop_now_ms(loop) + c->wait_ms);
	c->wait_ms = c->wait_ms < WAIT_LAST_MS / 2 ? 2 * c->wait_ms : WAIT_LAST_MS;
}

static const char *str_outcome(int outcome)
{
	switch (outcome) {
	case UNIX_E_AGAIN:
		return "its backlog is full";
	case UNIX_E_NO_NAME:
		return "there is no such socket yet";
	case UNIX_E_NOBODY:
		return "nobody listens there";
	case UNIX_E_OTHER_TYPE:
		return "not a stream socket";
	case UNIX_E_DENIED:
		return "Permission denied";
	default:
		return error_str(outcome);
	}
}

/* Once for each reason, or somebody who is late would fill the log. */
static void log_failure(struct connector *c, int outcome)
{
	bool is_late = outcome == UNIX_E_AGAIN || outcome == UNIX_E_NO_NAME ||
		outcome == UNIX_E_NOBODY;

	if (outcome == c->last)
		return;
	c->last = outcome;
	log_limited(is_late ? LEVEL_INFO : LEVEL_WARN, c->config.tag,
		    "%s %s: %s; tried again until it works", c->config.what, c->config.path,
		    str_outcome(outcome));
}

/* Takes @fd over, which is connected if @outcome is 0. */
static void end_attempt(struct connector *c, int outcome, int fd)
{
	if (outcome) {
		fd_close(&fd);
		log_failure(c, outcome);
		try_later(c);
		return;
	}
	c->last = 0;
	c->config.connected(c->config.ctx, fd);
}

/* False: what has come of it is all that there will be. */
static bool ask(struct connector *c, int outcome)
{
	const struct connector_config *config = &c->config;

	if (!config->ask || !unix_is_unseen(outcome) || config->ask(config->ask_ctx))
		return false;
	c->is_asked = true;
	loop_timer_set(config->loop, &c->timer, loop_now_ms(config->loop) + ANSWER_MS);
	return true;
}

static void on_timer(struct loop_timer *timer)
{
	struct connector *c = container_of(timer, struct connector, timer);
	const bool only_asks = c->config.only_asks;
	int fd = -1, r = unix_socket(&fd, SOCK_STREAM);

	c->is_asked = false;
	if (!r)
		r = only_asks ? UNIX_E_NO_NAME : unix_connect(fd, c->config.path);
	if (ask(c, r))
		fd_close(&fd);
	else
		end_attempt(c, only_asks ? -EAGAIN : r, fd);
}

void connector_answer(struct connector *c, int outcome, int fd)
{
	if (!c->is_asked) {
		unix_close(&fd);
		return;
	}
	c->is_asked = false;
	loop_timer_cancel(c->config.loop, &c->timer);
	end_attempt(c, outcome, fd);
}

int connector_start(struct connector *c, const struct connector_config *config)
{
	char *path = strdup(config->path);

	if (!path)
		return -ENOMEM;
	connector_init(c);
	c->config = *config;
	c->config.path = c->path = path;
	c->timer.expire = on_timer;
	loop_timer_set(config->loop, &c->timer, loop_now_ms(config->loop));
	return 0;
}

void connector_stop(struct connector *c)
{
	if (c->config.loop)
		loop_timer_cancel(c->config.loop, &c->timer);
	c->config.loop = NULL;
	c->is_asked = false;
	free(c->path);
	c->path = NULL;
}

void connector_hold(struct connector *c)
{
	c->is_asked = false;
	if (c->config.loop)
		loop_timer_cancel(c->config.loop, &c->timer);
}

void connector_again(struct connector *c)
{
	if (c->config.loop && !c->timer.is_set)
		try_later(c);
}

void connector_settle(struct connector *c)
{
	c->wait_ms = WAIT_FIRST_MS;
}

void connector_move(struct connector *c, struct loop_move *m)
{
	loop_move_timer(m, &c->timer);
	loop_move_pointer(m, &c->config.loop);
}
