/* SPDX-License-Identifier: BSD-3-Clause */
/* Performing the actions of the script, where they fit. */
#include <stdio.h>
#include <sys/socket.h>
#include <unistd.h>

#include "soak/world.h"
#include "support/host.h"
#include "support/host_messages.h"
#include "support/must.h"
#include "support/sock.h"

static bool act_open(const struct act *a)
{
	struct vm *vm = &world.vms[a->vm], *other = &world.vms[a->other_vm];
	struct link *l = &world.links[a->slot];
	bool done;

	if (l->is_used)
		return false;
	l = world_new_link(a->slot);
	if (a->kind == ACT_OPEN_TO_HOST)
		done = open_to_host(l, vm);
	else if (a->kind == ACT_OPEN_TO_GUEST)
		done = open_to_guest(l, vm);
	else if (a->kind == ACT_OPEN_TO_SIBLING)
		done = open_to_sibling(l, vm, other);
	else
		done = open_to_nobody(l, vm, other, a->variant);
	l->is_used = done;
	if (!done)
		return false;
	link_counts.opened++;
	if (!l->must_be_refused)		/* something to say at once */
		l->ends[0].to_send = a->size;
	return true;
}

/* What is said in two steps must be possible in both. */
static bool can_talk(const struct end *e)
{
	return !e->vm || vm_can_send(e->vm);
}

static bool act_on_end(const struct act *a)
{
	struct link *l = &world.links[a->slot];
	struct end *e = &l->ends[a->end];

	if (!l->is_used || e->state == END_OVER || e->state == END_CLOSING)
		return false;
	if (a->kind == ACT_CLOSE_NOW || a->kind == ACT_ABORT) {
		if (e->state == END_ABSENT || !can_talk(e))
			return false;
		end_close(e, a->kind == ACT_ABORT);
		return true;
	}
	if (e->state != END_OPEN)
		return false;
	switch ((int)a->kind) {
	case ACT_SEND:
		if (e->is_fin || e->write_failed || e->fin_due || e->close_due)
			return false;
		e->to_send += a->size;
		return true;
	case ACT_FIN:
		e->fin_due = !e->is_fin && !e->close_due;
		return e->fin_due;
	case ACT_CLOSE:
		e->close_due = true;
		return true;
	case ACT_DEAF:
		if (e->is_deaf || !can_talk(e))
			return false;
		end_deafen(e);
		return true;
	default:				/* ACT_STOP_READING */
		e->reads_from = soak_step + a->steps;
		return true;
	}
}

static bool act_on_vm(const struct act *a)
{
	struct vm *v = &world.vms[a->vm];

	if (v->state != VM_RUNNING)
		return false;
	v->until_step = soak_step + a->steps;
	switch ((int)a->kind) {
	case ACT_HOLD_RX:
		if (!v->hold_until)
			vm_hold_rx(v, v->until_step);
		return true;
	case ACT_GARBAGE:
		if (v->hold_until || !vm_can_send(v))
			return false;
		vm_send_garbage(v, a->variant);
		return true;
	case ACT_PAUSE:
		vm_pause(v, VM_PAUSED);
		return true;
	case ACT_DISABLE:
		vm_pause(v, VM_DISABLED);
		return true;
	case ACT_REBOOT:
		vm_stop(v);
		world_guest_died(v);
		vm_boot(v);
		return true;
	case ACT_KILL:
		world_guest_died(v);
		vm_down(v);
		return true;
	case ACT_RECONNECT:
		vm_release_rx(v);
		world_guest_died(v);
		vm_detach(v);
		sock_forget_all(&v->d);
		vm_reattach(v);
		return true;
	default:				/* ACT_HOTPLUG */
		vm_plug(v);
		return true;
	}
}

static bool act_probe(const struct act *a)
{
	const struct vm *v = &world.vms[a->vm];
	bool is_of_messages = a->variant & 8 && a->variant & 1;
	int fd = is_of_messages ? host_messages_connect(v->uds) :
		host_connect(a->variant & 1 ? v->uds : v->socket);

	must(fd >= 0);
	if (a->variant & 2)
		shutdown(fd, SHUT_WR);
	if (a->variant & 4 && a->variant & 1)
		host_write(fd, "CON", 3);
	close(fd);
	return true;
}

/* The one in session stays; the second is closed, whatever it says. */
static bool act_second_vmm(const struct act *a)
{
	const struct vm *v = &world.vms[a->vm];
	struct vmm f;
	uint64_t features;

	if (v->state != VM_RUNNING)
		return false;
	must(vmm_connect(&f, v->socket));
	if (vmm_get_features(&f, &features) != VMM_GONE)
		die("a second VMM was let in at vm %u", v->index);
	vmm_close(&f);
	return true;
}

static bool act_mute_client(const struct act *a)
{
	struct mute_client *m = &world.mutes[a->slot % MUTE_CLIENTS];

	if (m->fd >= 0)
		return false;
	m->fd = a->variant & 2 ? host_messages_connect(world.vms[a->vm].uds) :
		host_connect(world.vms[a->vm].uds);
	must(m->fd >= 0);
	if (a->variant & 1 && !(a->variant & 2))	/* half a line is not a message */
		host_write(m->fd, "CONNECT 12", a->variant % 11);
	m->until_step = soak_step + a->steps;
	return true;
}

bool act_perform(const struct act *a)
{
	switch (a->kind) {
	case ACT_OPEN_TO_HOST:
	case ACT_OPEN_TO_GUEST:
	case ACT_OPEN_TO_SIBLING:
	case ACT_OPEN_TO_NOBODY:
		return act_open(a);
	case ACT_SEND:
	case ACT_FIN:
	case ACT_DEAF:
	case ACT_CLOSE:
	case ACT_CLOSE_NOW:
	case ACT_ABORT:
	case ACT_STOP_READING:
		return act_on_end(a);
	case ACT_HOLD_RX:
	case ACT_GARBAGE:
	case ACT_PAUSE:
	case ACT_DISABLE:
	case ACT_REBOOT:
	case ACT_KILL:
	case ACT_RECONNECT:
	case ACT_HOTPLUG:
		return act_on_vm(a);
	case ACT_PROBE:
		return act_probe(a);
	case ACT_SECOND_VMM:
		return act_second_vmm(a);
	case ACT_MUTE_CLIENT:
		return act_mute_client(a);
	case ACT_COUNT:
		break;
	}
	return false;
}
