/* SPDX-License-Identifier: BSD-3-Clause */
/* The unix-socket backend: host programs that connect, and connects to them. */
#include <stdlib.h>

#include "backend/uds_internal.h"
#include "backend/uds_stream.h"
#include "util/blob.h"
#include "util/error.h"
#include "util/log_limit.h"
#include "util/unix_socket.h"

#define UDS_TAG BLOB_TAG('U', 'D', 'S', ' ')

enum { UDS_VERSION = 1, ACCEPTS_PER_EVENT = 64 };

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
	struct uds *u = ctx;
	const struct uds_stream_config config = {
		.loop = u->config.loop, .mux = u->config.mux, .fd = result->fd, .from_host = true,
		.may_have_rights = u->handshakes.config.may_have_rights,
		.early = result->early, .n_early = result->n_early,
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

static void on_accepted(void *ctx, int fd)
{
	struct uds *u = ctx;

	handshakes_add(&u->handshakes, fd);	/* also where no guest runs: it gets an answer */
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

static void uds_free(struct backend *b)
{
	struct uds *u = uds_of(b);

	handshakes_deinit(&u->handshakes);
	dialer_deinit(&u->dialer);
	acceptor_stop(&u->acceptor);
	listener_deinit(&u->listener);
	free(u);
}

static void uds_save(const struct backend *b, struct blob *out)
{
	const struct uds *u = container_of_const(b, struct uds, base);
	size_t section = blob_open(out, UDS_TAG, UDS_VERSION);

	handshakes_save(&u->handshakes, out);
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
	r = handshakes_load(&u->handshakes, &section);
	if (r)
		return r < 0 ? r : BACKEND_E_BAD_STATE;
	if (blob_is_whole(&section))
		return 0;
	handshakes_deinit(&u->handshakes);
	return BACKEND_E_BAD_STATE;
}

static void uds_resume(struct backend *b)
{
	struct uds *u = uds_of(b);

	handshakes_resume(&u->handshakes);
	dialer_resume(&u->dialer);
	acceptor_resume(&u->acceptor);
}

static const struct backend_ops uds_ops = {
	.serves = uds_serves,
	.connect = uds_connect,
	.explain = uds_explain,
	.free = uds_free,
	.stream_tag = UDS_STREAM_TAG,
	.save = uds_save,
	.load = uds_load,
	.load_stream = uds_load_stream,
	.resume = uds_resume,
};

int uds_new(struct backend **out, const struct uds_config *config)
{
	struct uds *u = calloc(1, sizeof *u);
	struct acceptor_config acceptor = {
		.loop = config->loop, .tag = config->tag, .what = "a host client",
		.per_event = ACCEPTS_PER_EVENT, .is_held = config->is_held,
		.accepted = on_accepted, .ctx = u,
	};
	const struct dialer_config dialer = {
		.loop = config->loop, .connect = uds_try_again, .ctx = u,
		.is_held = config->is_held,
	};
	struct handshakes_config handshakes = {
		.loop = config->loop, .tag = config->tag, .path = config->path,
		.max = config->max_handshakes, .timeout_ms = config->handshake_ms,
		.is_held = config->is_held, .done = on_handshake, .ctx = u,
	};
	int r;

	if (!u)
		return -ENOMEM;
	u->base.ops = &uds_ops;
	u->config = *config;
	acceptor.listener = &u->listener;
	list_init(&u->asked);
	acceptor_init(&u->acceptor);
	dialer_init(&u->dialer, &dialer);
	r = config->fd >= 0 ? listener_adopt(&u->listener, config->fd) :
		listener_open(&u->listener, config->path, &config->access);
	handshakes.may_have_rights = r || !unix_refuse_rights(u->listener.fd);
	handshakes_init(&u->handshakes, &handshakes);
	if (!r)
		r = acceptor_start(&u->acceptor, &acceptor);
	if (r) {
		uds_free(&u->base);
		return r;
	}
	*out = &u->base;
	return 0;
}
