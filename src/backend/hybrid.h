/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The CONNECT line of hybrid vsock: protocol/hybrid.h. The attacker is a host
 * program; the line is any bytes.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* True, and the port: @line, @len bytes without the newline, is the keyword in any
 * case and a decimal port. Further words, and white space, do not matter. */
bool hybrid_parse_connect(const char *line, size_t len, uint32_t *port);
