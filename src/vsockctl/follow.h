/* SPDX-License-Identifier: BSD-3-Clause */
/* What the daemon goes on to send, until we are interrupted. */
#pragma once

#include "vsockctl/args.h"
#include "vsockctl/http.h"

/* GETs @path without an end. SIGINT, SIGTERM and SIGHUP end it well, @sink ends it by false. An
 * enum exit_code; what went wrong has been said, but for what @sink knows. */
int follow(const struct args *a, const char *path, http_sink *sink, void *ctx);
