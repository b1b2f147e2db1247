/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * One engine takes over from another, under running guests (protocol/supervise.h has who says
 * what).
 *
 * The front-ends' side goes the way that it would go after a crash: by what the supervisor
 * has kept, the journal among it, which is as the other engine has left it between two turns.
 * The rest, connections and what is buffered for them, comes from that engine itself.
 */
#include "daemon/hosted_internal.h"
#include "daemon/limits.h"
#include "daemon/vm.h"
#include "device/device.h"
#include "util/error.h"
#include "util/fd.h"
#include "util/log.h"

enum {
	CONN_BYTES = 4096,			/* of a connection, besides what is buffered */
	DEVICE_BYTES = 64 * 1024,
	BUFFERED_LEAST = 256 << 20,
};

/* Of a device, or who has taken the other engine over could use up all memory. It may have
 * more than its limits allow: they may have been greater. What is buffered counts twice, for
 * a pipe to a sibling is in neither's budget alone. */
static size_t most_fds(void)
{
	return (size_t)hosted.plan.n_files;
}

static size_t most_bytes(const struct vm_plan *row)
{
	uint64_t buffered = row->limits.max_buffered;

	return 2 * (size_t)(buffered > BUFFERED_LEAST ? buffered : BUFFERED_LEAST) +
		DEVICE_BYTES + most_fds() * CONN_BYTES;
}

/* ---- the one that gives ---- */

/* A VM that could not be opened has no device, and comes without a blob. */
static int send_device(int to, const struct vm *vm)
{
	const struct supervise_msg m = { .type = SUPERVISE_DEVICE, .cid = vm->cid };
	struct blob b;
	int r;

	blob_init(&b, most_bytes(vm->plan), most_fds());
	if (vm->device)
		device_save(vm->device, &b);
	r = channel_send_blob(to, &b);
	if (!r)
		r = channel_send(to, &m, NULL, 0, true);
	blob_deinit(&b);
	return r;
}

void hosted_hand_over(struct channel_msg *msg)
{
	const struct supervise_msg end = { .type = SUPERVISE_ALL };
	int to = channel_take_fd(msg, 0), r = 0;

	for (size_t i = 0; !r && i < hosted.n_vms; i++)
		r = send_device(to, hosted_vm(i));
	if (!r)
		r = channel_send(to, &end, NULL, 0, true);
	if (r)
		log_err("main", "cannot hand over: %s", channel_str_error(r));
	fd_close(&to);
}

/* ---- the one that takes ---- */

static int load_device(struct vm *vm, struct channel_state *state)
{
	struct blob_reader in;
	int r;

	vm->is_held = false;
	if (!vm->device)
		return 0;			/* left out, here and now */
	channel_state_read(state, &in);
	r = device_load(vm->device, blob_has_more(&in) ? &in : NULL);
	return r == DEVICE_E_BAD_STATE ? CHANNEL_E_GARBAGE : r;
}

static size_t most_bytes_of_any(void)
{
	size_t most = 0;

	for (size_t i = 0; i < hosted.n_vms; i++) {
		size_t bytes = most_bytes(hosted_vm(i)->plan);

		most = bytes > most ? bytes : most;
	}
	return most;
}

/* The VM may be one that is served no more, and has left nothing. */
static int take_device(uint64_t cid, struct channel_state *state)
{
	struct vm *vm = hosted_find_vm(cid);

	if (!vm)
		return 0;
	return vm->is_held ? load_device(vm, state) : CHANNEL_E_GARBAGE;
}

/* The pieces of one device, and whose they are. 0; CHANNEL_E_NONE: that was all. */
static int receive_device(int from, size_t most)
{
	struct channel_state state;
	struct channel_msg msg;
	bool is_whole = false;
	int r = 0;

	channel_state_init(&state, most, most_fds());
	while (!r && !is_whole) {
		r = channel_receive(from, CHANNEL_PREDECESSOR, &msg);
		if (r)
			break;
		is_whole = msg.m.type != SUPERVISE_STATE;
		if (msg.m.type == SUPERVISE_STATE)
			r = channel_take_piece(&msg, &state);
		else if (msg.m.type == SUPERVISE_DEVICE)
			r = take_device(msg.m.cid, &state);
		else
			r = CHANNEL_E_NONE;
		channel_msg_deinit(&msg);
	}
	channel_state_deinit(&state);
	return r;
}

/* A VM that the other one does not have, for want of something, is a new one. */
static int load_others(void)
{
	struct channel_state nothing;
	int r = 0;

	channel_state_init(&nothing, 0, 0);
	for (size_t i = 0; !r && i < hosted.n_vms; i++)
		if (hosted_vm(i)->is_held)
			r = load_device(hosted_vm(i), &nothing);
	channel_state_deinit(&nothing);
	return r;
}

/*
 * Guests wait from the moment in which the other engine is parked. So what it has in common with
 * this one, which is most, comes before: devices are made, guest memory is mapped. What has changed
 * meanwhile the supervisor tells again; of what only the journals say, it is asked.
 */
int hosted_open_ahead(void)
{
	int r = hosted_open_vms(true);

	for (size_t i = 0; i < hosted.n_vms; i++)
		if (hosted_vm(i)->device)
			device_load_ahead(hosted_vm(i)->device);
	hosted.is_ahead = true;
	return r;
}

/* KEPT is the last that is told again of a VM. */
static int renew(const struct vm *vm)
{
	struct channel_msg msg;
	int r;

	hosted_tell(SUPERVISE_AGAIN, vm->cid, 0);
	r = hosted_learn(SUPERVISE_KEPT, SUPERVISE_KEPT, &msg);
	if (r)
		return r;
	r = hosted_obey(&msg);
	channel_msg_deinit(&msg);
	return r;
}

static int renew_all(void)
{
	int r = 0;

	for (size_t i = 0; !r && i < hosted.n_vms; i++)
		if (hosted_vm(i)->device && !device_is_current(hosted_vm(i)->device))
			r = renew(hosted_vm(i));
	hosted.is_ahead = false;
	return r ? r : hosted_open_vms(true);
}

int hosted_take_over(struct channel_msg *msg)
{
	int from = channel_take_fd(msg, 0), r = renew_all();
	size_t most = most_bytes_of_any();

	while (!r)
		r = receive_device(from, most);
	if (r == CHANNEL_E_NONE)
		r = load_others();
	fd_close(&from);
	return r;
}
