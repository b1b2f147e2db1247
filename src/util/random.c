/* SPDX-License-Identifier: BSD-3-Clause */
/* Numbers that peers do not know. */
#include "util/random.h"

#include <sys/random.h>
#include <time.h>

/* Until the kernel's pool is filled the layout of our memory and the clock have to do,
 * mixed: a guest that sees a part of the number learns neither. */
uint64_t random_u64(void)
{
	struct timespec now;
	uint64_t v = 0;

	if (getrandom(&v, sizeof v, GRND_NONBLOCK) == (ssize_t)sizeof v)
		return v;
	clock_gettime(CLOCK_MONOTONIC, &now);
	v = (uintptr_t)&v ^ (uint64_t)now.tv_nsec << 40 ^ (uint64_t)now.tv_sec;
	v = (v ^ v >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
	v = (v ^ v >> 27) * UINT64_C(0x94d049bb133111eb);
	return v ^ v >> 31;
}
