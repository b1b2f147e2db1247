/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Three guests, host programs, siblings, and mail on its way between them.
 *
 * Input: 3 bytes: our buffer size and budget, and whether the first two guests have the
 * same worker; the size of RX buffers, and which types of sockets the last guest knows; how
 * the buffers are cut. Then steps of 5 bytes: kind, what, who, and two numbers. The kind modulo
 * 3 is the VM:
 *
 *	below 176	a step of it, as in fuzz_conn.c
 *	below 240	mail for it is delivered, as many as `what` says
 *	others		its guest goes, or comes back
 *
 * Asserted, besides what fuzz_conn.c has: bytes from guest to guest arrive in
 * order at the one they are for, all of them before their end is told; nobody
 * reaches a sibling without a common group; siblings begin at most half of a
 * guest's connections; once all mail is delivered and there are buffers, nothing
 * is stuck that the other would take; once all guests are gone and all mail is
 * delivered, no connection is left and every byte of the budgets is given back.
 */
#include "input.h"
#include "world/step.h"
#include "world/world.h"

static struct ledger book;

static void step(struct vm *vm, const uint8_t s[5])
{
	if (s[0] < 176) {
		step_take(vm, s[1], s[2], s[3], s[4]);
		return;
	}
	world_flush(vm);
	if (s[0] < 240) {
		world_deliver(vm, s[1] & 0x80 ? UINT32_MAX : s[1] + 1u);
		return;
	}
	mux_set_running(vm->mux, s[1] & 1);
	world_reset(vm);
}

/* Few guests know but one type, or none. */
static unsigned types_by(unsigned rx)
{
	static const unsigned few[] = { 0, MUX_STREAMS, MUX_SEQPACKETS };

	return rx >= 0xf8 && rx < 0xfb ? few[rx - 0xf8] : MUX_STREAMS | MUX_SEQPACKETS;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const uint32_t allocs[] = { 1, 100, 4096, 65536, 262144 };
	static const size_t sizes[] = { 45, 1500, 4096, 65580 };
	struct input in = { data, size };
	unsigned alloc = input_u8(&in), rx = input_u8(&in), piece = input_u8(&in);
	struct vm *last = &book.vms[0];

	world_init(&book, &(struct world_config){
		.n_vms = VMS, .buf_alloc = allocs[alloc % 5],
		.max_buffered = alloc & 0x80 ? 3 * 65536 : 1 << 26,
		.rx_size = sizes[rx % 4], .rx_piece = piece,
		.types = types_by(rx), .are_neighbours = alloc & 0x40,
	});
	for (int i = 0; in.left && i < 1500; i++) {
		struct vm *vm;
		uint8_t s[5];

		input_take(&in, s, sizeof s);
		vm = &book.vms[s[0] % VMS];
		if (vm != last)			/* one turn after the other */
			world_flush(last);
		step(vm, s);
		last = vm;
	}
	world_flush(last);
	world_settle(&book);
	world_deinit(&book);
	return 0;
}
