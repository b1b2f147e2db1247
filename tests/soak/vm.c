/* SPDX-License-Identifier: BSD-3-Clause */
/* The lives of a VM: see vm.h. */
#include "soak/vm.h"

#include <stdio.h>
#include <unistd.h>

#include "support/deadline.h"
#include "support/must.h"
#include "support/sock.h"

enum {
	GROUPS = 3,
	HELD_TX_MAX = 100,			/* packets sent while RX buffers are kept */
	OWN_PORT_MIN = 1 << 24,			/* beyond those that anybody listens on */
	TX_SPARE = 4,				/* slots kept for answers */
};

#define BIT(n)		(UINT64_C(1) << (n))
#define PICK(rng, a)	(a)[rng_below(rng, sizeof(a) / sizeof((a)[0]))]
#define PLUG_GPA	UINT64_C(0x4000000000)

void vm_init(struct vm *v, unsigned index, uint64_t seed, const struct daemon *daemon)
{
	*v = (struct vm){
		.index = index, .cid = 3 + index, .rng = rng_new(seed, 100 + index),
		.is_tight = index == 1 || index == 2,
	};
	v->groups = rng_range(&v->rng, 1, (1 << GROUPS) - 1);
	snprintf(v->socket, sizeof v->socket, "%s/vhost%u.sock", daemon->dir, index);
	snprintf(v->uds, sizeof v->uds, "%s/vm%u.sock", daemon->dir, index);
}

/* The first VM has small buffers, the second few connections, the third little memory. */
void vm_words(const struct vm *v, char *words, size_t size)
{
	static const char *const limits[SOAK_VMS] = {
		",tx-buffer-size=3000", ",max-connections=12", ",max-buffered=200000",
	};
	int n = snprintf(words, size, "guest-cid=%u,socket=%s,uds-path=%s%s,groups=",
			 (unsigned)v->cid, v->socket, v->uds,
			 limits[v->index] ? limits[v->index] : "");

	for (unsigned g = 0, first = 1; g < GROUPS; g++) {
		if (!(v->groups & 1u << g))
			continue;
		n += snprintf(words + n, size - (size_t)n, "%sg%u", first ? "" : "+", g);
		first = 0;
	}
}

bool vm_may_reach(const struct vm *from, const struct vm *to)
{
	return from != to && from->groups & to->groups;
}

static const struct vm *current;

void vm_note(struct vm *v, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	history_add(&v->history, fmt, ap);
	va_end(ap);
}

void vm_print(const struct vm *v)
{
	const struct driver_options *o = &v->d.opt;

	printf("# vm %u: cid %u, life %u, state %d%s; like %s, features %#llx, queues of %u, "
	       "RX %u bytes shape %d, TX shape %d, %u of %u free, credit %u%s, %s\n", v->index,
	       (unsigned)v->cid, v->n_lives, (int)v->state, v->hold_until ? ", holds RX" : "",
	       o->habits ? o->habits->name : "none yet",
	       (unsigned long long)v->d.fe.features, (unsigned)o->queue_size,
	       (unsigned)o->rx_buf_len, (int)o->rx_shape, (int)o->tx_shape,
	       (unsigned)v->d.n_tx_free, (unsigned)v->d.n_tx_slots, (unsigned)o->buf_alloc,
	       o->sends_ahead ? ", sends ahead" : "", v->sleeps ? "sleeps" : "polls");
	if (v == current)
		history_print(&v->history);
}

static uint64_t draw_without(struct rng *r)
{
	uint64_t without = 0;

	without |= rng_one_in(r, 3) ? BIT(VIRTIO_F_EVENT_IDX) : 0;
	without |= rng_one_in(r, 2) ? BIT(VIRTIO_F_IN_ORDER) : 0;
	without |= rng_one_in(r, 2) ? BIT(VIRTIO_F_NOTIFY_ON_EMPTY) : 0;
	without |= rng_one_in(r, 3) ? BIT(VIRTIO_F_INDIRECT_DESC) : 0;
	without |= rng_one_in(r, 6) ? BIT(VIRTIO_VSOCK_F_SEQPACKET) : 0;
	return without;
}

