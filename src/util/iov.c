/* SPDX-License-Identifier: BSD-3-Clause */
/* Scattered memory: cursor and copies. */
#include "util/iov.h"

#include <assert.h>

void iov_cur_init(struct iov_cur *cur, const struct iovec *iov, size_t n)
{
	*cur = (struct iov_cur){ .iov = iov, .n = n, .left = iov_total(iov, n) };
}

/* The contiguous bytes at the cursor, at most @len, skipping empty iovecs. */
static size_t contiguous(struct iov_cur *cur, size_t len, char **at)
{
	size_t here;

	while (cur->n && cur->off == cur->iov->iov_len) {
		cur->iov++;
		cur->n--;
		cur->off = 0;
	}
	if (!cur->n)
		return 0;
	here = cur->iov->iov_len - cur->off;
	*at = (char *)cur->iov->iov_base + cur->off;
	return here < len ? here : len;
}

static void advance(struct iov_cur *cur, size_t len)
{
	cur->off += len;
	cur->left -= len;
}

bool iov_cur_get_scattered(struct iov_cur *cur, void *dst, size_t len)
{
	char *to = dst, *from = NULL;

	if (cur->left < len)
		return false;
	while (len) {
		size_t n = contiguous(cur, len, &from);

		copy_once(to, from, n);
		advance(cur, n);
		to += n;
		len -= n;
	}
	return true;
}

size_t iov_cur_slice(struct iov_cur *cur, size_t len, struct iovec *out, size_t max,
		     size_t *described)
{
	size_t n_out = 0, total = 0;
	char *at;

	while (total < len && n_out < max) {
		size_t n = contiguous(cur, len - total, &at);

		if (!n)
			break;
		out[n_out++] = (struct iovec){ at, n };
		advance(cur, n);
		total += n;
	}
	*described = total;
	return n_out;
}

void iov_copy_to_scattered(const struct iovec *iov, size_t n, const void *src, size_t len)
{
	const char *from = src;

	for (; len; iov++, n--) {
		size_t here = iov->iov_len < len ? iov->iov_len : len;

		assert(n);
		memcpy(iov->iov_base, from, here);
		from += here;
		len -= here;
	}
}
