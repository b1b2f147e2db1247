/* SPDX-License-Identifier: BSD-3-Clause */
/* Numbers that peers do not know. */
#pragma once

#include <stdint.h>

uint64_t random_u64(void);			/* never blocks */
