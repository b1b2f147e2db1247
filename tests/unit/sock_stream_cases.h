/* SPDX-License-Identifier: BSD-3-Clause */
/* The second half of test_sock_stream. */
#pragma once

#include <check.h>

void add_end_cases(Suite *suite);
