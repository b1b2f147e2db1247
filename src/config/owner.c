/* SPDX-License-Identifier: BSD-3-Clause */
/* Users and groups by name. */
#include "config/owner.h"

#include <errno.h>
#include <grp.h>
#include <pwd.h>

#include "config/error.h"
#include "config/number.h"
#include "config/plan.h"

/* Has getpwnam() or getgrnam() failed, or is there just no such name? */
static bool is_lookup_error(int error)
{
	return error == ENOMEM || error == EMFILE || error == ENFILE || error == EIO;
}

static int find_group(gid_t *gid, const char *name, struct config_error *err)
{
	const struct group *group;
	uint64_t number;

	errno = 0;
	group = getgrnam(name);
	if (group) {
		*gid = group->gr_gid;
		return 0;
	}
	if (is_lookup_error(errno))
		return -errno;
	if (number_parse(&number, name, 0, (gid_t)-1 - 1, err))
		return config_fail(err, SHOWN " is neither a group nor a group ID", name);
	*gid = (gid_t)number;
	return 0;
}

/* And the group that goes with either. */
static int find_user(struct plan *plan, const char *name, struct config_error *err)
{
	const struct passwd *user;
	uint64_t number;

	errno = 0;
	user = getpwnam(name);
	if (!user && is_lookup_error(errno))
		return -errno;
	if (!user && number_parse(&number, name, 0, (uid_t)-1 - 1, err))
		return config_fail(err, SHOWN " is neither a user nor a user ID", name);
	if (!user)
		user = getpwuid((uid_t)number);
	if (!user && plan->gid == (gid_t)-1)
		return config_fail(err, "user ID %s has no name, hence no group: --group is needed",
				   name);
	plan->uid = user ? user->pw_uid : (uid_t)number;
	if (plan->gid == (gid_t)-1)
		plan->gid = user->pw_gid;
	return 0;
}

int owner_find(struct plan *plan, struct config_error *err)
{
	int r = plan->group ? find_group(&plan->gid, plan->group, err) : 0;

	if (r)
		return config_prefix(err, r, "--group");
	r = plan->user ? find_user(plan, plan->user, err) : 0;
	return config_prefix(err, r, "--user");
}

static int find_socket_group(struct socket_plan *socket, const char *key, struct config_error *err)
{
	int r = socket->group ? find_group(&socket->gid, socket->group, err) : 0;

	return config_prefix(err, r, "%s", key);
}

int owner_find_sockets(struct plan *plan, struct config_error *err)
{
	int r = find_socket_group(&plan->vhost_socket, "--socket-group", err);

	if (!r)
		r = find_socket_group(&plan->uds_socket, "--uds-group", err);
	if (!r)
		r = find_socket_group(&plan->api_socket, "--api-socket: group", err);
	for (size_t i = 0; !r && i < plan->n_vms; i++) {
		struct vm_plan *vm = &plan->vms[i];

		r = find_socket_group(&vm->vhost_socket, "socket-group", err);
		if (!r)
			r = find_socket_group(&vm->uds_socket, "uds-group", err);
		if (vm->origin)
			r = config_prefix(err, r, "%s", vm->origin);
	}
	return r;
}
