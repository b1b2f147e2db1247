/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A healthy connection beside one that does not move: a host program that does
 * not read, a guest's program that does not read, a guest that does nothing at
 * all. Beside the same connection alone.
 */
#include <fcntl.h>
#include <sys/socket.h>
#include <unistd.h>

#include "bench/flow.h"
#include "support/deadline.h"
#include "support/must.h"

enum { SETTLE_MS = 20, PIECE = 4096 };

/* Writes until the daemon has taken all that it will take. */
static void fill_up(struct vm *v, int fd, bool guest_turns)
{
	static uint8_t piece[PIECE];
	unsigned quiet = 0;

	while (quiet < 3) {
		quiet++;
		while (send(fd, piece, sizeof piece, MSG_DONTWAIT) > 0)
			quiet = 0;
		if (guest_turns)
			driver_wait(&v->d, deadline_in(SETTLE_MS), false);
		else
			poll(NULL, 0, SETTLE_MS);
	}
}

void run_stalled_reader(struct run *r)
{
	struct sock *stalled;
	struct host h;
	struct vm *v;
	int fd;

	host_up(&h, r, 1);
	v = &h.vms[0];
	stalled = vm_connect(v, &fd);
	while (stalled->sent < VM_CREDIT)	/* credit and socket are full then */
		if (!sock_send_some(stalled, NULL, PIECE) &&
		    !driver_wait(&v->d, deadline_in(SETTLE_MS), !driver_can_send(&v->d)))
			break;
	flow_measure(r, &h, flow_to_host);
	close(fd);
	host_down(&h);
}

void run_stalled_program(struct run *r)
{
	struct host h;
	int fd;

	host_up(&h, r, 1);
	vm_connect(&h.vms[0], &fd);		/* no sink: nobody takes its bytes */
	fill_up(&h.vms[0], fd, true);
	flow_measure(r, &h, flow_to_guest);
	close(fd);
	host_down(&h);
}

void run_stalled_guest(struct run *r)
{
	struct host h;
	int fd;

	host_up(&h, r, 2);
	vm_connect(&h.vms[1], &fd);
	fill_up(&h.vms[1], fd, false);
	flow_measure(r, &h, flow_to_guest);
	close(fd);
	host_down(&h);
}
