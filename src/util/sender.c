/* SPDX-License-Identifier: BSD-3-Clause */
/* Sends messages that may block, in threads of its own. */
#include "util/sender.h"

#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdbool.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/time.h>

#include "util/clock.h"
#include "util/error.h"
#include "util/fd.h"
#include "util/iov.h"
#include "util/list.h"
#include "util/log_limit.h"

enum {
	STACK_BYTES = 256 * 1024,
	IDLE_MS = 100,				/* then a thread ends */
	SEND_S = 365 * 86400,			/* any limit will do, see sender.h */
};

/* All fields but the first under the lock. */
struct senders {
	const char *tag;
	pthread_mutex_t lock;
	struct mailbox *mailbox;
	pthread_cond_t queued, sent;
	struct list queue;			/* of sending::node */
	unsigned n_queued, n_threads, n_busy;
	bool is_over;				/* freed by its owner: the last thread does it */
};

struct sending {
	struct mail mail;
	struct senders *all;
	void (*done)(void *ctx);
	void *ctx;
	struct list node;			/* senders::queue */
	/* Under the lock. */
	enum { QUEUED, BUSY, SENT } state;
	bool is_cancelled;			/* nobody waits for it: the thread frees it */
	int result;				/* if SENT */
	int fd;					/* borrowed, or taken over if cancelled */
	/* The mailbox's thread's. */
	bool is_told, is_forgotten;		/* the mail has come; it is to be freed then */
	int flags;
	size_t len;
	char bytes[];
};

/* ---- threads ---- */

static int send_whole(int fd, const struct sending *s)
{
	ssize_t n = send(fd, s->bytes, s->len, s->flags | MSG_NOSIGNAL);

	if (n < 0)
		return error_last();
	return (size_t)n == s->len ? 0 : -EIO;
}

/* With the lock. */
static void finish(struct sending *s, int result)
{
	s->result = result;
	s->state = SENT;
	if (s->is_cancelled) {
		fd_close(&s->fd);
		free(s);
		return;
	}
	pthread_cond_broadcast(&s->all->sent);
	mailbox_post(s->all->mailbox, &s->mail);
}

/* Waits for a message. NULL: there was none for a while, or there will be none. */
static struct sending *take_first(struct senders *all)
{
	const struct timespec until = clock_timespec(clock_ms() + IDLE_MS);
	struct list *node;
	int r = 0;

	while (!all->n_queued && !all->is_over && !r)
		r = pthread_cond_clockwait(&all->queued, &all->lock, CLOCK_MONOTONIC, &until);
	node = list_take_first(&all->queue);
	if (!node)
		return NULL;
	all->n_queued--;
	return container_of(node, struct sending, node);
}

static void destroy(struct senders *all)
{
	pthread_cond_destroy(&all->queued);
	pthread_cond_destroy(&all->sent);
	pthread_mutex_destroy(&all->lock);
	free(all);
}

static void *run(void *arg)
{
	struct senders *all = arg;
	struct sending *s;
	bool is_last;

	pthread_setname_np(pthread_self(), "sender");
	pthread_mutex_lock(&all->lock);
	while ((s = take_first(all))) {
		int fd = s->fd, r;

		s->state = BUSY;
		all->n_busy++;
		pthread_mutex_unlock(&all->lock);
		r = send_whole(fd, s);
		pthread_mutex_lock(&all->lock);
		all->n_busy--;
		finish(s, r);
	}
	is_last = --all->n_threads == 0 && all->is_over;
	pthread_mutex_unlock(&all->lock);
	if (is_last)
		destroy(all);
	return NULL;
}

/* All but those that a thread brings upon itself. */
static void block_signals(sigset_t *before)
{
	static const int own[] = { SIGSYS, SIGSEGV, SIGBUS, SIGILL, SIGFPE, SIGTRAP, SIGABRT };
	sigset_t set;

	sigfillset(&set);
	for (size_t i = 0; i < sizeof own / sizeof *own; i++)
		sigdelset(&set, own[i]);
	pthread_sigmask(SIG_BLOCK, &set, before);
}

/* 0 or -errno. */
static int start_thread(struct senders *all)
{
	pthread_attr_t attr;
	pthread_t thread;
	sigset_t before;
	int r = pthread_attr_init(&attr);

	if (r)
		return -r;
	pthread_attr_setstacksize(&attr, STACK_BYTES);
	pthread_attr_setdetachstate(&attr, PTHREAD_CREATE_DETACHED);
	block_signals(&before);
	r = pthread_create(&thread, &attr, run, all);
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	pthread_attr_destroy(&attr);
	return -r;
}

