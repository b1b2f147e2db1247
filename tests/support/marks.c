/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The ends of messages: see marks.h.
 */
#include "support/marks.h"

#include <stdlib.h>

#include "support/must.h"

enum { ROOM_MIN = 64 };

static void grow(struct marks *m)
{
	unsigned room = m->room ? 2 * m->room : ROOM_MIN;
	struct mark *all = malloc(room * sizeof *all);

	must(all);
	for (unsigned i = 0; i < m->n; i++)
		all[i] = m->all[(m->first + i) % m->room];
	free(m->all);
	m->all = all;
	m->first = 0;
	m->room = room;
}

void marks_add(struct marks *m, uint32_t len, uint32_t flags)
{
	if (m->n == m->room)
		grow(m);
	m->all[(m->first + m->n++) % m->room] = (struct mark){ len, flags };
}

struct mark marks_take(struct marks *m)
{
	struct mark taken;

	must(m->n);
	taken = m->all[m->first];
	m->first = (m->first + 1) % m->room;
	m->n--;
	return taken;
}

void marks_deinit(struct marks *m)
{
	free(m->all);
	*m = (struct marks){ 0 };
}
