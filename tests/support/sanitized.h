/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What a sanitizer changes for a test of the daemon: it is slower, it keeps
 * freed memory, and thread sanitizer has a thread of its own that looks around
 * ten times a second.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#if defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
#define __SANITIZE_ADDRESS__ 1
#endif
#if __has_feature(thread_sanitizer)
#define __SANITIZE_THREAD__ 1
#endif
#endif

/* What resident memory may grow by besides. */
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define SANITIZER_RSS_SLACK	(UINT64_C(512) << 20)
#define IS_SANITIZED		true
#else
#define SANITIZER_RSS_SLACK	UINT64_C(0)
#define IS_SANITIZED		false
#endif
