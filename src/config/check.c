/* SPDX-License-Identifier: BSD-3-Clause */
/* The plan as a whole: completeness of each VM, and clashes between them. */
#include "config/check.h"

#include <errno.h>
#include <inttypes.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "config/error.h"
#include "config/place.h"
#include "config/plan.h"

/*
 * Something that only one may have: a place, or a number (with @space: the ports
 * of one forward-cid). Sorted, with the VM last, so that of two claims to one
 * thing the later VM is the one complained about.
 */
struct claim {
	const char *path;			/* as it was given; NULL: a number */
	const struct socket_place *at;
	uint64_t space, number;
	const char *key;
	const struct vm_plan *vm;
};

struct claims {
	struct claim *v;
	size_t n;
};

static int compare_number(uint64_t a, uint64_t b)
{
	return (a > b) - (a < b);
}

static int compare_things(const void *va, const void *vb)
{
	const struct claim *a = va, *b = vb;
	int r = compare_number(a->space, b->space);

	if (r == 0)
		r = compare_number(a->number, b->number);
	if (r == 0 && a->at)
		r = place_compare(a->at, b->at);
	return r;
}

static int compare_claims(const void *va, const void *vb)
{
	const struct claim *a = va, *b = vb;
	int r = compare_things(a, b);

	if (r == 0)
		r = (a->vm > b->vm) - (a->vm < b->vm);
	return r ? r : strcmp(a->key, b->key);
}

/* An option has dashes in front, a key of --vm or YAML has none. */
static const char *dashes(const struct vm_plan *vm)
{
	return vm->origin ? "" : "--";
}

/* Puts in front where the VM comes from. */
static int blame(const struct vm_plan *vm, int r, struct config_error *err)
{
	return vm->origin ? config_prefix(err, r, "%s", vm->origin) : r;
}

/* A front-end comes one way. */
static int check_front_end(const struct vm_plan *vm, struct config_error *err)
{
	bool has_fd = vm->vhost_socket.fd >= 0;
	const char *d = dashes(vm);

	if (vm->socket && (vm->connect || has_fd))
		return config_fail(err, "%ssocket and %s%s exclude one another", d, d,
				   has_fd ? "fd" : "socket-connect");
	if (vm->connect && has_fd)
		return config_fail(err, "%ssocket-connect and %sfd exclude one another", d, d);
	if (!vm->socket && !vm->connect && !has_fd)
		return config_fail(err, "%ssocket is missing", d);
	return 0;
}

static int check_vm(const struct vm_plan *vm, struct config_error *err)
{
	bool listens = vm->n_forward_listen || vm->n_forward_listen_seqpacket;
	const char *d = dashes(vm);
	int r = check_front_end(vm, err);

	if (r)
		return r;
	if (vm->uds_path && vm->has_forward_cid)
		return config_fail(err, "%suds-path and %sforward-cid exclude one another",
				   d, d);
	if (listens && !vm->has_forward_cid)
		return config_fail(err, "%sforward-listen needs %sforward-cid", d, d);
	if (vm->forward_listen_any && !listens)
		return config_fail(err, "%sforward-listen-any needs %sforward-listen", d, d);
	if (vm->n_host_cids && !vm->uds_path)
		return config_fail(err, "%shost-cid needs %suds-path", d, d);
	if (!vm->uds_path && !vm->has_forward_cid)
		return config_fail(err, "%suds-path or %sforward-cid is missing", d, d);
	return 0;
}

/* Two keys of one VM, or one key that lists a port twice. */
static int fail_clash_within(const struct claim *a, const struct claim *b,
			     struct config_error *err)
{
	const char *d = dashes(b->vm);

	if (b->path)
		return config_fail(err, "%s%s: " SHOWN_PATH " is also the %s", d, b->key,
				   b->path, a->key);
	return config_fail(err, "%s%s: %" PRIu64 " is given twice", d, b->key, b->number);
}

