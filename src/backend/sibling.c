/* SPDX-License-Identifier: BSD-3-Clause */
/* The backend that one VM's guest reaches the others by. */
#include "backend/sibling.h"

#include <stdio.h>
#include <stdlib.h>

#include "backend/sibling_internal.h"
#include "util/error.h"

static const struct backend_ops sibling_ops;

static struct sibling *sibling_of(struct backend *b)
{
	assert(b->ops == &sibling_ops);
	return container_of(b, struct sibling, base);
}

static bool sibling_serves(struct backend *b, uint64_t cid)
{
	return sibling_dir_find(sibling_of(b)->config.dir, cid);
}

static int sibling_connect(struct backend *b, enum vsock_type type,
			   const struct vsock_addr *src, const struct vsock_addr *dst, struct stream **out)
{
	struct sibling *s = sibling_of(b);
	struct sibling_entry *to = sibling_dir_reach(s->config.dir, s->config.self->cid, dst->cid);
	int r;

	if (!to)
		return BACKEND_E_DENIED;
	r = sibling_conn_open(s, to, type, src, dst, out);
	return r < 0 ? r : BACKEND_E_PENDING;
}

static void sibling_explain(struct backend *b, const struct vsock_addr *dst, int error,
			    char *text, size_t size)
{
	(void)b;
	if (error == BACKEND_E_DENIED)
		snprintf(text, size, "VM %llu shares no group with this one (groups)",
			 (unsigned long long)dst->cid);
	else if (error == BACKEND_E_NOBODY)
		snprintf(text, size, "VM %llu runs no guest, or nobody in it listens on port %u",
			 (unsigned long long)dst->cid, dst->port);
	else
		snprintf(text, size, "%s", backend_str_error(error));
}

static void sibling_free(struct backend *b)
{
	struct sibling *s = sibling_of(b);

	s->config.self->backend = NULL;
	sibling_entry_unref(s->config.self);
	free(s);
}

static void sibling_move(struct backend *b, struct loop_move *m)
{
	loop_move_pointer(m, &sibling_of(b)->config.loop);
}

static int sibling_load_stream(struct backend *b, const struct vsock_addr *guest,
			       const struct vsock_addr *peer, struct blob_reader *in,
			       struct stream **out)
{
	return sibling_conn_load(sibling_of(b), guest, peer, in, out);
}

static void sibling_resume(struct backend *b)
{
	sibling_conns_resume(sibling_of(b));
}

static const struct backend_ops sibling_ops = {
	.serves = sibling_serves,
	.connect = sibling_connect,
	.explain = sibling_explain,
	.free = sibling_free,
	.move = sibling_move,
	.stream_tag = SIBLING_STREAM_TAG,
	.load_stream = sibling_load_stream,
	.resume = sibling_resume,
};

int sibling_new(struct backend **out, const struct sibling_config *config)
{
	struct sibling *s = calloc(1, sizeof *s);

	if (!s)
		return -ENOMEM;
	s->base.ops = &sibling_ops;
	list_init(&s->loaded);
	s->config = *config;
	sibling_entry_ref(config->self);
	assert(!config->self->backend);
	config->self->backend = s;
	mux_set_siblings(config->mux, sibling_dir_count(config->dir, config->self->cid));
	*out = &s->base;
	return 0;
}
