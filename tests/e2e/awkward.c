/* SPDX-License-Identifier: BSD-3-Clause */
/* Descriptors that take their time: see awkward.h. */
#include "e2e/awkward.h"

#include <fcntl.h>
#include <netinet/in.h>
#include <sched.h>
#include <signal.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <unistd.h>
#include <linux/filter.h>
#include <linux/fuse.h>
#include <linux/seccomp.h>

#include "e2e/e2e.h"

#ifndef SO_PASSRIGHTS				/* Linux 6.16 */
#define SO_PASSRIGHTS	83
#endif

bool send_with_fd(int sock, const void *bytes, size_t len, int fd)
{
	union {
		struct cmsghdr align;
		char bytes[CMSG_SPACE(sizeof(int))];
	} control = { .bytes = { 0 } };
	union {
		const void *c;
		void *v;
	} from = { .c = bytes };
	struct iovec iov = { from.v, len };
	struct msghdr mh = {
		.msg_iov = &iov, .msg_iovlen = 1,
		.msg_control = control.bytes, .msg_controllen = sizeof control.bytes,
	};
	struct cmsghdr *c = CMSG_FIRSTHDR(&mh);

	c->cmsg_level = SOL_SOCKET;
	c->cmsg_type = SCM_RIGHTS;
	c->cmsg_len = CMSG_LEN(sizeof fd);
	memcpy(CMSG_DATA(c), &fd, sizeof fd);
	return sendmsg(sock, &mh, MSG_NOSIGNAL) == (ssize_t)len;
}

/* ---- a TCP socket that lingers ---- */

static void set(int fd, int option, const void *value, socklen_t size)
{
	must(setsockopt(fd, SOL_SOCKET, option, value, size) == 0);
}

struct lingering lingering_new(void)
{
	const struct linger linger = { .l_onoff = 1, .l_linger = LINGERING_S };
	struct sockaddr_in at = { .sin_family = AF_INET, .sin_addr = { htonl(INADDR_LOOPBACK) } };
	int listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), little = 4096;
	static const char bytes[4096];
	socklen_t len = sizeof at;
	struct lingering l;

	must(listener >= 0);
	set(listener, SO_RCVBUF, &little, sizeof little);
	must(bind(listener, (struct sockaddr *)&at, sizeof at) == 0 && listen(listener, 1) == 0);
	must(getsockname(listener, (struct sockaddr *)&at, &len) == 0);
	l.fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	must(l.fd >= 0);
	set(l.fd, SO_SNDBUF, &little, sizeof little);
	set(l.fd, SO_LINGER, &linger, sizeof linger);
	must(connect(l.fd, (struct sockaddr *)&at, sizeof at) == 0);
	l.peer = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
	must(l.peer >= 0);
	close(listener);
	while (send(l.fd, bytes, sizeof bytes, MSG_DONTWAIT) > 0)
		;
	return l;
}

/* ---- a file whose server is silent ---- */

enum { SERVER_S = 30 };				/* then it ends by itself */

static void reply(int dev, const struct fuse_in_header *in, const void *body, size_t len)
{
	union {
		const void *c;
		void *v;
	} from = { .c = body };
	struct fuse_out_header out = { .len = (uint32_t)(sizeof out + len), .unique = in->unique };
	struct iovec iov[2] = { { &out, sizeof out }, { from.v, len } };

	if (writev(dev, iov, 2) < 0)
		_exit(1);
}

static struct fuse_attr attr_of(uint64_t node)
{
	return (struct fuse_attr){
		.ino = node, .nlink = 1, .blksize = 4096,
		.mode = node == FUSE_ROOT_ID ? S_IFDIR | 0755 : S_IFREG | 0644,
	};
}

/* One file, whatever its name, as node 2, that is valid for ever. */
static void answer(int dev, const struct fuse_in_header *in)
{
	struct fuse_init_out init = { .major = FUSE_KERNEL_VERSION, .minor = 31, .max_write = 4096 };
	struct fuse_entry_out entry = { .nodeid = 2, .attr = attr_of(2) };
	struct fuse_attr_out attr = { .attr = attr_of(in->nodeid) };
	struct fuse_open_out open = { .fh = 1 };
	struct fuse_out_header none = { .len = sizeof none, .error = -ENOSYS, .unique = in->unique };

	switch (in->opcode) {
	case FUSE_INIT:
		reply(dev, in, &init, sizeof init);
		return;
	case FUSE_LOOKUP:
		reply(dev, in, &entry, sizeof entry);
		return;
	case FUSE_GETATTR:
		reply(dev, in, &attr, sizeof attr);
		return;
	case FUSE_OPEN:
		reply(dev, in, &open, sizeof open);
		return;
	case FUSE_FORGET:
		return;
	default:
		if (write(dev, &none, sizeof none) < 0)
			_exit(1);
	}
}

/* Until the file is open; what comes then stays unread. */
static void serve(int dev)
{
	static union {
		struct fuse_in_header in;
		char bytes[FUSE_MIN_READ_BUFFER + 4096];
	} request;

	do {
		if (read(dev, &request, sizeof request) <= 0)
			_exit(1);
		answer(dev, &request.in);
	} while (request.in.opcode != FUSE_OPEN);
	for (;;)
		pause();
}

