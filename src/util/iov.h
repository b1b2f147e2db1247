/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Scattered memory: a read cursor over iovecs, and copies into them.
 *
 * The memory of an iovec is often a guest's, which may change it while we
 * read. Hence copy_once(): the compiler must make the local copy whole, before
 * anything of it is tested, and may not fetch a field from the original again.
 * (A plain memcpy to a local is no such promise: at -O2 gcc and clang drop it.)
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <string.h>
#include <sys/uio.h>

static inline void copy_once(void *dst, const void *src, size_t len)
{
	memcpy(dst, src, len);
	__asm__ volatile("" : : "r"(dst) : "memory");
}

/* A position in @n iovecs; @left bytes from there to the end. */
struct iov_cur {
	const struct iovec *iov;
	size_t n;
	size_t off;				/* into iov[0] */
	size_t left;
};

void iov_cur_init(struct iov_cur *cur, const struct iovec *iov, size_t n);

bool iov_cur_get_scattered(struct iov_cur *cur, void *dst, size_t len);

/* Copies @len bytes out, once, and moves on; false, and nothing done, if fewer are left. */
static inline bool iov_cur_get(struct iov_cur *cur, void *dst, size_t len)
{
	if (!cur->n || cur->iov->iov_len - cur->off < len)
		return iov_cur_get_scattered(cur, dst, len);
	copy_once(dst, (const char *)cur->iov->iov_base + cur->off, len);
	cur->off += len;
	cur->left -= len;
	if (cur->off == cur->iov->iov_len) {	/* what follows is in one piece, too */
		cur->iov++;
		cur->n--;
		cur->off = 0;
	}
	return true;
}

/*
 * Describes the next @len bytes, at most @max iovecs of them, in @out and moves
 * past what is described. Returns how many iovecs were written; *@described
 * bytes lie in them.
 */
size_t iov_cur_slice(struct iov_cur *cur, size_t len, struct iovec *out, size_t max,
		     size_t *described);

/* Bytes in all of them. */
static inline size_t iov_total(const struct iovec *iov, size_t n)
{
	size_t total = 0;

	for (size_t i = 0; i < n; i++)
		total += iov[i].iov_len;
	return total;
}

void iov_copy_to_scattered(const struct iovec *iov, size_t n, const void *src, size_t len);

/* Copies @len bytes into the first bytes of the iovecs, which must hold them. */
static inline void iov_copy_to(const struct iovec *iov, size_t n, const void *src, size_t len)
{
	if (n && iov->iov_len >= len)
		memcpy(iov->iov_base, src, len);
	else
		iov_copy_to_scattered(iov, n, src, len);
}
