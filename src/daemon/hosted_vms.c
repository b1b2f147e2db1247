/* SPDX-License-Identifier: BSD-3-Clause */
/* The VMs that a hosted engine is told of. */
#include <stdlib.h>
#include <sys/socket.h>

#include "daemon/hosted_internal.h"
#include "daemon/vm.h"
#include "daemon/vm_job.h"
#include "util/error.h"
#include "util/fd.h"
#include "util/log.h"

struct hosted_vm {
	struct vm vm;
	struct vm_plan *row;			/* owned; for the worker's thread, if it runs */
	bool is_due;				/* it is to be opened at the start */
};

/* Freed by who does it, in the worker's thread. */
struct hosted_job {
	struct vm_job job;
	struct hosted_vm *vm;
	struct vm_plan *row;			/* owned until it is the VM's */
};

static void row_free(struct vm_plan *row)
{
	if (row)
		vm_plan_deinit(row);
	free(row);
}

static void hosted_vm_free(struct hosted_vm *h)
{
	vm_deinit(&h->vm);
	row_free(h->row);
	free(h);
}

/* ---- what the supervisor does for a device ---- */

static int keep(void *ctx, uint32_t slot, int fd)
{
	const struct vm *vm = ctx;
	const struct supervise_msg m = {
		.type = SUPERVISE_KEEP, .cid = vm->cid, .u.kept.slot = slot,
	};
	int r = channel_send(hosted.channel, &m, &fd, 1, true);

	if (r == CHANNEL_E_END)
		hosted_vanish();
	return r;
}

static void drop(void *ctx, uint32_t slot)
{
	const struct vm *vm = ctx;
	const struct supervise_msg m = {
		.type = SUPERVISE_DROP, .cid = vm->cid, .u.kept.slot = slot,
	};

	if (hosted.may_serve)
		channel_send(hosted.channel, &m, NULL, 0, true);
}

static int send_question(const struct supervise_msg *m)
{
	int r = channel_send(hosted.channel, m, NULL, 0, false);

	return r > 0 ? -EPIPE : r;
}

static int ask(void *ctx, enum vsock_type type, uint32_t port, uint32_t id)
{
	const struct vm *vm = ctx;

	return send_question(&(struct supervise_msg){
		.type = type == VSOCK_TYPE_SEQPACKET ? SUPERVISE_CONNECT_SEQPACKET :
			SUPERVISE_CONNECT,
		.cid = vm->cid,
		.u.connect = { .port = port, .id = id },
	});
}

static int call(void *ctx)
{
	const struct vm *vm = ctx;

	return send_question(&(struct supervise_msg){ .type = SUPERVISE_CALL, .cid = vm->cid });
}

static int accept_next(void *ctx)
{
	const struct vm *vm = ctx;

	return send_question(&(struct supervise_msg){ .type = SUPERVISE_ACCEPT, .cid = vm->cid });
}

/* ---- jobs ---- */

static struct hosted_job *job_of(struct vm_job *job)
{
	return container_of(job, struct hosted_job, job);
}

static struct hosted_job *job_new(struct hosted_vm *h, void (*done)(struct vm_job *job, int r))
{
	struct hosted_job *j = calloc(1, sizeof *j);

	if (j) {
		j->job.done = done;
		j->vm = h;
	}
	return j;
}

/* The supervisor has it removed. */
static void tell_left_out(const struct vm *vm, int r)
{
	log_err("main", "vm %llu is left out: %s", (unsigned long long)vm->cid,
		listener_str_error(r));
	hosted_tell(SUPERVISE_LEFT_OUT, vm->cid, 0);
}

static void on_opened(struct vm_job *job, int r)
{
	struct hosted_job *j = job_of(job);

	if (r && r != -ECANCELED)
		tell_left_out(&j->vm->vm, r);
	free(j);
}

static void on_changed(struct vm_job *job, int r)
{
	struct hosted_job *j = job_of(job);
	struct vm_plan *old = r ? j->row : j->vm->row;

	if (!r)
		j->vm->row = j->row;
	else if (r != -ECANCELED)
		log_err("main", "vm %llu stays as it was: %s", (unsigned long long)j->vm->vm.cid,
			error_str(r));
	row_free(old);
	free(j);
}

static void on_removed(struct vm_job *job, int r)
{
	struct hosted_job *j = job_of(job);
	uint64_t cid = j->vm->vm.cid;

	(void)r;
	hosted_vm_free(j->vm);
	free(j);
	hosted_tell(SUPERVISE_REMOVED, cid, 0);
}

