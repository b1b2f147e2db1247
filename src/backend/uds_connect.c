/* SPDX-License-Identifier: BSD-3-Clause */
/* The guest's connects to "<path>_<port>", and what is wrong there. */
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/un.h>

#include "backend/uds_internal.h"
#include "backend/uds_stream.h"
#include "util/blob.h"
#include "util/decimal.h"
#include "util/error.h"
#include "util/fd.h"
#include "util/unix_socket.h"

enum {
	CONNECT_GIVE_UP_MS = 1800,		/* a Linux guest waits for 2 s */
	PATH_LEN_MAX = sizeof ((struct sockaddr_un *)NULL)->sun_path - 1,	/* that listens */
};

struct pending {				/* a guest's connect that is not done at once */
	struct stream base;			/* stands in until there is a connected socket */
	struct uds *owner;
	uint32_t port;
	uint64_t give_up_ms;
	struct dial dial;			/* waits for room in a backlog */
	struct list node;			/* uds::asked: waits for an answer */
	uint32_t id;				/* which it was asked by */
	bool is_unasked;			/* the last attempt came to nothing for that alone */
	struct uds_stream_config stream;	/* owns its descriptor until that is dialed */
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

/* What @error of unix_connect() means; 0 for 0. */
static int connect_error(int error)
{
	switch (error) {
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
		return error;
	}
}

/* ---- a connect that takes longer ---- */

static const struct stream_ops pending_ops;

static struct pending *pending_of(struct stream *base)
{
	assert(base->ops == &pending_ops);
	return container_of(base, struct pending, base);
}

static void finish(struct pending *p, int result)
{
	struct uds *u = p->owner;
	struct stream *live = NULL;
	int fd = fd_take(&p->stream.fd);

	u->could_not_ask = p->is_unasked;
	if (result) {
		fd_close(&fd);
	} else {
		p->stream.fd = fd;
		result = uds_stream_new(&live, &p->stream);
		p->stream.fd = -1;
	}
	mux_stream_connected(u->config.mux, &p->base, live, result, loop_now_ms(u->config.loop));
}

static void on_dialed(struct dial *d, int result)
{
	struct pending *p = container_of(d, struct pending, dial);

	p->stream.fd = dial_take_fd(d);
	finish(p, result);
}

/* Takes @config's descriptor over, also on failure. 0 or -ENOMEM. */
static int pending_new(struct pending **out, struct uds *u, uint32_t port,
		       const struct uds_stream_config *config)
{
	struct pending *p = malloc(sizeof *p);
	int fd = config->fd;

	if (!p) {
		fd_close(&fd);
		return -ENOMEM;
	}
	*p = (struct pending){
		.base = { .ops = &pending_ops, .type = (uint16_t)config->type },
		.owner = u, .port = port, .stream = *config,
		.give_up_ms = loop_now_ms(u->config.loop) + CONNECT_GIVE_UP_MS,
	};
	dial_init(&p->dial, on_dialed);
	list_init(&p->node);
	*out = p;
	return 0;
}

static void pending_free(struct pending *p)
{
	list_remove(&p->node);
	dial_cancel(&p->owner->dialer, &p->dial);
	fd_close(&p->stream.fd);
	free(p);
}

static void pending_wait_for(struct stream *base, unsigned events)
{
	(void)base;				/* it waits already */
	(void)events;
}

static void pending_close(struct stream *base, bool is_orderly)
{
	(void)is_orderly;
	pending_free(pending_of(base));
}

/* Its socket is as good as new. An answer that comes after this comes to the other process. */
static void pending_save(const struct stream *base, struct blob *out)
{
	const struct pending *p = container_of_const(base, struct pending, base);
	size_t section = blob_open(out, UDS_STREAM_TAG, UDS_STREAM_VERSION_READ);

	blob_put_u8(out, p->base.type == VSOCK_TYPE_SEQPACKET ?
		    UDS_STREAM_SEQPACKET_PENDING : UDS_STREAM_PENDING);
	blob_put_u64(out, p->give_up_ms);
	blob_close(out, section);
}

static void pending_move(struct stream *base, struct loop_move *m)
{
	loop_move_pointer(m, &pending_of(base)->stream.loop);
}

/* Nothing is read or written before there is a socket. */
static const struct stream_ops pending_ops = {
	.wait_for = pending_wait_for,
	.close = pending_close,
	.save = pending_save,
	.move = pending_move,
};

/* Waits for room in the backlog. 0 or -ENOMEM. */
static int dial(struct pending *p)
{
	return dial_begin(&p->owner->dialer, &p->dial, fd_take(&p->stream.fd), p->port,
			  p->give_up_ms);
}

/* Of this process itself, as unix_connect(). */
static int attempt(const struct uds *u, int fd, uint32_t port)
{
	return u->config.only_asks ? UNIX_E_NO_NAME : unix_connect(fd, port_path(u, port).text);
}

static bool could_ask(const struct uds *u, int error)
{
	return u->config.ask && unix_is_unseen(error);
}

/* 0; -errno: not now. */
static int ask(struct pending *p)
{
	struct uds *u = p->owner;
	int r;

	if (!++u->last_id)
		u->last_id = 1;
	r = u->config.ask(u->config.ask_ctx, p->base.type, p->port, u->last_id);
	if (r)
		return r;
	p->id = u->last_id;
	list_append(&u->asked, &p->node);
	return 0;
}

int uds_try_again(void *ctx, struct dial *d, uint32_t port)
{
	struct pending *p = container_of(d, struct pending, dial);
	struct uds *u = ctx;
	int r = attempt(u, d->fd, port);

	p->is_unasked = could_ask(u, r) && ask(p) != 0;
	if (!could_ask(u, r))
		return connect_error(r);
	return p->is_unasked ? BACKEND_E_BUSY : BACKEND_E_PENDING;
}

/* ---- answers ---- */

/* They come in the order of the questions, mostly. */
static struct pending *find_asked(const struct uds *u, uint32_t id)
{
	list_for_each(node, &u->asked) {
		struct pending *p = container_of(node, struct pending, node);

		if (p->id == id)
			return p;
	}
	return NULL;
}

/* Whoever has connected @fd may not have refused descriptors, and some have come. */
static void set_up_socket(struct uds_stream_config *config, int fd)
{
	config->is_shared = true;
	config->may_have_rights = !unix_refuses_rights(fd);
	unix_refuse_rights(fd);
	unix_keep_urgent_inline(fd);
}

/* The first outcome of @p, which waits for no backlog. */
static void on_first_answer(struct pending *p, int r, int fd)
{
	if (!r) {
		fd_close(&p->stream.fd);
		p->stream.fd = fd;
	} else if (r == BACKEND_E_BUSY) {
		r = dial(p);
		if (!r)
			return;
	}
	finish(p, r);
}

void uds_answer(struct backend *b, uint32_t id, int result, int fd)
{
	struct uds *u = uds_of(b);
	struct pending *p = find_asked(u, id);
	int r = result == -EAGAIN ? BACKEND_E_BUSY : connect_error(result);

	assert((result == 0) == (fd >= 0));
	if (!p) {				/* the guest has given up */
		unix_close(&fd);
		return;
	}
	list_remove(&p->node);
	if (!result)
		set_up_socket(&p->stream, fd);
	p->is_unasked = result == -EAGAIN;
	u->told = result;
	if (p->dial.fd >= 0)
		dial_answer(&u->dialer, &p->dial, r, fd);
	else
		on_first_answer(p, r, fd);
	u->told = 0;
}

/* ---- connects ---- */

/* 0 or -errno. */
static int open_socket(struct uds_stream_config *config)
{
	int r = unix_socket(&config->fd, sock_stream_socket_type(config->type));

	if (r < 0)
		return r;
	config->may_have_rights = !unix_refuse_rights(config->fd);
	unix_keep_urgent_inline(config->fd);
	return 0;
}

/* @error, of unix_connect(), is not the last word: waits for another. BACKEND_E_PENDING, or
 * as backend_ops::connect(). */
static int connect_later(struct uds *u, const struct uds_stream_config *config, uint32_t port,
			 int error, struct stream **out)
{
	struct pending *p;
	int r = pending_new(&p, u, port, config);

	if (r < 0)
		return r;
	if (error == UNIX_E_AGAIN)
		r = dial(p);
	else if ((u->could_not_ask = ask(p) != 0))
		r = u->config.only_asks ? dial(p) : connect_error(error);
	if (r) {
		pending_free(p);
		return r;
	}
	*out = &p->base;
	return BACKEND_E_PENDING;
}

int uds_connect(struct backend *b, enum vsock_type type, const struct vsock_addr *src,
		const struct vsock_addr *dst, struct stream **out)
{
	struct uds *u = uds_of(b);
	struct uds_stream_config config = {
		.loop = u->config.loop, .mux = u->config.mux, .type = type,
	};
	int r;

	(void)src;
	u->could_not_ask = false;
	if ((r = open_socket(&config)) < 0)
		return r;
	r = attempt(u, config.fd, dst->port);
	if (!r)
		return uds_stream_new(out, &config);
	if (r == UNIX_E_AGAIN || could_ask(u, r))
		return connect_later(u, &config, dst->port, r, out);
	fd_close(&config.fd);
	return connect_error(r);
}

/* What waited for an answer, or for a backlog, tries again from the beginning. */
static int load_pending(struct uds *u, enum vsock_type type, uint32_t port,
			struct blob_reader *in, struct stream **out)
{
	struct uds_stream_config config = {
		.loop = u->config.loop, .mux = u->config.mux, .type = type,
	};
	uint64_t give_up_ms = blob_get_u64(in);
	struct pending *p;
	int r;

