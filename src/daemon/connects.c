/* SPDX-License-Identifier: BSD-3-Clause */
/* Connects for the engine. */
#include "daemon/connects.h"

#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "config/plan.h"
#include "daemon/channel.h"
#include "util/error.h"
#include "util/fd.h"
#include "util/unix_socket.h"

enum {
	LIFE_S = 1,				/* of a child */
	BURST = 1000, PER_SECOND = 200,		/* connects of one VM */
};

/* A bucket of BURST, filled by PER_SECOND. */
static bool may_connect(struct held_vm *h, uint64_t now_ms)
{
	uint64_t more = (now_ms - h->connects_ms) * PER_SECOND / 1000;

	if (more) {
		h->n_connects = more > BURST - h->n_connects ? BURST : h->n_connects + (uint32_t)more;
		h->connects_ms = now_ms;
	}
	if (!h->n_connects)
		return false;
	h->n_connects--;
	return true;
}

/* Who hears nothing runs into a timer. */
static int say(int channel, uint64_t cid, uint32_t id, int result, const int *fd)
{
	const struct supervise_msg m = {
		.type = SUPERVISE_CONNECTED, .cid = cid,
		.u.connected = { .id = id, .result = result },
	};
	int r;

	r = channel_send(channel, &m, fd, result == 0, false);
	return r == -EAGAIN ? 0 : r;		/* it has asked faster than it reads */
}

/* In the child: nothing but system calls. Of the parent's descriptors, whose peers wait for
 * them to be closed, it keeps one. */
static void run(int channel, uint64_t cid, uint32_t id, const char *path, pid_t parent)
{
	sigset_t none;
	int fd, r;

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	signal(SIGALRM, SIG_DFL);
	sigemptyset(&none);
	sigprocmask(SIG_SETMASK, &none, NULL);
	alarm(LIFE_S);
	if (getppid() != parent)
		_exit(1);
	if (channel > 3)
		syscall(SYS_close_range, 3, channel - 1, 0);
	syscall(SYS_close_range, channel + 1, ~0U, 0);
	r = unix_socket(&fd);
	if (!r) {
		unix_refuse_rights(fd);
		r = unix_connect(fd, path);
	}
	_exit(say(channel, cid, id, r, &fd) != 0);
}

static int start(pid_t *child, const struct held_vm *h, int channel, uint32_t port, uint32_t id)
{
	char path[UNIX_PATH_BYTES];
	pid_t parent = getpid();
	int len = snprintf(path, sizeof path, "%s_%" PRIu32, h->plan.uds_path, port);

	if (len >= (int)sizeof path)
		return UNIX_E_NAME_LENGTH;
	*child = fork();
	if (*child == 0)
		run(channel, h->plan.guest_cid, id, path, parent);
	return *child < 0 ? -EAGAIN : 0;
}

int connects_begin(struct connects *c, struct held_vm *h, int channel, uint32_t port,
		   uint32_t id, uint64_t now_ms)
{
	int r = -EAGAIN;

	for (size_t i = 0; i < CONNECTS_MAX && r == -EAGAIN; i++) {
		if (c->children[i])
			continue;
		if (!may_connect(h, now_ms))
			break;
		r = h->plan.uds_path ? start(&c->children[i], h, channel, port, id) :
			UNIX_E_NO_NAME;
		if (!r)
			return 0;
		c->children[i] = 0;
		break;
	}
	return say(channel, h->plan.guest_cid, id, r, NULL);
}

bool connects_ended(struct connects *c, pid_t child)
{
	for (size_t i = 0; i < CONNECTS_MAX; i++) {
		if (c->children[i] == child) {
			c->children[i] = 0;
			return true;
		}
	}
	return false;
}
