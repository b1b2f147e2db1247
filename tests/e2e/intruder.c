/* SPDX-License-Identifier: BSD-3-Clause */
/* Loaded into the daemon, in the place of recv() and syscall(): see intruder.h. */
#include "e2e/intruder.h"

#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <stdbool.h>
#include <sched.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/ptrace.h>
#include <sys/reboot.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#include <linux/vm_sockets.h>

#include "protocol/supervise.h"

static long (*real_syscall)(long nr, ...);
static int channel = -1;			/* of an engine, to its supervisor */

__attribute__((constructor)) static void begin(int argc, char **argv)
{
	real_syscall = (long (*)(long, ...))dlsym(RTLD_NEXT, "syscall");
	if (argc == 2)
		sscanf(argv[1], "--engine-channel=%d", &channel);
}

long syscall(long nr, ...)
{
	const char *abi = getenv(INTRUDER_LANDLOCK);
	long args[6];
	va_list ap;

	va_start(ap, nr);
	for (int i = 0; i < 6; i++)
		args[i] = va_arg(ap, long);
	va_end(ap);
	if (abi && nr == SYS_landlock_create_ruleset && !args[0])
		return atol(abi);
	return real_syscall(nr, args[0], args[1], args[2], args[3], args[4], args[5]);
}

static long act_open(const char *path)
{
	return syscall(SYS_openat, AT_FDCWD, path, O_RDONLY);
}

static long act_create(const char *path)
{
	return syscall(SYS_openat, AT_FDCWD, path, O_WRONLY | O_CREAT, 0600);
}

static long act_execve(const char *path)
{
	char *argv[] = { NULL };

	return execve(path, argv, argv);
}

static long act_fork(const char *what)
{
	long pid = syscall(SYS_clone, SIGCHLD, 0, 0, 0, 0);

	(void)what;
	if (pid == 0)
		syscall(SYS_exit_group, 0);
	return pid;
}

/* No signal but SIGKILL gets it out, as in a file system that does not answer. */
static long act_hang(const char *what)
{
	static const char said[] = "hangs\n";
	sigset_t all;

	(void)what;
	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, NULL);
	if (write(STDERR_FILENO, said, sizeof said - 1) < 0)
		_exit(1);
	for (;;)
		syscall(SYS_nanosleep, &(struct timespec){ .tv_sec = 1000 }, NULL);
	return 0;
}

static long act_clone3(const char *what)
{
	(void)what;
	return syscall(SYS_clone3, NULL, 0);
}

static long act_socket(const char *family)
{
	return socket(strcmp(family, "inet") == 0 ? AF_INET :
		      strcmp(family, "netlink") == 0 ? AF_NETLINK :
		      strcmp(family, "packet") == 0 ? AF_PACKET :
		      strcmp(family, "vsock") == 0 ? AF_VSOCK : AF_UNIX, SOCK_STREAM, 0);
}

/* "@name" is an abstract one. */
static long act_connect(const char *path)
{
	struct sockaddr_un to = { .sun_family = AF_UNIX };
	size_t len = strlen(path);
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	long r;

	memcpy(to.sun_path, path, len);
	if (*path == '@')
		to.sun_path[0] = '\0';
	r = connect(fd, (struct sockaddr *)&to,
		    (socklen_t)(offsetof(struct sockaddr_un, sun_path) + len));
	close(fd);
	return r;
}

static long act_bind(const char *path)
{
	struct sockaddr_un at = { .sun_family = AF_UNIX };
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	memcpy(at.sun_path, path, strlen(path));
	return bind(fd, (struct sockaddr *)&at, sizeof at);
}

static long act_unlink(const char *path)
{
	return unlink(path);
}

static long act_rename(const char *path)
{
	return rename(path, "/elsewhere");
}

static long act_chmod(const char *path)
{
	return chmod(path, 0666);
}

static long act_kill(const char *whom)
{
	return kill(strcmp(whom, "self") == 0 ? getpid() : atoi(whom), 0);
}

static long act_ptrace(const char *whom)
{
	return ptrace(PTRACE_ATTACH, atoi(whom), NULL, NULL);
}

static long act_peek(const char *whom)
{
	char to;
	struct iovec here = { &to, 1 }, there = { (void *)(uintptr_t)begin, 1 };

	return syscall(SYS_process_vm_readv, atoi(whom), &here, 1, &there, 1, 0);
}

static long act_pidfd(const char *whom)
{
	return syscall(SYS_pidfd_open, atoi(whom), 0);
}

/* To outlive its supervisor. */
static long act_orphan(const char *what)
{
	(void)what;
	return syscall(SYS_prctl, 1 /* PR_SET_PDEATHSIG */, 0, 0, 0, 0);
}

