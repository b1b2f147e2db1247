/* SPDX-License-Identifier: BSD-3-Clause
 *
 * The verbs that open, close and watch connections, and the table of all verbs.
 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/un.h>
#include <unistd.h>

#include <linux/vm_sockets.h>

#include "agent.h"

/* vsock:CID:PORT, vsock:PORT, unix:PATH, hybrid:PORT:PATH */
union address {
	struct sockaddr sa;
	struct sockaddr_vm vm;
	struct sockaddr_un un;
};

static int parse_address(const char *text, union address *a, socklen_t *len,
			 unsigned *hybrid_port)
{
	unsigned cid = VMADDR_CID_ANY, port;
	char *end;

	memset(a, 0, sizeof *a);
	*hybrid_port = 0;
	if (strncmp(text, "vsock:", 6) == 0) {
		if (sscanf(text, "vsock:%u:%u", &cid, &port) != 2) {
			cid = VMADDR_CID_ANY;
			port = (unsigned)strtoul(text + 6, NULL, 0);
		}
		a->vm.svm_family = AF_VSOCK;
		a->vm.svm_cid = cid;
		a->vm.svm_port = port;
		*len = sizeof a->vm;
		return 0;
	}
	if (strncmp(text, "hybrid:", 7) == 0) {
		*hybrid_port = (unsigned)strtoul(text + 7, &end, 0);
		text = end + (*end == ':');
	} else if (strncmp(text, "unix:", 5) == 0) {
		text += 5;
	} else {
		errno = EINVAL;
		return -1;
	}
	a->un.sun_family = AF_UNIX;
	if (strlen(text) >= sizeof a->un.sun_path) {
		errno = ENAMETOOLONG;
		return -1;
	}
	strcpy(a->un.sun_path, text);
	*len = sizeof a->un;
	return 0;
}

/* CONNECT and its answer, byte by byte: what follows belongs to the stream. */
static int hybrid_handshake(struct conn *c, unsigned port)
{
	char line[64];
	size_t n = 0;
	ssize_t r;

	dprintf(c->fd, "CONNECT %u\n", port);
	while (n < sizeof line - 1) {
		r = recv(c->fd, line + n, 1, 0);
		if (r == 0)
			return fail(c, "REFUSED", "after=%zu", n);
		if (r < 0)
			return -1;
		if (line[n++] == '\n')
			break;
	}
	line[n] = 0;
	if (strncmp(line, "OK ", 3) != 0)
		return fail(c, "NOT_OK", "got=%s", line);
	return 0;
}

static int open_socket(struct conn *c, int family)
{
	if (c->fd < 0)
		c->fd = socket(family, SOCK_STREAM | SOCK_CLOEXEC, 0);
	return c->fd < 0 ? -1 : 0;
}

static int do_connect(struct conn *c, struct step *s)
{
	union address a;
	socklen_t len;
	unsigned port;
	uint64_t start = now_us();
	int r;

	if (parse_address(s->word[1], &a, &len, &port) < 0 ||
	    open_socket(c, a.sa.sa_family) < 0)
		return -1;
	r = connect(c->fd, &a.sa, len);
	if (r == 0 && port != 0)
		r = hybrid_handshake(c, port);
	c->connect_us = now_us() - start;
	return r;
}

static int do_bind(struct conn *c, struct step *s)
{
	union address a;
	socklen_t len;
	unsigned port;

	if (parse_address(s->word[1], &a, &len, &port) < 0 ||
	    open_socket(c, a.sa.sa_family) < 0)
		return -1;
	return bind(c->fd, &a.sa, len);
}