/* With the lock: for @n_queued messages. 0, or -errno: there is no thread at all. */
static int provide_thread(struct senders *all, unsigned n_queued)
{
	int r;

	if (n_queued <= all->n_threads - all->n_busy)
		return 0;
	if (all->n_threads == SENDER_THREADS_MAX) {
		log_limited(LEVEL_WARN, all->tag, "%d peers do not read the messages that are sent "
			    "to them; others wait for one of these", SENDER_THREADS_MAX);
		return 0;
	}
	r = start_thread(all);
	if (!r)
		all->n_threads++;
	else
		log_limited(LEVEL_WARN, all->tag, "no thread to send a message: %s; %s",
			    error_str(r), all->n_threads ? "it waits for another" : "it is refused");
	return all->n_threads ? 0 : r;
}

/* ---- from the mailbox's thread ---- */

int senders_new(struct senders **out, struct mailbox *mailbox, const char *tag)
{
	struct senders *all = calloc(1, sizeof *all);

	if (!all)
		return -ENOMEM;
	all->mailbox = mailbox;
	all->tag = tag;
	pthread_mutex_init(&all->lock, NULL);
	pthread_cond_init(&all->queued, NULL);
	pthread_cond_init(&all->sent, NULL);
	list_init(&all->queue);
	*out = all;
	return 0;
}

void senders_move(struct senders *all, struct mailbox *mailbox)
{
	pthread_mutex_lock(&all->lock);
	all->mailbox = mailbox;
	pthread_mutex_unlock(&all->lock);
}

void senders_free(struct senders *all)
{
	bool is_last;

	if (!all)
		return;
	pthread_mutex_lock(&all->lock);
	all->is_over = true;
	is_last = !all->n_threads;
	pthread_cond_broadcast(&all->queued);
	pthread_mutex_unlock(&all->lock);
	if (is_last)
		destroy(all);
}

int sender_prepare(int fd)
{
	const struct timeval limit = { .tv_sec = SEND_S };
	int flags = fcntl(fd, F_GETFL);

	if (flags < 0 || fcntl(fd, F_SETFL, flags & ~O_NONBLOCK) < 0 ||
	    setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof limit) < 0)
		return error_last();
	return 0;
}

static void on_mail(struct mail *mail)
{
	struct sending *s = container_of(mail, struct sending, mail);

	s->is_told = true;
	if (s->is_forgotten)
		free(s);
	else
		s->done(s->ctx);
}

int sending_new(struct sending **out, struct senders *all, int fd, const struct iovec *v, int nv,
		int flags, void (*done)(void *ctx), void *ctx)
{
	size_t len = iov_total(v, (size_t)nv);
	struct sending *s = malloc(sizeof *s + len);
	struct iov_cur cur;
	int r;

	if (!s)
		return -ENOMEM;
	*s = (struct sending){
		.mail.deliver = on_mail, .all = all, .done = done, .ctx = ctx, .fd = fd,
		.flags = flags, .len = len,
	};
	iov_cur_init(&cur, v, (size_t)nv);
	iov_cur_get(&cur, s->bytes, len);
	pthread_mutex_lock(&all->lock);
	r = provide_thread(all, all->n_queued + 1);
	if (!r) {
		list_append(&all->queue, &s->node);
		all->n_queued++;
		pthread_cond_signal(&all->queued);
	}
	pthread_mutex_unlock(&all->lock);
	if (r)
		free(s);
	else
		*out = s;
	return r;
}

int sending_result(struct sending *s)
{
	return sending_wait(s, 0);
}

int sending_wait(struct sending *s, uint64_t until_ms)
{
	const struct timespec until = clock_timespec(until_ms);
	int r = 0;

	pthread_mutex_lock(&s->all->lock);
	while (s->state != SENT && !r)
		r = until_ms ? pthread_cond_clockwait(&s->all->sent, &s->all->lock, CLOCK_MONOTONIC,
						      &until) : ETIMEDOUT;
	r = s->state == SENT ? s->result : SENDING_E_BUSY;
	pthread_mutex_unlock(&s->all->lock);
	return r;
}

void sending_free(struct sending *s, int *fd)
{
	struct senders *all = s->all;
	bool is_done = true;

	pthread_mutex_lock(&all->lock);
	switch (s->state) {
	case QUEUED:
		list_remove(&s->node);
		all->n_queued--;
		break;
	case BUSY:
		/* Here, while the thread cannot have closed it. */
		shutdown(*fd, SHUT_RDWR);
		s->fd = fd_take(fd);
		s->is_cancelled = true;
		is_done = false;
		break;
	case SENT:
		s->is_forgotten = true;
		is_done = s->is_told;
		break;
	}
	pthread_mutex_unlock(&all->lock);
	if (is_done)
		free(s);
}