/* ---- which there are ---- */

/* Those of all VMs are asked for one after the other. */
static struct hosted_vm *find(uint64_t cid)
{
	static size_t at;

	for (size_t i = 0; i < hosted.n_vms; i++, at++) {
		at = at < hosted.n_vms ? at : 0;
		if (hosted.vms[at]->vm.cid == cid)
			return hosted.vms[at];
	}
	return NULL;
}

static void forget(struct hosted_vm *h)
{
	size_t i = 0;

	while (hosted.vms[i] != h)
		i++;
	hosted.vms[i] = hosted.vms[--hosted.n_vms];
}

/* Takes @row over. NULL without memory. */
static struct hosted_vm *add(struct vm_plan *row)
{
	struct hosted_vm **vms = realloc(hosted.vms, (hosted.n_vms + 1) * sizeof *vms);
	struct hosted_vm *h = calloc(1, sizeof *h);

	if (vms)
		hosted.vms = vms;
	if (!vms || !h) {
		row_free(row);
		free(h);
		return NULL;
	}
	h->row = row;
	vm_init(&h->vm, row);
	h->vm.keeper = (struct journal_keeper){ .keep = keep, .drop = drop, .ctx = &h->vm };
	h->vm.ask = ask;
	h->vm.call = call;
	h->vm.accept = accept_next;
	h->vm.ask_ctx = &h->vm;
	hosted.vms[hosted.n_vms++] = h;
	return h;
}

static bool is_listening(int fd)
{
	int value = 0;
	socklen_t len = sizeof value;

	return getsockopt(fd, SOL_SOCKET, SO_ACCEPTCONN, &value, &len) == 0 && value;
}

/* The sockets that came with it, in their order. */
static struct vm_fds take_sockets(struct channel_msg *msg)
{
	uint32_t has = msg->m.u.vm.sockets;
	size_t n = 0;
	struct vm_fds fds;

	fds.vhost = has & SUPERVISE_HAS_SOCKET ? channel_take_fd(msg, n++) : -1;
	fds.uds = has & SUPERVISE_HAS_UDS ? channel_take_fd(msg, n++) : -1;
	fds.seqpacket = has & SUPERVISE_HAS_SEQPACKET ? channel_take_fd(msg, n++) : -1;
	return fds;
}

static void set_sockets(struct hosted_vm *h, struct channel_msg *msg)
{
	struct vm_fds fds = take_sockets(msg);

	h->vm.sockets.vhost.fd = fds.vhost;
	h->vm.sockets.uds.fd = fds.uds;
	h->vm.sockets.seqpacket.fd = fds.seqpacket;
	if (fds.vhost >= 0)
		h->row->vhost_socket.fd_listens = is_listening(fds.vhost);
	h->is_due = !hosted.has_started;
}

/* What was opened ahead is not the last word any more. */
static int take_again(struct hosted_vm *h, struct channel_msg *msg, struct vm_plan *row)
{
	engine_abandon_vm(&hosted.engine, &h->vm);
	row_free(h->row);
	h->row = row;
	h->vm.plan = row;
	set_sockets(h, msg);
	return 0;
}

static int take_new(struct channel_msg *msg, struct vm_plan *row)
{
	struct hosted_vm *h = add(row);
	struct hosted_job *j;
	int r;

	if (!h)
		return -ENOMEM;
	set_sockets(h, msg);
	if (!hosted.has_started)
		return 0;
	j = job_new(h, on_opened);
	r = j ? engine_add(&hosted.engine, &h->vm, &j->job) : -ENOMEM;
	if (r) {
		tell_left_out(&h->vm, r);
		forget(h);
		hosted_vm_free(h);
		free(j);
	}
	return 0;
}

static int take_changed(struct hosted_vm *h, struct channel_msg *msg, struct vm_plan *row)
{
	struct hosted_job *j = job_new(h, on_changed);
	struct vm_fds fds = take_sockets(msg);
	int r = -ENOMEM;

	if (j) {
		j->row = row;
		r = engine_change(&hosted.engine, &h->vm, &j->job, row, &fds);
	}
	if (!r)
		return 0;
	log_err("main", "vm %llu stays as it was: %s", (unsigned long long)h->vm.cid,
		error_str(r));
	vm_fds_close(&fds);
	row_free(row);
	free(j);
	return 0;
}

