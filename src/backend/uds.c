/* SPDX-License-Identifier: BSD-3-Clause */
/* The unix-socket backend: host programs that connect, and connects to them. */
#include <stdlib.h>
#include <sys/socket.h>

#include "backend/uds_internal.h"
#include "backend/uds_stream.h"
#include "util/blob.h"
#include "util/error.h"
#include "util/fd.h"
#include "util/log_limit.h"
#include "util/unix_socket.h"

#define UDS_TAG BLOB_TAG('U', 'D', 'S', ' ')

enum {
	UDS_VERSION_STREAMS = 1,		/* without clients of SOCK_SEQPACKET */
	UDS_VERSION,
	ACCEPTS_PER_EVENT = 64,
	ACCEPTS_LAST = 4096,			/* as many as a backlog holds */
};

static const struct backend_ops uds_ops;

struct uds *uds_of(struct backend *b)
{
	assert(b->ops == &uds_ops);
	return container_of(b, struct uds, base);
}

/* ---- host to guest ---- */

/* The CID that host programs call from: the first that the user named, if any. */
static uint64_t host_cid(const struct uds *u)
{
	return u->config.n_host_cids ? u->config.host_cids[0] : VSOCK_CID_HOST;
}

static void on_handshake(void *ctx, const struct handshake_result *result)
{
	const struct uds_entrance *entrance = ctx;
	struct uds *u = entrance->owner;
	const struct uds_stream_config config = {
		.loop = u->config.loop, .mux = u->config.mux, .fd = result->fd, .from_host = true,
		.type = entrance->type,
		.may_have_rights = entrance->handshakes.config.may_have_rights,
		.early = result->early, .n_early = result->n_early,
		.n_unread = result->n_unread, .has_more = result->has_more,
	};
	struct stream *s;
	int r = uds_stream_new(&s, &config);

	if (r < 0)
		log_limited(error_is_shortage(r) ? LEVEL_WARN : LEVEL_DEBUG, u->config.tag,
			    "host client: %s; closed", error_str(r));
	else if (mux_connect_from_host(u->config.mux, s, host_cid(u), result->port,
				       loop_now_ms(u->config.loop)))
		uds_stream_hang_up(s);
}

static void on_counted(void *ctx, enum backend_handshake how)
{
	const struct uds_entrance *entrance = ctx;

	mux_count_handshake(entrance->owner->config.mux, how);
}