	if (!blob_is_whole(in))
		return BACKEND_E_BAD_STATE;
	r = open_socket(&config);
	if (!r)
		r = pending_new(&p, u, port, &config);
	if (r < 0)
		return r;
	if (give_up_ms < p->give_up_ms)
		p->give_up_ms = give_up_ms;
	r = dial(p);
	if (r < 0) {
		pending_free(p);
		return r;
	}
	*out = &p->base;
	return BACKEND_E_PENDING;
}

int uds_load_stream(struct backend *b, const struct vsock_addr *guest,
		    const struct vsock_addr *peer, struct blob_reader *in, struct stream **out)
{
	struct uds *u = uds_of(b);
	struct blob_reader section;
	enum vsock_type type;
	uint32_t version;
	uint8_t kind;

	(void)guest;
	if (!blob_enter(in, &section, UDS_STREAM_TAG, UDS_STREAM_VERSION, &version))
		return BACKEND_E_BAD_STATE;
	kind = blob_get_u8(&section);
	type = kind == UDS_STREAM_SEQPACKET_CONNECTED || kind == UDS_STREAM_SEQPACKET_PENDING ?
		VSOCK_TYPE_SEQPACKET : VSOCK_TYPE_STREAM;
	switch (kind) {
	case UDS_STREAM_CONNECTED:
	case UDS_STREAM_SEQPACKET_CONNECTED:
		return uds_stream_load(out, type, u->config.loop, u->config.mux, version, &section);
	case UDS_STREAM_PENDING:
	case UDS_STREAM_SEQPACKET_PENDING:
		return load_pending(u, type, peer->port, &section, out);
	default:
		return BACKEND_E_BAD_STATE;
	}
}

/* ---- for people ---- */

#define NO_FILE		"No such file or directory; "
#define REFUSED		"Connection refused; "
#define DENIED		"Permission denied; the socket has to be writable, and its folder searchable, "

/* Says what is at @path, where nobody could be reached. */
static const char *str_unreachable(const char *path)
{
	struct stat st;

	if (lstat(path, &st) < 0)
		return NO_FILE "nobody listens there, the program has to be started first";
	if (S_ISLNK(st.st_mode))
		return NO_FILE "a symbolic link that leads nowhere, or out of the sandbox's folders";
	if (!S_ISSOCK(st.st_mode))
		return REFUSED "a file that is no socket is in the way; it has to be removed";
	return REFUSED "nobody listens there any more, the program that made the socket has ended";
}

/* The same, where @told is the answer of somebody who may see what this process does not. */
static const char *str_told_unreachable(const char *path, int told)
{
	struct stat st;
	bool is_link = lstat(path, &st) == 0 && S_ISLNK(st.st_mode);

	if (told != UNIX_E_NO_NAME)
		return REFUSED "nobody listens there: the program that made the socket has ended, "
			"or it is no socket";
	return is_link ? NO_FILE "a symbolic link that leads nowhere" :
		NO_FILE "nobody listens there, the program has to be started first";
}

void uds_explain(struct backend *b, const struct vsock_addr *dst, int error, char *text,
		 size_t size)
{
	const struct uds *u = uds_of(b);
	const struct port_path path = port_path(u, dst->port);
	const char *why = backend_str_error(error);
	bool is_half_known;

	if (error == BACKEND_E_NOBODY)
		why = u->told ? str_told_unreachable(path.text, u->told) :
			str_unreachable(path.text);
	else if (error == BACKEND_E_DENIED)
		why = u->told ? DENIED "for this daemon" :
			DENIED "for the user that this process runs as, which has no privileges left";
	else if (error == BACKEND_E_OTHER_TYPE)
		why = "Protocol wrong type for socket; a socket of another type listens there, "
			"SOCK_STREAM or SOCK_SEQPACKET";
	else if (error == BACKEND_E_BUSY && u->could_not_ask)
		why = "Resource temporarily unavailable; too many connects wait for the "
			"supervisor, which connects where this process cannot";
	else if (error == BACKEND_E_BUSY)
		why = "Resource temporarily unavailable; the program that listens there accepts "
			"nobody, its backlog is full";
	else if (error == BACKEND_E_TIMEOUT)
		why = "Connection timed out; the supervisor, which connects where this process "
			"cannot, has not answered";
	else if (error == BACKEND_E_BAD_NAME)
		why = "File name too long; longer than the path of a socket can be; uds-path has "
			"to be shorter";
	is_half_known = u->could_not_ask && (error < 0 || error == BACKEND_E_NOBODY ||
					     error == BACKEND_E_DENIED);
	snprintf(text, size, "%s: %s%s", path.text, why,
		 is_half_known ? " (as this process sees it)" : "");
}
