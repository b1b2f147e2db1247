/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What can be asked of the control API: a table of methods and paths, from which requests are
 * served, and with which a test compares the OpenAPI document. A new route is one row, the
 * function that serves it, and its place in src/data/openapi.json.
 */
#pragma once

#include "control/api_routes.h"

extern const struct api_route api_table[];	/* with a NULL path at the end */
