/* SPDX-License-Identifier: BSD-3-Clause */
/* What the process was started with. */
#include "sandbox/launch.h"

#include <fcntl.h>
#include <sched.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <unistd.h>

#include "util/error.h"
#include "util/fd.h"
#include "util/log.h"

enum {
	CPUS_MAX = 1 << 20,			/* no kernel is built for more */
	FILES_MAX = 1 << 18,			/* to make room for: 2 MiB of kernel memory */
	SUPERVISOR_FILES = 32,			/* more than it has of its own */
};

int launch_open_streams(void)
{
	/* What is opened gets the lowest number that is free. */
	for (int fd = STDIN_FILENO; fd <= STDERR_FILENO; fd++)
		if (fcntl(fd, F_GETFD) < 0 && open("/dev/null", O_RDONLY) < 0)
			return error_last();
	return 0;
}

void launch_reset_signals(void)
{
	sigset_t none;

	sigemptyset(&none);
	pthread_sigmask(SIG_SETMASK, &none, NULL);
	signal(SIGPIPE, SIG_IGN);
	signal(SIGXFSZ, SIG_IGN);
}

static bool is_ignored(int sig)
{
	struct sigaction now;

	return sigaction(sig, NULL, &now) == 0 && now.sa_handler == SIG_IGN;
}

static int own_signal(void)
{
	return SIGRTMIN + 1;			/* no constant; the one before is the watchdog's */
}

void launch_block_ends(sigset_t *ends)
{
	static const int usual[] = { SIGHUP, SIGINT, SIGTERM };

	signal(own_signal(), SIG_DFL);		/* one that is ignored would be lost */
	sigemptyset(ends);
	sigaddset(ends, own_signal());
	/* A signal that is blocked would be queued even though it is ignored. */
	for (size_t i = 0; i < sizeof usual / sizeof *usual; i++)
		if (!is_ignored(usual[i]))
			sigaddset(ends, usual[i]);
	pthread_sigmask(SIG_BLOCK, ends, NULL);
}

void launch_ignore_ends(sigset_t *ends)
{
	static const int meant_for_both[] = { SIGHUP, SIGINT, SIGTERM, SIGUSR1, SIGUSR2 };

	for (size_t i = 0; i < sizeof meant_for_both / sizeof *meant_for_both; i++)
		signal(meant_for_both[i], SIG_IGN);
	signal(own_signal(), SIG_DFL);
	sigemptyset(ends);
	sigaddset(ends, own_signal());
	pthread_sigmask(SIG_BLOCK, ends, NULL);
}

void launch_end(void)
{
	kill(getpid(), own_signal());
}

uint64_t launch_raise_files(void)
{
	struct rlimit limit;

	if (getrlimit(RLIMIT_NOFILE, &limit) < 0)
		return UINT64_MAX;
	if (limit.rlim_cur < limit.rlim_max) {
		rlim_t old = limit.rlim_cur;

		limit.rlim_cur = limit.rlim_max;
		if (setrlimit(RLIMIT_NOFILE, &limit) < 0) {
			log_warn("main", "cannot raise the limit of open files: %s",
				 error_str(error_last()));
			return old;
		}
	}
	return limit.rlim_cur;
}

uint64_t launch_engine_files(uint64_t n)
{
	return n - (n / 2 < SUPERVISOR_FILES ? n / 2 : SUPERVISOR_FILES);
}

void launch_limit_engine(void)
{
	struct rlimit limit;

	if (getrlimit(RLIMIT_NOFILE, &limit) < 0)
		return;
	limit.rlim_max = launch_engine_files(limit.rlim_max);
	if (limit.rlim_cur > limit.rlim_max)
		limit.rlim_cur = limit.rlim_max;
	setrlimit(RLIMIT_NOFILE, &limit);
}

void launch_grow_files(uint64_t n)
{
	int last = fcntl(STDERR_FILENO, F_DUPFD_CLOEXEC, (int)(n < FILES_MAX ? n : FILES_MAX) - 1);

	fd_close(&last);
}

/* The stack lies at the upper end of what the machine's page tables can name. */
static uint64_t address_space(void)
{
	return UINT64_C(1) << (64 - __builtin_clzll((uintptr_t)__builtin_frame_address(0)));
}

uint64_t launch_address_space(void)
{
	uint64_t space = address_space();
	struct rlimit limit;

	if (getrlimit(RLIMIT_AS, &limit) == 0 && limit.rlim_cur < space)
		space = limit.rlim_cur;
	return space / 4 * 3;
}

uint64_t launch_max_maps(void)
{
	int fd = open("/proc/sys/vm/max_map_count", O_RDONLY | O_CLOEXEC);
	char text[32] = "";
	uint64_t n = 0;

	if (fd >= 0 && read(fd, text, sizeof text - 1) > 0)
		n = strtoull(text, NULL, 10);
	fd_close(&fd);
	return n ? n : 65530;			/* the kernel's default */
}

/* Counts the CPUs of a set with room for @n. 0: there may be more; or -errno. */
static int count_cpus_of(size_t n)
{
	size_t size = CPU_ALLOC_SIZE(n);
	cpu_set_t *set = CPU_ALLOC(n);
	int count = -ENOMEM;

	if (!set)
		return count;
	if (sched_getaffinity(0, size, set) == 0)
		count = CPU_COUNT_S(size, set);
	else
		count = errno == EINVAL ? 0 : error_last();
	CPU_FREE(set);
	return count;
}

/* The kernel refuses a set with less room than the machine could have CPUs. */
size_t launch_count_cpus(void)
{
	int count = 0;

	for (size_t n = CPU_SETSIZE; count == 0 && n <= CPUS_MAX; n *= 2)
		count = count_cpus_of(n);
	return count > 0 ? (size_t)count : 1;
}
