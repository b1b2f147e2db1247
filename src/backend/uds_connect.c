/* SPDX-License-Identifier: BSD-3-Clause */
/* The guest's connects to "<path>_<port>", and what is wrong there. */
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/un.h>

#include "backend/uds_internal.h"
#include "backend/uds_stream.h"
#include "util/decimal.h"
#include "util/error.h"
#include "util/fd.h"
#include "util/unix_socket.h"

enum {
	CONNECT_GIVE_UP_MS = 1800,		/* a Linux guest waits for 2 s */
	PATH_LEN_MAX = sizeof ((struct sockaddr_un *)NULL)->sun_path - 1,	/* that listens */
};

struct pending {				/* a guest's connect that waits for a backlog */
	struct stream base;			/* stands in until there is a connected socket */
	struct uds *owner;
	struct dial dial;
	struct uds_stream_config stream;
};

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

/* 0; BACKEND_E_*; -errno. */
int uds_try_port(void *ctx, int fd, uint32_t port)
{
	int r = unix_connect(fd, port_path(ctx, port).text);

	switch (r) {
	case UNIX_E_AGAIN:
		return BACKEND_E_BUSY;
	case UNIX_E_NO_NAME:
	case UNIX_E_NOBODY:
		return BACKEND_E_NOBODY;
	case UNIX_E_OTHER_TYPE:
		return BACKEND_E_OTHER_TYPE;
	case UNIX_E_DENIED:
		return BACKEND_E_DENIED;
	case UNIX_E_NAME_LENGTH:
		return BACKEND_E_BAD_NAME;
	default:
		return r;
	}
}

static const struct stream_ops pending_ops;

static void pending_free(struct pending *p)
{
	dial_cancel(&p->owner->dialer, &p->dial);
	free(p);
}

static void on_dialed(struct dial *d, int result)
{
	struct pending *p = container_of(d, struct pending, dial);
	struct uds *u = p->owner;
	struct stream *live = NULL;

	if (!result) {
		p->stream.fd = dial_take_fd(d);
		result = uds_stream_new(&live, &p->stream);
	}
	mux_stream_connected(u->config.mux, &p->base, live, result, loop_now_ms(u->config.loop));
}

static void pending_wait_for(struct stream *base, unsigned events)
{
	(void)base;				/* it waits already */
	(void)events;
}

static void pending_close(struct stream *base, bool is_orderly)
{
	(void)is_orderly;
	assert(base->ops == &pending_ops);
	pending_free(container_of(base, struct pending, base));
}

/* Nothing is read or written before there is a socket. */
static const struct stream_ops pending_ops = {
	.wait_for = pending_wait_for,
	.close = pending_close,
};

/* BACKEND_E_PENDING or -errno. */
static int connect_later(struct uds *u, const struct uds_stream_config *config, uint32_t port,
			 struct stream **out)
{
	struct pending *p = malloc(sizeof *p);
	int fd = config->fd, r;

	if (!p) {
		fd_close(&fd);
		return -ENOMEM;
	}
	*p = (struct pending){ .base.ops = &pending_ops, .owner = u, .stream = *config };
	dial_init(&p->dial, on_dialed);
	r = dial_begin(&u->dialer, &p->dial, fd, port,
		       loop_now_ms(u->config.loop) + CONNECT_GIVE_UP_MS);
	if (r < 0) {
		pending_free(p);
		return r;
	}
	*out = &p->base;
	return BACKEND_E_PENDING;
}

int uds_connect(struct backend *b, const struct vsock_addr *src, const struct vsock_addr *dst,
		struct stream **out)
{
	struct uds *u = uds_of(b);
	struct uds_stream_config config = { .loop = u->config.loop, .mux = u->config.mux };
	int r;

	(void)src;
	if ((r = unix_socket(&config.fd)) < 0)
		return r;
	config.may_have_rights = !unix_refuse_rights(config.fd);
	unix_keep_urgent_inline(config.fd);
	r = uds_try_port(u, config.fd, dst->port);
	if (!r)
		return uds_stream_new(out, &config);
	if (r == BACKEND_E_BUSY)
		return connect_later(u, &config, dst->port, out);
	fd_close(&config.fd);
	return r;
}

/* Says what is at @path, where nobody could be reached. */
static const char *str_unreachable(const char *path)
{
	struct stat st;

	if (lstat(path, &st) < 0)
		return "No such file or directory; nobody listens there, the program has to be "
			"started first";
	if (S_ISLNK(st.st_mode))
		return "No such file or directory; a symbolic link that leads nowhere, or out of "
			"the sandbox's folders";
	if (!S_ISSOCK(st.st_mode))
		return "Connection refused; a file that is no socket is in the way; it has to be "
			"removed";
	return "Connection refused; nobody listens there any more, the program that made the "
		"socket has ended";
}

void uds_explain(struct backend *b, const struct vsock_addr *dst, int error, char *text,
		 size_t size)
{
	const struct port_path path = port_path(uds_of(b), dst->port);
	const char *why = backend_str_error(error);

	if (error == BACKEND_E_NOBODY)
		why = str_unreachable(path.text);
	else if (error == BACKEND_E_DENIED)
		why = "Permission denied; the socket has to be writable, and its folder "
			"searchable, for the user that this process runs as, which has no "
			"privileges left";
	else if (error == BACKEND_E_OTHER_TYPE)
		why = "Protocol wrong type for socket; not a stream socket";
	else if (error == BACKEND_E_BUSY)
		why = "Resource temporarily unavailable; the program that listens there accepts "
			"nobody, its backlog is full";
	else if (error == BACKEND_E_BAD_NAME)
		why = "File name too long; longer than the path of a socket can be; uds-path has "
			"to be shorter";
	snprintf(text, size, "%s: %s", path.text, why);
}
