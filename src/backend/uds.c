/* SPDX-License-Identifier: BSD-3-Clause */
/* The unix-socket backend: listener, handshakes, connects. Streams: uds_stream.c. */
#include "backend/uds.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>

#include "backend/hybrid.h"
#include "backend/uds_stream.h"
#include "protocol/hybrid.h"
#include "util/acceptor.h"
#include "util/decimal.h"
#include "util/error.h"
#include "util/fd.h"
#include "util/listener.h"
#include "util/log.h"
#include "util/unix_socket.h"

enum {
	ACCEPTS_PER_EVENT = 64,
	CONNECT_GIVE_UP_MS = 1800,		/* a Linux guest waits for 2 s */
	PATH_LEN_MAX = sizeof ((struct sockaddr_un *)NULL)->sun_path - 1,	/* that listens */
};

struct uds {
	struct backend base;
	struct uds_config config;
	struct listener listener;
	struct acceptor acceptor;
	struct dialer dialer;
	struct list handshakes;			/* uds_stream::link, oldest first */
	size_t n_handshakes;
	struct log_once failures;		/* enum failure */
	bool refuses_rights;			/* clients cannot pass descriptors */
};

enum failure {					/* of a handshake, to be explained once */
	NO_CONNECT_LINE,			/* something else */
	LINE_TOO_LONG,
	LINE_CUT,				/* left before its end */
	LINE_LATE,
	TOO_MANY_CLIENTS,
};

static const struct backend_ops uds_ops;

static struct uds *uds_of(struct backend *b)
{
	assert(b->ops == &uds_ops);
	return container_of(b, struct uds, base);
}

static uint64_t now_ms(const struct uds *u)
{
	return loop_now_ms(u->config.loop);
}

/* ---- host to guest: the handshake ---- */

static void handshake_leave(struct uds *u, struct uds_stream *s)
{
	list_remove(&s->link);
	u->n_handshakes--;
	loop_timer_cancel(u->config.loop, &s->timer);
}

static void handshake_end(struct uds *u, struct uds_stream *s)
{
	handshake_leave(u, s);
	uds_stream_hang_up(s);
}

static void handshake_fail(struct uds *u, struct uds_stream *s, enum failure failure)
{
	static const char *const text[] = {
		[NO_CONNECT_LINE] = "its first line is not \"CONNECT <port>\"",
		[LINE_TOO_LONG] = "no end of line within 32 bytes, where \"CONNECT <port>\" has to be",
		[LINE_CUT] = "it left before the end of its \"CONNECT <port>\" line",
		[TOO_MANY_CLIENTS] = "too many that have not said \"CONNECT <port>\"",
	};

	if (failure == LINE_LATE)
		log_first(&u->failures, failure, u->config.tag, "client of %s closed: no \"CONNECT "
			  "<port>\" line for %g s", u->config.path, u->config.handshake_ms / 1000.0);
	else
		log_first(&u->failures, failure, u->config.tag, "client of %s closed: %s",
			  u->config.path, text[failure]);
	handshake_end(u, s);
}

/* It comes to nothing, but that is no mistake of the client's. */
static void handshake_drop(struct uds *u, struct uds_stream *s, const char *why)
{
	log_debug(u->config.tag, "host client: %s; closed", why);
	handshake_end(u, s);
}

static void log_client_error(const struct uds *u, int error)
{
	log_limited(error_is_shortage(error) ? LOG_WARN : LOG_DEBUG, u->config.tag,
		    "host client: %s; closed", error_str(error));
}

static void handshake_fail_error(struct uds *u, struct uds_stream *s, int error)
{
	log_client_error(u, error);
	handshake_end(u, s);
}

/* Whom the guest sees: who named CIDs for the host means the first of them. */
static uint64_t host_cid(const struct uds *u)
{
	return u->config.n_host_cids ? u->config.host_cids[0] : VSOCK_CID_HOST;
}

