/* SPDX-License-Identifier: BSD-3-Clause */
/* A script's bytes as steps. */
#include "step.h"

#include <errno.h>

#include "util/error.h"

#include "guest.h"
#include "host.h"
#include "world.h"

static void rw(struct vm *vm, struct slot *slot, unsigned a, unsigned b)
{
	static const uint32_t lens[] = { 1, 7, 100, 1000, 4096, 30000, VSOCK_BODY_MAX };
	uint32_t len = (lens[a % 7] + b % 64) & 0xffff, flags = b & 0x40 ? 0 : VSOCK_SEQ_EOM;

	if (vm->n_payload == PAYLOADS)
		world_flush(vm);
	if (guest_type(vm, slot) == VSOCK_TYPE_SEQPACKET && a / 7 % 4 == 3)
		len = 0;
	if (a / 7 % 2)
		flags |= VSOCK_SEQ_EOR;
	/* Within its credit, unless it means to cheat. */
	guest_rw(vm, slot, len, !(b & 0x80), flags);
}

/* Most connections are streams. */
static enum vsock_type type_by(unsigned a)
{
	return a & 0x40 ? VSOCK_TYPE_SEQPACKET : VSOCK_TYPE_STREAM;
}

static void host_gives(struct side *side, unsigned a, unsigned b)
{
	uint32_t len = a * 64u + b;

	if (side->type == VSOCK_TYPE_SEQPACKET)
		flow_add_message(side->in, a >= 0xf0 ? 8 * len : len, b & 1);
	else
		side->to_give += len;
	host_ready(side, STREAM_IN);
}

static void host_step(struct side *side, unsigned what, unsigned a, unsigned b)
{
	static const int ends[] = { STREAM_E_EOF, STREAM_E_CLOSED, STREAM_E_RESET, -EIO };
	static const int errors[] = { STREAM_E_NO_READER, STREAM_E_RESET, -EIO, STREAM_E_TOO_LONG };

	if (!side || !side->stream || !side->is_live)
		return;
	switch (what) {
	case 0:
		host_gives(side, a, b);
		return;
	case 1:
		if (!side->end)
			side->end = ends[a % 4];
		host_ready(side, STREAM_IN |
			   (side->end == STREAM_E_CLOSED ? STREAM_HUP | STREAM_OUT : 0u));
		return;
	case 2:
		side->takes += a * 64u + b;
		host_ready(side, STREAM_OUT);
		return;
	case 3:
		if (!side->write_error)
			side->write_error = errors[side->type == VSOCK_TYPE_SEQPACKET ? a % 4 : a % 3];
		host_ready(side, STREAM_OUT);
		return;
	default:
		host_ready(side, STREAM_IN | STREAM_OUT);
	}
}

static void guest_step(struct vm *vm, struct slot *slot, unsigned what, unsigned a, unsigned b)
{
	static const uint32_t allocs[] = { 0, 1, 100, 4096, 65536, 1u << 31, UINT32_MAX };
	enum vsock_type type = guest_type(vm, slot);

	switch (what) {
	case 0:
		guest_says(vm, slot, type_by(a), VSOCK_OP_REQUEST, 0);
		return;
	case 1:
		guest_says(vm, slot, type, VSOCK_OP_RESPONSE, 0);
		return;
	case 2:
		guest_says(vm, slot, type, VSOCK_OP_RST, 0);
		return;
	case 3:
		guest_says(vm, slot, type, VSOCK_OP_SHUTDOWN, a);
		return;
	case 4:
		guest_says(vm, slot, type,
			   a & 1 ? VSOCK_OP_CREDIT_REQUEST : VSOCK_OP_CREDIT_UPDATE, 0);
		return;
	case 5:
		if ((a & 15) != VSOCK_OP_RW)
			guest_says(vm, slot, b & 3, (uint16_t)(a & 15), b >> 2);
		return;
	case 6:
		slot->buf_alloc = allocs[a % 7];
		slot->lie = b & 0x80 ? b << 24 : 0;
		return;
	default:
		rw(vm, slot, a, b);
	}
}

void step_take(struct vm *vm, unsigned what, unsigned who, unsigned a, unsigned b)
{
	struct slot *slot = &vm->slots[who % vm->n_slots];
	struct side *side;

	if (what < 112) {			/* the guest: 8 things, RW more often */
		guest_step(vm, slot, what % 16, a, b);
		return;
	}
	world_flush(vm);
	side = side_find(vm, slot->guest_port, &slot->peer);
	if (what < 176)				/* the host */
		host_step(side, what % 5, a, b);
	else if (what < 192)
		host_connects(vm, slot, type_by(a));
	else if (what < 224)
		world_output(vm, a);
	else if (what < 232)
		world_time(vm->book, a * 100u + b);
	else if (what < 233)
		guest_reset(vm);
	else if (what < 234)
		guest_abort(vm);
	else if (what < 244)
		vm->connect_result = (int[]){ 0, BACKEND_E_PENDING, BACKEND_E_NOBODY }[a % 3];
	else if (what == 255 && !vm->siblings)
		world_move(vm);
	else
		host_connected(side, a & 1 ? BACKEND_E_NOBODY : 0);
	world_check(vm->book);
}
