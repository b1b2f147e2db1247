/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A guest, host programs and a clock against one mux.
 *
 * Input: 3 bytes: our buffer size, the size of RX buffers, how they are cut;
 * then steps of 4 bytes: what, who, and two numbers (step() says which).
 *
 * Asserted: what reaches each stream is a prefix of what the guest sent it, and
 * the other way round; neither side's credit is exceeded, the counts told are
 * true; no data or credit before RESPONSE, none behind SHUTDOWN; one RST per
 * connection and one per stray packet; streams wait for what matters and have
 * nothing left when the mux says that all is said; at the end nothing is left.
 */
#include <assert.h>
#include <errno.h>

#include "conn_world.h"
#include "input.h"
#include "util/error.h"

static struct world w;

static void guest_rw(struct world *world, struct slot *slot, unsigned a, unsigned b)
{
	static const uint32_t lens[] = { 1, 7, 100, 1000, 4096, 30000, VSOCK_BODY_MAX };

	/* Within its credit, unless it means to cheat. */
	world_guest_rw(world, slot, (lens[a % 7] + b % 64) & 0xffff, !(b & 0x80));
}

static void host_step(struct world *world, struct side *side, unsigned what, unsigned a,
		      unsigned b)
{
	static const int ends[] = { STREAM_E_EOF, STREAM_E_CLOSED, -ECONNRESET, -EIO };
	static const int errors[] = { -EPIPE, -ECONNRESET, -EIO };

	if (!side || !side->stream || !side->is_live)
		return;
	switch (what) {
	case 0:
		side->to_give += a * 64u + b;
		side_ready(world, side, STREAM_IN);
		return;
	case 1:
		if (!side->end)
			side->end = ends[a % 4];
		side_ready(world, side, STREAM_IN |
			   (side->end == STREAM_E_CLOSED ? STREAM_HUP | STREAM_OUT : 0u));
		return;
	case 2:
		side->takes += a * 64u + b;
		side_ready(world, side, STREAM_OUT);
		return;
	case 3:
		if (!side->write_error)
			side->write_error = errors[a % 3];
		side_ready(world, side, STREAM_OUT);
		return;
	default:
		side_ready(world, side, STREAM_IN | STREAM_OUT);
	}
}

static void guest_step(struct world *world, struct slot *slot, unsigned what, unsigned a,
		       unsigned b)
{
	static const uint32_t allocs[] = { 0, 1, 100, 4096, 65536, 1u << 31, UINT32_MAX };

	switch (what) {
	case 0:
		world_guest_says(world, slot, VSOCK_TYPE_STREAM, VSOCK_OP_REQUEST, 0);
		return;
	case 1:
		world_guest_says(world, slot, VSOCK_TYPE_STREAM, VSOCK_OP_RESPONSE, 0);
		return;
	case 2:
		world_guest_says(world, slot, VSOCK_TYPE_STREAM, VSOCK_OP_RST, 0);
		return;
	case 3:
		world_guest_says(world, slot, VSOCK_TYPE_STREAM, VSOCK_OP_SHUTDOWN, a);
		return;
	case 4:
		world_guest_says(world, slot, VSOCK_TYPE_STREAM,
				 a & 1 ? VSOCK_OP_CREDIT_REQUEST : VSOCK_OP_CREDIT_UPDATE, 0);
		return;
	case 5:
		if ((a & 15) != VSOCK_OP_RW)
			world_guest_says(world, slot, b & 3, (uint16_t)(a & 15), b >> 2);
		return;
	case 6:
		slot->buf_alloc = allocs[a % 7];
		slot->lie = b & 0x80 ? b << 24 : 0;
		return;
	default:
		guest_rw(world, slot, a, b);
	}
}

static void step(struct world *world, unsigned what, unsigned who, unsigned a, unsigned b)
{
	struct slot *slot = &world->slots[who % SLOTS];

	if (what < 112) {			/* the guest: 8 things, RW more often */
		guest_step(world, slot, what % 16, a, b);
		return;
	}
	world_flush(world);
	if (what < 176)				/* the host */
		host_step(world, world_side_of(world, slot), what % 5, a, b);
	else if (what < 192)
		world_host_connects(world, slot);
	else if (what < 224)
		world_output(world, a);
	else if (what < 232)
		world_time(world, a * 100u + b);
	else if (what < 233)
		world_reset(world);
	else if (what < 234)
		world_abort(world);
	else if (what < 244)
		world->connect_result = (int[]){ 0, BACKEND_E_PENDING, -ECONNREFUSED }[a % 3];
	else
		world_connected(world, world_side_of(world, slot), a & 1 ? -ECONNREFUSED : 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const uint32_t allocs[] = { 1, 3, 16, 4096, 65536, 262144 };
	static const size_t sizes[] = { 44, 45, 60, 100, 1500, 4096, 65580, 66000 };
	struct input in = { data, size };
	unsigned alloc = input_u8(&in), rx = input_u8(&in), piece = input_u8(&in);

	world_init(&w, allocs[alloc % 6], sizes[rx % 8], piece);
	for (int i = 0; in.left && i < 2000; i++) {
		uint8_t s[4];

		input_take(&in, s, sizeof s);
		step(&w, s[0], s[1], s[2], s[3]);
	}
	world_deinit(&w);
	return 0;
}
