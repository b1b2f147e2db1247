/* SPDX-License-Identifier: BSD-3-Clause */
/* A supervisor as state. */
#include <fcntl.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/stat.h>

#include "config/plan_state.h"
#include "control/events.h"
#include "daemon/supervisor_internal.h"
#include "util/error.h"
#include "util/fd.h"
#include "util/log.h"
#include "util/unix_socket.h"

#define TAG	BLOB_TAG('S', 'U', 'P', 'V')
#define VM_TAG	BLOB_TAG('H', 'E', 'L', 'D')

enum {
	STATE_VERSION = 1,
	STATE_VERSION_API = 2,			/* with the control API's socket, and who waits at it */
	STATE_VERSION_EVENTS = 3,		/* with the file of events */
	VM_VERSION_SEQPACKET = 2,		/* with the socket for SOCK_SEQPACKET */
	VM_VERSION_API = 3,			/* may have been added by the control API */
	VM_VERSION_CAPTURE = 4,			/* with its capture */
	VM_VERSION_SAID = 5,			/* with what was said of what it has a share of */
	BYTES_MAX = 256 * 1024 * 1024, FDS_MAX = 1 << 20,
};

/* ---- what belongs to it ---- */

static void save_listener(const struct listener *l, struct blob *out)
{
	blob_put_fd(out, l->fd);
	blob_put_string(out, l->path);
	blob_put_u64(out, l->dev);
	blob_put_u64(out, l->ino);
}

/* The first that has all that there is, so that an older program can go on. VMs are shared
 * out anew by who has an API alone: a reload reads what was said again. */
static uint32_t vm_version(const struct supervisor *s, const struct held_vm *h)
{
	if (s->api.fd >= 0)
		return VM_VERSION_SAID;
	return supervisor_has_capture(&h->capture) ? VM_VERSION_CAPTURE : VM_VERSION_SEQPACKET;
}

static void save_vm(const struct supervisor *s, const struct held_vm *h, struct blob *out)
{
	uint32_t version = vm_version(s, h);
	size_t section = blob_open(out, VM_TAG, version);

	plan_state_save_vm(&h->plan, out);
	blob_put_u8(out, h->wanted != NULL);
	if (h->wanted)
		plan_state_save_vm(h->wanted, out);
	blob_put_u8(out, h->is_served);
	blob_put_u8(out, h->awaits_folder);
	blob_put_u8(out, h->is_left_out);
	blob_put_u8(out, h->has_front_end);
	blob_put_u8(out, h->is_over);
	save_listener(&h->sockets.vhost, out);
	save_listener(&h->sockets.uds, out);
	save_listener(&h->sockets.seqpacket, out);
	blob_put_u32(out, (uint32_t)h->n_kept);
	for (size_t i = 0; i < h->n_kept; i++) {
		blob_put_u32(out, h->kept[i].slot);
		blob_put_fd(out, h->kept[i].fd);
	}
	if (version >= VM_VERSION_API)
		blob_put_u8(out, h->plan.is_by_api);
	if (version >= VM_VERSION_CAPTURE)
		supervisor_save_capture(&h->capture, out);
	if (version >= VM_VERSION_SAID) {
		plan_state_save_said(&h->plan, out);
		if (h->wanted)
			plan_state_save_said(h->wanted, out);
	}
	blob_close(out, section);
}

static void save_api(const struct supervisor *s, struct blob *out)
{
	save_listener(&s->api, out);
	blob_put_u32(out, s->orders.upgrade_id);
	blob_put_u64(out, (uint64_t)s->orders.upgrade_engine);
	blob_put_fd(out, s->orders.upgrade_fd);
}

static void save(const struct supervisor *s, struct blob *out)
{
	uint32_t version = events_are_on() ? STATE_VERSION_EVENTS :
		s->api.fd >= 0 ? STATE_VERSION_API : STATE_VERSION;
	size_t section = blob_open(out, TAG, version);

	plan_state_save(s->plan, out);
	blob_put_u64(out, (uint64_t)s->engine);
	blob_put_fd(out, s->channel);
	blob_put_fd(out, s->shared_fd);
	blob_put_fd(out, log_descriptor());
	if (version >= STATE_VERSION_API)
		save_api(s, out);
	if (version >= STATE_VERSION_EVENTS)
		blob_put_fd(out, events_descriptor());
	blob_put_u32(out, (uint32_t)s->n_vms);
	for (size_t i = 0; i < s->n_vms; i++)
		save_vm(s, s->vms[i], out);
	blob_close(out, section);
}

/* ---- as a file ---- */

/* Numbers of descriptors first: how many, and which. */
static int write_file(int fd, const struct blob *b)
{
	uint64_t n = b->n_fds;
	const struct iovec v[] = {
		{ &n, sizeof n }, { b->fds, b->n_fds * sizeof *b->fds }, { b->bytes, b->len },
	};

	for (size_t i = 0; i < sizeof v / sizeof *v; i++) {
		const char *at = v[i].iov_base;
		size_t left = v[i].iov_len;

		while (left) {
			ssize_t done = write(fd, at, left);

			if (done < 0 && errno != EINTR)
				return error_last();
			at += done > 0 ? done : 0;
			left -= done > 0 ? (size_t)done : 0;
		}
	}
	return 0;
}

