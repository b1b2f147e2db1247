// SPDX-License-Identifier: BSD-3-Clause
/*
 * Gives a host program AF_VSOCK sockets where there are none, by the unix sockets of the
 * daemon; to be preloaded. Written for the kernel's vsock_test, which has two roles:
 *
 *   connect to the guest  a socket connected to VSOCK_UNIX (or to VSOCK_UNIX_seqpacket), past
 *                         the CONNECT line and its answer
 *   listen on a port      a socket bound to VSOCK_UNIX_<port>
 *
 * VSOCK_UNIX is the --uds-path, VSOCK_UNIX_CID the guest's CID; no other CID is reached. What
 * such a socket cannot do (MSG_EOR, MSG_ZEROCOPY) fails or is lost as AF_UNIX has it. Addresses
 * and the options of AF_VSOCK are kept here; a size of a buffer is only remembered, since a
 * unix socket's own counts otherwise.
 *
 * System calls are made by syscall(): there is nothing to look up. One thread is assumed.
 */
#undef _GNU_SOURCE				/* it declares connect() and others by an extension */
#define _DEFAULT_SOURCE

#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <unistd.h>

#include <linux/vm_sockets.h>

#define FDS_MAX 1024
#define BUFFER_SIZE_DEFAULT (256 << 10)
#define BUFFER_SIZE_MIN 128

struct sock {
	bool is_ours, is_bound, is_connected;
	int type;
	struct sockaddr_vm local, peer;
	uint64_t size, size_min, size_max;
	char path[sizeof ((struct sockaddr_un *)0)->sun_path];	/* to unlink; or empty */
};

static struct sock socks[FDS_MAX];

static int fail(int error)
{
	errno = error;
	return -1;
}

static struct sock *sock_of(int fd)
{
	return fd >= 0 && fd < FDS_MAX && socks[fd].is_ours ? &socks[fd] : NULL;
}

/* NULL, and the descriptor is closed, if there are too many. */
static struct sock *sock_init(int fd, int type)
{
	if (fd >= FDS_MAX) {
		syscall(SYS_close, fd);
		errno = EMFILE;
		return NULL;
	}
	socks[fd] = (struct sock){
		.is_ours = true,
		.type = type,
		.local = { .svm_family = AF_VSOCK, .svm_cid = VMADDR_CID_ANY,
			   .svm_port = VMADDR_PORT_ANY },
		.size = BUFFER_SIZE_DEFAULT, .size_min = BUFFER_SIZE_MIN,
		.size_max = BUFFER_SIZE_DEFAULT,
	};
	return &socks[fd];
}

static void sock_deinit(struct sock *s)
{
	if (s->path[0])
		unlink(s->path);
	*s = (struct sock){ 0 };
}

/* A program that gives up closes nothing. */
__attribute__((destructor)) static void remove_names(void)
{
	for (int fd = 0; fd < FDS_MAX; fd++)
		if (socks[fd].is_ours)
			sock_deinit(&socks[fd]);
}

static unsigned guest_cid(void)
{
	const char *cid = getenv("VSOCK_UNIX_CID");

	return cid ? (unsigned)strtoul(cid, NULL, 10) : VMADDR_CID_ANY;
}

/* Our path with something behind it; false if it is too long, or there is none. */
static bool unix_addr(struct sockaddr_un *un, const char *suffix)
{
	const char *path = getenv("VSOCK_UNIX");
	int n;

	*un = (struct sockaddr_un){ .sun_family = AF_UNIX };
	n = snprintf(un->sun_path, sizeof un->sun_path, "%s%s", path ? path : "", suffix);
	return path && n < (int)sizeof un->sun_path;
}

int socket(int domain, int type, int protocol)
{
	int fd;

	if (domain != AF_VSOCK)
		return (int)syscall(SYS_socket, domain, type, protocol);
	fd = (int)syscall(SYS_socket, AF_UNIX, type, 0);
	return fd < 0 || sock_init(fd, type & ~(SOCK_NONBLOCK | SOCK_CLOEXEC)) ? fd : -1;
}

