/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A guest, host programs and a clock against one mux.
 *
 * Input: 3 bytes: our buffer size, the size of RX buffers and which types of sockets
 * the guest knows, how the buffers are cut; then steps of 4 bytes: what, who, and two numbers
 * (step_take() says which).
 *
 * Asserted: what reaches each stream is a prefix of what the guest sent it, and
 * the other way round; neither side's credit is exceeded, the counts told are
 * true; a message arrives whole, in one piece and as the record that it was, or its
 * connection is reset: so no flags but on data, EOM at the end of each, whole messages
 * alone counted, no end in the middle of one; no connection of a type that the guest does
 * not know; no data or credit before RESPONSE, none after SHUTDOWN; one RST per
 * connection and one per stray packet; streams wait for what matters and have
 * nothing left when the mux has nothing to send; the memory held is what the
 * budget says; whatever needs a turn has asked for one; at the end nothing is
 * left.
 */
#include "input.h"
#include "world/step.h"
#include "world/world.h"

static struct ledger book;

/* Few guests know but one type, or none. */
static unsigned types_by(unsigned rx)
{
	static const unsigned few[] = { 0, MUX_STREAMS, MUX_SEQPACKETS };

	return rx >= 0xf8 && rx < 0xfb ? few[rx - 0xf8] : MUX_STREAMS | MUX_SEQPACKETS;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const uint32_t allocs[] = { 1, 3, 16, 4096, 65536, 262144 };
	static const size_t sizes[] = { 44, 45, 60, 100, 1500, 4096, 65580, 66000 };
	struct input in = { data, size };
	unsigned alloc = input_u8(&in), rx = input_u8(&in), piece = input_u8(&in);

	world_init(&book, &(struct world_config){
		.n_vms = 1, .buf_alloc = allocs[alloc % 6],
		.max_buffered = alloc & 0x80 ? 3 * 65536 : 1 << 26,
		.rx_size = sizes[rx % 8], .rx_piece = piece,
		.types = types_by(rx),
	});
	for (int i = 0; in.left && i < 2000; i++) {
		uint8_t s[4];

		input_take(&in, s, sizeof s);
		step_take(&book.vms[0], s[0], s[1], s[2], s[3]);
	}
	world_deinit(&book);
	return 0;
}
