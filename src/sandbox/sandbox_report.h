/* SPDX-License-Identifier: BSD-3-Clause */
/* Naming a system call that the filter does not let through. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Looks up the names while that is safe. */
void report_init(void);

/*
 * The handler of SIGSYS: logs, and either makes the call fail, where a C library
 * may try it by itself and can do without, or ends the process. 0 or -errno.
 */
int report_catch_sigsys(void);

/*
 * Those calls, by number. On an architecture whose registers we do not know the
 * handler cannot make them fail: then the filter has to.
 */
extern const bool report_can_refuse;
extern const int report_harmless[];
extern const size_t report_n_harmless;

/*
 * For a filter that asks instead of refusing: a thread outside the filter logs
 * each call and lets it go on. It is made before the filter, and is given the
 * descriptor to listen on after that.
 */
int report_start_listener(void);		/* 0 or -errno */
void report_listen(int notify_fd);
