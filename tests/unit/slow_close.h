/* SPDX-License-Identifier: BSD-3-Clause */
/* A descriptor whose last close takes long. */
#pragma once

enum { SLOW_CLOSE_S = 5 };

/* A TCP socket with data that its peer, *@peer, does not take: to close it takes
 * SLOW_CLOSE_S, or until the peer is closed. -1: no network here. */
int slow_close_new(int *peer);
