/* SPDX-License-Identifier: BSD-3-Clause */
/* Connects for the engine. */
#include "daemon/connects.h"

#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <sys/prctl.h>
#include <sys/socket.h>
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

/* Who hears nothing runs into a timer. One that has ended may have said more before, and is heard
 * to its end. */
static int say(int channel, uint64_t cid, uint32_t id, int result, const int *fd)
{
	const struct supervise_msg m = {
		.type = SUPERVISE_CONNECTED, .cid = cid,
		.u.connected = { .id = id, .result = result },
	};
	int r;

	r = channel_send(channel, &m, fd, result == 0, false);
	return r == -EAGAIN || r == CHANNEL_E_END ? 0 : r;	/* it asks faster than it reads */
}

struct attempt {				/* what a child is to do */
	uint64_t cid;
	uint32_t id;
	int channel, type;			/* type: SOCK_* */
	bool refuses_rights;			/* a front-end has to pass descriptors */
	char path[UNIX_PATH_BYTES];		/* "": there is none */
	bool is_too_long;
	struct folders within;
};

/* As unix_connect(). A link is followed as far as the folders go. */
static int connect_to(const struct attempt *a, int fd)
{
	char path[FOLDERS_PATH_BYTES];
	int file = -1, r;

	if (!a->within.paths)
		return unix_connect(fd, a->path);
	r = folders_open_file(&a->within, a->path, &file);
	if (r)
		return r == FOLDERS_E_OUTSIDE ? UNIX_E_DENIED : unix_open_error(r);
	folders_spell(path, file, NULL);
	return unix_connect(fd, path);
}

/* In the child: nothing but system calls. Of the parent's descriptors, whose peers wait for
 * them to be closed, it keeps one. */
static void run(const struct attempt *a, pid_t parent)
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
	if (a->channel > 3)
		syscall(SYS_close_range, 3, a->channel - 1, 0);
	syscall(SYS_close_range, a->channel + 1, ~0U, 0);
	r = unix_socket(&fd, a->type);
	if (!r) {
		if (a->refuses_rights)
			unix_refuse_rights(fd);
		r = connect_to(a, fd);
	}
	_exit(say(a->channel, a->cid, a->id, r, &fd) != 0);
}

static int start(pid_t *child, const struct attempt *a)
{
	pid_t parent = getpid();

	if (!*a->path)
		return UNIX_E_NO_NAME;
	if (a->is_too_long)
		return UNIX_E_NAME_LENGTH;
	*child = fork();
	if (*child == 0)
		run(a, parent);
	return *child < 0 ? -EAGAIN : 0;
}

static pid_t *find_place(struct connects *c)
{
	for (size_t i = 0; i < CONNECTS_MAX; i++)
		if (!c->children[i])
			return &c->children[i];
	return NULL;
}

static int begin(struct connects *c, struct held_vm *h, struct attempt *a, uint64_t now_ms)
{
	pid_t *place = find_place(c);
	int r;

	if (h->plan.is_by_api)
		a->within = c->within;
	r = place && may_connect(h, now_ms) ? start(place, a) : -EAGAIN;
	if (!r)
		return 0;
	if (place)
		*place = 0;
	return say(a->channel, a->cid, a->id, r, NULL);
}

int connects_begin(struct connects *c, struct held_vm *h, int channel, int type, uint32_t port,
		   uint32_t id, uint64_t now_ms)
{
	struct attempt a = {
		.cid = h->plan.guest_cid, .id = id, .channel = channel, .type = type,
		.refuses_rights = true,
	};

	if (h->plan.uds_path)
		a.is_too_long = snprintf(a.path, sizeof a.path, "%s_%" PRIu32, h->plan.uds_path,
					 port) >= (int)sizeof a.path;
	return begin(c, h, &a, now_ms);
}

int connects_call(struct connects *c, struct held_vm *h, int channel, uint64_t now_ms)
{
	struct attempt a = {
		.cid = h->plan.guest_cid, .channel = channel, .type = SOCK_STREAM,
	};

	if (h->plan.connect)
		a.is_too_long = snprintf(a.path, sizeof a.path, "%s", h->plan.connect) >=
			(int)sizeof a.path;
	return begin(c, h, &a, now_ms);
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
