/* SPDX-License-Identifier: BSD-3-Clause */
/* A ring read plainly. */
#include "virtq_model.h"

#include <string.h>

#include "protocol/virtio_ring.h"
#include "vhost/virtq.h"

uint16_t model_u16(const uint8_t *at)
{
	return (uint16_t)(at[0] | at[1] << 8);
}

uint64_t model_features(unsigned bits)
{
	return (bits & 1u) * (UINT64_C(1) << VIRTIO_F_INDIRECT_DESC) |
		(bits >> 1 & 1u) * (UINT64_C(1) << VIRTIO_F_EVENT_IDX) |
		(bits >> 2 & 1u) * (UINT64_C(1) << VIRTIO_F_NOTIFY_ON_EMPTY);
}

/* Returns an offset in the memory; MEMORY: not all @len bytes are in it. */
static size_t offset_of_gpa(uint64_t gpa, uint64_t len)
{
	uint64_t at = gpa - MODEL_GPA;

	return at < MEMORY && len <= MEMORY - at ? at : MEMORY;
}

/* False: it is not in the memory. An indirect table may end outside of it. */
static bool load(const uint8_t *memory, size_t table, size_t i, struct wire_virtq_desc *d)
{
	size_t at = table + i * sizeof *d;

	if (at + sizeof *d > MEMORY)
		return false;
	memcpy(d, memory + at, sizeof *d);
	return true;
}

static bool add(struct model_chain *m, const struct wire_virtq_desc *d)
{
	bool is_in = le16_get(d->flags) & VIRTQ_DESC_F_WRITE;
	uint32_t len = le32_get(d->len);
	size_t at = offset_of_gpa(le64_get(d->addr), len);

	if (!is_in && m->in_len)
		return false;
	if (!len)
		return true;
	if (at == MEMORY || m->n == MODEL_BUFS_MAX)
		return false;
	m->bufs[m->n].at = at;
	m->bufs[m->n].len = len;
	m->bufs[m->n++].is_in = is_in;
	*(is_in ? &m->in_len : &m->out_len) += len;
	return true;
}

/* Follows descriptor @i of a table of @n; more than @n steps are a circle. */
static bool walk_table(struct model_chain *m, const uint8_t *memory, size_t table, uint32_t n,
		       uint32_t i, bool may_be_indirect)
{
	for (uint32_t steps = 0; steps < n && i < n; steps++) {
		struct wire_virtq_desc d;
		uint16_t flags;

		if (!load(memory, table, i, &d))
			return false;
		flags = le16_get(d.flags);
		if (flags & VIRTQ_DESC_F_INDIRECT) {
			uint32_t len = le32_get(d.len);
			size_t at = offset_of_gpa(le64_get(d.addr), 0);

			return may_be_indirect && !(flags & VIRTQ_DESC_F_NEXT) && at != MEMORY &&
				len % sizeof d == 0 && len / sizeof d <= VIRTQ_CHAIN_MAX &&
				walk_table(m, memory, at, (uint32_t)(len / sizeof d), 0, false);
		}
		if (!add(m, &d))
			return false;
		if (!(flags & VIRTQ_DESC_F_NEXT))
			return true;
		i = le16_get(d.next);
	}
	return false;
}

bool model_walk(struct model_chain *m, const uint8_t *memory, const struct virtq_config *config,
		size_t desc, const uint8_t *avail, uint16_t entry, bool has_indirect)
{
	m->n = 0;
	m->out_len = m->in_len = 0;
	m->head = model_u16(avail + 4 + 2 * (entry & (config->num - 1)));
	return m->head < config->num &&
		walk_table(m, memory, desc, config->num, m->head, has_indirect);
}
