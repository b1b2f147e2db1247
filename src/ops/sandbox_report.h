/* SPDX-License-Identifier: BSD-3-Clause */
/* Naming a system call that the filter does not let through. */
#pragma once

#include <stdint.h>

/* Looks up the names while that is safe. */
void report_init(void);

/*
 * The handler of SIGSYS: logs, and either makes the call fail, where a C library
 * may try it by itself and can do without, or ends the process. 0 or -errno.
 */
int report_catch_sigsys(void);

/*
 * For a filter that asks instead of refusing: a thread that is not under the
 * filter logs each call and lets it go on. It is made before the filter; then
 * it is given the descriptor to listen on.
 */
int report_start_listener(void);		/* 0 or -errno */
void report_listen(int notify_fd);
