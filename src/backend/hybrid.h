/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The CONNECT line of hybrid vsock: protocol/hybrid.h. The attacker is a host
 * program; the line is any bytes.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* @line: @len bytes without the newline. Keyword in any case, then a decimal
 * port; further words and white space around them do not matter. */
bool hybrid_parse_connect(const char *line, size_t len, uint32_t *port);
