/* SPDX-License-Identifier: BSD-3-Clause */
/* What becomes of a system call that the filter does not let through. */
#include "sandbox/sandbox_report.h"

#include <pthread.h>
#include <seccomp.h>
#include <semaphore.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <ucontext.h>

#include "util/error.h"
#include "util/fd.h"
#include "util/last_signal.h"
#include "util/log.h"
#include "util/log_limit.h"

enum { N_CALLS = 512, NAME_BYTES = 28 };	/* the numbers end below 480 today */

static char names[N_CALLS][NAME_BYTES];

void report_init(void)
{
	for (int nr = 0; nr < N_CALLS; nr++) {
		char *name = seccomp_syscall_resolve_num_arch(SCMP_ARCH_NATIVE, nr);

		if (name)
			snprintf(names[nr], NAME_BYTES, "%s", name);
		free(name);
	}
}

/* "openat", or "unknown". Async-signal-safe. */
static const char *name_of(int nr)
{
	return nr >= 0 && nr < N_CALLS && names[nr][0] ? names[nr] : "unknown";
}

/*
 * What a C library may try on its own, and can do without: looking at files and
 * limits, naming memory. Such a call does not show that the process has been taken
 * over, so it fails, and the VMs go on.
 */
const int report_harmless[] = {
	SCMP_SYS(access), SCMP_SYS(faccessat), SCMP_SYS(faccessat2),
	SCMP_SYS(open), SCMP_SYS(openat), SCMP_SYS(openat2),
	SCMP_SYS(readlink), SCMP_SYS(readlinkat), SCMP_SYS(getcwd),
	SCMP_SYS(ioctl), SCMP_SYS(fcntl), SCMP_SYS(dup), SCMP_SYS(pipe2),
	SCMP_SYS(uname), SCMP_SYS(getrusage),
	SCMP_SYS(getrlimit), SCMP_SYS(prlimit64),
	SCMP_SYS(sched_getparam), SCMP_SYS(sched_getscheduler), SCMP_SYS(sched_setaffinity),
	SCMP_SYS(prctl), SCMP_SYS(membarrier), SCMP_SYS(mbind), SCMP_SYS(set_mempolicy),
	SCMP_SYS(getuid), SCMP_SYS(geteuid), SCMP_SYS(getgid), SCMP_SYS(getegid),
};
const size_t report_n_harmless = sizeof report_harmless / sizeof *report_harmless;

/* Where the caller finds the result, and we its second argument. */
#if defined(SANDBOX_PRETEND_UNKNOWN_ARCH)
/* A test does. */
#elif defined(__x86_64__)
#define RESULT_OF(context)	((context)->uc_mcontext.gregs[REG_RAX])
#define ARGUMENT_1_OF(context)	((context)->uc_mcontext.gregs[REG_RSI])
#elif defined(__aarch64__)
#define RESULT_OF(context)	((context)->uc_mcontext.regs[0])
#define ARGUMENT_1_OF(context)	((context)->uc_mcontext.regs[1])
#elif defined(__riscv)
#define RESULT_OF(context)	((context)->uc_mcontext.__gregs[REG_A0])
#define ARGUMENT_1_OF(context)	((context)->uc_mcontext.__gregs[REG_A0 + 1])
#endif

#ifdef RESULT_OF
const bool report_can_refuse = true;

/* glibc's malloc looks there before it gives memory back; refused, it gives it back. */
static const char quiet_path[] = "/proc/sys/vm/overcommit_memory";

static bool is_harmless(int nr)
{
	for (size_t i = 0; i < report_n_harmless; i++)
		if (report_harmless[i] == nr)
			return true;
	return false;
}

/* False: no library would try that. */
static bool refuse(ucontext_t *context, int nr)
{
	if (!is_harmless(nr))
		return false;
	if (nr == SCMP_SYS(openat)) {
		const char *path = (const char *)ARGUMENT_1_OF(context);

		if (strcmp(path, quiet_path) != 0)
			log_limited(LEVEL_WARN, "sandbox", "system call openat (%d) of %s refused",
				    nr, path);
	} else {
		log_limited(LEVEL_WARN, "sandbox", "system call %s (%d) refused", name_of(nr), nr);
	}
	RESULT_OF(context) = -EPERM;
	return true;
}
#else
const bool report_can_refuse = false;		/* the filter itself does, without a line */

static bool refuse(ucontext_t *context, int nr)
{
	(void)context;
	(void)nr;
	return false;
}
#endif

/*
 * The kernel raises it for the very call, so it interrupts nothing else. What the
 * caller may be in the middle of, malloc for one, log_line() does not use.
 */
static void on_sigsys(int sig, siginfo_t *info, void *context)
{
	int nr = info->si_syscall, saved_errno = errno;

	if (refuse(context, nr)) {
		errno = saved_errno;
		return;
	}
	log_last_words("sandbox", "system call %s (%d) is not one of ours: the process ends",
		       name_of(nr), nr);
	last_signal_raise(sig);
	_exit(128 + sig);			/* process 1 of a container survives that */
}

int report_catch_sigsys(void)
{
	struct sigaction sa = { .sa_sigaction = on_sigsys, .sa_flags = SA_SIGINFO | SA_NODEFER };

	sigemptyset(&sa.sa_mask);
	return sigaction(SIGSYS, &sa, NULL) < 0 ? error_last() : 0;
}

/* ---- only reporting ---- */

static struct {
	sem_t has_fd;
	int fd;
	struct seccomp_notif *call;
	struct seccomp_notif_resp *answer;
} listener;

static void tell(const struct seccomp_data *d)
{
	log_limited(LEVEL_WARN, "sandbox",
		    "would refuse system call %s (%d) with %#llx, %#llx, %#llx",
		    name_of(d->nr), d->nr, (unsigned long long)d->args[0],
		    (unsigned long long)d->args[1], (unsigned long long)d->args[2]);
}

static void *listen_on(void *arg)
{
	(void)arg;
	while (sem_wait(&listener.has_fd) < 0)
		;
	for (;;) {
		memset(listener.call, 0, sizeof *listener.call);
		if (seccomp_notify_receive(listener.fd, listener.call) < 0) {
			if (errno == ENOENT || errno == EINTR)
				continue;	/* a signal took the caller away */
			break;
		}
		tell(&listener.call->data);
		*listener.answer = (struct seccomp_notif_resp){
			.id = listener.call->id, .flags = SECCOMP_USER_NOTIF_FLAG_CONTINUE,
		};
		seccomp_notify_respond(listener.fd, listener.answer);
	}
	log_err("sandbox", "cannot report any longer: %s", error_str(errno));
	fd_close(&listener.fd);			/* such calls fail from now on */
	return NULL;
}

int report_start_listener(void)
{
	pthread_t thread;
	int r;

	if (sem_init(&listener.has_fd, 0, 0) < 0)
		return error_last();
	r = seccomp_notify_alloc(&listener.call, &listener.answer);
	if (r < 0)
		return r;
	r = pthread_create(&thread, NULL, listen_on, NULL);
	if (r) {
		seccomp_notify_free(listener.call, listener.answer);
		return -r;
	}
	pthread_detach(thread);
	return 0;
}

void report_listen(int notify_fd)
{
	listener.fd = notify_fd;
	sem_post(&listener.has_fd);
}
