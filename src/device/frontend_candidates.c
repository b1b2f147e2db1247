/* SPDX-License-Identifier: BSD-3-Clause */
/* The other end of a device's vhost-user socket: whoever has connected, and not said anything
 * yet. */
#include <fcntl.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/stat.h>

#include "device/frontend_internal.h"
#include "util/error.h"
#include "util/fd.h"
#include "util/unix_socket.h"

void frontend_drop_candidate(struct frontend_candidate *c)
{
	int fd = fd_take(&c->fd);

	if (fd < 0)
		return;
	loop_remove(c->fe->config.loop, &c->source);
	frontend_commit(c->fe);
	unix_close(&fd);
}

static void candidate_promote(struct frontend_candidate *c)
{
	struct frontend *fe = c->fe;
	int r;

	loop_remove(fe->config.loop, &c->source);
	r = frontend_session_begin(fe, fd_take(&c->fd));
	if (r < 0) {
		log_limited(LEVEL_WARN, fe->config.tag, "cannot begin a session: %s", error_str(r));
		frontend_on_lost(fe);
	}
}

void frontend_on_candidate(struct loop_source *source, uint32_t events)
{
	struct frontend_candidate *c = container_of(source, struct frontend_candidate, source);
	char byte;
	ssize_t n = recv(c->fd, &byte, 1, MSG_PEEK | MSG_DONTWAIT);

	(void)events;
	if (n <= 0) {
		if (n < 0 && errno != ECONNRESET)
			log_limited(LEVEL_WARN, c->fe->config.tag, "front-end: %s; disconnected",
				    error_str(error_last()));
		frontend_drop_candidate(c);
		frontend_on_lost(c->fe);
		return;
	}
	switch (frontend_look_at_place(c->fe)) {
	case PLACE_FREE:
		candidate_promote(c);
		return;
	case PLACE_TAKEN:
		log_limited(LEVEL_WARN, c->fe->config.tag, "a second front-end was refused");
		frontend_drop_candidate(c);
		return;
	case PLACE_UNKNOWN:
		return;				/* it stays readable: the next batch asks again */
	}
}

/* Sockets' numbers are never the same. 0: it is not known. */
static uint64_t number_of(int sock)
{
	struct statx st;

	return fd_stat(sock, STATX_INO, &st) == 0 ? st.stx_ino : 0;
}

bool frontend_is_here(const struct frontend *fe, int fd)
{
	uint64_t number = number_of(fd);

	if (!number)
		return false;
	for (int i = 0; i < FRONTEND_CANDIDATES_MAX; i++)
		if (fe->candidates[i].fd >= 0 && number_of(fe->candidates[i].fd) == number)
			return true;
	return fe->session && number_of(session_sock(fe->session)) == number;
}

/* A free place, else the one of the oldest candidate. */
static struct frontend_candidate *find_place(struct frontend *fe)
{
	struct frontend_candidate *found = fe->candidates;

	for (int i = 0; i < FRONTEND_CANDIDATES_MAX; i++) {
		struct frontend_candidate *c = &fe->candidates[i];

		if (c->fd < 0)
			return c;
		if (c->number < found->number)
			found = c;
	}
	return found;
}

int frontend_wait_for_candidate(struct frontend_candidate *c)
{
	struct frontend *fe = c->fe;
	int r = loop_add(fe->config.loop, &c->source, c->fd, FRONTEND_EVENTS);

	if (r < 0) {
		log_limited(LEVEL_WARN, fe->config.tag, "cannot wait for a front-end: %s",
			    error_str(r));
		frontend_drop_candidate(c);
	}
	return r;
}

int frontend_add_candidate(struct frontend *fe, int fd)
{
	struct frontend_candidate *c = find_place(fe);

	frontend_drop_candidate(c);
	c->fd = fd;
	c->number = fe->n_candidates++;
	frontend_commit(fe);
	return frontend_wait_for_candidate(c);
}
