/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The plan: its defaults, its memory, and the order in which its parts are read.
 */
#include "config/plan.h"

#include <errno.h>
#include <grp.h>
#include <pwd.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "config/check.h"
#include "config/error.h"
#include "config/help.h"
#include "config/level.h"
#include "config/number.h"
#include "config/options.h"
#include "config/place.h"
#include "config/plan_build.h"
#include "config/yaml.h"
#include "util/log.h"

static const char default_group[] = "default";

void plan_init_defaults(struct plan *plan)
{
	*plan = (struct plan){
		.log_level = LOG_WARN,
		.vhost_socket = { .mode = SOCKET_MODE_UNSET, .gid = (gid_t)-1 },
		.uds_socket = { .mode = SOCKET_MODE_UNSET, .gid = (gid_t)-1 },
		.umask = 077,
		.uid = (uid_t)-1,
		.gid = (gid_t)-1,
		.sandbox = SANDBOX_ON,
		.linger_ms = 30 * 1000,
		.pause_grace_ms = 3 * 1000,
		.handshake_ms = 10 * 1000,
	};
}

void vm_plan_init_defaults(struct vm_plan *vm)
{
	*vm = (struct vm_plan){
		.guest_cid = 3,
		.tx_buffer_size = 256 * 1024,
		.queue_size = 1024,
		.max_connections = 4096,
		.max_buffered = 256 * 1024 * 1024,
		.vhost_socket = { .mode = SOCKET_MODE_UNSET, .gid = (gid_t)-1 },
		.uds_socket = { .mode = SOCKET_MODE_UNSET, .gid = (gid_t)-1 },
	};
}

struct vm_plan *plan_add_vm(struct plan *plan, const char *origin)
{
	struct vm_plan *vms = plan->vms, *vm;
	size_t n = plan->n_vms;

	if ((n & (n - 1)) == 0)			/* so it needs no capacity beside it */
		vms = reallocarray(vms, n ? 2 * n : 1, sizeof *vms);
	if (!vms)
		return NULL;
	plan->vms = vms;
	vm = &vms[n];
	vm_plan_init_defaults(vm);
	if (origin) {
		vm->origin = strdup(origin);
		if (!vm->origin)
			return NULL;
	}
	plan->n_vms++;
	return vm;
}

static int compare_groups(const void *a, const void *b)
{
	return strcmp(*(char *const *)a, *(char *const *)b);
}

static int finish_groups(struct vm_plan *vm)
{
	size_t n = 0;

	if (vm->n_groups == 0) {
		free(vm->groups);
		vm->groups = malloc(sizeof *vm->groups);
		if (!vm->groups || !(vm->groups[0] = strdup(default_group)))
			return -ENOMEM;
		vm->n_groups = 1;
		return 0;
	}
	qsort(vm->groups, vm->n_groups, sizeof *vm->groups, compare_groups);
	for (size_t i = 0; i < vm->n_groups; i++) {
		if (n > 0 && strcmp(vm->groups[n - 1], vm->groups[i]) == 0)
			free(vm->groups[i]);
		else
			vm->groups[n++] = vm->groups[i];
	}
	vm->n_groups = n;
	return 0;
}

/* What @socket does not say is as @otherwise has it. */
static void inherit(struct socket_plan *socket, const struct socket_plan *otherwise)
{
	if (socket->mode == SOCKET_MODE_UNSET)
		socket->mode = otherwise->mode;
	if (socket->gid == (gid_t)-1)
		socket->gid = otherwise->gid;
}

/* Nobody has said anything of the mode; who names a group has an idea of their own. */
static void finish_mode(struct socket_plan *socket, mode_t umask)
{
	if (socket->mode != SOCKET_MODE_UNSET)
		return;
	socket->mode = 0600;
	if (socket->gid != (gid_t)-1)
		return;
	if (!(umask & S_IWGRP))
		socket->mode |= S_IRGRP | S_IWGRP;
	if (!(umask & S_IWOTH))
		socket->mode |= S_IROTH | S_IWOTH;
}

