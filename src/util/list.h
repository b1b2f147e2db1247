/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Circular doubly linked lists of embedded links. A link that is in no list
 * points at itself, so list_remove() is safe on it, and twice.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>

struct list {
	struct list *next, *prev;
};

#define container_of(ptr, type, member) \
	((type *)((char *)(ptr) - offsetof(type, member)))

static inline void list_init(struct list *l)
{
	l->next = l->prev = l;
}

static inline bool list_is_empty(const struct list *l)
{
	return l->next == l;
}

static inline void list_append(struct list *head, struct list *link)
{
	link->prev = head->prev;
	link->next = head;
	head->prev->next = link;
	head->prev = link;
}

static inline void list_remove(struct list *link)
{
	link->prev->next = link->next;
	link->next->prev = link->prev;
	list_init(link);
}

/* Takes the first link out; NULL when the list is empty. */
static inline struct list *list_take_first(struct list *head)
{
	struct list *link = head->next;

	if (link == head)
		return NULL;
	list_remove(link);
	return link;
}

#define list_for_each(link, head) \
	for (struct list *link = (head)->next; link != (head); link = link->next)

/* The body may remove and free @link. */
#define list_for_each_safe(link, head)						\
	for (struct list *link = (head)->next, *link##_next = link->next;	\
	     link != (head); link = link##_next, link##_next = link->next)
