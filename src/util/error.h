/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * How functions say what happened. They return int and deliver through
 * pointers, which are untouched unless 0:
 *
 *   0               done
 *   -errno          we or the host failed: end that object or pass it up
 *   MODULE_E_* > 0  an outcome the caller must handle, documented at the function
 *
 * Nobody matches a -errno by value: what a caller has to tell apart has a name. A check
 * that says why something is refused returns the reason as text, and NULL for "fine".
 *
 * A program error of our own is an assert, on in release builds too; never on a
 * value that a peer can choose.
 */
#pragma once

#include <assert.h>
#include <errno.h>
#include <stdbool.h>
#include <string.h>

/* errno as a negative value; for a call that has just failed. */
static inline int error_last(void)
{
	assert(errno > 0);
	return -errno;
}

/* The system has no more of something, which its operator should know. */
static inline bool error_is_shortage(int error)
{
	return error == -ENOMEM || error == -ENOBUFS || error == -EMFILE || error == -ENFILE ||
		error == -ENOSPC;
}

/* A number below 192 for each outcome, -errno and MODULE_E_* alike: for log_once. */
static inline unsigned error_kind(int error)
{
	return error < 0 ? (unsigned)-error : 134 + (unsigned)error;
}

/* The text of a -errno; never NULL. From signal handlers too. */
const char *error_str(int error);