static void draw_shapes(struct vm *v, struct driver_options *o)
{
	o->without = draw_without(&v->rng);
	o->tx_shape = (enum tx_shape)rng_below(&v->rng, TX_SHAPES);
	o->rx_shape = (enum rx_shape)rng_below(&v->rng, RX_SHAPES);
	if (!(o->without & BIT(VIRTIO_F_INDIRECT_DESC)))
		return;
	if (o->tx_shape == TX_INDIRECT || o->tx_shape == TX_INDIRECT_TWO)
		o->tx_shape = TX_MANY;
	if (o->rx_shape == RX_INDIRECT)
		o->rx_shape = RX_TWO;
}

static struct driver_options draw_options(struct vm *v)
{
	static const struct start_habits *const habits[] = {
		&START_QEMU, &START_CLOUD_HYPERVISOR, &START_LIBKRUN, &START_STRATOVIRT,
		&START_OLD,
	};
	static const uint32_t rings[] = { 16, 32, 64, 128, 128, 256 };
	static const uint32_t rx_bufs[] = { 300, 1000, 4096, 4096, 4096, 9000, 65580 };
	static const uint32_t credits[] = { 700, 4096, 65536, 262144, 262144 };
	static const uint16_t bases[] = { 0, 0, 0, 1000, 0x7ff0, 0xfff0 };
	static const uint64_t offsets[] = { 0, 0, 0x1000, 0x230 };
	struct driver_options o = {
		.cid = v->cid, .habits = PICK(&v->rng, habits),
		.queue_size = PICK(&v->rng, rings), .rx_buf_len = PICK(&v->rng, rx_bufs),
		.buf_alloc = PICK(&v->rng, credits), .base = PICK(&v->rng, bases),
		.mmap_offset = PICK(&v->rng, offsets), .sends_ahead = rng_one_in(&v->rng, 3),
	};

	draw_shapes(v, &o);
	return o;
}

/* Not all front-ends ask for acknowledgements: the device has seen all so far. */
static void sync_session(struct vm *v)
{
	uint64_t features;

	must(vmm_get_features(&v->d.fe, &features) == 0);
}

static void begin_life(struct vm *v)
{
	sync_session(v);
	v->n_lives++;
	v->n_garbage = v->d.n_strangers = 0;
	v->hold_until = 0;
	v->d.holds_rx = false;
	v->sleeps = rng_one_in(&v->rng, 2);
	v->is_asleep = false;
	v->state = VM_RUNNING;
	vm_note(v, "life %u begins", v->n_lives);
}

void vm_up(struct vm *v)
{
	struct driver_options o = draw_options(v);

	driver_up(&v->d, v->socket, &o);
	v->d.next_port = OWN_PORT_MIN;
	v->has_plugged = false;
	begin_life(v);
}

void vm_down(struct vm *v)
{
	vm_note(v, "VMM killed");
	driver_deinit(&v->d);
	v->state = VM_DOWN;
}

static unsigned n_rings(const struct vm *v)
{
	return v->d.opt.habits->n_queues;
}

void vm_stop(struct vm *v)
{
	if (!vmm_stop(&v->d.fe, v->d.vq, n_rings(v)))
		die("vm %u: the rings did not stop", v->index);
	vm_note(v, "rings stopped at %u, %u", v->d.vq[0].base, v->d.vq[1].base);
	v->state = VM_PAUSED;
}

void vm_boot(struct vm *v)
{
	struct vmm *f = &v->d.fe;
	uint64_t features, kept = BIT(VHOST_USER_F_PROTOCOL_FEATURES);
	bool talks = f->features & kept;

	draw_shapes(v, &v->d.opt);
	must(vmm_get_features(f, &features) == 0);
	features &= ~(v->d.opt.without | kept);
	must(vmm_set_features(f, features | (talks ? kept : 0)) == 0);
	for (unsigned q = 0; q < n_rings(v); q++) {
		v->d.vq[q].event_idx = has_feature(features, VIRTIO_F_EVENT_IDX);
		v->d.vq[q].in_order = has_feature(features, VIRTIO_F_IN_ORDER);
	}
	driver_rewind(&v->d, 0);
	must(driver_program(&v->d) == 0);
	begin_life(v);
}