/* What an engine never says. */
static long act_say(const char *what)
{
	struct supervise_msg m = { .type = SUPERVISE_PONG };
	size_t len = sizeof m;

	if (strcmp(what, "half") == 0)
		len /= 2;
	else if (strcmp(what, "more") == 0)
		m.zero = 1;
	else if (strcmp(what, "stop") == 0)
		m.type = SUPERVISE_STOP;
	else if (strcmp(what, "type") == 0)
		m.type = UINT32_MAX;
	else if (strcmp(what, "empty") == 0)
		m.type = SUPERVISE_KEEP, m.cid = 3;	/* and no descriptor */
	else if (strcmp(what, "stranger") == 0)
		m.type = SUPERVISE_CONNECT, m.cid = 99;	/* a VM that there is not */
	else if (strcmp(what, "left-out") == 0)
		m.type = SUPERVISE_LEFT_OUT, m.cid = 4;	/* which it serves */
	return send(channel, &m, len, MSG_NOSIGNAL) == (ssize_t)len ? 0 : -1;
}

/* More and more to keep: @what is how many. */
static long act_keep(const char *what)
{
	union {
		char bytes[CMSG_SPACE(sizeof(int))];
		struct cmsghdr align;
	} control = { .align = {
		.cmsg_level = SOL_SOCKET, .cmsg_type = SCM_RIGHTS, .cmsg_len = CMSG_LEN(sizeof(int)),
	} };
	struct supervise_msg m = { .type = SUPERVISE_KEEP, .cid = 3 };
	struct iovec iov = { &m, sizeof m };
	struct msghdr hdr = {
		.msg_iov = &iov, .msg_iovlen = 1,
		.msg_control = &control, .msg_controllen = sizeof control,
	};

	memcpy(CMSG_DATA(&control.align), &(int){ STDERR_FILENO }, sizeof(int));
	for (m.u.kept.slot = 0; m.u.kept.slot < (uint32_t)atoi(what); m.u.kept.slot++)
		if (sendmsg(channel, &hdr, MSG_NOSIGNAL) < 0)
			return -1;
	return 0;
}

/* Wants so many connects at once as it likes. */
static long act_ask(const char *what)
{
	struct supervise_msg m = { .type = SUPERVISE_CONNECT, .cid = 3, .u.connect.port = 1 };

	for (int i = 0; i < atoi(what); i++)
		if (send(channel, &m, sizeof m, MSG_NOSIGNAL | MSG_DONTWAIT) < 0 && errno != EAGAIN)
			return -1;
	return 0;
}

/* "add FOLDER": a VM with its sockets there; "end"; "flood N": so many orders at once. As a
 * client of the control API could. */
static long act_order(const char *what)
{
	struct { struct supervise_msg m; char row[256]; } o = {
		.m = { .type = SUPERVISE_DELETE, .cid = 99, .u.order.id = 7 },
	};
	int n = strncmp(what, "flood ", 6) == 0 ? atoi(what + 6) : 1;
	size_t len = 0;

	if (strcmp(what, "end") == 0)
		o.m.type = SUPERVISE_SHUTDOWN, o.m.cid = 0;
	if (strncmp(what, "add ", 4) == 0) {
		o.m.type = SUPERVISE_ADD;
		len = (size_t)snprintf(o.row, sizeof o.row, "socket%c%s/new%cuds-path%c%s/uds", 0,
				       what + 4, 0, 0, what + 4) + 1;
		o.m.u.order.n = (uint16_t)len;
	}
	for (int i = 0; i < n; i++)
		if (send(channel, &o, sizeof o.m + len, MSG_NOSIGNAL | MSG_DONTWAIT) < 0 &&
		    errno != EAGAIN)
			return -1;
	return 0;
}

static long act_mmap(const char *prot)
{
	int how = PROT_READ | (strcmp(prot, "exec") == 0 ? PROT_EXEC : PROT_WRITE);

	return mmap(NULL, 4096, how, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0) == MAP_FAILED ? -1 : 0;
}

static long act_mprotect(const char *prot)
{
	int how = PROT_READ | (strcmp(prot, "exec") == 0 ? PROT_EXEC : 0);
	void *page = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	return mprotect(page, 4096, how);
}

static long act_mount(const char *path)
{
	return mount("none", path, "tmpfs", 0, NULL);
}

static long act_unshare(const char *what)
{
	(void)what;
	return unshare(CLONE_NEWUSER);
}

static long act_chroot(const char *path)
{
	return chroot(path);
}

static long act_setuid(const char *what)
{
	(void)what;
	return syscall(SYS_setuid, 0);
}

static long act_dumpable(const char *what)
{
	(void)what;
	return syscall(SYS_prctl, 4 /* PR_SET_DUMPABLE */, 1, 0, 0, 0);
}

static long act_prctl(const char *what)
{
	(void)what;
	return syscall(SYS_prctl, 15 /* PR_SET_NAME */, "worker", 0, 0, 0);
}