int supervisor_state_save(struct supervisor *s, int *out)
{
	struct blob b;
	int fd, r;

	blob_init(&b, BYTES_MAX, FDS_MAX);
	save(s, &b);
	r = blob_error(&b);
	fd = r ? -1 : memfd_create("supervisor", MFD_CLOEXEC);
	if (!r)
		r = fd < 0 ? error_last() : write_file(fd, &b);
	blob_deinit(&b);
	if (r)
		fd_close(&fd);
	else
		*out = fd;
	return r;
}

static int pass(int fd, bool is_passed)
{
	return fd < 0 || fcntl(fd, F_SETFD, is_passed ? 0 : FD_CLOEXEC) == 0 ? 0 : error_last();
}

static int pass_vm(const struct held_vm *h, bool is_passed)
{
	int r = pass(h->sockets.vhost.fd, is_passed);

	if (!r)
		r = pass(h->sockets.uds.fd, is_passed);
	if (!r)
		r = pass(h->sockets.seqpacket.fd, is_passed);
	for (size_t i = 0; !r && i < h->n_kept; i++)
		r = pass(h->kept[i].fd, is_passed);
	if (!r)
		r = pass(h->capture.files.shared_fd, is_passed);
	if (!r)
		r = pass(h->capture.leaving_fd, is_passed);
	for (size_t i = 0; !r && i < h->capture.files.n; i++)
		r = pass(h->capture.files.fds[i], is_passed);
	return r;
}

int supervisor_state_pass(struct supervisor *s, int state_fd, bool is_passed)
{
	int r = pass(state_fd, is_passed);

	if (!r)
		r = pass(s->channel, is_passed);
	if (!r)
		r = pass(s->shared_fd, is_passed);
	if (!r)
		r = pass(s->api.fd, is_passed);
	if (!r)
		r = pass(s->orders.upgrade_fd, is_passed);
	if (!r && log_descriptor() > STDERR_FILENO)
		r = pass(log_descriptor(), is_passed);
	if (!r)
		r = pass(events_descriptor(), is_passed);
	for (size_t i = 0; !r && i < s->n_vms; i++)
		r = pass_vm(s->vms[i], is_passed);
	return r;
}

/* ---- and back ---- */

static int load_listener(struct listener *l, struct blob_reader *in)
{
	int fd = blob_get_fd(in), r;
	char *path;

	dev_t dev;

	r = blob_get_string(in, UNIX_PATH_BYTES, &path);
	dev = blob_get_u64(in);
	listener_restore(l, fd, path, dev, blob_get_u64(in));
	return r;
}

static int load_kept(struct held_vm *h, struct blob_reader *in)
{
	uint32_t n = blob_get_u32(in);
	int r = 0;

	for (uint32_t i = 0; !r && i < n && !in->is_short; i++) {
		uint32_t slot = blob_get_u32(in);

		r = held_vm_keep(h, slot, blob_get_fd(in));
	}
	return r;
}

static int load_wanted(struct held_vm *h, struct blob_reader *in)
{
	if (!blob_get_bool(in))
		return 0;
	h->wanted = calloc(1, sizeof *h->wanted);
	if (!h->wanted)
		return -ENOMEM;
	vm_plan_init(h->wanted);
	return plan_state_load_vm(h->wanted, in);
}

/* Of an older program's, what it had is what it said. False: it cannot be. */
static bool load_said(struct vm_plan *row, struct blob_reader *in, uint32_t version)
{
	if (version >= VM_VERSION_SAID)
		return plan_state_load_said(row, in);
	row->said.max_memory = row->max_memory;
	row->said.max_connections = row->limits.max_connections;
	return true;
}

static int load_held(struct supervisor *s, struct held_vm *h, struct blob_reader *in,
		     uint32_t version)
{
	int r = load_wanted(h, in);

	if (r)
		return r;
	h->is_served = blob_get_bool(in);
	h->awaits_folder = blob_get_bool(in);
	h->is_left_out = blob_get_bool(in);
	h->has_front_end = blob_get_bool(in);
	h->is_over = blob_get_bool(in);
	if ((r = load_listener(&h->sockets.vhost, in)) || (r = load_listener(&h->sockets.uds, in)))
		return r;
	if (version >= VM_VERSION_SEQPACKET &&
	    (r = load_listener(&h->sockets.seqpacket, in)))
		return r;
	r = load_kept(h, in);
	if (!r && version >= VM_VERSION_API)
		h->plan.is_by_api = blob_get_bool(in);
	if (!r && version >= VM_VERSION_CAPTURE)
		r = supervisor_load_capture(s, &h->capture, in);
	if (r)
		return r;
	vm_sockets_confine(&h->sockets, s->plan, &h->plan);
	if (!load_said(&h->plan, in, version) ||
	    (h->wanted && !load_said(h->wanted, in, version)))
		return SUPERVISOR_STATE_E_BAD;
	return blob_is_whole(in) ? 0 : SUPERVISOR_STATE_E_BAD;
}

