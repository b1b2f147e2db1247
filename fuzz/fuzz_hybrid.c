/* SPDX-License-Identifier: BSD-3-Clause */
/* Input: a CONNECT line without its newline. */
#include <assert.h>
#include <stdio.h>

#include "backend/hybrid.h"
#include "input.h"

enum { UNTOUCHED = 4711 };

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	char *line = input_copy(data, size), again[32];
	uint32_t port = UNTOUCHED, same;
	int len;

	if (hybrid_parse_connect(line, size, &port)) {
		len = snprintf(again, sizeof again, "CONNECT %u", port);
		assert(hybrid_parse_connect(again, (size_t)len, &same));
		assert(same == port);
	} else {
		assert(port == UNTOUCHED);
	}
	free(line);
	return 0;
}
