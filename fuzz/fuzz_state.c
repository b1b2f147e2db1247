/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The connections of a guest, as somebody saved them who means harm.
 *
 * Input: 3 bytes and a number of steps of 4 bytes, as in fuzz_conn.c, which make
 * connections that are then saved; a number of changes of 4 bytes each to what was
 * saved: at (2 bytes), how, what; and the area of names. Without changes what was saved
 * is loaded by a judge, whose streams do as they like.
 *
 * Asserted: what was saved loads; if loading fails nothing is left of it, every stream is
 * closed; otherwise no limit is exceeded, and saved again it is the same; then packets,
 * buffers, events and time end no one but connections; names are those of the connections;
 * at the end nothing is left.
 */
#include <errno.h>
#include <stdatomic.h>

#include "input.h"
#include "judge.h"
#include "util/blob.h"
#include "util/error.h"
#include "world/host.h"
#include "world/step.h"
#include "world/world.h"

static struct ledger book;

static void change(struct blob *blob, struct input *in)
{
	size_t at = input_u16(in);
	uint8_t how = input_u8(in), what = input_u8(in);

	if (!blob->len)
		return;
	at %= blob->len;
	switch (how % 5) {
	case 0:
		blob->bytes[at] = what;
		return;
	case 1:
		blob->bytes[at] ^= (uint8_t)(1u << what % 8);
		return;
	case 2:
		memset(blob->bytes + at, what, blob->len - at < 4 ? blob->len - at : 4);
		return;
	case 3:
		blob->len = at;
		return;
	default:				/* as something else in it */
		blob->bytes[at] = blob->bytes[(at + what) % blob->len];
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const uint32_t allocs[] = { 1, 16, 4096, 65536 };
	struct input in = { data, size };
	unsigned alloc = input_u8(&in), rx = input_u8(&in), n_steps, n_changes;
	struct blob blob;

	world_init(&book, &(struct world_config){
		.n_vms = 1, .buf_alloc = allocs[alloc % 4],
		.max_buffered = alloc & 0x80 ? 65536 : 1 << 26,
		.rx_size = rx & 1 ? 4096 : 65580, .rx_piece = input_u8(&in),
		.types = MUX_STREAMS | MUX_SEQPACKETS,
	});
	n_steps = input_u8(&in);
	for (unsigned i = 0; i < n_steps; i++) {
		uint8_t s[4];

		input_take(&in, s, sizeof s);
		step_take(&book.vms[0], s[0], s[1], s[2], s[3]);
	}
	world_flush(&book.vms[0]);
	blob_init(&blob, SIZE_MAX, 0);
	mux_save(book.vms[0].mux, &blob);
	assert(!blob_error(&blob));
	n_changes = input_u8(&in) % 32;
	for (unsigned i = 0; i < n_changes; i++)
		change(&blob, &in);
	judge(&(struct judge_config){
		.guest_cid = book.vms[0].cid, .buf_alloc = book.buf_alloc,
		.max_connections = MAX_CONNS, .max_buffered = book.max_buffered,
		.now_ms = book.now_ms, .stream_tag = HOST_STREAM_TAG,
		.must_load = !n_changes, .names = in.data, .n_names = in.left,
	}, &blob);
	blob_deinit(&blob);
	world_deinit(&book);
	return 0;
}
