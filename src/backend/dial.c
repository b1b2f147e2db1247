/* SPDX-License-Identifier: BSD-3-Clause */
/* Connects that wait for room in a backlog. */
#include "backend/dial.h"

#include <stdlib.h>

#include "util/error.h"
#include "util/fd.h"

enum {
	RETRY_FIRST_MS = 5,
	RETRY_LAST_MS = 40,			/* doubled up to that */
	TRIES_PER_TURN = 16,
	ANSWER_MS = 100,			/* for an answer, also where the time is over */
};

struct dial_port {				/* one that somebody waits for */
	uint32_t number;
	uint32_t retry_ms;
	uint64_t next_ms;			/* when it is tried again */
	struct list dials;			/* struct dial, the first come first */
	struct dial *awaited;			/* of those, whose outcome is to be told */
	struct list node;			/* dialer::ports */
};

static void on_timer(struct loop_timer *timer);

void dialer_init(struct dialer *dialer, const struct dialer_config *config)
{
	*dialer = (struct dialer){ .config = *config, .timer.expire = on_timer };
	list_init(&dialer->ports);
}

void dialer_deinit(struct dialer *dialer)
{
	assert(list_is_empty(&dialer->ports));
	loop_timer_cancel(dialer->config.loop, &dialer->timer);
}

void dial_init(struct dial *d, void (*done)(struct dial *d, int result))
{
	*d = (struct dial){ .fd = -1, .done = done };
	list_init(&d->node);
}

int dial_take_fd(struct dial *d)
{
	return fd_take(&d->fd);
}

/* Sets the timer for the first port in the list, but no earlier than @earliest_ms. */
static void set_timer(struct dialer *dialer, uint64_t earliest_ms)
{
	struct dial_port *first = container_of(dialer->ports.next, struct dial_port, node);
	uint64_t deadline_ms;

	if (list_is_empty(&dialer->ports) || dialer->config.is_held) {
		loop_timer_cancel(dialer->config.loop, &dialer->timer);
		return;
	}
	deadline_ms = first->next_ms > earliest_ms ? first->next_ms : earliest_ms;
	if (!dialer->timer.is_set || dialer->timer.deadline_ms != deadline_ms)
		loop_timer_set(dialer->config.loop, &dialer->timer, deadline_ms);
}

void dialer_resume(struct dialer *dialer)
{
	dialer->config.is_held = false;
	set_timer(dialer, 0);
}

/* Puts it where it belongs: after all that are tried no later. */
static void place(struct dialer *dialer, struct dial_port *port)
{
	struct list *after = dialer->ports.prev;

	while (after != &dialer->ports &&
	       container_of(after, struct dial_port, node)->next_ms > port->next_ms)
		after = after->prev;
	list_append(after->next, &port->node);
}

static struct dial_port *find_port(const struct dialer *dialer, uint32_t number)
{
	list_for_each(node, &dialer->ports) {
		struct dial_port *port = container_of(node, struct dial_port, node);

		if (port->number == number)
			return port;
	}
	return NULL;
}

static struct dial_port *add_port(struct dialer *dialer, uint32_t number)
{
	struct dial_port *port = calloc(1, sizeof *port);

	if (!port)
		return NULL;
	port->number = number;
	port->retry_ms = RETRY_FIRST_MS;
	port->next_ms = loop_now_ms(dialer->config.loop) + RETRY_FIRST_MS;
	list_init(&port->dials);
	place(dialer, port);
	return port;
}

/* Who gives up first has come first. */
static void line_up(struct dial *d)
{
	struct list *after = d->port->dials.prev;

	while (after != &d->port->dials &&
	       container_of(after, struct dial, node)->give_up_ms > d->give_up_ms)
		after = after->prev;
	list_append(after->next, &d->node);
}