int hosted_take_vm(struct channel_msg *msg)
{
	struct vm_plan *row = calloc(1, sizeof *row);
	struct hosted_vm *h = find(msg->m.cid);
	int r;

	if (!row)
		return -ENOMEM;
	vm_plan_init(row);
	r = hosted_read_plan(NULL, row);
	if (!r && (row->guest_cid != msg->m.cid ||
		   (h && !hosted.has_started && !hosted.is_ahead)))
		r = CHANNEL_E_GARBAGE;
	if (r) {
		row_free(row);
		return r;
	}
	row->is_by_api = msg->m.u.vm.sockets & SUPERVISE_IS_BY_API;
	if (!h)
		return take_new(msg, row);
	return hosted.has_started ? take_changed(h, msg, row) : take_again(h, msg, row);
}

int hosted_take_kept(struct channel_msg *msg)
{
	struct hosted_vm *h = find(msg->m.cid);
	int r = h && h->is_due ? 0 : CHANNEL_E_GARBAGE;
	struct blob_reader in;

	channel_state_read(&hosted.state, &in);
	while (!r && blob_has_more(&in)) {
		uint32_t slot = blob_get_u32(&in);
		int fd = blob_get_fd(&in);

		r = fd < 0 ? CHANNEL_E_GARBAGE : vm_add_kept(&h->vm, slot, fd);
	}
	hosted_forget_state();
	return r;
}

void hosted_remove_vm(uint64_t cid)
{
	struct hosted_vm *h = find(cid);
	struct hosted_job *j = h ? job_new(h, on_removed) : NULL;

	if (!h)					/* one that could not even be begun with */
		hosted_tell(SUPERVISE_REMOVED, cid, 0);
	if (h && !j)
		log_err("main", "vm %llu cannot be removed: no memory", (unsigned long long)cid);
	if (!j)
		return;
	forget(h);
	engine_remove(&hosted.engine, &h->vm, &j->job);
}

void hosted_take_connected(struct channel_msg *msg)
{
	struct hosted_vm *h = find(msg->m.cid);

	if (h && !msg->m.u.connected.result == (msg->n_fds > 0))
		vm_answer(&h->vm, msg->m.u.connected.id, msg->m.u.connected.result,
			  channel_take_fd(msg, 0));
}

static_assert((int)JOURNAL_SLOT_ACCEPTED == SUPERVISE_SLOT_ACCEPTED, "the keeper's");

void hosted_take_accepted(struct channel_msg *msg)
{
	struct hosted_vm *h = find(msg->m.cid);

	if (h && !msg->m.u.connected.result == (msg->n_fds > 0))
		vm_accepted(&h->vm, msg->m.u.connected.result, channel_take_fd(msg, 0));
}

/* NULL without memory. */
static struct vm **list_vms(void)
{
	struct vm **vms = calloc(hosted.n_vms + 1, sizeof(struct vm *));

	for (size_t i = 0; vms && i < hosted.n_vms; i++)
		vms[i] = &hosted.vms[i]->vm;
	return vms;
}

int hosted_prepare_engine(const struct engine_config *config)
{
	struct engine_config with_vms = *config;
	struct vm **vms = list_vms();
	int r;

	if (!vms)
		return -ENOMEM;
	with_vms.vms = vms;
	with_vms.n_vms = hosted.n_vms;
	r = engine_prepare(&hosted.engine, &with_vms);
	free(vms);
	return r;
}

int hosted_open_vms(bool is_held)
{
	struct vm **vms = calloc(hosted.n_vms + 1, sizeof(struct vm *));
	size_t n = 0;
	int r;

	if (!vms)
		return -ENOMEM;
	for (size_t i = 0; i < hosted.n_vms; i++) {
		struct hosted_vm *h = hosted.vms[i];

		if (!h->is_due)
			continue;
		h->is_due = false;
		h->vm.is_held = is_held;
		vms[n++] = &h->vm;
	}
	r = engine_open_vms(&hosted.engine, vms, n);
	free(vms);
	return r;
}

void hosted_tell_left_out(void)
{
	for (size_t i = 0; i < hosted.n_vms; i++)
		if (!hosted.vms[i]->vm.device)
			hosted_tell(SUPERVISE_LEFT_OUT, hosted.vms[i]->vm.cid, 0);
}

struct vm *hosted_vm(size_t i)
{
	return &hosted.vms[i]->vm;
}

struct vm *hosted_find_vm(uint64_t cid)
{
	struct hosted_vm *h = find(cid);

	return h ? &h->vm : NULL;
}

void hosted_free_vms(void)
{
	for (size_t i = 0; i < hosted.n_vms; i++)
		hosted_vm_free(hosted.vms[i]);
	free(hosted.vms);
	hosted.vms = NULL;
	hosted.n_vms = 0;
}
