/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * vsockctl listen: takes a connection that the guest makes to a port of the host. The socket
 * is there until it has come; with --keep, until we are ended. Signals remove it, too.
 */
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <sys/socket.h>
#include <unistd.h>

#include "util/error.h"
#include "util/fd.h"
#include "util/listener.h"
#include "util/unix_socket.h"
#include "vsockctl/command.h"
#include "vsockctl/exit.h"
#include "vsockctl/relay.h"
#include "vsockctl/text.h"

enum { MODE_DEFAULT = 0600 };

static const int endings[] = { SIGINT, SIGTERM, SIGHUP };

/* Removes the name, and ends the process as if nobody had looked. */
static void *await_signal(void *arg)
{
	const sigset_t *set = arg;
	sigset_t one;
	int sig;

	if (sigwait(set, &sig) != 0)
		return NULL;
	listener_unlink_all();
	signal(sig, SIG_DFL);
	sigemptyset(&one);
	sigaddset(&one, sig);
	raise(sig);
	pthread_sigmask(SIG_UNBLOCK, &one, NULL);
	return NULL;
}

/* They wait until there is a name that they could remove. Who was started to ignore one of them
 * (nohup) goes on to. */
static void hold_signals(sigset_t *set)
{
	struct sigaction now;

	sigemptyset(set);
	for (size_t i = 0; i < sizeof endings / sizeof *endings; i++)
		if (sigaction(endings[i], NULL, &now) == 0 && now.sa_handler != SIG_IGN)
			sigaddset(set, endings[i]);
	pthread_sigmask(SIG_BLOCK, set, NULL);
}

/* @set is used for good. */
static int watch_signals(sigset_t *set)
{
	pthread_t thread;

	return -pthread_create(&thread, NULL, await_signal, set);
}

/* A connection, blocking. 0 or -errno. */
static int accept_one(struct listener *l, int *out)
{
	struct pollfd p = { .fd = l->fd, .events = POLLIN };
	int fd, r, flags;

	do {
		if (poll(&p, 1, -1) < 0 && errno != EINTR)
			return error_last();
		r = listener_accept(l, &fd);
	} while (r == LISTENER_E_NONE);
	if (r)
		return r;
	flags = fcntl(fd, F_GETFL);
	if (flags < 0 || fcntl(fd, F_SETFL, flags & ~O_NONBLOCK) < 0) {
		r = error_last();
		fd_close(&fd);
		return r;
	}
	*out = fd;
	return 0;
}

static int serve(struct listener *l, const struct args *a)
{
	struct relay relay = {
		.in = a->keep ? -1 : STDIN_FILENO, .out = STDOUT_FILENO,
		.is_seqpacket = a->seqpacket, .keeps_out = a->keep,
	};
	int r;

	do {
		r = accept_one(l, &relay.sock);
		if (r) {
			text_complain("accept: %s", error_str(r));
			return EXIT_FAILED;
		}
		if (!a->keep)
			listener_deinit(l);	/* the next one is refused, not kept waiting */
		r = relay_run(&relay);
		if (r && !a->keep)
			return EXIT_FAILED;	/* a thread may still read */
		fd_close(&relay.sock);
	} while (a->keep && r != RELAY_E_OUTPUT);
	return r ? EXIT_FAILED : EXIT_DONE;
}

int command_listen(const struct args *a)
{
	struct listener_access access = {
		.mode = a->mode == UINT32_MAX ? MODE_DEFAULT : (mode_t)a->mode,
		.uid = (uid_t)-1, .gid = (gid_t)-1,
	};
	static sigset_t signals;
	char path[UNIX_PATH_BYTES], why[LISTENER_TEXT_MAX];
	struct listener l;
	uint32_t port;
	int r;

	if (!command_port(a->operands[1], &port))
		return EXIT_USAGE;
	r = snprintf(path, sizeof path, "%s_%u", a->operands[0], port);
	if (r < 0 || (size_t)r >= sizeof path) {
		text_complain("%s_%u: no socket has such a long name", a->operands[0], port);
		return EXIT_USAGE;
	}
	hold_signals(&signals);
	listener_init(&l);
	r = listener_open(&l, path, a->seqpacket ? SOCK_SEQPACKET : SOCK_STREAM, &access);
	if (r) {
		listener_explain(path, &access.within, r, why);
		text_complain("%s: %s", path, why);
		return r == LISTENER_E_BUSY ? EXIT_REFUSED : EXIT_FAILED;
	}
	r = watch_signals(&signals);
	if (r < 0)
		text_complain("no thread: %s", error_str(r));
	r = r < 0 ? EXIT_FAILED : serve(&l, a);
	listener_deinit(&l);
	return r;
}
