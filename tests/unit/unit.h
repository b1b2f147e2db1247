/* SPDX-License-Identifier: BSD-3-Clause */
/* What every unit test program needs. */
#pragma once

#include <check.h>

#define COUNT(array) ((int)(sizeof (array) / sizeof *(array)))

/* Runs it, says how it went in TAP, and frees it. What main() returns. */
int unit_main(Suite *suite);

int unit_count_fds(void);			/* descriptors that are open */
int unit_count_threads(void);		/* with the one that asks */