/* There are several VMs, so each has an origin. */
static int fail_clash_between(const struct claim *a, const struct claim *b,
			      struct config_error *err)
{
	if (b->path)
		return config_fail(err, "%s: " SHOWN_PATH " is the %s of %s", b->key, b->path,
				   a->key, a->vm->origin);
	return config_fail(err, "%s: %" PRIu64 " is taken by %s", b->key, b->number,
			   a->vm->origin);
}

static int fail_clash(const struct claim *a, const struct claim *b, struct config_error *err)
{
	int r = a->vm == b->vm ? fail_clash_within(a, b, err) :
		fail_clash_between(a, b, err);

	return blame(b->vm, r, err);
}

static int check_unique(const struct claims *c, struct config_error *err)
{
	qsort(c->v, c->n, sizeof *c->v, compare_claims);
	for (size_t i = 1; i < c->n; i++) {
		if (compare_things(&c->v[i - 1], &c->v[i]) == 0)
			return fail_clash(&c->v[i - 1], &c->v[i], err);
	}
	return 0;
}

/*
 * Is @path "<something>_<port>", spelled as we would spell it? Then *@prefix_len
 * is the length of something.
 */
static bool has_port_suffix(const char *path, size_t *prefix_len)
{
	const char *suffix = strrchr(path, '_');
	uint64_t port = 0;
	size_t digits;

	if (!suffix)
		return false;
	digits = strspn(suffix + 1, "0123456789");
	if (digits == 0 || digits > 10 || suffix[1 + digits] ||
	    (suffix[1] == '0' && digits > 1))
		return false;
	for (size_t i = 1; i <= digits; i++)
		port = port * 10 + (uint64_t)(suffix[i] - '0');
	*prefix_len = (size_t)(suffix - path);
	return port <= UINT32_MAX;
}

/* @paths is sorted and unique. */
static int check_port_names(const struct claims *paths, struct config_error *err)
{
	for (size_t i = 0; i < paths->n; i++) {
		const struct claim *claim = &paths->v[i], *of;
		struct socket_place prefix = *claim->at;
		struct claim wanted = { .at = &prefix };
		char rest[128];			/* longer than the path of any socket */
		size_t len;
		int r;

		if (!has_port_suffix(claim->at->rest, &len) || len >= sizeof rest)
			continue;
		memcpy(rest, claim->at->rest, len);
		rest[len] = '\0';
		prefix.rest = rest;
		of = bsearch(&wanted, paths->v, paths->n, sizeof *paths->v, compare_things);
		if (!of || strcmp(of->key, "uds-path") != 0)
			continue;
		r = config_fail(err, "%s%s: " SHOWN_PATH " is where the guest of uds-path "
				SHOWN_PATH " finds port %s", dashes(claim->vm), claim->key,
				claim->path, of->path, claim->at->rest + len + 1);
		return blame(claim->vm, r, err);
	}
	return 0;
}

/* Room for @n claims. */
static int claims_init(struct claims *c, size_t n)
{
	c->n = 0;
	c->v = calloc(n ? n : 1, sizeof *c->v);
	return c->v ? 0 : -ENOMEM;
}

static void claims_deinit(struct claims *c)
{
	free(c->v);
	*c = (struct claims){ 0 };
}

/* @cids: of the guests, sorted. The host that a VM sees must not hide another VM. */
static int check_host_cids(const struct vm_plan *vm, const struct claims *cids,
			   struct config_error *err)
{
	for (size_t i = 0; i < vm->n_host_cids; i++) {
		struct claim wanted = { .number = vm->host_cids[i] };
		const struct claim *of = bsearch(&wanted, cids->v, cids->n, sizeof *cids->v,
						 compare_things);
		int r;

		if (!of)
			continue;
		r = config_fail(err, "%shost-cid: %" PRIu64 " is the guest-cid%s%s", dashes(vm),
				wanted.number, of->vm->origin ? " of " : "",
				of->vm->origin ? of->vm->origin : "");
		return blame(vm, r, err);
	}
	return 0;
}