static void on_accepted(void *ctx, int fd)
{
	struct uds_door *door = ctx;

	handshakes_add(&door->entrance->handshakes, fd);	/* also where no guest runs: it gets an answer */
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

/* ---- life ---- */

/* What is said of the host, in memory of its own. */
struct names {
	char *path;
	uint64_t *host_cids;
	size_t n_host_cids;
};

static void names_deinit(struct names *names)
{
	free(names->path);
	free(names->host_cids);
}

/* 0; -ENOMEM: there is nothing to free. */
static int names_init(struct names *names, const char *path, const uint64_t *host_cids, size_t n)
{
	*names = (struct names){
		.path = strdup(path), .host_cids = calloc(n ? n : 1, sizeof *host_cids),
		.n_host_cids = n,
	};
	if (!names->path || !names->host_cids) {
		names_deinit(names);
		return -ENOMEM;
	}
	if (n)
		memcpy(names->host_cids, host_cids, n * sizeof *host_cids);
	return 0;
}

/* Takes them over, in place of those before. */
static void set_names(struct uds *u, const struct names *names)
{
	struct names before = { u->path, u->host_cids, 0 };

	u->base.path = u->config.path = u->path = names->path;
	u->streams.handshakes.config.path = u->seqpackets.handshakes.config.path = u->path;
	u->config.host_cids = u->host_cids = names->host_cids;
	u->config.n_host_cids = names->n_host_cids;
	names_deinit(&before);
}

static void door_init(struct uds_door *door, struct uds_entrance *entrance)
{
	door->entrance = entrance;
	listener_init(&door->listener);
	acceptor_init(&door->acceptor);
}

static void door_deinit(struct uds_door *door)
{
	acceptor_stop(&door->acceptor);
	listener_deinit(&door->listener);
	door_init(door, door->entrance);
}

/* @r: how its listener was opened, 0 or as listener_open(), which is returned. 0: it is the
 * one from now on; else it is closed. */
static int door_open(struct uds_door *door, int r)
{
	struct uds_entrance *entrance = door->entrance;
	const struct uds *u = entrance->owner;
	const struct acceptor_config config = {
		.loop = u->config.loop, .listener = &door->listener, .tag = u->config.tag,
		.what = "a host client", .per_event = ACCEPTS_PER_EVENT,
		.is_held = u->config.is_held, .accepted = on_accepted, .ctx = door,
	};

	if (!r)
		r = acceptor_start(&door->acceptor, &config);
	if (r) {
		door_deinit(door);
		return r;
	}
	entrance->door = door;
	if (!unix_refuse_rights(door->listener.fd))
		entrance->handshakes.config.may_have_rights = true;	/* some of the clients */
	return 0;
}

static void entrance_deinit(struct uds_entrance *entrance)
{
	handshakes_deinit(&entrance->handshakes);
	door_deinit(&entrance->doors[0]);
	door_deinit(&entrance->doors[1]);
}

static void uds_free(struct backend *b)
{
	struct uds *u = uds_of(b);

	entrance_deinit(&u->streams);
	entrance_deinit(&u->seqpackets);
	dialer_deinit(&u->dialer);
	free(u->host_cids);
	free(u->path);
	free(u);
}

static void entrance_move(struct uds_entrance *entrance, struct loop_move *m)
{
	handshakes_move(&entrance->handshakes, m);
	acceptor_move(&entrance->doors[0].acceptor, m);
	acceptor_move(&entrance->doors[1].acceptor, m);
}

static void uds_move(struct backend *b, struct loop_move *m)
{
	struct uds *u = uds_of(b);

	entrance_move(&u->streams, m);
	entrance_move(&u->seqpackets, m);
	dialer_move(&u->dialer, m);
	loop_move_pointer(m, &u->config.loop);
}

static void uds_save(const struct backend *b, struct blob *out)
{
	const struct uds *u = container_of_const(b, struct uds, base);
	size_t section = blob_open(out, UDS_TAG, UDS_VERSION);

	handshakes_save(&u->streams.handshakes, out);
	handshakes_save(&u->seqpackets.handshakes, out);
	blob_close(out, section);
}

static int uds_load(struct backend *b, struct blob_reader *in)
{
	struct uds *u = uds_of(b);
	struct blob_reader section;
	uint32_t version;
	int r;

	if (!blob_enter(in, &section, UDS_TAG, UDS_VERSION, &version))
		return BACKEND_E_BAD_STATE;
	r = handshakes_load(&u->streams.handshakes, &section);
	if (!r && version > UDS_VERSION_STREAMS)
		r = handshakes_load(&u->seqpackets.handshakes, &section);
	if (!r && blob_is_whole(&section))
		return 0;
	handshakes_deinit(&u->streams.handshakes);
	handshakes_deinit(&u->seqpackets.handshakes);
	return r < 0 ? r : BACKEND_E_BAD_STATE;
}

static void entrance_resume(struct uds_entrance *entrance)
{
	handshakes_resume(&entrance->handshakes);
	for (size_t i = 0; i < sizeof entrance->doors / sizeof *entrance->doors; i++)
		acceptor_resume(&entrance->doors[i].acceptor);
}

static void uds_resume(struct backend *b)
{
	struct uds *u = uds_of(b);

	entrance_resume(&u->streams);
	entrance_resume(&u->seqpackets);
	dialer_resume(&u->dialer);
	u->config.is_held = false;
}

static const struct backend_ops uds_ops = {
	.serves = uds_serves,
	.connect = uds_connect,
	.explain = uds_explain,
	.free = uds_free,
	.move = uds_move,
	.stream_tag = UDS_STREAM_TAG,
	.save = uds_save,
	.load = uds_load,
	.load_stream = uds_load_stream,
	.resume = uds_resume,
};

static void entrance_init(struct uds_entrance *entrance, struct uds *u, enum vsock_type type)
{
	const struct handshakes_config handshakes = {
		.loop = u->config.loop, .tag = u->config.tag, .max = u->config.max_handshakes,
		.timeout_ms = u->config.handshake_ms, .is_held = u->config.is_held,
		.socket_type = sock_stream_socket_type(type), .n_all = &u->n_handshakes,
		.done = on_handshake, .counted = on_counted, .ctx = entrance,
	};

	entrance->owner = u;
	entrance->type = type;
	door_init(&entrance->doors[0], entrance);
	door_init(&entrance->doors[1], entrance);
	handshakes_init(&entrance->handshakes, &handshakes);
}

/* The first doors. */
static int listen_first(struct uds *u)
{
	struct uds_door *streams = &u->streams.doors[0], *seqpackets = &u->seqpackets.doors[0];
	int fd = u->config.fd, seqpacket_fd = u->config.seqpacket_fd;
	int r = door_open(streams, fd >= 0 ? listener_adopt(&streams->listener, fd) :
			  listener_open(&streams->listener, u->config.path, SOCK_STREAM,
					&u->config.access));

	if (!r && seqpacket_fd >= 0)
		return door_open(seqpackets, listener_adopt(&seqpackets->listener, seqpacket_fd));
	fd_close(&seqpacket_fd);
	return r;
}

int uds_new(struct backend **out, const struct uds_config *config)
{
	struct uds *u = calloc(1, sizeof *u);
	const struct dialer_config dialer = {
		.loop = config->loop, .connect = uds_try_again, .ctx = u,
		.is_held = config->is_held,
	};
	struct names names;
	int fd = config->fd, seqpacket_fd = config->seqpacket_fd;
	int r = u ? names_init(&names, config->path, config->host_cids, config->n_host_cids) :
		-ENOMEM;

	if (r) {
		fd_close(&fd);
		fd_close(&seqpacket_fd);
		free(u);
		return r;
	}
	u->base.ops = &uds_ops;
	u->config = *config;
	list_init(&u->asked);
	entrance_init(&u->streams, u, VSOCK_TYPE_STREAM);
	entrance_init(&u->seqpackets, u, VSOCK_TYPE_SEQPACKET);
	dialer_init(&u->dialer, &dialer);
	set_names(u, &names);
	r = listen_first(u);
	if (r) {
		uds_free(&u->base);
		return r;
	}
	*out = &u->base;
	return 0;
}

/* Clients in its backlog have connected, too. */
static void door_close(struct uds_door *door)
{
	int fd;

	for (int n = 0; n < ACCEPTS_LAST && listener_accept(&door->listener, &fd) == 0; n++)
		on_accepted(door, fd);
	door_deinit(door);
}

/* Takes @fd over. 0; -errno: the one there is stays open. */
static int exchange_door(struct uds_entrance *entrance, int fd)
{
	struct uds_door *old = entrance->door;
	struct uds_door *new = &entrance->doors[old == &entrance->doors[0]];
	int r = door_open(new, listener_adopt(&new->listener, fd));

	if (!r && old)
		door_close(old);
	return r;
}

static void set_handshakes(struct uds_entrance *entrance, const struct uds_change *change)
{
	entrance->handshakes.config.max = change->max_handshakes;
	entrance->handshakes.config.timeout_ms = change->handshake_ms;
}

int uds_change(struct backend *b, const struct uds_change *change)
{
	struct uds *u = uds_of(b);
	int fd = change->fd, seqpacket_fd = change->seqpacket_fd;
	struct names names;
	int r = names_init(&names, change->path, change->host_cids, change->n_host_cids);

	if (!r && fd >= 0 && (r = exchange_door(&u->streams, fd_take(&fd))) < 0)
		names_deinit(&names);
	if (r) {
		fd_close(&fd);
		fd_close(&seqpacket_fd);
		return r;
	}
	set_names(u, &names);
	u->config.only_asks = change->only_asks;
	set_handshakes(&u->streams, change);
	set_handshakes(&u->seqpackets, change);
	if (seqpacket_fd >= 0 && (r = exchange_door(&u->seqpackets, seqpacket_fd)) < 0)
		log_limited(LEVEL_WARN, u->config.tag, "host programs with SOCK_SEQPACKET: %s",
			    error_str(r));
	return 0;
}