int close(int fd)
{
	if (sock_of(fd))
		sock_deinit(&socks[fd]);
	return (int)syscall(SYS_close, fd);
}

/* ---- addresses ---- */

static int take_addr(struct sockaddr_vm *vm, const struct sockaddr *addr, socklen_t len)
{
	if (len < sizeof *vm)
		return fail(EINVAL);
	memcpy(vm, addr, sizeof *vm);
	return vm->svm_family == AF_VSOCK ? 0 : fail(EAFNOSUPPORT);
}

static int give_addr(const struct sockaddr_vm *vm, struct sockaddr *addr, socklen_t *len)
{
	if (addr) {
		memcpy(addr, vm, *len < sizeof *vm ? *len : sizeof *vm);
		*len = sizeof *vm;
	}
	return 0;
}

static int bind_port(int fd, struct sock *s, unsigned port)
{
	struct sockaddr_un un;
	char suffix[16];

	snprintf(suffix, sizeof suffix, "_%u", port);
	if (!unix_addr(&un, suffix))
		return fail(EADDRNOTAVAIL);
	if (syscall(SYS_bind, fd, &un, sizeof un) < 0)
		return -1;
	strcpy(s->path, un.sun_path);
	s->local.svm_port = port;
	return 0;
}

int bind(int fd, const struct sockaddr *addr, socklen_t len)
{
	static unsigned next_port = 1024;
	struct sock *s = sock_of(fd);
	struct sockaddr_vm vm;
	int r;

	if (!s)
		return (int)syscall(SYS_bind, fd, addr, len);
	if (take_addr(&vm, addr, len) < 0)
		return -1;
	if (s->is_bound)
		return fail(EINVAL);
	if (vm.svm_cid != VMADDR_CID_ANY && vm.svm_cid != VMADDR_CID_HOST)
		return fail(EADDRNOTAVAIL);
	do {
		r = bind_port(fd, s, vm.svm_port == VMADDR_PORT_ANY ? next_port++ : vm.svm_port);
	} while (r < 0 && errno == EADDRINUSE && vm.svm_port == VMADDR_PORT_ANY);
	if (r < 0)
		return -1;
	s->local.svm_cid = vm.svm_cid;
	s->is_bound = true;
	return 0;
}

int getsockname(int fd, struct sockaddr *addr, socklen_t *len)
{
	struct sock *s = sock_of(fd);

	return s ? give_addr(&s->local, addr, len) : (int)syscall(SYS_getsockname, fd, addr, len);
}

int getpeername(int fd, struct sockaddr *addr, socklen_t *len)
{
	struct sock *s = sock_of(fd);

	if (!s)
		return (int)syscall(SYS_getpeername, fd, addr, len);
	return s->is_connected ? give_addr(&s->peer, addr, len) : fail(ENOTCONN);
}

/* ---- connections ---- */

/* Streams: to the end of the line and no further. Messages: the whole of one. */
static ssize_t read_answer(int fd, int type, char *line, size_t size)
{
	ssize_t n, len = 0;

	do {
		n = recv(fd, line + len, type == SOCK_STREAM ? 1 : size, 0);
		if (n <= 0)
			return n;
		len += n;
	} while (line[len - 1] != '\n' && (size_t)len < size);
	return len;
}