/* The VM's own word for the socket, that for all VMs, then those for the other socket. */
static void finish_sockets(const struct plan *plan, struct vm_plan *vm)
{
	inherit(&vm->uds_socket, &plan->uds_socket);
	inherit(&vm->uds_socket, &vm->vhost_socket);
	inherit(&vm->uds_socket, &plan->vhost_socket);
	inherit(&vm->vhost_socket, &plan->vhost_socket);
	finish_mode(&vm->uds_socket, plan->umask);
	finish_mode(&vm->vhost_socket, plan->umask);
}

int plan_finish(struct plan *plan)
{
	int r = 0;

	for (size_t i = 0; r == 0 && i < plan->n_vms; i++) {
		finish_sockets(plan, &plan->vms[i]);
		r = finish_groups(&plan->vms[i]);
	}
	finish_mode(&plan->vhost_socket, plan->umask);
	return r;
}

static void vm_plan_deinit(struct vm_plan *vm)
{
	for (size_t i = 0; i < vm->n_groups; i++)
		free(vm->groups[i]);
	free(vm->groups);
	free(vm->forward_listen);
	free(vm->host_cids);
	free(vm->vhost_socket.group);
	free(vm->uds_socket.group);
	free(vm->uds_at.rest);
	free(vm->socket_at.rest);
	free(vm->uds_path);
	free(vm->socket);
	free(vm->origin);
}

void plan_deinit(struct plan *plan)
{
	for (size_t i = 0; i < plan->n_vms; i++)
		vm_plan_deinit(&plan->vms[i]);
	free(plan->vms);
	free(plan->log_file);
	free(plan->vhost_socket.group);
	free(plan->uds_socket.group);
	*plan = (struct plan){ .uid = (uid_t)-1, .gid = (gid_t)-1 };
}

/* Has getpwnam() or getgrnam() failed, or is there just no such name? */
static bool is_lookup_error(int error)
{
	return error == ENOMEM || error == EMFILE || error == ENFILE || error == EIO;
}

/* As chgrp: a name before a number. */
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

/* As chown: a name before a number; and the group that goes with either. */
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

/* Who the daemon becomes, and to whom the sockets belong. */
static int find_owner(struct plan *plan, const struct options *o, struct config_error *err)
{
	int r = o->group ? find_group(&plan->gid, o->group, err) : 0;

	if (r)
		return config_prefix(err, r, "--group");
	r = o->user ? find_user(plan, o->user, err) : 0;
	return config_prefix(err, r, "--user");
}

static int find_socket_group(struct socket_plan *socket, const char *key, struct config_error *err)
{
	int r = socket->group ? find_group(&socket->gid, socket->group, err) : 0;

	return config_prefix(err, r, "%s", key);
}

/* Groups of sockets, of which many VMs mostly have one: the names are looked up here,
 * once the words of the user are read. */
static int find_socket_groups(struct plan *plan, struct config_error *err)
{
	int r = find_socket_group(&plan->vhost_socket, "--socket-group", err);

	if (!r)
		r = find_socket_group(&plan->uds_socket, "--uds-group", err);
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

/* Everything behind the command line's own words. */
static int complete(struct plan *plan, const struct options *o, struct config_error *err)
{
	const char *rust_log = getenv("RUST_LOG");
	int r;

	r = find_owner(plan, o, err);
	if (r)
		return r;
	if (!o->has_log_level && rust_log)
		level_parse_rust_log(&plan->log_level, rust_log);
	if (o->config) {
		r = yaml_load(o->config, plan, err);
		if (r)
			return r;
	}
	r = find_socket_groups(plan, err);
	if (r == 0)
		r = plan_finish(plan);
	if (r == 0)
		r = place_find_all(plan, stat);
	return r ? r : check_plan(plan, err);
}

int plan_init(struct plan *plan, mode_t umask, int argc, char **argv)
{
	struct config_error err = { "" };
	struct options o;
	int r;

	plan_init_defaults(plan);
	plan->umask = umask;
	r = options_parse(&o, plan, argc, argv, &err);
	if (r == 0)
		r = complete(plan, &o, &err);
	else if (r == CONFIG_E_EXIT)
		r = o.print == PRINT_HELP ? help_print() : help_print_version();
	if (r == 0)
		return 0;

	if (r != CONFIG_E_EXIT) {
		if (!*err.text)
			config_fail(&err, "%s", strerror(-r));
		config_error_print(&err, stderr);
	}
	plan_deinit(plan);
	return r;
}