int dial_begin(struct dialer *dialer, struct dial *d, int fd, uint32_t port,
	       uint64_t give_up_ms)
{
	d->fd = fd;
	d->port = find_port(dialer, port);
	if (!d->port)
		d->port = add_port(dialer, port);
	if (!d->port)
		return -ENOMEM;
	d->give_up_ms = give_up_ms;
	line_up(d);
	set_timer(dialer, 0);
	return 0;
}

static void try_at(struct dialer *dialer, struct dial_port *port, uint64_t next_ms)
{
	port->next_ms = next_ms;
	list_remove(&port->node);
	place(dialer, port);
}

static void leave_port(struct dialer *dialer, struct dial *d)
{
	struct dial_port *port = d->port;

	d->port = NULL;
	list_remove(&d->node);
	if (list_is_empty(&port->dials)) {
		list_remove(&port->node);
		free(port);
	} else if (port->awaited == d) {
		port->awaited = NULL;
		try_at(dialer, port, loop_now_ms(dialer->config.loop));
	}
}

void dial_cancel(struct dialer *dialer, struct dial *d)
{
	fd_close(&d->fd);
	if (!d->port)
		return;
	leave_port(dialer, d);
	set_timer(dialer, 0);
}

/* It is tried later, and the less often the longer it is in vain. */
static void postpone(struct dialer *dialer, struct dial_port *port, uint64_t now_ms)
{
	try_at(dialer, port, now_ms + port->retry_ms);
	if (port->retry_ms < RETRY_LAST_MS)
		port->retry_ms *= 2;
}

/* Of an attempt for @d, the first of its port. */
static void on_outcome(struct dialer *dialer, struct dial *d, int r, uint64_t now_ms)
{
	if (r == BACKEND_E_BUSY && now_ms < d->give_up_ms) {
		postpone(dialer, d->port, now_ms);
		return;
	}
	if (r == 0)
		d->port->retry_ms = RETRY_FIRST_MS;
	leave_port(dialer, d);			/* the port may go with it */
	d->done(d, r);
}

static void await(struct dialer *dialer, struct dial *d, uint64_t now_ms)
{
	uint64_t at_least_ms = now_ms + ANSWER_MS;

	d->port->awaited = d;
	try_at(dialer, d->port, d->give_up_ms > at_least_ms ? d->give_up_ms : at_least_ms);
}

/* One attempt, for the dial that came first; or the end of one that nobody answered. */
static void try_port(struct dialer *dialer, struct dial_port *port, uint64_t now_ms)
{
	struct dial *d = port->awaited;
	int r = BACKEND_E_TIMEOUT;

	if (!d) {
		d = container_of(port->dials.next, struct dial, node);
		r = dialer->config.connect(dialer->config.ctx, d, port->number);
	}
	if (r == BACKEND_E_PENDING)
		await(dialer, d, now_ms);
	else
		on_outcome(dialer, d, r, now_ms);
}

void dial_answer(struct dialer *dialer, struct dial *d, int result, int fd)
{
	uint64_t now_ms = loop_now_ms(dialer->config.loop);

	assert(d->port && d->port->awaited == d);
	d->port->awaited = NULL;
	try_at(dialer, d->port, now_ms);	/* whoever comes next */
	if (!result) {
		fd_close(&d->fd);
		d->fd = fd;
	}
	on_outcome(dialer, d, result, now_ms);
	set_timer(dialer, now_ms + 1);
}

static void on_timer(struct loop_timer *timer)
{
	struct dialer *dialer = container_of(timer, struct dialer, timer);
	uint64_t now_ms = loop_now_ms(dialer->config.loop);

	for (int n = 0; n < TRIES_PER_TURN && !list_is_empty(&dialer->ports); n++) {
		struct dial_port *port = container_of(dialer->ports.next, struct dial_port, node);

		if (port->next_ms > now_ms)
			break;
		try_port(dialer, port, now_ms);
	}
	set_timer(dialer, now_ms + 1);		/* not within this turn */
}

void dialer_move(struct dialer *dialer, struct loop_move *m)
{
	loop_move_timer(m, &dialer->timer);
	loop_move_pointer(m, &dialer->config.loop);
}