static int load_vm(struct supervisor *s, struct blob_reader *in)
{
	struct blob_reader section;
	struct vm_plan row;
	struct held_vm *h;
	uint32_t version;
	int r;

	if (!blob_enter(in, &section, VM_TAG, VM_VERSION_SAID, &version))
		return SUPERVISOR_STATE_E_BAD;
	vm_plan_init(&row);
	r = plan_state_load_vm(&row, &section);
	if (r)
		return r;
	h = held_vm_new(&row);
	if (!h) {
		vm_plan_deinit(&row);
		return -ENOMEM;
	}
	s->vms[s->n_vms++] = h;
	return load_held(s, h, &section, version);
}

static int load_vms(struct supervisor *s, struct blob_reader *in)
{
	uint32_t n = blob_get_u32(in);
	int r = 0;

	if ((size_t)n * BLOB_SECTION_BYTES > (size_t)(in->end - in->at))
		return SUPERVISOR_STATE_E_BAD;
	s->vms = calloc(n + 1, sizeof *s->vms);
	if (!s->vms)
		return -ENOMEM;
	for (uint32_t i = 0; !r && i < n; i++)
		r = load_vm(s, in);
	return r ? r : blob_is_whole(in) ? 0 : SUPERVISOR_STATE_E_BAD;
}

static int load_api(struct supervisor *s, struct blob_reader *in)
{
	int r = load_listener(&s->api, in);

	s->orders.upgrade_id = blob_get_u32(in);
	s->orders.upgrade_engine = (pid_t)blob_get_u64(in);
	s->orders.upgrade_fd = blob_get_fd(in);
	return r;
}

static int load(struct supervisor *s, struct blob_reader *in)
{
	struct blob_reader section;
	uint32_t version;
	int r;

	if (!blob_enter(in, &section, TAG, STATE_VERSION_EVENTS, &version))
		return SUPERVISOR_STATE_E_BAD;
	r = plan_state_load(s->plan, &section);
	if (r)
		return r;
	s->engine = (pid_t)blob_get_u64(&section);
	s->channel = blob_get_fd(&section);
	s->shared_fd = blob_get_fd(&section);
	s->log_fd = blob_get_fd(&section);
	if (version >= STATE_VERSION_API && (r = load_api(s, &section)))
		return r;
	if (version >= STATE_VERSION_EVENTS)
		s->events_fd = blob_get_fd(&section);
	return load_vms(s, &section);
}

/* The whole file; NULL: it cannot be read. */
static void *read_file(int fd, size_t *n)
{
	struct stat st;
	char *bytes;

	if (fstat(fd, &st) < 0 || st.st_size > (off_t)BYTES_MAX + (off_t)sizeof(int) * FDS_MAX)
		return NULL;
	bytes = malloc((size_t)st.st_size + 1);
	*n = 0;
	while (bytes && *n < (size_t)st.st_size) {
		ssize_t got = pread(fd, bytes + *n, (size_t)st.st_size - *n, (off_t)*n);

		if (got <= 0) {
			free(bytes);
			return NULL;
		}
		*n += (size_t)got;
	}
	return bytes;
}

/* @has_fds: they are there, under their numbers. */
static int load_file(struct supervisor *s, int fd, bool has_fds)
{
	struct blob_reader in;
	struct blob_fds fds;
	size_t len, head;
	char *bytes = read_file(fd, &len);
	uint64_t n = 0;
	int r = SUPERVISOR_STATE_E_BAD;

	if (!bytes)
		return r;
	if (len >= sizeof n)
		memcpy(&n, bytes, sizeof n);
	head = sizeof n + (size_t)n * sizeof(int);
	if (len >= sizeof n && n <= FDS_MAX && head <= len) {
		fds = (struct blob_fds){ .fds = (int *)(void *)(bytes + sizeof n), .n = (size_t)n };
		blob_read(&in, bytes + head, len - head, has_fds ? &fds : NULL);
		r = load(s, &in);
	}
	free(bytes);
	return r;
}

int supervisor_state_load(struct supervisor *s, int fd)
{
	return load_file(s, fd, true);
}

bool supervisor_state_check(int fd)
{
	struct supervisor s = { .orders.upgrade_fd = -1 };
	struct plan plan;
	int r;

	plan_init(&plan);
	listener_init(&s.api);
	s.plan = &plan;
	r = load_file(&s, fd, false);
	for (size_t i = 0; i < s.n_vms; i++) {
		free(s.vms[i]->sockets.vhost.path);	/* their names are another's */
		free(s.vms[i]->sockets.uds.path);
		free(s.vms[i]->sockets.seqpacket.path);
		s.vms[i]->sockets.vhost.path = s.vms[i]->sockets.uds.path = NULL;
		s.vms[i]->sockets.seqpacket.path = NULL;
		held_vm_free(s.vms[i]);
	}
	free(s.vms);
	free(s.api.path);			/* as their names */
	s.api.path = NULL;
	listener_deinit(&s.api);
	plan_deinit(&plan);
	return r == 0;
}
