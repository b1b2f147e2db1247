/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The system calls of a daemon that has started: the table, and its filter.
 *
 * A call that is added to the daemon needs a row here, in the group of its reason.
 * A call that is legal with certain arguments only says which; where it has several
 * rows, one of them has to match.
 */
#include <fcntl.h>
#include <sched.h>
#include <seccomp.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <unistd.h>
#include <linux/sockios.h>

#include "sandbox/sandbox.h"
#include "sandbox/sandbox_internal.h"
#include "sandbox/sandbox_report.h"
#include "util/error.h"
#include "util/log.h"
#include "util/unix_socket.h"

struct row {
	int nr;					/* negative: not on this architecture */
	unsigned n_args;
	struct scmp_arg_cmp args[2];
};

#define ANY(name)		{ SCMP_SYS(name), 0, { { 0 } } }
#define ARG(name, i, value)	{ SCMP_SYS(name), 1, { SCMP_CMP(i, SCMP_CMP_EQ, value, 0) } }
#define ARGS(name, i, value, k, value_k)	\
	{ SCMP_SYS(name), 2, { SCMP_CMP(i, SCMP_CMP_EQ, value, 0),	\
			       SCMP_CMP(k, SCMP_CMP_EQ, value_k, 0) } }
/* Of the bits in @mask exactly @value is set. */
#define BITS(name, i, mask, value) \
	{ SCMP_SYS(name), 1, { SCMP_CMP(i, SCMP_CMP_MASKED_EQ, mask, value) } }

/* What makes a thread and not a process. */
#define THREAD_FLAGS	(CLONE_VM | CLONE_FS | CLONE_FILES | CLONE_SIGHAND | CLONE_THREAD)

static const struct row rows[] = {
	/* The loop. */
	ANY(epoll_wait), ANY(epoll_pwait), ANY(epoll_pwait2), ANY(epoll_ctl), ANY(timerfd_settime),
	/* Sockets, eventfds, the log. */
	ANY(read), ANY(readv), ANY(write), ANY(writev),
	ANY(recvmsg), ANY(recvfrom), ANY(sendmsg), ANY(sendmmsg), ANY(sendto),
	ANY(accept4), ANY(connect), ANY(shutdown), ANY(close),
	ANY(poll), ANY(ppoll), ANY(getpeername),
	ARG(getsockopt, 1, SOL_SOCKET), ARG(ioctl, 1, SIOCINQ),
	ARGS(setsockopt, 1, SOL_SOCKET, 2, SO_OOBINLINE),
	ARGS(setsockopt, 1, SOL_SOCKET, 2, SO_PASSRIGHTS),
	ARGS(setsockopt, 1, SOL_SOCKET, 2, SO_PASSCRED),
	ARGS(setsockopt, 1, SOL_SOCKET, 2, SO_SNDBUF),
	ARGS(setsockopt, 1, SOL_SOCKET, 2, SO_PEEK_OFF),
	ARG(fcntl, 1, F_GETFL), ARG(fcntl, 1, F_SETFL), ARG(fcntl, 1, F_GETFD),
	ARG(fcntl, 1, F_GET_SEALS),
	/* Guest memory: what kind of file it is, how large. */
	ANY(fstat), ANY(fstatfs), ANY(lseek),
	/* A capture: its files are emptied, cut, and left to others; or it is a pipe to a client of
	 * the API; its thread is woken. */
	ANY(ftruncate), ANY(flock), ARG(pipe2, 1, O_CLOEXEC | O_NONBLOCK), ANY(eventfd2),
	BITS(mmap, 2, PROT_EXEC, 0), ANY(munmap), ANY(madvise),
	/* malloc, stacks of threads; qsort() asks how much memory there is. */
	ANY(sysinfo), ANY(brk), ANY(mremap), BITS(mprotect, 2, PROT_EXEC, 0), ANY(getrandom),
	/* Threads, clocks and locks. */
	BITS(clone, 0, THREAD_FLAGS, THREAD_FLAGS), ANY(set_robust_list), ANY(rseq),
	ARG(prctl, 0, PR_SET_NAME), ANY(sched_getaffinity), ANY(sched_yield),
	ANY(futex), ANY(clock_gettime), ANY(clock_nanosleep), ANY(nanosleep), ANY(setitimer),
	ANY(timer_settime),
	ANY(getpid), ANY(gettid), ANY(exit), ANY(restart_syscall),
	/* Signals: SIGBUS, the wait for the one that ends us, abort(). */
	ANY(rt_sigaction), ANY(rt_sigprocmask), ANY(rt_sigreturn), ANY(rt_sigtimedwait),
	ANY(sigaltstack),
	/* What is known of a name that cannot be connected to. */
	ANY(newfstatat), ANY(lstat), ANY(stat), ANY(statx),
	ANY(exit_group),
};

