/* SPDX-License-Identifier: BSD-3-Clause */
/* Standard input and output joined to a connection. */
#include "vsockctl/relay.h"

#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include "util/error.h"
#include "util/fd.h"
#include "util/unix_socket.h"
#include "vsockctl/text.h"

enum {
	CHUNK = 64 << 10,			/* of a stream, and the longest message we send */
	MESSAGE_MAX = 64 << 20,			/* the longest that we take */
};

/* @events of @fd, whatever signals come. -1 and errno. */
static int wait_for(int fd, short events)
{
	struct pollfd p = { .fd = fd, .events = events };
	int n;

	do
		n = poll(&p, 1, -1);
	while (n < 0 && errno == EINTR);
	return n;
}

/* ---- to the guest ---- */

enum end { END_WELL, END_OF_INPUT, END_OF_CONNECTION, END_TOO_EARLY };

struct sender {
	const struct relay *r;
	enum end end;				/* ... by an error; the peer took not all */
	int error;				/* -errno */
};

static ssize_t read_retrying(int fd, void *to, size_t size)
{
	ssize_t n;

	for (;;) {
		n = read(fd, to, size);
		if (n >= 0 || (errno != EINTR && errno != EAGAIN))
			return n;
		if (errno == EAGAIN && wait_for(fd, POLLIN) < 0)
			return -1;
	}
}

/* Until there is input, or the peer has closed. 1: input; 0: closed; -1: errno. */
static int wait_for_input(const struct relay *r)
{
	struct pollfd p[] = { { .fd = r->in, .events = POLLIN }, { .fd = r->sock } };

	for (;;) {
		if (poll(p, 2, -1) < 0) {
			if (errno == EINTR)
				continue;
			return -1;
		}
		if (p[1].revents)
			return 0;
		if (p[0].revents)
			return 1;
	}
}

/* 0, or -1 and errno. */
static int send_all(int sock, const char *bytes, size_t len)
{
	ssize_t n;

	for (size_t done = 0; done < len; done += (size_t)n) {
		n = send(sock, bytes + done, len - done, MSG_NOSIGNAL);
		if (n >= 0)
			continue;
		if (errno != EINTR)
			return -1;
		n = 0;
	}
	return 0;
}

static enum end fail(struct sender *s, enum end end)
{
	s->error = error_last();
	return end;
}

/* The peer has closed: was there something for it? */
static enum end end_of_peer(const struct relay *r)
{
	struct pollfd p = { .fd = r->in, .events = POLLIN };
	char byte;

	if (poll(&p, 1, 0) > 0 && read(r->in, &byte, 1) > 0)
		return END_TOO_EARLY;
	return END_WELL;
}

static enum end send_input(struct sender *s)
{
	static char bytes[CHUNK];
	ssize_t n;
	int r;

	for (;;) {
		r = wait_for_input(s->r);
		if (r == 0)
			return end_of_peer(s->r);
		n = r < 0 ? -1 : read_retrying(s->r->in, bytes, sizeof bytes);
		if (n < 0)
			return fail(s, END_OF_INPUT);
		if (n == 0)
			return END_WELL;
		if (send_all(s->r->sock, bytes, (size_t)n) < 0)
			return errno == EPIPE || errno == ECONNRESET ? END_TOO_EARLY :
				fail(s, END_OF_CONNECTION);
	}
}

static void *sender_main(void *arg)
{
	struct sender *s = arg;

	s->end = send_input(s);
	shutdown(s->r->sock, SHUT_WR);		/* also after a failure: the guest is not to wait */
	return NULL;
}

/* ---- from the guest ---- */

/* 0 or -errno. A writer whose reader has gone ends by SIGPIPE, as others do. */
static int write_all(int fd, const char *bytes, size_t len)
{
	ssize_t n;

	for (size_t done = 0; done < len; done += (size_t)n) {
		n = write(fd, bytes + done, len - done);
		if (n >= 0)
			continue;
		if (errno == EAGAIN && wait_for(fd, POLLOUT) < 0)
			return error_last();
		if (errno != EAGAIN && errno != EINTR)
			return error_last();
		n = 0;
	}
	return 0;
}

struct receiver {
	const struct relay *r;
	char *bytes;
	size_t size;
	bool writes_messages;			/* our output has them, too */
};

