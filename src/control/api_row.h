/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A VM to add, from JSON to a row: keys and values by turns, each with a NUL at its end. What a
 * key means, and which values it has, is the supervisor's to say (config/api.h); here is only
 * what JSON has and a row has not. Lists become "a+b", as in --vm.
 *
 * The attacker is whoever may connect to the API. Input of a fuzz target.
 */
#pragma once

#include <stddef.h>

enum {
	API_ROW_BYTES = 16 * 1024,
	API_ROW_ERROR_MAX = 256,
};

struct api_row {
	char bytes[API_ROW_BYTES];
	size_t len;
};

/* NULL: it is one; else what is wrong with it, in @why. */
const char *api_row_parse(struct api_row *row, const char *json, size_t len,
			  char why[API_ROW_ERROR_MAX]);
