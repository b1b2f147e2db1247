/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The daemon's calls, of which the Nth fails: see faults.h. One line of the
 * table per call: its name (several may share one), what it returns when it
 * fails, and its type.
 */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/timerfd.h>
#include <sys/mman.h>
#include <sys/random.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "faults/faults.h"

static const char *call;			/* NULL: none fails */
static unsigned nth;
static int error;
static struct faults_report none, *report = &none;

__attribute__((constructor)) static void begin(void)
{
	const char *path = getenv(FAULTS_REPORT);
	int fd = path ? open(path, O_RDWR | O_CLOEXEC) : -1;
	void *map;

	if (fd < 0)
		return;
	map = mmap(NULL, sizeof *report, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	close(fd);
	if (map == MAP_FAILED)
		return;
	nth = (unsigned)strtoul(getenv(FAULTS_NTH), NULL, 10);
	error = (int)strtol(getenv(FAULTS_ERRNO), NULL, 10);
	call = getenv(FAULTS_CALL);
	report = map;
}

static bool fails(const char *name)
{
	if (!call || strcmp(name, call) != 0)
		return false;
	if (atomic_fetch_add(&report->calls, 1) + 1 != nth)
		return false;
	atomic_store(&report->injected, 1);
	errno = error;
	return true;
}

#define WRAP_AS(symbol, name, result, type, params, args)		\
	type __real_##symbol params;					\
	type __wrap_##symbol params;					\
	type __wrap_##symbol params					\
	{								\
		return fails(name) ? (result) : __real_##symbol args;	\
	}
#define WRAP(name, ...)		WRAP_AS(name, #name, __VA_ARGS__)
/* The linker sees the names for 64-bit file offsets, which meson asks for. */
#define WRAP64(name, ...)	WRAP_AS(name##64, #name, __VA_ARGS__)

WRAP(accept4, -1, int, (int fd, struct sockaddr *sa, socklen_t *len, int flags),
     (fd, sa, len, flags))
WRAP(bind, -1, int, (int fd, const struct sockaddr *sa, socklen_t len), (fd, sa, len))
WRAP(connect, -1, int, (int fd, const struct sockaddr *sa, socklen_t len), (fd, sa, len))
WRAP(epoll_create1, -1, int, (int flags), (flags))
WRAP(epoll_wait, -1, int, (int fd, struct epoll_event *ev, int max, int ms), (fd, ev, max, ms))
WRAP(eventfd, -1, int, (unsigned value, int flags), (value, flags))
WRAP(timerfd_create, -1, int, (clockid_t clock, int flags), (clock, flags))
WRAP(timerfd_settime, -1, int,
     (int fd, int flags, const struct itimerspec *spec, struct itimerspec *old),
     (fd, flags, spec, old))
WRAP(getrandom, -1, ssize_t, (void *to, size_t len, unsigned flags), (to, len, flags))
WRAP(ioctl, -1, int, (int fd, unsigned long what, void *arg), (fd, what, arg))
WRAP(listen, -1, int, (int fd, int backlog), (fd, backlog))
WRAP64(lstat, -1, int, (const char *path, struct stat *st), (path, st))
WRAP(madvise, -1, int, (void *at, size_t len, int advice), (at, len, advice))
WRAP(pthread_create, error, int,
     (pthread_t *t, const pthread_attr_t *a, void *(*run)(void *), void *arg), (t, a, run, arg))
WRAP(recv, -1, ssize_t, (int fd, void *to, size_t len, int flags), (fd, to, len, flags))
WRAP(recvmsg, -1, ssize_t, (int fd, struct msghdr *mh, int flags), (fd, mh, flags))
WRAP(send, -1, ssize_t, (int fd, const void *from, size_t len, int flags), (fd, from, len, flags))
WRAP(sendmsg, -1, ssize_t, (int fd, const struct msghdr *mh, int flags), (fd, mh, flags))
WRAP64(setrlimit, -1, int, (int what, const struct rlimit *limit), (what, limit))
WRAP(socket, -1, int, (int family, int type, int protocol), (family, type, protocol))
WRAP64(stat, -1, int, (const char *path, struct stat *st), (path, st))
WRAP(statx, -1, int, (int fd, const char *path, int flags, unsigned mask, struct statx *st),
     (fd, path, flags, mask, st))
WRAP(unlink, -1, int, (const char *path), (path))

/* Only a mapping of something: a front-end's memory. */
void *__real_mmap64(void *at, size_t len, int prot, int flags, int fd, off_t off);
void *__wrap_mmap64(void *at, size_t len, int prot, int flags, int fd, off_t off);
void *__wrap_mmap64(void *at, size_t len, int prot, int flags, int fd, off_t off)
{
	if (fd >= 0 && fails("mmap"))
		return MAP_FAILED;
	return __real_mmap64(at, len, prot, flags, fd, off);
}

/* Only what takes memory can fail. */
int __real_epoll_ctl(int epfd, int op, int fd, struct epoll_event *ev);
int __wrap_epoll_ctl(int epfd, int op, int fd, struct epoll_event *ev);
int __wrap_epoll_ctl(int epfd, int op, int fd, struct epoll_event *ev)
{
	if (op == EPOLL_CTL_ADD && fails("epoll_ctl"))
		return -1;
	return __real_epoll_ctl(epfd, op, fd, ev);
}

/* ---- memory, which is counted too ---- */

static void *taken(void *block)
{
	if (block)
		atomic_fetch_add(&report->blocks, 1);
	return block;
}

void *__real_malloc(size_t size);
void *__wrap_malloc(size_t size);
void *__wrap_malloc(size_t size)
{
	return fails("memory") ? NULL : taken(__real_malloc(size));
}

void *__real_calloc(size_t n, size_t size);
void *__wrap_calloc(size_t n, size_t size);
void *__wrap_calloc(size_t n, size_t size)
{
	return fails("memory") ? NULL : taken(__real_calloc(n, size));
}

void *__real_realloc(void *old, size_t size);
void *__wrap_realloc(void *old, size_t size);
void *__wrap_realloc(void *old, size_t size)
{
	bool is_new = !old;
	void *block;

	if (fails("memory"))
		return NULL;
	block = __real_realloc(old, size);
	return is_new ? taken(block) : block;
}

void *__real_reallocarray(void *old, size_t n, size_t size);
void *__wrap_reallocarray(void *old, size_t n, size_t size);
void *__wrap_reallocarray(void *old, size_t n, size_t size)
{
	bool is_new = !old;
	void *block;

	if (fails("memory"))
		return NULL;
	block = __real_reallocarray(old, n, size);
	return is_new ? taken(block) : block;
}

char *__real_strdup(const char *text);
char *__wrap_strdup(const char *text);
char *__wrap_strdup(const char *text)
{
	return fails("memory") ? NULL : taken(__real_strdup(text));
}

void __real_free(void *block);
void __wrap_free(void *block);
void __wrap_free(void *block)
{
	if (block)
		atomic_fetch_sub(&report->blocks, 1);
	__real_free(block);
}