/* The end: our sockets' names go. */
static const struct row name_rows[] = {
	ANY(unlink), { SCMP_SYS(unlinkat), 1, { SCMP_CMP(2, SCMP_CMP_EQ, 0, 0) } },
};

/* What a supervisor tells; what is left behind for another process: memory, and replies. */
static const struct row hosted_rows[] = {
	ANY(memfd_create),
	ARG(fcntl, 1, F_ADD_SEALS), ANY(splice),
	/* Another worker. */
	ANY(epoll_create1), ANY(timerfd_create),
};

/* For reports and the search for leaks, in builds that are for testing. */
static const struct row sanitizer_rows[] = {
	ANY(open), ANY(openat), ANY(readlink), ANY(readlinkat), ANY(access), ANY(getdents),
	ANY(getdents64), ANY(pread64), ANY(ioctl), ANY(fcntl), ANY(dup), ANY(dup2),
	ANY(pipe), ANY(pipe2), ANY(clone), ANY(fork), ANY(wait4), ANY(ptrace),
	ANY(process_vm_readv), ANY(kill), ANY(tgkill), ANY(prctl), ANY(arch_prctl),
	ANY(personality), ANY(set_tid_address),
	ANY(uname), ANY(getcwd), ANY(getuid), ANY(geteuid), ANY(getppid),
	ANY(getrlimit), ANY(setrlimit), ANY(prlimit64), ANY(getrusage), ANY(gettimeofday),
	ANY(time), ANY(mincore), ANY(msync),
};

/* Uses of harmless calls that are not legal: what their rows above leave out. */
static const struct row refused_rows[] = {
	{ SCMP_SYS(pipe2), 1, { SCMP_CMP(1, SCMP_CMP_NE, O_CLOEXEC | O_NONBLOCK, 0) } },
	ARG(fcntl, 1, F_DUPFD), ARG(fcntl, 1, F_SETFD),
	{ SCMP_SYS(fcntl), 1, { SCMP_CMP(1, SCMP_CMP_GT, F_SETFL, 0) } },
	{ SCMP_SYS(prctl), 1, { SCMP_CMP(0, SCMP_CMP_NE, PR_SET_NAME, 0) } },
};
static_assert(F_DUPFD == 0 && F_GETFD == 1 && F_SETFD == 2 && F_GETFL == 3 && F_SETFL == 4,
	      "none is left out");

static int add_row(scmp_filter_ctx filter, uint32_t action, const struct row *row)
{
	int r = seccomp_rule_add_array(filter, action, row->nr, row->n_args, row->args);

	return r == -EDOM && row->nr < 0 ? 0 : r;
}

static int add_rows(scmp_filter_ctx filter, uint32_t action, const struct row *table, size_t n)
{
	int r = 0;

	for (size_t i = 0; r == 0 && i < n; i++)
		r = add_row(filter, action, &table[i]);
	return r;
}

static int allow(scmp_filter_ctx filter, const struct row *table, size_t n)
{
	return add_rows(filter, SCMP_ACT_ALLOW, table, n);
}

static bool has_rows(int nr)
{
	for (size_t i = 0; i < sizeof refused_rows / sizeof *refused_rows; i++)
		if (refused_rows[i].nr == nr)
			return true;
	return false;
}

/* What the handler of SIGSYS would make fail, if it could. */
static int add_refusals(scmp_filter_ctx filter)
{
	const uint32_t action = SCMP_ACT_ERRNO(EPERM);
	int r = add_rows(filter, action, refused_rows, sizeof refused_rows / sizeof *refused_rows);

	for (size_t i = 0; r == 0 && i < report_n_harmless; i++) {
		struct row any = { .nr = report_harmless[i] };

		if (!has_rows(any.nr))
			r = add_row(filter, action, &any);
	}
	return r;
}

