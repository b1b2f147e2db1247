/* SPDX-License-Identifier: BSD-3-Clause */
/* The rest of test_mux. */
#pragma once

#include <check.h>

void add_sibling_cases(Suite *suite);
void add_end_cases(Suite *suite);
void add_rst_cases(Suite *suite);
void add_limit_cases(Suite *suite);
