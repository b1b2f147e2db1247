/* SPDX-License-Identifier: BSD-3-Clause */
/* Built without the control API. */
#include "control/api.h"

#include "util/error.h"
#include "util/fd.h"

int api_new(struct api **out, const struct api_config *config)
{
	int fd = config->fd;

	(void)out;
	fd_close(&fd);
	return -EOPNOTSUPP;
}

int api_start(struct api *api, struct snapshots *snapshots)
{
	(void)api, (void)snapshots;
	return -EOPNOTSUPP;
}

void api_hold(struct api *api)
{
	(void)api;
}

void api_go_on(struct api *api)
{
	(void)api;
}

void api_answer(struct api *api, uint32_t id, enum supervise_outcome outcome, const void *text,
		size_t len)
{
	(void)api, (void)id, (void)outcome, (void)text, (void)len;
}

void api_tell_event(struct api *api, uint64_t at_ns, bool was_before, const char *line, size_t len)
{
	(void)api, (void)at_ns, (void)was_before, (void)line, (void)len;
}

void api_tell_upgraded(int fd)
{
	fd_close(&fd);
}

void api_free(struct api *api)
{
	(void)api;
}