/* Done once, before the threads start. */
int open_listener(struct script *script, struct step *s)
{
	union address a;
	socklen_t len;
	unsigned port;

	if (s->n_words < 2 || parse_address(s->word[1], &a, &len, &port) < 0)
		return -1;
	script->listener = socket(a.sa.sa_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (script->listener < 0)
		return -1;
	if (a.sa.sa_family == AF_UNIX)
		unlink(a.un.sun_path);
	if (bind(script->listener, &a.sa, len) < 0 ||
	    listen(script->listener, 1024) < 0)
		return -1;
	answer("%s event listening", script->id);
	return 0;
}

static int listen_was_done(struct conn *c, struct step *s)
{
	(void)s;
	return c->script->listener < 0 ? fail(c, "LISTEN_MUST_BE_FIRST", "-") : 0;
}

static int do_accept(struct conn *c, struct step *s)
{
	(void)s;
	c->fd = accept4(c->script->listener, NULL, NULL, SOCK_CLOEXEC);
	return c->fd < 0 ? -1 : 0;
}

static int do_shut(struct conn *c, struct step *s)
{
	return shutdown(c->fd, strcmp(s->word[1], "rd") == 0 ? SHUT_RD :
			       strcmp(s->word[1], "wr") == 0 ? SHUT_WR : SHUT_RDWR);
}

static int do_close(struct conn *c, struct step *s)
{
	int fd = c->fd;

	(void)s;
	c->fd = -1;
	return close(fd);
}

/* Waits until the other side is gone altogether, with no reading. */
static int do_hangup(struct conn *c, struct step *s)
{
	struct pollfd p = { .fd = c->fd };

	(void)s;
	while (poll(&p, 1, -1) >= 0)
		if (p.revents & (POLLHUP | POLLERR))
			return 0;
	return -1;
}

static int do_opt(struct conn *c, struct step *s)
{
	unsigned long long v = strtoull(s->word[2], NULL, 0);
	struct timeval tv = { .tv_sec = (time_t)(v / 1000),
			      .tv_usec = (suseconds_t)(v % 1000 * 1000) };
	bool vsock = strncmp(s->word[1], "vsock-", 6) == 0;
	int i = (int)v;

	if (open_socket(c, vsock ? AF_VSOCK : AF_UNIX) < 0)
		return -1;
	if (strcmp(s->word[1], "vsock-buffer") == 0)
		return setsockopt(c->fd, AF_VSOCK, SO_VM_SOCKETS_BUFFER_MAX_SIZE, &v, sizeof v) ||
		       setsockopt(c->fd, AF_VSOCK, SO_VM_SOCKETS_BUFFER_MIN_SIZE, &v, sizeof v) ||
		       setsockopt(c->fd, AF_VSOCK, SO_VM_SOCKETS_BUFFER_SIZE, &v, sizeof v) ? -1 : 0;
	if (strcmp(s->word[1], "vsock-connect-timeout-ms") == 0)
		return setsockopt(c->fd, AF_VSOCK, SO_VM_SOCKETS_CONNECT_TIMEOUT,
				  &tv, sizeof tv);
	if (strcmp(s->word[1], "rcvbuf") == 0)
		return setsockopt(c->fd, SOL_SOCKET, SO_RCVBUF, &i, sizeof i);
	if (strcmp(s->word[1], "sndbuf") == 0)
		return setsockopt(c->fd, SOL_SOCKET, SO_SNDBUF, &i, sizeof i);
	if (strcmp(s->word[1], "vsock-rcvlowat") == 0)
		return setsockopt(c->fd, SOL_SOCKET, SO_RCVLOWAT, &i, sizeof i);
	errno = EINVAL;
	return -1;
}

static int do_event(struct conn *c, struct step *s)
{
	answer("%s event %s thread=%d sent=%llu received=%llu", c->script->id,
	       s->word[1], c->index, (unsigned long long)c->sent,
	       (unsigned long long)c->received);
	return 0;
}

static int do_wait(struct conn *c, struct step *s)
{
	(void)s;
	wait_for_go(c);
	return 0;
}

static int do_barrier(struct conn *c, struct step *s)
{
	(void)s;
	pthread_barrier_wait(&c->script->barrier);
	return 0;
}

static int do_say(struct conn *c, struct step *s)
{
	size_t n = strlen(s->rest);

	s->rest[n] = '\n';	/* the separator's place, put back below */
	if (send(c->fd, s->rest, n + 1, MSG_NOSIGNAL) < 0)
		return -1;
	s->rest[n] = 0;
	return 0;
}

static int do_hear(struct conn *c, struct step *s)
{
	char line[200];
	size_t n = 0;
	ssize_t r;

	(void)s;
	while (n < sizeof line - 1 && (r = recv(c->fd, line + n, 1, 0)) > 0)
		if (line[n++] == '\n')
			break;
	if (n == 0)
		return fail(c, "NOTHING_HEARD", "-");
	line[n - (line[n - 1] == '\n')] = 0;
	answer("%s event heard %s", c->script->id, line);
	return 0;
}

/* Not of a connection: tells the kernel something, by a file of /sys or /proc. */
static int do_write(struct conn *c, struct step *s)
{
	size_t n = strlen(s->word[2]);
	int fd = open(s->word[1], O_WRONLY | O_CLOEXEC);
	ssize_t r;

	(void)c;
	if (fd < 0)
		return -1;
	r = write(fd, s->word[2], n);
	close(fd);
	return r == (ssize_t)n ? 0 : -1;
}

static const struct verb verbs[] = {
	{ "connect", 2, do_connect },	/* ADDRESS */
	{ "bind", 2, do_bind },		/* ADDRESS */
	{ "listen", 2, listen_was_done }, /* ADDRESS; only as the first step */
	{ "accept", 1, do_accept },
	{ "seed", 2, do_seed },		/* OUT [IN]; a thread adds its index */
	{ "chunk", 2, do_chunk },	/* BYTES for each send and recv */
	{ "pace", 2, do_pace },		/* MS between two recv: a slow reader */
	{ "send", 2, do_send },		/* BYTES */
	{ "recv", 2, do_recv },		/* BYTES, exactly */
	{ "peek", 2, do_peek },		/* BYTES */
	{ "drain", 1, do_drain },	/* to the end of the stream */
	{ "until-end", 1, do_until_end }, /* the same, or to a reset */
	{ "duplex", 3, do_duplex },	/* BYTES-OUT BYTES-IN */
	{ "echo", 1, do_echo },		/* until the end of the stream */
	{ "eof", 1, do_eof },
	{ "hangup", 1, do_hangup },
	{ "shut", 2, do_shut },		/* rd, wr or both */
	{ "close", 1, do_close },
	{ "opt", 3, do_opt },		/* NAME VALUE */
	{ "event", 2, do_event },	/* NAME */
	{ "wait", 1, do_wait },		/* for `go` */
	{ "barrier", 1, do_barrier },	/* for all threads */
	{ "say", 2, do_say },		/* TEXT */
	{ "hear", 1, do_hear },		/* a line */
	{ "write", 3, do_write },	/* FILE WORD */
};

const struct verb *find_verb(const char *name)
{
	for (size_t i = 0; i < sizeof verbs / sizeof *verbs; i++)
		if (strcmp(verbs[i].name, name) == 0)
			return &verbs[i];
	return NULL;
}
