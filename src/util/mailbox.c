/* SPDX-License-Identifier: BSD-3-Clause */
/* Mail between threads: a lock-free stack of mails and an eventfd. */
#include "util/mailbox.h"

#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "util/error.h"
#include "util/fd.h"

struct mailbox {
	struct loop *loop;
	_Atomic(struct mail *) head;		/* newest first */
	int event_fd;
	bool is_held;
	struct loop_source source;
	struct loop_work work;			/* for mail from the loop's own thread */
};

/* The loop whose callbacks this thread is running: mail to it needs no eventfd. */
static _Thread_local const struct mailbox *own;

bool mailbox_deliver(struct mailbox *box)
{
	bool had_any = false;
	struct mail *mail = atomic_exchange(&box->head, NULL), *oldest = NULL;

	while (mail) {				/* oldest first */
		struct mail *next = mail->next;

		mail->next = oldest;
		oldest = mail;
		mail = next;
	}
	while (oldest) {
		mail = oldest;
		oldest = mail->next;
		atomic_store(&mail->is_posted, false);
		mail->deliver(mail);
		had_any = true;
	}
	return had_any;
}

bool mailbox_is_empty(const struct mailbox *box)
{
	return !atomic_load(&box->head);
}

static void on_event(struct loop_source *source, uint32_t events)
{
	struct mailbox *box = container_of(source, struct mailbox, source);

	(void)events;
	if (box->is_held)
		return;
	own = box;
	mailbox_deliver(box);
}

static void on_work(struct loop_work *work)
{
	mailbox_deliver(container_of(work, struct mailbox, work));
}

int mailbox_new(struct mailbox **out, struct loop *loop)
{
	struct mailbox *box = calloc(1, sizeof *box);
	int r = -ENOMEM;

	if (!box)
		return r;
	box->loop = loop;
	box->source = (struct loop_source){ .dispatch = on_event, .fd = -1 };
	loop_work_init(&box->work, on_work);
	box->event_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (box->event_fd < 0)
		r = error_last();
	else
		r = loop_add(loop, &box->source, box->event_fd, EPOLLIN | EPOLLET);
	if (r < 0) {
		mailbox_free(box);
		return r;
	}
	*out = box;
	return 0;
}

void mailbox_free(struct mailbox *box)
{
	if (!box)
		return;
	assert(!atomic_load(&box->head));
	loop_work_cancel(&box->work);
	loop_remove(box->loop, &box->source);
	fd_close(&box->event_fd);
	free(box);
}

void mailbox_hold(struct mailbox *box)
{
	box->is_held = true;
}

void mailbox_release(struct mailbox *box)
{
	box->is_held = false;
	mailbox_deliver(box);
}

bool mailbox_post(struct mailbox *box, struct mail *mail)
{
	uint64_t one = 1;
	struct mail *head;

	if (atomic_exchange(&mail->is_posted, true))
		return false;
	head = atomic_load(&box->head);
	do
		mail->next = head;
	while (!atomic_compare_exchange_weak(&box->head, &head, mail));
	if (own == box)
		loop_work_schedule(box->loop, &box->work);
	else if (!head && write(box->event_fd, &one, sizeof one) < 0) {
		/* Full: then it is readable, and the edge has been given. */
	}
	return true;
}
