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

static int sibling_connect(struct backend *b, const struct vsock_addr *src,
			   const struct vsock_addr *dst, struct stream **out)
{
	struct sibling *s = sibling_of(b);
	int r;

	if (!sibling_dir_allows(s->config.dir, s->config.cid, dst->cid))
		return -EACCES;
	r = sibling_link_open(s, sibling_dir_find(s->config.dir, dst->cid), src, dst, out);
	return r < 0 ? r : BACKEND_E_PENDING;
}

static void sibling_explain(struct backend *b, const struct vsock_addr *dst, int error,
			    char *text, size_t size)
{
	(void)b;
	if (error == -EACCES)
		snprintf(text, size, "VM %llu shares no group with this one (groups)",
			 (unsigned long long)dst->cid);
	else if (error == -ECONNREFUSED)
		snprintf(text, size, "VM %llu runs no guest, or nobody in it listens on port %u",
			 (unsigned long long)dst->cid, dst->port);
	else
		snprintf(text, size, "%s", error_str(error));
}

static void sibling_free(struct backend *b)
{
	struct sibling *s = sibling_of(b);

	s->self->port = NULL;
	free(s);
}

static const struct backend_ops sibling_ops = {
	.name = "sibling",
	.serves = sibling_serves,
	.connect = sibling_connect,
	.explain = sibling_explain,
	.free = sibling_free,
};

int sibling_new(struct backend **out, const struct sibling_config *config)
{
	struct sibling *s = calloc(1, sizeof *s);

	if (!s)
		return -ENOMEM;
	s->base.ops = &sibling_ops;
	s->config = *config;
	s->self = sibling_dir_find(config->dir, config->cid);
	assert(s->self && !s->self->port);
	s->self->port = s;
	mux_set_siblings(config->mux, sibling_dir_count(config->dir, config->cid));
	*out = &s->base;
	return 0;
}
