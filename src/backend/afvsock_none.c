/* SPDX-License-Identifier: BSD-3-Clause */
/* In place of afvsock.c, where that is not wanted or cannot be built. */
#include "backend/afvsock.h"
#include "util/error.h"
#include "util/log.h"

void afvsock_init(void)
{
}

int afvsock_new(struct backend **out, const struct afvsock_config *config)
{
	(void)out;
	log_err(config->tag, "forward-cid %u: this build has no AF_VSOCK backend", config->cid);
	return -EAFNOSUPPORT;
}
