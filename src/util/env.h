/* SPDX-License-Identifier: BSD-3-Clause */
/* Numbers in the environment. */
#pragma once

#include <stdint.h>
#include <stdlib.h>

/* 0: there is none. */
static inline uint64_t env_number(const char *name)
{
	const char *text = getenv(name);

	return text ? strtoull(text, NULL, 10) : 0;
}