static long act_fcntl(const char *what)
{
	struct flock lock = { .l_type = F_RDLCK };

	if (strcmp(what, "dup") == 0)
		return syscall(SYS_fcntl, 2, F_DUPFD, 0);
	if (strcmp(what, "setfd") == 0)
		return syscall(SYS_fcntl, 2, F_SETFD, 0);
	if (strcmp(what, "lock") == 0)
		return syscall(SYS_fcntl, 2, F_GETLK, &lock);
	return syscall(SYS_fcntl, 2, strcmp(what, "getfl") == 0 ? F_GETFL : F_GETFD);
}

static long act_ioctl(const char *what)
{
	(void)what;
	return syscall(SYS_ioctl, 2, 0x5401 /* TCGETS */, NULL);
}

static void *do_nothing(void *arg)
{
	return arg;
}

static long act_thread(const char *what)
{
	pthread_t thread;

	(void)what;
	errno = pthread_create(&thread, NULL, do_nothing, NULL);
	if (errno)
		return -1;
	pthread_join(thread, NULL);
	return 0;
}

static const struct {
	const char *name;
	long (*act)(const char *what);
} acts[] = {
	{ "open", act_open }, { "create", act_create }, { "execve", act_execve },
	{ "fork", act_fork }, { "clone3", act_clone3 }, { "socket", act_socket },
	{ "connect", act_connect }, { "bind", act_bind }, { "unlink", act_unlink },
	{ "rename", act_rename }, { "chmod", act_chmod }, { "kill", act_kill },
	{ "ptrace", act_ptrace }, { "mmap", act_mmap }, { "mprotect", act_mprotect },
	{ "mount", act_mount }, { "unshare", act_unshare }, { "chroot", act_chroot },
	{ "setuid", act_setuid }, { "dumpable", act_dumpable }, { "thread", act_thread },
	{ "prctl", act_prctl }, { "fcntl", act_fcntl }, { "ioctl", act_ioctl },
	{ "hang", act_hang }, { "peek", act_peek }, { "pidfd", act_pidfd },
	{ "orphan", act_orphan }, { "say", act_say }, { "keep", act_keep }, { "ask", act_ask },
	{ "order", act_order },
};

static int obey(char *order)
{
	char *what = strchr(order, ' ');

	if (what)
		*what++ = '\0';
	for (size_t i = 0; i < sizeof acts / sizeof *acts; i++)
		if (strcmp(acts[i].name, order) == 0)
			return acts[i].act(what ? what : "") < 0 ? errno : 0;
	return ENOTSUP;				/* no such act: no test expects that */
}

/* Does the @n bytes at @bytes begin with an order? Then the rest of it, of which more may
 * wait unread, is obeyed and answered. */
static bool is_order(int fd, const void *bytes, ssize_t n, bool is_peek)
{
	static const char word[] = INTRUDER_ORDER;
	char order[256] = "", answer[16];
	size_t had = is_peek ? 0 : (size_t)n;
	int len;

	if (n < (ssize_t)sizeof word || memcmp(bytes, word, sizeof word - 1))
		return false;
	memcpy(order, bytes, had);		/* the rest was written together with it */
	recvfrom(fd, order + had, sizeof order - 1 - had, MSG_DONTWAIT, NULL, NULL);
	order[strcspn(order, "\n")] = '\0';
	len = snprintf(answer, sizeof answer, "%d\n", obey(order + sizeof word - 1));
	send(fd, answer, (size_t)len, MSG_NOSIGNAL);
	errno = ECONNRESET;			/* and that is all for the daemon */
	return true;
}

/* This one a signal gets out: the kernel lets a fatal one. A name that is not there is none of
 * that file system's. */
int unlink(const char *path)
{
	struct stat st;

	while (getenv(INTRUDER_UNLINK) && lstat(path, &st) == 0)
		syscall(SYS_nanosleep, &(struct timespec){ .tv_sec = 1000 }, NULL);
	return unlinkat(AT_FDCWD, path, 0);
}

ssize_t write(int fd, const void *bytes, size_t n)
{
	static const char said[] = "something hangs";
	const struct iovec v = { (void *)(uintptr_t)bytes, n };
	const char *ms = getenv(INTRUDER_LOG_MS);

	if (ms && memmem(bytes, n, said, sizeof said - 1))
		poll(NULL, 0, atoi(ms));
	return writev(fd, &v, 1);
}

ssize_t recv(int fd, void *bytes, size_t size, int flags)
{
	ssize_t n = recvfrom(fd, bytes, size, flags, NULL, NULL);

	return is_order(fd, bytes, n, flags & MSG_PEEK) ? -1 : n;
}

ssize_t recvmsg(int fd, struct msghdr *mh, int flags)
{
	ssize_t n = syscall(SYS_recvmsg, fd, mh, flags);

	return n > 0 && is_order(fd, mh->msg_iov->iov_base, n, flags & MSG_PEEK) ? -1 : n;
}
