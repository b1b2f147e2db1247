/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What is shown to people and to programs.
 *
 * The attackers are the daemon and the guest, which may have been taken over: names and
 * reasons that come from them, and paths, are any bytes. On a terminal they must not move the
 * cursor, change colours or answer for the user; so whatever is not printable ASCII is shown
 * as \xNN, and a backslash doubled. In JSON it is \uNNNN, and what is no UTF-8 is U+FFFD.
 */
#pragma once

#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

/* Writes @s, escaped, into @to, of @size > 0 bytes: what does not fit is cut off, at no
 * escape's middle, and "..." is its end then (if there is room for that). Returns @to. */
char *text_escape(char *to, size_t size, const char *s);

/* The same to a stream, whole. */
void text_put(FILE *f, const char *s);

/* JSON that is a line already, in ASCII: its other characters can only be in strings. */
void text_put_ascii(FILE *f, const char *json);

/* A JSON string with its quotes; NULL: null. */
void text_put_json(FILE *f, const char *s);

/* "vsockctl: " and a line on standard error; what @fmt makes of its arguments is escaped. */
void text_complain(const char *fmt, ...) __attribute__((format(printf, 1, 2)));

/* Bytes, as "0", "999", "1.5K", "23M"; milliseconds, as "0.4s", "12s", "3m", "5h", "2d". */
enum { TEXT_SHORT_MAX = 24 };
char *text_bytes(char to[TEXT_SHORT_MAX], uint64_t n);
char *text_age(char to[TEXT_SHORT_MAX], uint64_t ms);
