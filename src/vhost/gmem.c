/* SPDX-License-Identifier: BSD-3-Clause */
/* Guest memory: regions, translation, SIGBUS. */
#include "vhost/gmem.h"

#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <linux/magic.h>

#include "util/blob.h"
#include "util/closer.h"
#include "util/error.h"
#include "util/fd.h"
#include "util/last_signal.h"
#include "util/list.h"

struct region {
	uint64_t gpa, size, uaddr;
	uint64_t offset;			/* in its file */
	int fd;					/* that file, owned; -1: not kept */
	char *ptr;				/* of gpa */
	char *map;				/* what mmap returned: ptr rounded down */
	size_t map_len, granule;		/* mapped in multiples of it */
	struct closer_map *give_back;		/* owned: the same, for the thread that unmaps it */
};

/* The memories that this thread accesses, for its SIGBUS handler. */
static _Thread_local struct list of_thread;

void gmem_leave_thread(struct gmem *mem)
{
	list_remove(&mem->node);
}

void gmem_enter_thread(struct gmem *mem)
{
	if (!of_thread.next)
		list_init(&of_thread);
	list_append(&of_thread, &mem->node);
}

int gmem_new(struct gmem **out, const struct gmem_limits *limits)
{
	struct gmem *mem = calloc(1, sizeof *mem);

	if (!mem)
		return -ENOMEM;
	assert(limits->mem_slots && limits->mem_slots <= VHOST_USER_MEM_SLOTS_MAX);
	mem->limits = *limits;
	gmem_enter_thread(mem);
	*out = mem;
	return 0;
}

/* In another thread: how long it takes depends on who else has that memory. */
static void give_back(struct region *r)
{
	if (r->fd >= 0)
		gmem_close_file(&r->fd);
	closer_close(&r->fd);
	*r->give_back = (struct closer_map){
		.at = r->map, .len = r->map_len, .granule = r->granule,
	};
	closer_unmap(r->give_back);
}

void gmem_free(struct gmem *mem)
{
	if (!mem)
		return;
	list_remove(&mem->node);
	for (size_t i = 0; i < mem->n_regions; i++)
		give_back(&mem->regions[i]);
	free(mem->regions);
	free(mem);
}

struct file {
	uint64_t size;				/* UINT64_MAX: no regular file, it has none */
	size_t granule;				/* mmap offsets and lengths are multiples of it */
};

/* Huge pages show in the block size; a granule larger than needed does no harm. */
static int look_at_file(int fd, struct file *out)
{
	size_t page = (size_t)sysconf(_SC_PAGESIZE);
	struct statx st;
	int r = fd_stat(fd, STATX_TYPE | STATX_SIZE, &st);

	if (r < 0)
		return r;
	out->size = S_ISREG(st.stx_mode) ? st.stx_size : UINT64_MAX;
	out->granule = st.stx_blksize > page && !(st.stx_blksize & (st.stx_blksize - 1)) ?
		st.stx_blksize : page;
	return 0;
}

/* Maps @r->size bytes from @offset of @fd, rounded out to granules at most @room, and
 * completes @r. Returns what gmem_add_region() does. */
static int map_region(struct region *r, uint64_t offset, int fd, uint64_t room)
{
	struct file file;
	uint64_t skip, len;
	size_t granule;
	void *map;
	int e;

	if ((e = look_at_file(fd, &file)) < 0)
		return e;
	if (offset > file.size || r->size > file.size - offset)
		return GMEM_E_INVALID;
	granule = file.granule;
	skip = offset % granule;
	if (r->size > SIZE_MAX / 2 - skip - granule || offset > INT64_MAX)
		return GMEM_E_INVALID;
	len = (r->size + skip + granule - 1) / granule * granule;
	if (len > room)
		return GMEM_E_TOO_MUCH;
	r->give_back = malloc(sizeof *r->give_back);
	if (!r->give_back)
		return -ENOMEM;
	map = mmap(NULL, len, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_NORESERVE, fd,
		   (off_t)(offset - skip));
	if (map == MAP_FAILED) {
		e = error_last();
		free(r->give_back);
		return e;
	}
	madvise(map, len, MADV_DONTDUMP);
	r->map = map;
	r->map_len = len;
	r->granule = granule;
	r->ptr = r->map + skip;
	return 0;
}

/* What is mapped may be more than the limit, which was another when it was. */
static uint64_t room(const struct gmem *mem)
{
	return mem->limits.max_memory > mem->mapped ? mem->limits.max_memory - mem->mapped : 0;
}

/* Room for one more: they are few, and the limit is high. False: there is none. */
static bool has_room_for_one(struct gmem *mem)
{
	struct region *regions = realloc(mem->regions, (mem->n_regions + 1) * sizeof *regions);

	if (regions)
		mem->regions = regions;
	return regions;
}

