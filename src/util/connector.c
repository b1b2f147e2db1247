/* SPDX-License-Identifier: BSD-3-Clause */
/* Connects to a unix socket, again and again. */
#include "util/connector.h"

#include <stdlib.h>
#include <sys/stat.h>

#include "util/error.h"
#include "util/fd.h"
#include "util/log_limit.h"
#include "util/unix_socket.h"

enum { WAIT_FIRST_MS = 100, WAIT_LAST_MS = 5000 };

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

static void on_timer(struct loop_timer *timer)
{
	struct connector *c = container_of(timer, struct connector, timer);
	int fd = -1, r = unix_socket(&fd);

	if (!r)
		r = unix_connect(fd, c->config.path);
	if (r) {
		fd_close(&fd);
		log_failure(c, r);
		try_later(c);
		return;
	}
	c->last = 0;
	c->config.connected(c->config.ctx, fd);
}

/* It is what has to be there from the start: only what is in it may come later. */
static int check_folder(const char *path)
{
	char folder[UNIX_PATH_BYTES];
	struct stat st;

	unix_folder(folder, path);
	if (stat(folder, &st) < 0)
		return error_last();
	return S_ISDIR(st.st_mode) ? 0 : -ENOTDIR;
}

int connector_start(struct connector *c, const struct connector_config *config)
{
	int r = check_folder(config->path);
	char *path;

	if (r < 0)
		return r;
	path = strdup(config->path);
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
	free(c->path);
	c->path = NULL;
}

void connector_hold(struct connector *c)
{
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