static void handshake_done(struct uds *u, struct uds_stream *s)
{
	uint32_t port;

	if (!hybrid_parse_connect(s->line, s->line_len, &port)) {
		handshake_fail(u, s, NO_CONNECT_LINE);
		return;
	}
	handshake_leave(u, s);
	uds_stream_go_live(s);
	if (mux_connect_from_host(u->config.mux, &s->sock.base, host_cid(u), port, now_ms(u)) < 0)
		uds_stream_hang_up(s);
}

static void on_handshake_ready(struct uds_stream *s)
{
	struct uds *u = s->owner;
	int r = uds_stream_read_line(s);

	if (r == 0)
		handshake_done(u, s);
	else if (r == STREAM_E_EOF && !s->line_len)
		handshake_drop(u, s, "left without a word");
	else if (r == STREAM_E_EOF)
		handshake_fail(u, s, LINE_CUT);
	else if (r == -EMSGSIZE)
		handshake_fail(u, s, LINE_TOO_LONG);
	else if (r != STREAM_E_AGAIN)
		handshake_fail_error(u, s, r);
}

static void on_handshake_timeout(struct loop_timer *timer)
{
	struct uds_stream *s = container_of(timer, struct uds_stream, timer);

	handshake_fail(s->owner, s, LINE_LATE);
}

static void handshake_begin(struct uds *u, int fd)
{
	struct uds_stream *s;
	int r;

	if (u->n_handshakes == u->config.max_handshakes)
		handshake_fail(u, container_of(u->handshakes.next, struct uds_stream, link),
			       TOO_MANY_CLIENTS);
	if ((r = uds_stream_new(&s, u->config.loop, u->config.mux, fd)) < 0) {
		log_client_error(u, r);
		return;
	}
	s->owner = u;
	s->sock.may_have_rights = !u->refuses_rights;
	unix_keep_urgent_inline(s->sock.fd);
	s->handshake_ready = on_handshake_ready;
	s->timer.expire = on_handshake_timeout;
	list_append(&u->handshakes, &s->link);
	u->n_handshakes++;
	loop_timer_set(u->config.loop, &s->timer, now_ms(u) + u->config.handshake_ms);
	if ((r = sock_stream_register(&s->sock, false)) < 0)
		handshake_fail_error(u, s, r);
	else
		on_handshake_ready(s);		/* the line is mostly there already */
}

static void on_accepted(void *ctx, int fd)
{
	handshake_begin(ctx, fd);		/* also where no guest runs: it gets an answer */
}

/* ---- guest to host ---- */

static bool uds_serves(struct backend *b, uint64_t cid)
{
	const struct uds *u = uds_of(b);

	for (size_t i = 0; i < u->config.n_host_cids; i++)
		if (cid == u->config.host_cids[i])
			return true;
	return cid == VSOCK_CID_HOST;
}

struct port_path {
	char text[PATH_LEN_MAX + sizeof "_" + DECIMAL_MAX];
};

/* "<uds-path>_<port>". */
static struct port_path port_path(const struct uds *u, uint32_t port)
{
	struct port_path path;
	char *end = stpcpy(path.text, u->config.path);

	*end++ = '_';
	*decimal_put(end, port) = '\0';
	return path;
}

static int connect_to_port(void *ctx, int fd, uint32_t port)
{
	return unix_connect(fd, port_path(ctx, port).text);
}

static void connect_finish(struct uds_stream *s, int error)
{
	struct uds *u = s->owner;

	if (!error)
		error = sock_stream_register(&s->sock, false);
	if (!error)
		uds_stream_go_live(s);
	mux_stream_connected(u->config.mux, &s->sock.base, error, now_ms(u));
}

static void on_dialed(struct dial *d, int error)
{
	connect_finish(container_of(d, struct uds_stream, dial), error);
}

static int connect_later(struct uds *u, struct uds_stream *s, uint32_t port)
{
	s->dialer = &u->dialer;
	s->dial.fd = s->sock.fd;
	s->dial.done = on_dialed;
	return dial_begin(&u->dialer, &s->dial, port, now_ms(u) + CONNECT_GIVE_UP_MS);
}

