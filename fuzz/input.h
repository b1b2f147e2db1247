/* SPDX-License-Identifier: BSD-3-Clause */
/* Takes numbers from the front of a fuzzer's input; zeroes after its end. */
#pragma once

#include <fcntl.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

struct input {
	const uint8_t *data;
	size_t left;
};

static inline void input_take(struct input *in, void *out, size_t len)
{
	size_t n = len < in->left ? len : in->left;

	memset(out, 0, len);
	if (n)
		memcpy(out, in->data, n);
	in->data += n;
	in->left -= n;
}

static inline uint8_t input_u8(struct input *in)
{
	uint8_t v;

	input_take(in, &v, sizeof v);
	return v;
}

static inline uint16_t input_u16(struct input *in)
{
	uint16_t v;

	input_take(in, &v, sizeof v);
	return v;
}

/* A copy of exact size, so that a byte too far is seen. The caller frees it. */
static inline void *input_copy(const void *data, size_t len)
{
	char *copy = malloc(len ? len : 1);

	if (!copy)
		abort();
	*copy = '\0';				/* of none, too: a compiler may ask for it */
	if (len)
		memcpy(copy, data, len);
	return copy;
}

/* How many of the first descriptors are open. */
static inline int input_count_fds(void)
{
	int n = 0;

	for (int fd = 0; fd < 64; fd++)
		n += fcntl(fd, F_GETFD) >= 0;
	return n;
}
