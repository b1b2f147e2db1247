/* SPDX-License-Identifier: BSD-3-Clause */
/* Requests about guest memory. */
#include "util/error.h"
#include "vhost/session_internal.h"
#include "vhost/session_requests.h"

static const char *refuse_region(struct session *s, int error)
{
	switch (error) {
	case GMEM_E_INVALID:
		return "region empty, wrapping around, or larger than its file";
	case GMEM_E_OVERLAP:
		return "regions overlap";
	case GMEM_E_NO_SLOT:
		return session_refusal(s, "no memory slot left: a VM may have %zu here",
				       s->config.memory.mem_slots);
	case GMEM_E_TOO_MUCH:
		return session_refusal(s, "more memory than the %llu bytes that a VM may have "
				       "mapped; see max-memory",
				       (unsigned long long)s->config.memory.max_memory);
	case GMEM_E_NO_REGION:
		return "no such region";
	default:
		return session_refusal(s, "region cannot be mapped: %s; the guest's memory has to "
				       "be shared (QEMU: share=on)", error_str(error));
	}
}

/* The region at @gpa has been added; its file has to be there after a crash. */
static void release_file(struct session *s, struct gmem *mem, uint64_t gpa, int *fd)
{
	if (s->config.is_journalled)
		gmem_keep_file(mem, gpa, fd);
	else
		gmem_close_file(fd);
}

/* All or nothing: the old table stays until the new one is mapped. */
const char *session_set_mem_table(struct session *s, struct msg *msg)
{
	const struct vhost_user_mem_table *table = &msg->payload.table;
	struct gmem *mem;
	int r;

	if ((r = gmem_new(&mem, &s->config.memory)))
		return refuse_region(s, r);
	for (uint32_t i = 0; i < table->num_regions; i++) {
		if ((r = gmem_add_region(mem, &table->regions[i], msg->fds[i]))) {
			gmem_free(mem);
			return refuse_region(s, r);
		}
	}
	for (uint32_t i = 0; i < table->num_regions; i++)
		release_file(s, mem, table->regions[i].gpa, &msg->fds[i]);
	gmem_free(s->mem);
	s->mem = mem;
	session_refresh_rings(s);
	return NULL;
}

const char *session_get_max_mem_slots(struct session *s, struct msg *msg)
{
	(void)msg;
	session_answer_u64(s, s->config.memory.mem_slots);
	return NULL;
}

const char *session_add_mem_reg(struct session *s, struct msg *msg)
{
	int r;

	if (!s->mem && (r = gmem_new(&s->mem, &s->config.memory)))
		return refuse_region(s, r);
	if ((r = gmem_add_region(s->mem, &msg->payload.region.region, msg->fds[0])))
		return refuse_region(s, r);
	release_file(s, s->mem, msg->payload.region.region.gpa, &msg->fds[0]);
	session_refresh_rings(s);
	return NULL;
}

const char *session_rem_mem_reg(struct session *s, struct msg *msg)
{
	int r = s->mem ? gmem_remove_region(s->mem, &msg->payload.region.region) : GMEM_E_NO_REGION;

	if (r)
		return refuse_region(s, r);
	session_refresh_rings(s);
	return NULL;
}