static int uds_connect(struct backend *b, const struct vsock_addr *src,
		       const struct vsock_addr *dst, struct stream **out)
{
	struct uds *u = uds_of(b);
	struct uds_stream *s;
	bool refuses_rights;
	int fd, r, result = 0;

	(void)src;
	if ((r = unix_socket(&fd)) < 0)
		return r;
	refuses_rights = unix_refuse_rights(fd);
	unix_keep_urgent_inline(fd);
	r = connect_to_port(u, fd, dst->port);
	if (r < 0 && r != -EAGAIN) {
		fd_close(&fd);
		return r;
	}
	result = r ? BACKEND_E_PENDING : 0;
	if ((r = uds_stream_new(&s, u->config.loop, u->config.mux, fd)) < 0)
		return r;
	s->owner = u;
	s->sock.may_have_rights = !refuses_rights;
	if (result)
		r = connect_later(u, s, dst->port);
	else if ((r = sock_stream_register(&s->sock, false)) == 0)
		uds_stream_go_live(s);
	if (r < 0) {
		uds_stream_free(s);
		return r;
	}
	*out = &s->sock.base;
	return result;
}

/* What is there, where nobody could be reached? */
static const char *str_unreachable(const char *path, int error)
{
	struct stat st;

	if (lstat(path, &st) < 0)
		return "nobody listens there, the program has to be started first";
	if (S_ISLNK(st.st_mode))
		return "a symbolic link that leads nowhere, or out of the sandbox's folders";
	if (!S_ISSOCK(st.st_mode))
		return "a file that is no socket is in the way; it has to be removed";
	if (error == -EPROTOTYPE)
		return "not a stream socket";
	return "nobody listens there any more, the program that made the socket has ended";
}

static void uds_explain(struct backend *b, const struct vsock_addr *dst, int error,
			char *text, size_t size)
{
	const struct port_path path = port_path(uds_of(b), dst->port);
	const char *why = NULL;

	switch (error) {
	case -ENOENT:
	case -ECONNREFUSED:
	case -EPROTOTYPE:
		why = str_unreachable(path.text, error);
		break;
	case -EACCES:
	case -EPERM:
		why = "the socket has to be writable, and its folder searchable, for the user that "
			"this process runs as, which has no privileges left";
		break;
	case -EAGAIN:
		why = "the program that listens there accepts nobody, its backlog is full";
		break;
	case -ENAMETOOLONG:
		why = "longer than the path of a socket can be; uds-path has to be shorter";
		break;
	}
	snprintf(text, size, "%s: %s%s%s", path.text, error_str(error), why ? "; " : "",
		 why ? why : "");
}

/* ---- life ---- */

static void uds_free(struct backend *b)
{
	struct uds *u = uds_of(b);

	while (!list_is_empty(&u->handshakes))
		handshake_drop(u, container_of(u->handshakes.next, struct uds_stream, link),
			       "the daemon ends");
	dialer_deinit(&u->dialer);
	acceptor_stop(&u->acceptor);
	listener_deinit(&u->listener);
	free(u);
}

static const struct backend_ops uds_ops = {
	.name = "unix",
	.serves = uds_serves,
	.connect = uds_connect,
	.explain = uds_explain,
	.free = uds_free,
};

int uds_new(struct backend **out, const struct uds_config *config)
{
	struct uds *u = calloc(1, sizeof *u);
	struct acceptor_config acceptor = {
		.loop = config->loop, .tag = config->tag, .what = "a host client",
		.per_event = ACCEPTS_PER_EVENT, .accepted = on_accepted, .ctx = u,
	};
	const struct dialer_config dialer = {
		.loop = config->loop, .connect = connect_to_port, .ctx = u,
	};
	int r;

	if (!u)
		return -ENOMEM;
	u->base.ops = &uds_ops;
	u->config = *config;
	acceptor.listener = &u->listener;
	acceptor_init(&u->acceptor);
	list_init(&u->handshakes);
	dialer_init(&u->dialer, &dialer);
	r = listener_open(&u->listener, config->path, &config->access);
	if (!r) {
		u->refuses_rights = unix_refuse_rights(u->listener.fd);
		r = acceptor_start(&u->acceptor, &acceptor);
	}
	if (r < 0) {
		uds_free(&u->base);
		return r;
	}
	*out = &u->base;
	return 0;
}
