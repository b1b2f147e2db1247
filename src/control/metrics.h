/* SPDX-License-Identifier: BSD-3-Clause */
/* Snapshots as text for Prometheus: its exposition format 0.0.4. */
#pragma once

#include <stddef.h>

#include "control/snapshots.h"

#define METRICS_CONTENT_TYPE "text/plain; version=0.0.4; charset=utf-8"

/* *@text, to be freed, of *@len bytes and a NUL. 0 or -ENOMEM. */
int metrics_print(const struct snapshots_answer *answer, char **text, size_t *len);