/* A socket that the guest has accepted; -1 with errno as connect() has it. */
static int dial(int type, unsigned port)
{
	struct sockaddr_un un;
	char line[64];
	int n, error, fd;

	if (!unix_addr(&un, type == SOCK_SEQPACKET ? "_seqpacket" : ""))
		return fail(ENODEV);
	fd = (int)syscall(SYS_socket, AF_UNIX, type, 0);
	if (fd < 0)
		return -1;
	n = snprintf(line, sizeof line, "CONNECT %u\n", port);
	if (syscall(SYS_connect, fd, &un, sizeof un) == 0 &&
	    send(fd, line, n, MSG_NOSIGNAL) == n) {
		n = (int)read_answer(fd, type, line, sizeof line);
		if (n > 3 && memcmp(line, "OK ", 3) == 0)
			return fd;
		error = n < 0 && errno == EINTR ? EINTR : ECONNRESET;
	} else {
		error = errno == EPIPE ? ECONNRESET : errno;
	}
	syscall(SYS_close, fd);
	return fail(error);
}

/* One that was refused may try again, which a unix socket could not: so it is another one
 * that takes its place, and its O_NONBLOCK, once it stands. */
int connect(int fd, const struct sockaddr *addr, socklen_t len)
{
	struct sock *s = sock_of(fd);
	struct sockaddr_vm vm;
	int dialled;

	if (!s)
		return (int)syscall(SYS_connect, fd, addr, len);
	if (take_addr(&vm, addr, len) < 0)
		return -1;
	if (s->is_connected)
		return fail(EISCONN);
	if (vm.svm_cid != guest_cid())
		return fail(ENODEV);
	dialled = dial(s->type, vm.svm_port);
	if (dialled < 0)
		return -1;
	fcntl(dialled, F_SETFL, fcntl(fd, F_GETFL));
	dup2(dialled, fd);
	syscall(SYS_close, dialled);
	s->peer = vm;
	s->is_connected = true;
	return 0;
}

/* The daemon does not tell the guest's port. */
int accept(int fd, struct sockaddr *addr, socklen_t *len)
{
	struct sock *s = sock_of(fd), *accepted;
	int new;

	if (!s)
		return (int)syscall(SYS_accept, fd, addr, len);
	new = (int)syscall(SYS_accept, fd, NULL, NULL);
	if (new < 0)
		return -1;
	accepted = sock_init(new, s->type);
	if (!accepted)
		return -1;
	accepted->is_connected = true;
	accepted->local = s->local;
	accepted->peer = (struct sockaddr_vm){ .svm_family = AF_VSOCK, .svm_cid = guest_cid(),
					       .svm_port = VMADDR_PORT_ANY };
	give_addr(&accepted->peer, addr, len);
	return new;
}

/* ---- options ---- */

static uint64_t *buffer_option(struct sock *s, int name)
{
	switch (name) {
	case SO_VM_SOCKETS_BUFFER_SIZE: return &s->size;
	case SO_VM_SOCKETS_BUFFER_MIN_SIZE: return &s->size_min;
	case SO_VM_SOCKETS_BUFFER_MAX_SIZE: return &s->size_max;
	default: return NULL;
	}
}

int setsockopt(int fd, int level, int name, const void *value, socklen_t len)
{
	struct sock *s = sock_of(fd);
	uint64_t *option = s && level == AF_VSOCK ? buffer_option(s, name) : NULL;

	if (!s || level != AF_VSOCK)
		return (int)syscall(SYS_setsockopt, fd, level, name, value, len);
	if (!option)
		return fail(ENOPROTOOPT);
	if (len < sizeof *option)
		return fail(EINVAL);
	memcpy(option, value, sizeof *option);
	if (s->size < s->size_min)
		s->size = s->size_min;
	if (s->size > s->size_max)
		s->size = s->size_max;
	return 0;
}

int getsockopt(int fd, int level, int name, void *value, socklen_t *len)
{
	struct sock *s = sock_of(fd);
	const uint64_t *option = s && level == AF_VSOCK ? buffer_option(s, name) : NULL;

	if (!s || level != AF_VSOCK)
		return (int)syscall(SYS_getsockopt, fd, level, name, value, len);
	if (!option)
		return fail(ENOPROTOOPT);
	if (*len < sizeof *option)
		return fail(EINVAL);
	memcpy(value, option, sizeof *option);
	*len = sizeof *option;
	return 0;
}
