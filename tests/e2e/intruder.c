/* SPDX-License-Identifier: BSD-3-Clause */
/* Loaded into the daemon, in the place of recv(): see intruder.h. */
#include "e2e/intruder.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/ptrace.h>
#include <sys/reboot.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <unistd.h>

#include <linux/vm_sockets.h>

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
	return kill(strcmp(whom, "self") == 0 ? getpid() : 1, 0);
}

static long act_ptrace(const char *what)
{
	(void)what;
	return ptrace(PTRACE_ATTACH, 1, NULL, NULL);
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

ssize_t recv(int fd, void *bytes, size_t size, int flags)
{
	static const char word[] = INTRUDER_ORDER;
	ssize_t n = recvfrom(fd, bytes, size, flags, NULL, NULL);
	char order[256] = "", answer[16];
	size_t had = flags & MSG_PEEK ? 0 : (size_t)n;
	int len;

	if (n < (ssize_t)sizeof word || memcmp(bytes, word, sizeof word - 1))
		return n;
	memcpy(order, bytes, had);		/* the rest was written together with it */
	recvfrom(fd, order + had, sizeof order - 1 - had, MSG_DONTWAIT, NULL, NULL);
	order[strcspn(order, "\n")] = '\0';
	len = snprintf(answer, sizeof answer, "%d\n", obey(order + sizeof word - 1));
	send(fd, answer, (size_t)len, MSG_NOSIGNAL);
	errno = ECONNRESET;			/* and that is all for the daemon */
	return -1;
}
