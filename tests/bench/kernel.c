/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * vhost-vsock driven from user space: see kernel.h.
 */
#include "bench/kernel.h"

#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include <linux/vhost.h>
#include <linux/vm_sockets.h>

#include "support/must.h"

static const char DEVICE[] = "/dev/vhost-vsock";

void kernel_check(void)
{
	const char *in = getenv("BENCH_IN");

	if (!in || strcmp(in, "guest") != 0)
		die("the kernel's vhost-vsock is measured inside a guest only: tests/bench.sh --kernel");
	if (access(DEVICE, R_OK | W_OK) != 0)
		die("%s: %s", DEVICE, strerror(errno));
}

/* ---- the device ---- */

static uint64_t negotiate(struct kernel_vsock *k, const struct driver *d)
{
	/* Also what a transport of virtio has for itself, or a VMM: not these. */
	const uint64_t wanted = UINT64_C(1) << VIRTIO_F_VERSION_1 |
				UINT64_C(1) << VIRTIO_F_EVENT_IDX |
				UINT64_C(1) << VIRTIO_F_INDIRECT_DESC |
				UINT64_C(1) << VIRTIO_VSOCK_F_SEQPACKET;
	uint64_t features;

	must(ioctl(k->fd, VHOST_GET_FEATURES, &features) == 0);
	features &= wanted & ~d->opt.without;
	must(ioctl(k->fd, VHOST_SET_FEATURES, &features) == 0);
	return features;
}

static void share_memory(struct kernel_vsock *k, const struct guest *g)
{
	struct vhost_memory *m = calloc(1, sizeof *m + g->n_regions * sizeof *m->regions);

	must(m);
	m->nregions = g->n_regions;
	for (unsigned i = 0; i < g->n_regions; i++)
		m->regions[i] = (struct vhost_memory_region){
			.guest_phys_addr = g->regions[i].gpa,
			.memory_size = g->regions[i].size,
			.userspace_addr = (uintptr_t)g->regions[i].ptr,
		};
	must(ioctl(k->fd, VHOST_SET_MEM_TABLE, m) == 0);
	free(m);
}

static void start_ring(struct kernel_vsock *k, unsigned q, const struct guest_ring *r)
{
	struct vhost_vring_state num = { q, r->num }, base = { q, r->base };
	struct vhost_vring_file kick = { q, r->kick_fd }, call = { q, r->call_fd };
	struct vhost_vring_addr addr = {
		.index = q,
		.desc_user_addr = (uintptr_t)r->desc,
		.avail_user_addr = (uintptr_t)r->avail,
		.used_user_addr = (uintptr_t)r->used,
	};

	must(ioctl(k->fd, VHOST_SET_VRING_NUM, &num) == 0);
	must(ioctl(k->fd, VHOST_SET_VRING_BASE, &base) == 0);
	must(ioctl(k->fd, VHOST_SET_VRING_ADDR, &addr) == 0);
	must(ioctl(k->fd, VHOST_SET_VRING_CALL, &call) == 0);
	must(ioctl(k->fd, VHOST_SET_VRING_KICK, &kick) == 0);
}

/* A thread of the process that owns the device, since Linux 6.4. */
static pid_t find_worker(void)
{
	char path[64], name[32];
	pid_t found = 0;
	struct dirent *e;
	DIR *dir = opendir("/proc/self/task");
	FILE *f;

	must(dir);
	while (!found && (e = readdir(dir))) {
		snprintf(path, sizeof path, "/proc/self/task/%.20s/comm", e->d_name);
		if (e->d_name[0] == '.' || !(f = fopen(path, "re")))
			continue;
		if (fgets(name, sizeof name, f) && strncmp(name, "vhost-", 6) == 0)
			found = (pid_t)strtol(e->d_name, NULL, 10);
		fclose(f);
	}
	closedir(dir);
	if (!found)
		die("no thread of ours is a vhost worker: a kernel before 6.4?");
	return found;
}

void kernel_up(struct kernel_vsock *k, struct driver *d)
{
	const int running = 1;

	kernel_check();
	must(d->opt.habits->n_queues == 2);	/* there is no event queue */
	k->fd = open(DEVICE, O_RDWR | O_CLOEXEC);
	must(k->fd >= 0);
	must(ioctl(k->fd, VHOST_SET_OWNER, NULL) == 0);
	k->worker = find_worker();
	d->fe.features = negotiate(k, d);
	share_memory(k, &d->guest);
	for (unsigned q = 0; q < d->opt.habits->n_queues; q++) {
		d->vq[q].event_idx = has_feature(d->fe.features, VIRTIO_F_EVENT_IDX);
		start_ring(k, q, &d->vq[q]);
	}
	must(ioctl(k->fd, VHOST_VSOCK_SET_GUEST_CID, &d->opt.cid) == 0);
	must(ioctl(k->fd, VHOST_VSOCK_SET_RUNNING, &running) == 0);
	driver_fill_rings(d);
}

void kernel_down(struct kernel_vsock *k)
{
	close(k->fd);
}

/* ---- host programs ---- */

static int vsock_socket(int type)
{
	int fd = socket(AF_VSOCK, type | SOCK_CLOEXEC, 0);

	must(fd >= 0);
	return fd;
}

int kernel_listen(int type, uint32_t port, int backlog)
{
	struct sockaddr_vm at = {
		.svm_family = AF_VSOCK, .svm_cid = VMADDR_CID_ANY, .svm_port = port,
	};
	int fd = vsock_socket(type);

	must(bind(fd, (struct sockaddr *)&at, sizeof at) == 0);
	must(listen(fd, backlog) == 0);
	return fd;
}

int kernel_connect(int type, uint32_t cid, uint32_t port)
{
	struct sockaddr_vm to = {
		.svm_family = AF_VSOCK, .svm_cid = cid, .svm_port = port,
	};
	int fd = vsock_socket(type);

	if (connect(fd, (struct sockaddr *)&to, sizeof to) == 0)
		return fd;
	close(fd);
	return -1;
}
