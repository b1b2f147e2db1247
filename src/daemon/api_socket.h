/* SPDX-License-Identifier: BSD-3-Clause */
/* Where clients of the control API connect. */
#pragma once

struct listener;
struct plan;

/* Binds it, or takes what was passed to us; leaves @l not open where there is no API. 0;
 * LISTENER_E_*, -errno, which has been logged with the path. */
int api_socket_open(struct listener *l, const struct plan *plan);
