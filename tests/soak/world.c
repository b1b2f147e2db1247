/* SPDX-License-Identifier: BSD-3-Clause */
/* Daemon, VMs and connections together: see world.h. */
#include "soak/world.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "support/deadline.h"
#include "support/host.h"
#include "support/must.h"
#include "support/sanitized.h"
#include "support/sock.h"

enum {
	LATE_MS = 300,				/* of two seconds that a guest has to answer */
	STOP_MS = 10000,
	RSS_SLACK = 64 << 20,
};

struct world world;

static void start_daemon(const struct world_options *o)
{
	static char words[SOAK_VMS][512], threads[16];
	const char *args[2 * SOAK_VMS + 16] = {
		"--log-level", o->log_level, "--pause-grace", "600", "--threads", threads,
	};
	unsigned n = 6;

	snprintf(threads, sizeof threads, "%u", o->threads);
	for (unsigned i = 0; i < SOAK_VMS; i++) {
		vm_words(&world.vms[i], words[i], sizeof words[i]);
		args[n++] = "--vm";
		args[n++] = words[i];
	}
	daemon_spawn(&world.daemon, args);
	for (unsigned i = 0; i < SOAK_VMS; i++)
		if (!daemon_wait_listening(&world.daemon, world.vms[i].socket) ||
		    !daemon_wait_listening(&world.daemon, world.vms[i].uds))
			die("the daemon did not start: %s", daemon_log(&world.daemon));
}

void world_init(const struct world_options *o)
{
	world.seed = o->seed;
	world.n_threads = o->threads;
	daemon_init(&world.daemon);
	for (unsigned i = 0; i < MUTE_CLIENTS; i++)
		world.mutes[i].fd = -1;
	for (unsigned i = 0; i < SOAK_VMS; i++)
		vm_init(&world.vms[i], i, o->seed, &world.daemon);
	start_daemon(o);
	for (unsigned i = 0; i < SOAK_VMS; i++) {
		char path[160];

		world.stalled[i][0] = host_listen(world.vms[i].uds, SOAK_STALLED_PORT, 0);
		snprintf(path, sizeof path, "%s_%u", world.vms[i].uds, (unsigned)SOAK_STALLED_PORT);
		world.stalled[i][1] = host_connect(path);
		must(world.stalled[i][1] >= 0);
	}
	world.idle = daemon_usage(&world.daemon);
	world_refill();
}

void world_refill(void)
{
	for (unsigned i = 0; i < SOAK_VMS; i++)
		vm_up(&world.vms[i]);
	world.looked_ms = now_ms();
}

/* The name tells the slot. */
struct link *world_new_link(uint32_t slot)
{
	struct link *l = &world.links[slot];

	link_begin(l, 10000 + world.n_links++ * SOAK_SLOTS + slot, world.seed);
	return l;
}

static struct link *find_link(uint32_t id)
{
	struct link *l = &world.links[(id - 10000) % SOAK_SLOTS];

	return l->is_used && l->id == id ? l : NULL;
}

static void on_untaken(const struct tx_note *note)
{
	struct link *l = find_link(note->link);
	struct end *e;

	if (!l)
		return;
	e = &l->ends[note->end];
	l->reasons |= WHY_DEATH;
	if (note->offset < e->taken)
		e->taken = note->offset;
}

void world_guest_died(struct vm *v)
{
	vm_each_untaken(v, on_untaken);
	for (unsigned i = 0; i < SOAK_SLOTS; i++)
		if (world.links[i].is_used)
			link_guest_died(&world.links[i], v);
}

static void take_accepted(struct vm *v)
{
	struct sock *s;
	struct link *l;

	while (v->d.backlog && vm_can_send(v)) {
		s = sock_accept(&v->d, v->d.backlog->port);
		l = find_link(s->port);
		if (l && s->type != l->type)
			link_fail(l, "a connection of type %u", s->type);
		if (l && l->ends[1].state == END_ABSENT) {
			sock_unlisten(&v->d, l->id);
			open_accepted(&l->ends[1], s);
		} else {			/* nobody waits for it any more */
			if (s->state == SOCK_OPEN)
				sock_send_rst(s);
			sock_free(s);
		}
	}
}

bool world_turn(void)
{
	int64_t now = now_ms();
	bool moved = false;

	if (now - world.looked_ms > LATE_MS)
		soak_late_ms = now;
	world.looked_ms = now;
	for (unsigned i = 0; i < SOAK_VMS; i++) {
		struct vm *v = &world.vms[i];

		moved |= vm_turn(v);
		if (v->state == VM_RUNNING)
			take_accepted(v);
	}
	for (unsigned i = 0; i < SOAK_SLOTS; i++)
		if (world.links[i].is_used)
			moved |= link_turn(&world.links[i]);
	if (!daemon_is_running(&world.daemon))
		die("the daemon has ended");
	return moved;
}

static unsigned watch_end(const struct end *e, struct pollfd *p)
{
	if (e->listener >= 0) {
		*p = (struct pollfd){ .fd = e->listener, .events = POLLIN };
		return 1;
	}
	if (e->fd < 0 || e->is_deaf || e->saw_end || !end_is_willing(e))
		return 0;
	*p = (struct pollfd){ .fd = e->fd, .events = POLLIN };
	if (e->to_send && !e->write_failed)
		p->events |= POLLOUT;
	return 1;
}