static int lost(int error)
{
	if (error == -ECONNRESET)		/* it closed, and has not read all */
		text_complain("the connection was reset");
	else
		text_complain("the connection: %s", error_str(error));
	return RELAY_E_LOST;
}

static int put_out(const struct receiver *rx, size_t len)
{
	int r = 0;

	if (len > 0)
		r = write_all(rx->r->out, rx->bytes, len);
	else if (rx->writes_messages && send(rx->r->out, "", 0, 0) < 0)
		r = error_last();
	if (r == 0)
		return 0;
	text_complain("standard output: %s", error_str(r));
	return RELAY_E_OUTPUT;
}

static int receive_stream(const struct receiver *rx)
{
	ssize_t n;
	int r;

	for (;;) {
		n = recv(rx->r->sock, rx->bytes, rx->size, 0);
		if (n == 0)
			return 0;
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return lost(error_last());
		r = put_out(rx, (size_t)n);
		if (r)
			return r;
	}
}

/* Makes room for the next message, waiting for it. 0, or it has been said what is wrong. */
static int make_room(struct receiver *rx)
{
	ssize_t len;
	char *more;

	do
		len = recv(rx->r->sock, NULL, 0, MSG_PEEK | MSG_TRUNC);
	while (len < 0 && errno == EINTR);
	if (len < 0)
		return lost(error_last());
	if ((size_t)len <= rx->size)
		return 0;
	more = len <= MESSAGE_MAX ? realloc(rx->bytes, (size_t)len) : NULL;
	if (!more) {
		text_complain("a message of %zd bytes is too long", len);
		return RELAY_E_LOST;
	}
	rx->bytes = more;
	rx->size = (size_t)len;
	return 0;
}

static int receive_messages(struct receiver *rx)
{
	size_t got;
	int r;

	for (;;) {
		struct iovec iov;

		r = make_room(rx);
		if (r)
			return r;
		iov = (struct iovec){ rx->bytes, rx->size };
		r = unix_recv_message(rx->r->sock, &iov, 1, &got);
		if (r == UNIX_E_EOF)
			return 0;
		if (r == UNIX_E_AGAIN)
			continue;		/* for make_room() to wait */
		if (r)
			return lost(r == UNIX_E_RESET ? -ECONNRESET : r > 0 ? -EMSGSIZE : r);
		r = put_out(rx, got);
		if (r)
			return r;
	}
}

static bool has_messages(int fd)
{
	int type = 0;
	socklen_t len = sizeof type;

	return getsockopt(fd, SOL_SOCKET, SO_TYPE, &type, &len) == 0 && type == SOCK_SEQPACKET;
}

static int receive(const struct relay *r)
{
	struct receiver rx = { .r = r, .size = CHUNK, .bytes = malloc(CHUNK) };
	int status;

	if (!rx.bytes) {
		text_complain("no memory");
		return RELAY_E_LOST;
	}
	rx.writes_messages = r->is_seqpacket && has_messages(r->out);
	status = r->is_seqpacket ? receive_messages(&rx) : receive_stream(&rx);
	free(rx.bytes);
	return status;
}

/* ---- both ---- */

/* Who reads our output is told that no more comes. Its number stays taken. */
static void end_output(int out)
{
	int null = open("/dev/null", O_WRONLY | O_CLOEXEC);

	shutdown(out, SHUT_WR);			/* of a socket that is our input, too */
	if (null < 0 || dup2(null, out) < 0)
		close(out);
	fd_close(&null);
}

static int not_sent(const struct sender *s)
{
	if (s->end == END_TOO_EARLY)
		text_complain("the other side has closed before it took all of the input");
	else
		text_complain("%s: %s", s->end == END_OF_INPUT ? "standard input" : "the connection",
			      error_str(s->error));
	return RELAY_E_LOST;
}

int relay_run(const struct relay *r)
{
	struct sender s = { .r = r };
	pthread_t thread;
	int status, error;

	if (r->is_seqpacket) {
		error = unix_tell_empty(r->sock);
		if (error)
			return lost(error);
	}
	if (r->in >= 0 && (error = pthread_create(&thread, NULL, sender_main, &s)) != 0) {
		text_complain("no thread: %s", error_str(-error));
		return RELAY_E_LOST;
	}
	status = receive(r);
	if (status)
		return status;
	if (!r->keeps_out)
		end_output(r->out);
	if (r->in < 0)
		return 0;
	pthread_join(thread, NULL);
	return s.end == END_WELL ? 0 : not_sent(&s);
}
