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
	CONN_FDS = 3,
	DEVICE_BYTES = 64 * 1024, DEVICE_FDS = 64,
};

/* How much a VM may have, what it has buffered twice: a pipe to a sibling is in neither's
 * budget alone. */
static size_t most_bytes(const struct vm_plan *row)
{
	return 2 * (size_t)row->limits.max_buffered + DEVICE_BYTES +
		(size_t)row->limits.max_connections * CONN_BYTES;
}

static size_t most_fds(const struct vm_plan *row)
{
	return (size_t)row->limits.max_connections * CONN_FDS + DEVICE_FDS +
		limits_handshakes(row->limits.max_connections);
}

/* ---- the one that gives ---- */

/* A VM that could not be opened has no device, and comes without a blob. */
static int send_device(int to, const struct vm *vm)
{
	const struct supervise_msg m = { .type = SUPERVISE_DEVICE, .cid = vm->cid };
	struct blob b;
	int r;

	blob_init(&b, most_bytes(vm->plan), most_fds(vm->plan));
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
	int to = channel_take_fd(msg, 0), r = 0;

	for (size_t i = 0; !r && i < hosted.n_vms; i++)
		r = send_device(to, hosted_vm(i));
	if (r)
		log_err("main", "cannot hand over: %s", channel_str_error(r));
	fd_close(&to);
}

/* ---- the one that takes ---- */

static int load_device(struct vm *vm, struct channel_state *state)
{
	struct blob_reader in;
	int r;

	if (!vm->device)
		return 0;			/* left out, here and now */
	channel_state_read(state, &in);
	r = device_load(vm->device, blob_has_more(&in) ? &in : NULL);
	return r == DEVICE_E_BAD_STATE ? CHANNEL_E_GARBAGE : r;
}

/* The pieces of one device, and that it is one. */
static int receive_device(int from, struct vm *vm)
{
	struct channel_state state;
	struct channel_msg msg;
	bool is_whole = false;
	int r = 0;

	channel_state_init(&state, most_bytes(vm->plan), most_fds(vm->plan));
	while (!r && !is_whole) {
		r = channel_receive(from, CHANNEL_PREDECESSOR, &msg);
		if (r)
			break;
		is_whole = msg.m.type == SUPERVISE_DEVICE;
		if (is_whole)
			r = msg.m.cid == vm->cid ? load_device(vm, &state) : CHANNEL_E_GARBAGE;
		else
			r = channel_take_piece(&msg, &state);
		channel_msg_deinit(&msg);
	}
	channel_state_deinit(&state);
	return r;
}

/* They come in the order in which the supervisor has told both of the VMs. */
int hosted_take_over(struct channel_msg *msg)
{
	int from = channel_take_fd(msg, 0), r = hosted_open_vms(true);

	for (size_t i = 0; !r && i < hosted.n_vms; i++)
		r = receive_device(from, hosted_vm(i));
	fd_close(&from);
	return r;
}