void world_wait(int ms)
{
	struct pollfd p[SOAK_VMS * 2 + SOAK_SLOTS * 2];
	nfds_t n = 0;

	for (unsigned i = 0; i < SOAK_VMS; i++) {
		struct vm *v = &world.vms[i];

		if (v->state != VM_RUNNING)
			continue;
		if (!v->is_asleep && ms > 1)
			ms = 1;			/* it looks by itself */
		p[n++] = (struct pollfd){ .fd = v->d.vq[VSOCK_RXQ].call_fd, .events = POLLIN };
		if (vm_lacks_tx(v))
			p[n++] = (struct pollfd){
				.fd = v->d.vq[VSOCK_TXQ].call_fd, .events = POLLIN,
			};
	}
	for (unsigned i = 0; i < SOAK_SLOTS; i++)
		for (int end = 0; end < 2 && world.links[i].is_used; end++)
			n += watch_end(&world.links[i].ends[end], &p[n]);
	poll(p, n, ms);
}

static void wake_vm(struct vm *v, bool now)
{
	if (v->state != VM_RUNNING && (now || v->until_step <= soak_step)) {
		if (v->state == VM_DOWN)
			vm_up(v);
		else
			vm_resume(v);
	}
	if (v->state == VM_RUNNING && v->hold_until && (now || v->hold_until <= soak_step))
		vm_release_rx(v);
}

static void wake_up(bool now)
{
	for (unsigned i = 0; i < SOAK_VMS; i++)
		wake_vm(&world.vms[i], now);
	for (unsigned i = 0; i < MUTE_CLIENTS; i++) {
		if (world.mutes[i].fd < 0 || (!now && world.mutes[i].until_step > soak_step))
			continue;
		close(world.mutes[i].fd);
		world.mutes[i].fd = -1;
	}
}

void world_wake_up(void)
{
	wake_up(false);
}

static bool is_settled(void)
{
	for (unsigned i = 0; i < SOAK_SLOTS; i++)
		if (world.links[i].is_used && link_is_owed(&world.links[i]))
			return false;
	for (unsigned i = 0; i < SOAK_VMS; i++)
		if (world.vms[i].d.n_strangers < world.vms[i].n_garbage)
			return false;
	return true;
}

static void die_of_garbage(void)
{
	for (unsigned i = 0; i < SOAK_VMS; i++)
		if (world.vms[i].d.n_strangers < world.vms[i].n_garbage)
			die("vm %u: %llu packets of no connection, %llu answers", i,
			    (unsigned long long)world.vms[i].n_garbage,
			    (unsigned long long)world.vms[i].d.n_strangers);
	die("does not settle");
}

void world_settle(void)
{
	int64_t moved_ms = now_ms();

	wake_up(true);
	soak_is_settling = true;
	for (unsigned i = 0; i < SOAK_SLOTS; i++)
		for (int end = 0; end < 2; end++)
			world.links[i].ends[end].reads_from = 0;
	while (world_turn() || !is_settled()) {
		if (world_turn())
			moved_ms = now_ms();
		else if (now_ms() - moved_ms > 2 * (int64_t)soak_patience_ms)
			die_of_garbage();
		else
			world_wait(20);
	}
	soak_is_settling = false;
}

static void close_all(void)
{
	for (unsigned i = 0; i < SOAK_SLOTS; i++)
		for (int end = 0; end < 2 && world.links[i].is_used; end++)
			if (world.links[i].ends[end].state == END_OPEN)
				world.links[i].ends[end].close_due = true;
	world_settle();
	for (unsigned i = 0; i < SOAK_SLOTS; i++)
		if (world.links[i].is_used)
			link_fail(&world.links[i], "does not end");
}

void world_empty(void)
{
	struct daemon_usage u;

	close_all();
	for (unsigned i = 0; i < SOAK_VMS; i++)
		vm_down(&world.vms[i]);
	if (!daemon_wait_fds(&world.daemon, world.idle.fds, soak_patience_ms))
		die("%u descriptors are left over", daemon_usage(&world.daemon).fds -
		    world.idle.fds);
	u = daemon_usage(&world.daemon);
	if (u.rss_bytes > world.idle.rss_bytes + RSS_SLACK + SANITIZER_RSS_SLACK)
		die("memory grew from %llu to %llu KiB",
		    (unsigned long long)world.idle.rss_bytes / 1024,
		    (unsigned long long)u.rss_bytes / 1024);
}

void world_print_log(void)
{
	char *text = daemon_log(&world.daemon);

	printf("# the daemon's log:\n%s", text);
	free(text);
}

/* Warnings are what the parties do wrong on purpose; an error is the daemon's. */
static void check_log(void)
{
	static const char *const bad[] = {
		" error ", " err ", "Sanitizer", "runtime error", "broken", "vanished", "Assert",
	};
	char *text = daemon_log(&world.daemon);

	for (unsigned i = 0; i < sizeof bad / sizeof bad[0]; i++)
		if (strstr(text, bad[i]))
			die("the daemon's log has '%s'", bad[i]);
	free(text);
}

void world_deinit(void)
{
	int status = daemon_stop(&world.daemon, STOP_MS);

	if (status)
		die("the daemon ended with status %d", status);
	check_log();
	for (unsigned i = 0; i < SOAK_VMS; i++) {
		close(world.stalled[i][0]);
		close(world.stalled[i][1]);
	}
	daemon_deinit(&world.daemon);
}