int gmem_add_region(struct gmem *mem, const struct vhost_user_mem_region *region, int fd)
{
	struct region r = {
		.gpa = region->gpa, .size = region->size, .uaddr = region->uaddr,
		.offset = region->mmap_offset, .fd = -1,
	};
	size_t at = 0;
	int e;

	if (!r.size || r.gpa > UINT64_MAX - r.size || r.uaddr > UINT64_MAX - r.size)
		return GMEM_E_INVALID;
	if (mem->n_regions >= mem->limits.mem_slots)
		return GMEM_E_NO_SLOT;
	while (at < mem->n_regions && mem->regions[at].gpa < r.gpa)
		at++;
	if (at > 0 && r.gpa - mem->regions[at - 1].gpa < mem->regions[at - 1].size)
		return GMEM_E_OVERLAP;
	if (at < mem->n_regions && mem->regions[at].gpa - r.gpa < r.size)
		return GMEM_E_OVERLAP;
	if (!has_room_for_one(mem))
		return -ENOMEM;
	if ((e = map_region(&r, region->mmap_offset, fd, room(mem))))
		return e;
	mem->mapped += r.map_len;
	memmove(&mem->regions[at + 1], &mem->regions[at],
		(mem->n_regions - at) * sizeof *mem->regions);
	mem->regions[at] = r;
	mem->n_regions++;
	return 0;
}

void gmem_close_file(int *fd)
{
	if (fcntl(*fd, F_GET_SEALS) >= 0)
		fd_close(fd);
}

int gmem_remove_region(struct gmem *mem, const struct vhost_user_mem_region *region)
{
	for (size_t i = 0; i < mem->n_regions; i++) {
		struct region *r = &mem->regions[i];

		if (r->gpa != region->gpa || r->size != region->size ||
		    r->uaddr != region->uaddr)
			continue;
		give_back(r);
		mem->mapped -= r->map_len;
		mem->n_regions--;
		memmove(r, r + 1, (mem->n_regions - i) * sizeof *r);
		mem->last = (struct gmem_span){ .size = 0 };
		return 0;
	}
	return GMEM_E_NO_REGION;
}

bool gmem_is_empty(const struct gmem *mem)
{
	return mem->n_regions == 0;
}

static struct region *find_gpa(struct gmem *mem, uint64_t gpa)
{
	size_t low = 0, high = mem->n_regions;

	while (low < high) {
		size_t mid = low + (high - low) / 2;
		struct region *r = &mem->regions[mid];

		if (gpa < r->gpa) {
			high = mid;
		} else if (gpa - r->gpa < r->size) {
			mem->last = (struct gmem_span){ r->gpa, r->size, r->ptr };
			return r;
		} else {
			low = mid + 1;
		}
	}
	return NULL;
}

size_t gmem_slice_anywhere(struct gmem *mem, uint64_t gpa, uint64_t len, struct iovec *out,
			   size_t max)
{
	size_t n = 0;

	while (len) {
		struct region *r = find_gpa(mem, gpa);
		uint64_t here;

		if (!r || n == max)
			return 0;
		here = r->size - (gpa - r->gpa);
		if (here > len)
			here = len;
		out[n++] = (struct iovec){ r->ptr + (gpa - r->gpa), here };
		gpa += here;			/* region ends do not wrap */
		len -= here;
	}
	return n;
}

GUEST void *gmem_ptr_anywhere(struct gmem *mem, uint64_t gpa, uint64_t len)
{
	struct region *r = find_gpa(mem, gpa);

	if (!r || len > r->size - (gpa - r->gpa))
		return NULL;
	return r->ptr + (gpa - r->gpa);
}

GUEST void *gmem_ptr_uaddr(struct gmem *mem, uint64_t uaddr, uint64_t len)
{
	for (size_t i = 0; i < mem->n_regions; i++) {
		struct region *r = &mem->regions[i];
		uint64_t off = uaddr - r->uaddr;

		if (uaddr >= r->uaddr && off < r->size && len <= r->size - off)
			return r->ptr + off;
	}
	return NULL;
}

void gmem_keep_file(struct gmem *mem, uint64_t gpa, int *fd)
{
	struct region *r = find_gpa(mem, gpa);

	assert(r && r->gpa == gpa && r->fd < 0);
	r->fd = fd_take(fd);
}

enum { REGION_BYTES = 4 * sizeof(uint64_t) + sizeof(uint32_t) };	/* saved */

