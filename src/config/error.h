/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * One complaint, built from the inside out: whoever finds the mistake says what
 * is wrong with the value, each caller on the way up puts in front of it where
 * that was ("guest-cid", "--vm 2", "vms.yaml:7"), and only config_read() prints
 * it. So parsers stay silent, and tests and fuzz targets can call them.
 */
#pragma once

#include <limits.h>
#include <stdio.h>

enum { CONFIG_E_EXIT = 1, CONFIG_E_USAGE = 2 };

/* Longer ones are cut: a path of the file, one of the value, and words about them. */
enum { CONFIG_ERROR_MAX = 2 * PATH_MAX + 1024 };

struct config_error {
	char text[CONFIG_ERROR_MAX];		/* "" while nothing was said */
};

/* Values in a complaint are shown with this: a long one says enough by its start. */
#define SHOWN "'%.80s'"

/* A path is no use without its end; longer than this is no path. */
#define SHOWN_PATH "'%.4095s'"

/* The user's mistake. Returns CONFIG_E_USAGE. */
int config_fail(struct config_error *err, const char *fmt, ...)
	__attribute__((format(printf, 2, 3)));

/*
 * Puts "<fmt>: " in front if @r is not 0; an -errno about which nothing was said
 * yet says strerror(). Returns @r.
 */
int config_prefix(struct config_error *err, int r, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));

/* One line; control characters, which may come from a file, as \xNN. */
void config_error_print(const struct config_error *err, FILE *to);