void vm_pause(struct vm *v, enum vm_state how)
{
	if (how == VM_DISABLED && !has_feature(v->d.fe.features, VHOST_USER_F_PROTOCOL_FEATURES))
		how = VM_PAUSED;
	if (how == VM_PAUSED)
		vm_stop(v);
	for (unsigned q = 0; how == VM_DISABLED && q < n_rings(v); q++)
		must(vmm_set_vring_enable(&v->d.fe, q, false) == 0);
	v->state = how;
	vm_note(v, how == VM_PAUSED ? "paused" : "disabled");
}

void vm_resume(struct vm *v)
{
	struct vmm *f = &v->d.fe;

	for (unsigned q = 0; q < n_rings(v); q++) {
		if (v->state == VM_DISABLED)
			must(vmm_set_vring_enable(f, q, true) == 0);
		else
			must(vmm_start_ring(f, q, &v->d.vq[q]) == 0);
		guest_ring_kick(&v->d.vq[q]);
	}
	sync_session(v);
	v->state = VM_RUNNING;
	v->is_asleep = false;
	vm_note(v, "rings resume");
}

void vm_detach(struct vm *v)
{
	vm_note(v, "VMM leaves its guest");
	driver_detach(&v->d);
	v->state = VM_DOWN;
}

/* The new VMM has an answer when the old one's session is over; until then the
 * device may take packets. */
static void wait_detached(struct vm *v)
{
	must(vmm_connect(&v->d.fe, v->socket));
	sync_session(v);
	vmm_close(&v->d.fe);
}

void vm_reattach(struct vm *v)
{
	wait_detached(v);
	for (unsigned q = 0; q < n_rings(v); q++)
		v->d.vq[q].base = guest_ring_used_idx(&v->d.vq[q]);
	must(driver_attach(&v->d, v->socket) == 0);
	for (unsigned q = 0; q < n_rings(v); q++)
		guest_ring_kick(&v->d.vq[q]);
	begin_life(v);
}

static void share_region(struct vm *v, bool plug)
{
	struct guest *g = &v->d.guest;
	bool by_slot = v->d.opt.habits->adds_regions &&
		       has_feature(v->d.fe.protocol_features,
				   VHOST_USER_PROTOCOL_F_CONFIGURE_MEM_SLOTS);
	struct guest_region *r = &g->regions[g->n_regions - 1];
	int refused = 0;

	if (by_slot)
		refused = plug ? vmm_add_mem_reg(&v->d.fe, r) :
			  vmm_rem_mem_reg(&v->d.fe, r);
	if (!plug)
		guest_drop_region(g);
	if (!by_slot)
		refused = vmm_set_mem_table(&v->d.fe, g);
	must(!refused);
}

void vm_plug(struct vm *v)
{
	v->has_plugged = !v->has_plugged;
	vm_note(v, v->has_plugged ? "memory plugged" : "memory unplugged");
	if (v->has_plugged)
		guest_add_region(&v->d.guest, PLUG_GPA, 0x10000, 0x3000);
	share_region(v, v->has_plugged);
}

void vm_hold_rx(struct vm *v, uint64_t until_step)
{
	v->hold_until = until_step;
	v->held_tx_pkts = v->d.n_tx_pkts;
	v->d.holds_rx = true;
	vm_note(v, "keeps its RX buffers");
}

void vm_release_rx(struct vm *v)
{
	if (v->hold_until)
		driver_release_rx(&v->d);
	v->hold_until = 0;
}

/* Answers wait for RX buffers, and at some point the TX ring waits for them: so a
 * guest that keeps its buffers sends a limited number of packets. */
