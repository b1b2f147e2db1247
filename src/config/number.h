/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Numbers as the user writes them. The whole text has to be the number: no
 * blanks, no sign but '+', nothing behind it. All return 0 or CONFIG_E_USAGE
 * with a complaint that shows the text.
 */
#pragma once

#include <stdint.h>

struct config_error;

/*
 * Decimal (a leading zero does not make it octal), or with 0x, 0o or 0b in
 * front: what the Rust daemon takes on its command line and in YAML together.
 */
int number_parse(uint64_t *out, const char *text, uint64_t min, uint64_t max,
		 struct config_error *err);

/* A file mode: octal, with or without a leading 0 or 0o. */
int number_parse_mode(uint32_t *out, const char *text, struct config_error *err);

/* Seconds with an optional fraction, rounded up to milliseconds. */
int number_parse_seconds(uint32_t *out_ms, const char *text,
			 struct config_error *err);
