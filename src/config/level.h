/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Log levels by name, and RUST_LOG, which units written for the Rust daemon
 * set. It is only a fallback and not ours, so what we do not understand in it
 * is passed over, as env_logger does.
 */
#pragma once

#include <stdbool.h>

/* One of error, warn, info, debug, trace, in any case. False if not. */
bool level_parse(int *out, const char *name);

/*
 * A comma list of "level", "target=level" or "target" (all of it); ours is the
 * target vhost_device_vsock, with or without "::module" behind it. What names
 * us beats what names everybody; "off" is error, the least that we log. False
 * if nothing in it speaks to us.
 */
bool level_parse_rust_log(int *out, const char *text);
