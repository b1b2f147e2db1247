/* SPDX-License-Identifier: BSD-3-Clause */
/* The second half of test_virtq. */
#pragma once

#include <check.h>

void add_used_cases(Suite *suite);