static int check_cids(const struct plan *plan, struct config_error *err)
{
	struct claims cids;
	int r = claims_init(&cids, plan->n_vms);

	if (r)
		return r;
	for (const struct vm_plan *vm = plan->vms; vm < plan->vms + plan->n_vms; vm++)
		cids.v[cids.n++] = (struct claim){
			.number = vm->guest_cid, .key = "guest-cid", .vm = vm,
		};
	r = check_unique(&cids, err);
	for (size_t i = 0; r == 0 && i < plan->n_vms; i++)
		r = check_host_cids(&plan->vms[i], &cids, err);
	claims_deinit(&cids);
	return r;
}

static int check_paths(const struct plan *plan, struct config_error *err)
{
	struct claims paths;
	int r = claims_init(&paths, 2 * plan->n_vms);

	if (r)
		return r;
	for (const struct vm_plan *vm = plan->vms; vm < plan->vms + plan->n_vms; vm++) {
		if (vm->socket)
			paths.v[paths.n++] = (struct claim){
				.path = vm->socket, .at = &vm->socket_at, .key = "socket", .vm = vm,
			};
		if (vm->connect)
			paths.v[paths.n++] = (struct claim){
				.path = vm->connect, .at = &vm->connect_at,
				.key = "socket-connect", .vm = vm,
			};
		if (vm->uds_path)
			paths.v[paths.n++] = (struct claim){
				.path = vm->uds_path, .at = &vm->uds_at, .key = "uds-path",
				.vm = vm,
			};
	}
	r = check_unique(&paths, err);
	if (r == 0)
		r = check_port_names(&paths, err);
	claims_deinit(&paths);
	return r;
}

static int check_fds(const struct plan *plan, struct config_error *err)
{
	struct claims fds;
	int r = claims_init(&fds, plan->n_vms);

	if (r)
		return r;
	for (const struct vm_plan *vm = plan->vms; vm < plan->vms + plan->n_vms; vm++)
		if (vm->vhost_socket.fd >= 0)
			fds.v[fds.n++] = (struct claim){
				.number = (uint64_t)vm->vhost_socket.fd, .key = "fd", .vm = vm,
			};
	r = check_unique(&fds, err);
	claims_deinit(&fds);
	return r;
}

static void claim_ports(struct claims *ports, const struct vm_plan *vm, const uint32_t *numbers,
			size_t n)
{
	for (size_t i = 0; i < n; i++)
		ports->v[ports->n++] = (struct claim){
			.space = vm->forward_cid, .number = numbers[i], .key = "forward-listen",
			.vm = vm,
		};
}

/* The kernel gives a port to one socket, of whatever type. */
static int check_ports(const struct plan *plan, struct config_error *err)
{
	struct claims ports;
	size_t n = 0;
	int r;

	for (size_t i = 0; i < plan->n_vms; i++)
		n += plan->vms[i].n_forward_listen + plan->vms[i].n_forward_listen_seqpacket;
	r = claims_init(&ports, n);
	if (r)
		return r;
	for (const struct vm_plan *vm = plan->vms; vm < plan->vms + plan->n_vms; vm++) {
		claim_ports(&ports, vm, vm->forward_listen, vm->n_forward_listen);
		claim_ports(&ports, vm, vm->forward_listen_seqpacket,
			    vm->n_forward_listen_seqpacket);
	}
	r = check_unique(&ports, err);
	claims_deinit(&ports);
	return r;
}

int check_plan(const struct plan *plan, struct config_error *err)
{
	int r;

	if (plan->n_vms == 0)
		return config_fail(err, "no VM: give --socket with --uds-path or "
				   "--forward-cid, or --vm, or --config (see --help)");
	for (size_t i = 0; i < plan->n_vms; i++) {
		r = check_vm(&plan->vms[i], err);
		if (r)
			return blame(&plan->vms[i], r, err);
	}
	r = check_cids(plan, err);
	if (r == 0)
		r = check_paths(plan, err);
	if (r == 0)
		r = check_fds(plan, err);
	if (r == 0)
		r = check_ports(plan, err);
	return r;
}