bool vm_can_send(struct vm *v)
{
	if (v->state != VM_RUNNING)
		return false;
	if (v->hold_until && v->d.n_tx_pkts - v->held_tx_pkts > HELD_TX_MAX)
		return false;
	return driver_can_send(&v->d) && !vm_lacks_tx(v);
}

bool vm_lacks_tx(const struct vm *v)
{
	return v->d.n_tx_free <= TX_SPARE;
}

bool vm_is_willing(const struct vm *v)
{
	return v->state == VM_RUNNING && !v->hold_until;
}

bool vm_knows_messages(const struct vm *v)
{
	return has_feature(v->d.fe.features, VIRTIO_VSOCK_F_SEQPACKET);
}

void vm_send_garbage(struct vm *v, uint32_t variant)
{
	static const uint16_t ops[] = {
		VSOCK_OP_RESPONSE, VSOCK_OP_RW, VSOCK_OP_SHUTDOWN, VSOCK_OP_CREDIT_UPDATE,
		VSOCK_OP_CREDIT_REQUEST, 0, 77, VSOCK_OP_REQUEST,
	};
	static const uint8_t bytes[3000];
	struct rng r = { variant };
	struct driver_pkt p = driver_pkt(&v->d, PICK(&r, ops), rng_range(&r, 1, 500),
					 rng_range(&r, 1, 500));

	p.dst_cid = rng_one_in(&r, 4) ? v->cid + rng_below(&r, 5) : VSOCK_CID_HOST;
	if (p.op == VSOCK_OP_RW)
		p.len = rng_range(&r, 1, sizeof bytes);
	if (p.op == VSOCK_OP_REQUEST)		/* of a type that nobody has */
		p.type = 3;
	p.flags = (uint32_t)rng_u64(&r);
	p.fwd_cnt = (uint32_t)rng_u64(&r);
	if (driver_send(&v->d, &p, bytes))
		v->n_garbage++;
}

/* Also when packets that it has sent are taken, where it waits to send others. */
static bool is_called(struct vm *v)
{
	bool by_rx = guest_ring_take_call(&v->d.vq[VSOCK_RXQ]);

	return (vm_lacks_tx(v) && guest_ring_take_call(&v->d.vq[VSOCK_TXQ])) || by_rx;
}

static bool may_sleep(struct vm *v)
{
	return !guest_ring_want_call(&v->d.vq[VSOCK_RXQ]) &&
		!(vm_lacks_tx(v) && guest_ring_want_call(&v->d.vq[VSOCK_TXQ]));
}

bool vm_turn(struct vm *v)
{
	current = v;
	if (v->state != VM_RUNNING)
		return false;
	if (v->is_asleep) {
		if (!is_called(v))
			return false;
		v->is_asleep = false;
		guest_ring_refuse_calls(&v->d.vq[VSOCK_RXQ]);
		guest_ring_refuse_calls(&v->d.vq[VSOCK_TXQ]);
	}
	if (driver_turn(&v->d))
		return true;
	v->is_asleep = v->sleeps && may_sleep(v);
	return false;
}

void vm_note_tx(struct vm *v, uint32_t link, unsigned end, uint64_t offset)
{
	v->notes[v->d.n_tx_pkts % TX_NOTES] = (struct tx_note){
		v->d.n_tx_pkts, link, end, offset,
	};
}

/* TX packets are taken in order, so those not given back are the last ones. */
void vm_each_untaken(const struct vm *v, void (*untaken)(const struct tx_note *note))
{
	const struct guest_ring *tx = &v->d.vq[VSOCK_TXQ];
	uint16_t n = (uint16_t)(tx->published - guest_ring_used_idx(tx));

	for (uint64_t pkt = v->d.n_tx_pkts - n + 1; pkt <= v->d.n_tx_pkts; pkt++) {
		const struct tx_note *note = &v->notes[pkt % TX_NOTES];

		if (note->pkt == pkt)
			untaken(note);
	}
}