void gmem_save(const struct gmem *mem, struct blob *out)
{
	size_t section = blob_open(out, BLOB_TAG('G', 'M', 'E', 'M'), 1);

	for (size_t i = 0; i < mem->n_regions; i++) {
		const struct region *r = &mem->regions[i];

		blob_put_u64(out, r->gpa);
		blob_put_u64(out, r->size);
		blob_put_u64(out, r->uaddr);
		blob_put_u64(out, r->offset);
		blob_put_fd(out, r->fd);
	}
	blob_close(out, section);
}

static int load_region(struct gmem *mem, struct blob_reader *in)
{
	struct vhost_user_mem_region region;
	int fd, r = 0;

	region.gpa = blob_get_u64(in);
	region.size = blob_get_u64(in);
	region.uaddr = blob_get_u64(in);
	region.mmap_offset = blob_get_u64(in);
	fd = blob_get_fd(in);
	if (in->is_short || fd < 0)
		r = GMEM_E_STATE;
	else
		r = gmem_add_region(mem, &region, fd);
	if (!r)
		gmem_keep_file(mem, region.gpa, &fd);
	closer_close(&fd);
	return r;
}

int gmem_load(struct gmem **out, const struct gmem_limits *limits, struct blob_reader *in)
{
	struct gmem_limits then = { .max_memory = UINT64_MAX, .mem_slots = limits->mem_slots };
	struct blob_reader section;
	struct gmem *mem;
	uint32_t version;
	size_t n;
	int r;

	if (!blob_enter(in, &section, BLOB_TAG('G', 'M', 'E', 'M'), 1, &version))
		return GMEM_E_STATE;
	n = (size_t)(section.end - section.at) / REGION_BYTES;
	if (n > VHOST_USER_MEM_SLOTS_MAX)
		return GMEM_E_STATE;
	then.mem_slots = n > then.mem_slots ? n : then.mem_slots;
	if ((r = gmem_new(&mem, &then)))
		return r;
	while (!r && blob_has_more(&section))
		r = load_region(mem, &section);
	if (!r && !blob_is_whole(&section))
		r = GMEM_E_STATE;
	if (r) {
		gmem_free(mem);
		return r;
	}
	mem->limits = *limits;
	*out = mem;
	return 0;
}

bool gmem_is_lost(const struct gmem *mem)
{
	return mem->lost;
}

static bool map_zeroes(char *at, size_t len)
{
	return mmap(at, len, PROT_READ | PROT_WRITE,
		    MAP_FIXED | MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0) != MAP_FAILED;
}

/* Replaces the page alone, a small one if possible: the rest may be on its way to a host
 * program. Replaces the whole region when there are too many mappings. */
static bool replace_page(struct region *r, size_t off)
{
	size_t page = (size_t)sysconf(_SC_PAGESIZE);

	return map_zeroes(r->map + off / page * page, page) ||
		map_zeroes(r->map + off / r->granule * r->granule, r->granule) ||
		map_zeroes(r->map, r->map_len);
}

static void on_sigbus(int sig, siginfo_t *info, void *context);

static int catch_sigbus(void)
{
	struct sigaction sa = { .sa_sigaction = on_sigbus, .sa_flags = SA_SIGINFO | SA_NODEFER };

	sigemptyset(&sa.sa_mask);
	return sigaction(SIGBUS, &sa, NULL);
}

/*
 * A SIGBUS sent by kill(2) is no fault: it does what it does to any process, and at
 * once. To return without our handler would let the next lost page end all VMs.
 * Process 1 of a container is spared, and keeps its handler.
 */
static void take_foreign(int sig)
{
	if (getpid() == 1)
		return;
	last_signal_raise(sig);
}

/*
 * A fault calls it in the thread that faults, so never while that changes its own
 * list; mmap is a plain system call. A page that the hardware has lost but nobody has
 * touched (BUS_MCEERR_AO) is no fault yet.
 */
static void on_sigbus(int sig, siginfo_t *info, void *context)
{
	const char *at = info->si_addr;
	int saved_errno = errno;

	(void)context;
	if (info->si_code == BUS_MCEERR_AO)
		return;
	if (info->si_code <= 0) {
		take_foreign(sig);
		errno = saved_errno;
		return;
	}
	if (of_thread.next) {
		list_for_each(node, &of_thread) {
			struct gmem *mem = container_of(node, struct gmem, node);

			for (size_t i = 0; i < mem->n_regions; i++) {
				struct region *r = &mem->regions[i];

				if (at < r->map || at >= r->map + r->map_len)
					continue;
				if (!replace_page(r, (size_t)(at - r->map)))
					break;
				mem->lost = 1;
				errno = saved_errno;
				return;
			}
		}
	}
	signal(sig, SIG_DFL);			/* the access is repeated, and ends us */
}

int gmem_catch_sigbus(void)
{
	return catch_sigbus() < 0 ? error_last() : 0;
}