static bool write_line(const char *path, const char *text)
{
	int fd = open(path, O_WRONLY | O_CLOEXEC);
	bool done = fd >= 0 && write(fd, text, strlen(text)) == (ssize_t)strlen(text);

	if (fd >= 0)
		close(fd);
	return done;
}

/* A place where this process may mount: NULL, or why there is none. */
static const char *enter_namespaces(void)
{
	unsigned uid = geteuid(), gid = getegid();
	char map[64];

	if (uid == 0 && unshare(CLONE_NEWNS) == 0)
		return mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) ? "no private mounts" : NULL;
	if (unshare(CLONE_NEWUSER | CLONE_NEWNS) < 0)
		return "no user namespaces";
	snprintf(map, sizeof map, "0 %u 1", uid);
	if (!write_line("/proc/self/setgroups", "deny") || !write_line("/proc/self/uid_map", map))
		return "no user map";
	snprintf(map, sizeof map, "0 %u 1", gid);
	return write_line("/proc/self/gid_map", map) ? NULL : "no group map";
}

/* Another process than the server, which must not wait for itself, nor in its end. */
static void open_and_send(int sock, const char *folder, pid_t server)
{
	char path[256];
	int fd;

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	snprintf(path, sizeof path, "%s/file", folder);
	fd = getppid() == server ? open(path, O_RDWR | O_CLOEXEC) : -1;
	if (fd < 0 || !send_with_fd(sock, "", 1, fd))
		send(sock, "the file cannot be opened", 25, 0);
	_exit(0);
}

/* The server: has the file sent, or sends why not. With its end, and there is one, the
 * kernel ends all that waits for an answer. */
static void run_server(int sock, const char *folder)
{
	const char *why = enter_namespaces();
	pid_t self = getpid(), opener;
	char options[128];
	int dev = -1;

	alarm(SERVER_S);
	if (!why && (dev = open("/dev/fuse", O_RDWR | O_CLOEXEC)) < 0)
		why = "no /dev/fuse";
	snprintf(options, sizeof options, "fd=%d,rootmode=40000,user_id=%u,group_id=%u", dev,
		 geteuid(), getegid());
	if (!why && mount("silent", folder, "fuse", MS_NOSUID | MS_NODEV, options) < 0)
		why = "no mount of FUSE";
	opener = why ? -1 : fork();
	if (opener == 0) {
		close(dev);
		open_and_send(sock, folder, self);
	}
	if (opener > 0)
		serve(dev);
	why = why ? why : "no process";
	send(sock, why, strlen(why), 0);
	_exit(1);
}

static int receive_fd(int sock, char *text, size_t size)
{
	union {
		struct cmsghdr align;
		char bytes[CMSG_SPACE(sizeof(int))];
	} control;
	struct iovec iov = { text, size - 1 };
	struct msghdr mh = {
		.msg_iov = &iov, .msg_iovlen = 1,
		.msg_control = control.bytes, .msg_controllen = sizeof control.bytes,
	};
	struct cmsghdr *c;
	ssize_t n;
	int fd = -1;

	must(deadline_poll(sock, POLLIN, deadline_in(DEADLINE_MS)));
	n = recvmsg(sock, &mh, MSG_CMSG_CLOEXEC);
	must(n > 0);
	text[n] = '\0';
	if ((c = CMSG_FIRSTHDR(&mh)))
		memcpy(&fd, CMSG_DATA(c), sizeof fd);
	return fd;
}

const char *silent_file_new(struct silent_file *f)
{
	static char why[128];
	char folder[128];
	int pair[2];

	snprintf(folder, sizeof folder, "%s/silent", vhd.dir);
	must(mkdir(folder, 0700) == 0 || errno == EEXIST);
	must(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) == 0);
	f->server = fork();
	must(f->server >= 0);
	if (f->server == 0)
		run_server(pair[1], folder);
	close(pair[1]);
	f->fd = receive_fd(pair[0], why, sizeof why);
	close(pair[0]);
	if (f->fd >= 0)
		return NULL;
	silent_file_end(f);
	return why;
}

void silent_file_end(struct silent_file *f)
{
	kill(f->server, SIGKILL);
	must(waitpid(f->server, NULL, 0) == f->server);
	if (f->fd >= 0)
		close(f->fd);
	f->fd = -1;
}

/* ---- an older kernel ---- */

void take_away_passrights(void)
{
	const uint32_t option = offsetof(struct seccomp_data, args[2]) +
		(__BYTE_ORDER__ == __ORDER_BIG_ENDIAN__ ? 4 : 0);
	struct sock_filter code[] = {
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_setsockopt, 0, 3),
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, option),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SO_PASSRIGHTS, 0, 1),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | ENOPROTOOPT),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
	};
	struct sock_fprog program = { sizeof code / sizeof *code, code };

	must(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0);
	must(prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program) == 0);
}
