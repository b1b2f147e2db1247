/* SPDX-License-Identifier: BSD-3-Clause */
/* The unix-socket backend: listener, handshakes, connects. Streams: uds_stream.c. */
#include "backend/uds.h"

#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
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

enum {
	HANDSHAKE_MS = 10 * 1000,
	ACCEPTS_PER_EVENT = 64,
	CONNECT_RETRY_MS = 5,			/* while the listener's backlog is full ... */
	CONNECT_GIVE_UP_MS = 1800,		/* ... a Linux guest waits for 2 s */
	PATH_LEN_MAX = sizeof ((struct sockaddr_un *)NULL)->sun_path - 1,	/* that listens */
};

struct uds {
	struct backend base;
	struct uds_config config;
	struct listener listener;
	struct acceptor acceptor;
	struct list handshakes;			/* uds_stream::link, oldest first */
	size_t n_handshakes;
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
	uds_stream_free(s);
}

static void handshake_fail(struct uds *u, struct uds_stream *s, const char *why)
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

static void handshake_done(struct uds *u, struct uds_stream *s)
{
	uint32_t port;

	if (!hybrid_parse_connect(s->line, s->line_len, &port)) {
		handshake_fail(u, s, "not a CONNECT line");
		return;
	}
	handshake_leave(u, s);
	uds_stream_go_live(s);
	if (mux_connect_guest(u->config.mux, &s->sock.base, NULL, port, now_ms(u)) < 0)
		uds_stream_free(s);
}

static void on_handshake_ready(struct uds_stream *s)
{
	struct uds *u = s->owner;
	int r = uds_stream_read_line(s);

	if (r == 0)
		handshake_done(u, s);
	else if (r == STREAM_E_EOF)
		handshake_fail(u, s, "left before a whole line");
	else if (r == -EMSGSIZE)
		handshake_fail(u, s, "line too long");
	else if (r != STREAM_E_AGAIN)
		handshake_fail_error(u, s, r);
}

static void on_handshake_timeout(struct loop_timer *timer)
{
	struct uds_stream *s = container_of(timer, struct uds_stream, timer);

	handshake_fail(s->owner, s, "no CONNECT line in time");
}

static void handshake_begin(struct uds *u, int fd)
{
	struct uds_stream *s;
	int r;

	if (u->n_handshakes == u->config.max_handshakes)
		handshake_fail(u, container_of(u->handshakes.next, struct uds_stream, link),
			       "too many that say nothing");
	if ((r = uds_stream_new(&s, u->config.loop, u->config.mux, fd)) < 0) {
		log_client_error(u, r);
		return;
	}
	s->owner = u;
	s->handshake_ready = on_handshake_ready;
	s->timer.expire = on_handshake_timeout;
	list_append(&u->handshakes, &s->link);
	u->n_handshakes++;
	loop_timer_set(u->config.loop, &s->timer, now_ms(u) + HANDSHAKE_MS);
	if ((r = sock_stream_register(&s->sock, false)) < 0)
		handshake_fail_error(u, s, r);
	else
		on_handshake_ready(s);		/* the line is mostly there already */
}

static void on_accepted(void *ctx, int fd)
{
	struct uds *u = ctx;

	if (mux_is_running(u->config.mux))
		handshake_begin(u, fd);
	else
		unix_hang_up(&fd);
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

/* Connects to "<uds-path>_<port>": as unix_connect(). */
static int connect_to_port(const struct uds *u, int fd, uint32_t port)
{
	char path[PATH_LEN_MAX + sizeof "_" + DECIMAL_MAX];
	char *end = stpcpy(path, u->config.path);

	*end++ = '_';
	*decimal_put(end, port) = '\0';
	return unix_connect(fd, path);
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

static void on_connect_retry(struct loop_timer *timer)
{
	struct uds_stream *s = container_of(timer, struct uds_stream, timer);
	struct uds *u = s->owner;
	int r = connect_to_port(u, s->sock.fd, s->connect_port);

	if (r == -EAGAIN && now_ms(u) < s->give_up_ms) {
		loop_timer_set(u->config.loop, &s->timer, now_ms(u) + CONNECT_RETRY_MS);
		return;
	}
	connect_finish(s, r);
}

static void connect_later(struct uds *u, struct uds_stream *s, uint32_t port)
{
	s->timer.expire = on_connect_retry;
	s->connect_port = port;
	s->give_up_ms = now_ms(u) + CONNECT_GIVE_UP_MS;
	loop_timer_set(u->config.loop, &s->timer, now_ms(u) + CONNECT_RETRY_MS);
}

static int uds_connect(struct backend *b, const struct vsock_addr *src,
		       const struct vsock_addr *dst, struct stream **out)
{
	struct uds *u = uds_of(b);
	struct uds_stream *s;
	int fd, r, result = 0;

	(void)src;
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (fd < 0)
		return error_last();
	r = connect_to_port(u, fd, dst->port);
	if (r < 0 && r != -EAGAIN) {
		fd_close(&fd);
		return r;
	}
	result = r ? BACKEND_E_PENDING : 0;
	if ((r = uds_stream_new(&s, u->config.loop, u->config.mux, fd)) < 0)
		return r;
	s->owner = u;
	if (result)
		connect_later(u, s, dst->port);
	else if ((r = sock_stream_register(&s->sock, false)) == 0)
		uds_stream_go_live(s);
	if (r < 0) {
		uds_stream_free(s);
		return r;
	}
	*out = &s->sock.base;
	return result;
}

/* ---- life ---- */

static void uds_free(struct backend *b)
{
	struct uds *u = uds_of(b);

	while (!list_is_empty(&u->handshakes))
		handshake_fail(u, container_of(u->handshakes.next, struct uds_stream, link),
			       "the daemon ends");
	acceptor_stop(&u->acceptor);
	listener_deinit(&u->listener);
	free(u);
}

static const struct backend_ops uds_ops = {
	.name = "unix",
	.serves = uds_serves,
	.connect = uds_connect,
	.free = uds_free,
};

int uds_new(struct backend **out, const struct uds_config *config)
{
	struct uds *u = calloc(1, sizeof *u);
	struct acceptor_config acceptor = {
		.loop = config->loop, .tag = config->tag, .what = "a host client",
		.per_event = ACCEPTS_PER_EVENT, .accepted = on_accepted, .ctx = u,
	};
	int r;

	if (!u)
		return -ENOMEM;
	u->base.ops = &uds_ops;
	u->config = *config;
	acceptor.listener = &u->listener;
	acceptor_init(&u->acceptor);
	list_init(&u->handshakes);
	r = listener_open(&u->listener, config->path, &config->access);
	if (!r)
		r = acceptor_start(&u->acceptor, &acceptor);
	if (r < 0) {
		uds_free(&u->base);
		return r;
	}
	*out = &u->base;
	return 0;
}