/* What depends on the configuration, and on who we are. */
static int add_own_rows(scmp_filter_ctx filter, const struct sandbox_config *config)
{
	pid_t self = getpid();
	const struct row own[] = {
		ARG(socket, 0, AF_UNIX),
		ARG(kill, 0, (scmp_datum_t)self),
		ARG(tgkill, 0, (scmp_datum_t)self),
	};
	const struct row vsock[] = {
		ARG(socket, 0, AF_VSOCK),
		ARG(setsockopt, 1, AF_VSOCK),
		ARGS(setsockopt, 1, SOL_SOCKET, 2, SO_SNDTIMEO),
		ANY(bind), ANY(listen),
	};
	int r = allow(filter, own, sizeof own / sizeof *own);

	if (!r && config->has_vsock)
		r = allow(filter, vsock, sizeof vsock / sizeof *vsock);
	if (!r && config->has_names)
		r = allow(filter, name_rows, sizeof name_rows / sizeof *name_rows);
	if (!r && config->dies_with_parent)
		r = allow(filter, hosted_rows, sizeof hosted_rows / sizeof *hosted_rows);
	return r;
}

static int fill(scmp_filter_ctx filter, const struct sandbox_config *config)
{
	int r = allow(filter, rows, sizeof rows / sizeof *rows);

	if (!r)
		r = add_own_rows(filter, config);
	if (!r && SANDBOX_HAS_SANITIZER)
		r = allow(filter, sanitizer_rows, sizeof sanitizer_rows / sizeof *sanitizer_rows);
	/* Its flags are out of a filter's sight; libc goes back to clone. */
	if (!r)
		r = seccomp_rule_add(filter, SCMP_ACT_ERRNO(ENOSYS), SCMP_SYS(clone3), 0);
	return r;
}

/*
 * Options that an old library or kernel may lack, and we can do without: a tree
 * instead of a list, since the filter runs at each system call; and no mitigation
 * that slows us down against foreign code in the process, since there is none.
 */
static void tune(scmp_filter_ctx filter)
{
	seccomp_attr_set(filter, SCMP_FLTATR_CTL_OPTIMIZE, 2);
	seccomp_attr_set(filter, SCMP_FLTATR_CTL_SSB, 1);
}

static int load(scmp_filter_ctx filter)
{
	int r = seccomp_load(filter);

	return r == -ECANCELED ? error_last() : r;	/* the kernel would not have it */
}

static int load_enforcing(const struct sandbox_config *config)
{
	scmp_filter_ctx filter = seccomp_init(SCMP_ACT_TRAP);
	int r = filter ? report_catch_sigsys() : -ENOMEM;

	if (!r) {
		tune(filter);
		/* Threads that a library has started; other system call tables. */
		seccomp_attr_set(filter, SCMP_FLTATR_CTL_TSYNC, 1);
		seccomp_attr_set(filter, SCMP_FLTATR_ACT_BADARCH, SCMP_ACT_KILL_PROCESS);
		r = fill(filter, config);
	}
	if (!r && !report_can_refuse && !SANDBOX_HAS_SANITIZER)
		r = add_refusals(filter);
	if (!r)
		r = load(filter);
	seccomp_release(filter);
	return r;
}

/* The filter is kept: the library may close the descriptor when it is released. */
static int load_reporting(const struct sandbox_config *config)
{
	static scmp_filter_ctx filter;
	int r;

	if (seccomp_api_get() < 5)		/* a kernel before 5.5 cannot ask us */
		return -EOPNOTSUPP;
	filter = seccomp_init(SCMP_ACT_NOTIFY);
	r = filter ? fill(filter, config) : -ENOMEM;
	if (!r)
		r = report_start_listener();
	if (!r)
		r = load(filter);
	if (!r)
		report_listen(seccomp_notify_fd(filter));
	return r;
}

int sandbox_enter_seccomp(const struct sandbox_config *config)
{
	report_init();
	return config->only_reports ? load_reporting(config) : load_enforcing(config);
}
