/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Two VMs in the middle of their traffic, with the real core and the real backends, that one
 * process after another takes over: from guests to host programs and back, begun by either, and
 * from guest to guest. Each byte comes once, in its place.
 *
 * The guests are scripted here, with credit; the processes are one, whose descriptors are closed
 * as if it had ended.
 */
#include <fcntl.h>
#include <inttypes.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/un.h>

#include "backend/sibling.h"
#include "backend/uds.h"
#include "support/deadline.h"
#include "support/scratch.h"
#include "unit.h"
#include "util/blob.h"
#include "util/closer.h"
#include "util/error.h"
#include "util/fd.h"
#include "vsock/mux.h"

enum {
	VMS = 2, CONNS = 8, RX_BUFS = 64, RX_SIZE = 1500, GUEST_BUF = 20000, CHUNK = 7000,
	TOTAL = 1000000, MOVES = 100,
	WRITTEN_AT = 46,			/* steps: there is something in each buffer */
	HOST_PORT = 80, CALLED_PORT = 90, SIBLING_PORT = 70,
};

enum { TO_HOST, FROM_HOST, TO_SIBLING, FROM_SIBLING };

/* A guest's end of a connection. What goes each way is said by the number of its stream. */
static struct talk {
	int vm, kind;
	struct vsock_addr guest, peer;
	int fd;					/* the host program's, or -1 */
	bool is_open, answers, tells;		/* has a RESPONSE, a CREDIT_UPDATE to send */
	unsigned shut;				/* VSOCK_SHUTDOWN_* that came */
	uint32_t buf_alloc, fwd_cnt;		/* of the other side */
	size_t sent, received;			/* by the guest */
	size_t host_sent, host_received;
	int sends_as, gets;			/* numbers of streams */
} ends[CONNS];
static size_t n_ends;

static struct process {
	struct loop *loop;
	struct sibling_dir *dir;
	struct vm {
		struct mailbox *box;
		struct mux *mux;
		struct backend *uds, *siblings;
	} vms[VMS];
} proc;

static struct mux_scratch scratch;
static char paths[VMS][100];
static int listeners[VMS], port_listeners[VMS], fds_before;
static uint8_t rx_memory[RX_BUFS][RX_SIZE];
static struct iovec rx_iovs[RX_BUFS];
static struct rx_buf rx_bufs[RX_BUFS];
static size_t n_moves;

static uint8_t byte_of(int stream, size_t at)
{
	return (uint8_t)((size_t)stream * 31 + at * 7 + at / 251);
}

static void fill(uint8_t *bytes, int stream, size_t at, size_t n)
{
	for (size_t i = 0; i < n; i++)
		bytes[i] = byte_of(stream, at + i);
}

static void check(const uint8_t *bytes, int stream, size_t at, size_t n)
{
	uint8_t expected[CHUNK];

	ck_assert_uint_le(n, sizeof expected);
	fill(expected, stream, at, n);
	ck_assert_mem_eq(bytes, expected, n);
}

/* ---- the processes ---- */

static void wake(void *ctx)
{
	(void)ctx;				/* every step is a turn */
}

static void add_vm(int v, struct sibling_entry *entry, bool is_held)
{
	static const char *const tags[] = { "vm 3", "vm 4" };
	struct vm *vm = &proc.vms[v];
	const struct mux_config mux = {
		.guest_cid = 3 + (uint64_t)v, .limits = { 65536, CONNS, 1 << 22, 30000 },
		.connect_ms = 20000, .request_ms = 20000, .closing_ms = 20000,
		.hash_seed = n_moves, .tag = tags[v], .scratch = &scratch, .wake = wake,
	};
	struct uds_config uds = {
		.seqpacket_fd = -1,
		.path = paths[v], .fd = dup(listeners[v]), .is_held = is_held,
		.max_handshakes = 4, .handshake_ms = 20000, .tag = tags[v], .loop = proc.loop,
	};
	struct sibling_config siblings = { .dir = proc.dir, .self = entry, .loop = proc.loop };

	ck_assert_int_eq(mux_new(&vm->mux, &mux), 0);
	uds.mux = siblings.mux = vm->mux;
	ck_assert_int_eq(uds_new(&vm->uds, &uds), 0);
	ck_assert_int_eq(sibling_new(&vm->siblings, &siblings), 0);
	mux_add_backend(vm->mux, vm->uds);
	mux_add_backend(vm->mux, vm->siblings);
	mux_set_running(vm->mux, true);
}

static void begin_process(bool is_held)
{
	static char group[] = "group";
	char *const groups[] = { group };
	struct sibling_entry *entries[VMS];

	ck_assert_int_eq(loop_new(&proc.loop), 0);
	ck_assert_int_eq(sibling_dir_new(&proc.dir), 0);
	for (int v = 0; v < VMS; v++) {
		ck_assert_int_eq(mailbox_new(&proc.vms[v].box, proc.loop), 0);
		ck_assert_int_eq(sibling_dir_add(proc.dir, 3 + (uint64_t)v, groups, 1,
						 proc.vms[v].box, &entries[v]), 0);
	}
	ck_assert_int_eq(sibling_dir_publish(proc.dir), 0);
	for (int v = 0; v < VMS; v++)
		add_vm(v, entries[v], is_held);
}

static void settle(const struct process *p)
{
	bool had_mail;

	do {
		had_mail = false;
		for (int v = 0; v < VMS; v++)
			had_mail |= mailbox_deliver(p->vms[v].box);
	} while (had_mail);
}

static void end_process(struct process *p)
{
	for (int v = 0; v < VMS; v++) {
		mux_free(p->vms[v].mux);
		p->vms[v].uds->ops->free(p->vms[v].uds);
		p->vms[v].siblings->ops->free(p->vms[v].siblings);
	}
	settle(p);
	sibling_dir_free(p->dir);
	for (int v = 0; v < VMS; v++)
		mailbox_free(p->vms[v].box);
	loop_free(p->loop);
}

static void lose(int fd)
{
	int nothing = open("/dev/null", O_RDWR | O_CLOEXEC);

	ck_assert_int_ge(dup3(nothing, fd, O_CLOEXEC), 0);
	close(nothing);
}

static void load_vm(struct vm *vm, const struct blob *blob)
{
	int fds[64];
	struct blob_fds given = { fds, blob->n_fds };
	struct blob_reader in;

	for (size_t i = 0; i < given.n; i++)
		ck_assert_int_ge(fds[i] = dup(blob->fds[i]), 0);
	blob_read(&in, blob->bytes, blob->len, &given);
	ck_assert_int_eq(mux_load(vm->mux, &in, loop_now_ms(proc.loop)), 0);
	ck_assert_int_eq(vm->uds->ops->load(vm->uds, &in), 0);
	ck_assert(blob_is_whole(&in));
	for (size_t i = 0; i < given.n; i++)
		ck_assert_int_eq(fds[i], -1);
}

static void save_vm(const struct vm *vm, struct blob *blob)
{
	blob_init(blob, 1 << 24, 64);
	mux_save(vm->mux, blob);
	vm->uds->ops->save(vm->uds, blob);
	ck_assert_int_eq(blob_error(blob), 0);
}

static void move(void)
{
	struct process old = proc;
	struct blob blobs[VMS];

	for (int v = 0; v < VMS; v++)
		save_vm(&proc.vms[v], &blobs[v]);
	n_moves++;
	begin_process(true);
	for (int v = 0; v < VMS; v++)
		load_vm(&proc.vms[v], &blobs[v]);
	ck_assert_int_eq(loop_step(proc.loop, 0), 0);	/* nothing happens before ... */
	for (int v = 0; v < VMS; v++)
		for (size_t i = 0; i < blobs[v].n_fds; i++)
			lose(blobs[v].fds[i]);
	end_process(&old);
	for (int v = 0; v < VMS; v++) {
		mux_resume(proc.vms[v].mux, loop_now_ms(proc.loop));
		blob_deinit(&blobs[v]);
	}
}

/* ---- the guests ---- */

static struct talk *find_end(int vm, const struct vsock_addr *guest,
				 const struct vsock_addr *peer)
{
	for (size_t i = 0; i < n_ends; i++) {
		struct talk *e = &ends[i];

		if (e->vm == vm && e->guest.port == guest->port && e->peer.cid == peer->cid &&
		    e->peer.port == peer->port)
			return e;
	}
	return NULL;
}

static struct talk *add_end(int vm, int kind, struct vsock_addr guest, struct vsock_addr peer)
{
	struct talk *e = &ends[n_ends];

	ck_assert_uint_lt(n_ends, CONNS);
	*e = (struct talk){
		.vm = vm, .kind = kind, .guest = guest, .peer = peer, .fd = -1,
		.sends_as = 2 * (int)n_ends, .gets = 2 * (int)n_ends + 1,
	};
	n_ends++;
	return e;
}

/* Somebody calls. */
static struct talk *on_request(int vm, const struct pkt *pkt)
{
	bool is_sibling = pkt->src.cid != VSOCK_CID_HOST;
	struct talk *e = add_end(vm, is_sibling ? FROM_SIBLING : FROM_HOST, pkt->dst, pkt->src);
	struct talk *opener = is_sibling ? find_end(1 - vm, &pkt->src, &pkt->dst) : NULL;

	if (is_sibling) {
		ck_assert_ptr_nonnull(opener);
		e->sends_as = opener->gets;
		e->gets = opener->sends_as;
	}
	e->answers = true;
	return e;
}

static void on_packet(int vm, const struct pkt *pkt, struct iov_cur *cur)
{
	struct talk *e = pkt->op == VSOCK_OP_REQUEST ? on_request(vm, pkt) :
		find_end(vm, &pkt->dst, &pkt->src);
	uint8_t bytes[RX_SIZE];

	ck_assert_ptr_nonnull(e);
	e->buf_alloc = pkt->buf_alloc;
	e->fwd_cnt = pkt->fwd_cnt;
	switch (pkt->op) {
	case VSOCK_OP_REQUEST:
	case VSOCK_OP_CREDIT_UPDATE:
		break;
	case VSOCK_OP_RESPONSE:
		ck_assert(!e->is_open);
		e->is_open = true;
		break;
	case VSOCK_OP_RW:
		ck_assert(e->is_open && iov_cur_get(cur, bytes, pkt->len));
		check(bytes, e->gets, e->received, pkt->len);
		e->received += pkt->len;
		e->tells = true;
		break;
	case VSOCK_OP_CREDIT_REQUEST:
		e->tells = true;
		break;
	case VSOCK_OP_SHUTDOWN:
		e->shut |= pkt->flags;
		break;
	default:
		ck_abort_msg("kind %d: %s", e->kind, pkt_str_op(pkt->op));
	}
}

static size_t borrow(void *ctx, size_t want, const struct rx_buf **bufs)
{
	(void)ctx;
	*bufs = rx_bufs;
	return want < RX_BUFS ? want : RX_BUFS;
}

static void used(void *ctx, const uint32_t *lens, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		struct iov_cur cur;
		struct pkt pkt;

		(void)lens;
		iov_cur_init(&cur, rx_bufs[i].iov, rx_bufs[i].n);
		ck_assert_int_eq(pkt_parse(&pkt, &cur), 0);
		on_packet(*(int *)ctx, &pkt, &cur);
	}
}

static void guest_says(struct talk *e, uint16_t op, uint8_t *bytes, size_t len, uint32_t flags)
{
	struct mux *mux = proc.vms[e->vm].mux;
	struct iovec iov = { bytes, len };
	struct iov_cur cur;
	struct pkt pkt = {
		.src = e->guest, .dst = e->peer, .type = VSOCK_TYPE_STREAM, .op = op,
		.len = (uint32_t)len, .flags = flags, .buf_alloc = GUEST_BUF,
		.fwd_cnt = (uint32_t)e->received,
	};

	iov_cur_init(&cur, &iov, len ? 1 : 0);
	mux_input(mux, &pkt, &cur, loop_now_ms(proc.loop));
	mux_flush(mux, loop_now_ms(proc.loop));
}

static void guest_sends(struct talk *e)
{
	uint8_t bytes[CHUNK];
	size_t on_the_way = (uint32_t)e->sent - e->fwd_cnt;
	size_t room = e->buf_alloc - on_the_way, left = TOTAL - e->sent;
	size_t n = (e->sent * 13 + 1) % CHUNK + 1;

	n = n < room ? n : room;
	n = n < left ? n : left;
	if (!n)
		return;
	fill(bytes, e->sends_as, e->sent, n);
	e->sent += n;
	guest_says(e, VSOCK_OP_RW, bytes, n, 0);
}

static void guest_turn(struct talk *e)
{
	if (e->answers)
		guest_says(e, VSOCK_OP_RESPONSE, NULL, 0, 0);
	e->is_open |= e->answers;
	if (e->tells && !e->answers)
		guest_says(e, VSOCK_OP_CREDIT_UPDATE, NULL, 0, 0);
	e->answers = e->tells = false;
	if (e->is_open)
		guest_sends(e);
}

/* ---- the host's programs ---- */

static void host_turn(struct talk *e, size_t step)
{
	uint8_t bytes[CHUNK];
	size_t left = TOTAL - e->host_sent, n = left < CHUNK ? left : CHUNK;
	ssize_t r;

	fill(bytes, e->gets, e->host_sent, n);
	r = n ? send(e->fd, bytes, n, MSG_DONTWAIT | MSG_NOSIGNAL) : 0;
	if (r > 0)
		e->host_sent += (size_t)r;
	if (step % 5)				/* a slow reader: what it leaves is buffered */
		return;
	r = recv(e->fd, bytes, sizeof bytes, MSG_DONTWAIT);
	ck_assert(r > 0 || (r < 0 && errno == EAGAIN));
	if (r > 0) {
		check(bytes, e->sends_as, e->host_received, (size_t)r);
		e->host_received += (size_t)r;
	}
}

static void accept_from(int v)
{
	int fd = accept4(port_listeners[v], NULL, NULL, SOCK_CLOEXEC);

	for (size_t i = 0; fd >= 0 && i < n_ends; i++)
		if (ends[i].vm == v && ends[i].kind == TO_HOST && ends[i].fd < 0) {
			ends[i].fd = fd;
			return;
		}
	ck_assert_int_eq(fd, -1);
}

static void step_once(size_t step)
{
	ck_assert_int_eq(loop_step(proc.loop, 0), 0);
	settle(&proc);
	for (size_t i = 0; i < n_ends; i++)
		guest_turn(&ends[i]);
	for (int v = 0; v < VMS; v++) {
		struct rx_sink rx = { .borrow = borrow, .used = used, .ctx = &v };

		mux_expire(proc.vms[v].mux, loop_now_ms(proc.loop));
		while (mux_output(proc.vms[v].mux, &rx, loop_now_ms(proc.loop)) == MUX_E_MORE)
			;
		accept_from(v);
	}
	for (size_t i = 0; i < n_ends; i++)
		if (ends[i].fd >= 0)
			host_turn(&ends[i], step);
}

/* ---- streams of released versions ---- */

/*
 * A file of tests/unit/streams has what a process of that version has saved, and how far the
 * others were. What was in their sockets is in no stream, so to a program that reads it has
 * arrived, and of one that writes it was not sent.
 */
#define END_FORMAT	"end %d %d %u %" SCNu64 " %u %d %d %d %u %u %u %zu %zu %zu %zu %d %d\n"

static size_t count_waiting(int fd)
{
	int n = 0;

	ck_assert_int_eq(ioctl(fd, FIONREAD, &n), 0);
	return (size_t)n;
}

/* The end whose host program is behind a socket of @v's; by the names of both. */
static size_t find_end_of(int v, int fd)
{
	struct sockaddr_un ours = { .sun_family = 0 }, theirs = { .sun_family = 0 };
	socklen_t len = sizeof ours;
	size_t i = 0;

	ck_assert_int_eq(getsockname(fd, (struct sockaddr *)&ours, &len), 0);
	len = sizeof theirs;
	ck_assert_int_eq(getpeername(fd, (struct sockaddr *)&theirs, &len), 0);
	while (i < n_ends && (ends[i].vm != v ||
			      ends[i].kind != (theirs.sun_path[0] ? TO_HOST : FROM_HOST)))
		i++;
	ck_assert_uint_lt(i, n_ends);
	return i;
}

static void write_blob(FILE *f, int v, const struct blob *b)
{
	fprintf(f, "vm %d %zu %zu\n", v, b->n_fds, b->len);
	for (size_t i = 0; i < b->n_fds; i++) {
		size_t end = find_end_of(v, b->fds[i]);

		fprintf(f, "fd %zu\n", end);
		ends[end].host_sent -= count_waiting(b->fds[i]);
		ends[end].host_received += count_waiting(ends[end].fd);
	}
	for (size_t i = 0; i < b->len; i++)
		fprintf(f, "%02x%s", b->bytes[i], i % 48 == 47 || i == b->len - 1 ? "\n" : "");
}

static void write_end(FILE *f, const struct talk *e)
{
	fprintf(f, END_FORMAT, e->vm, e->kind, e->guest.port, e->peer.cid, e->peer.port,
		e->is_open, e->answers, e->tells, e->shut, e->buf_alloc, e->fwd_cnt, e->sent,
		e->received, e->host_sent, e->host_received, e->sends_as, e->gets);
}

static void write_stream(const char *path)
{
	FILE *f = fopen(path, "we");

	ck_assert_ptr_nonnull(f);
	loop_remind_now(proc.loop);		/* as a worker that parks */
	for (int v = 0; v < VMS; v++) {
		struct blob b;

		save_vm(&proc.vms[v], &b);
		write_blob(f, v, &b);
		blob_deinit(&b);
	}
	for (size_t i = 0; i < n_ends; i++)
		write_end(f, &ends[i]);
	ck_assert_int_eq(fclose(f), 0);
}

/* Its host programs are other ones. */
static void read_blob(FILE *f, int expected, int programs[CONNS])
{
	struct blob b;
	size_t n_fds, len;
	int v;

	blob_init(&b, 1 << 24, CONNS);
	ck_assert_int_eq(fscanf(f, "vm %d %zu %zu\n", &v, &n_fds, &len), 3);
	ck_assert(v == expected && n_fds <= CONNS);
	for (size_t i = 0; i < n_fds; i++) {
		size_t end;
		int pair[2];

		ck_assert_int_eq(fscanf(f, "fd %zu\n", &end), 1);
		ck_assert_uint_lt(end, CONNS);
		ck_assert_int_eq(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), 0);
		ck_assert_int_eq(fcntl(pair[1], F_SETFL, O_NONBLOCK), 0);
		programs[end] = pair[0];
		blob_put_fd(&b, pair[1]);
	}
	b.len = 0;				/* where they are is said by the stream */
	for (size_t i = 0; i < len; i++) {
		unsigned byte;

		ck_assert_int_eq(fscanf(f, "%2x", &byte), 1);
		blob_put_u8(&b, (uint8_t)byte);
	}
	ck_assert_int_eq(fscanf(f, "\n"), 0);
	load_vm(&proc.vms[v], &b);
	for (size_t i = 0; i < n_fds; i++)
		close(b.fds[i]);
	blob_deinit(&b);
}

static bool read_end(FILE *f, struct talk *e)
{
	int is_open, answers, tells;
	uint64_t peer_cid;

	*e = (struct talk){ .guest.cid = 0 };
	if (fscanf(f, END_FORMAT, &e->vm, &e->kind, &e->guest.port, &peer_cid, &e->peer.port,
		   &is_open, &answers, &tells, &e->shut, &e->buf_alloc, &e->fwd_cnt, &e->sent,
		   &e->received, &e->host_sent, &e->host_received, &e->sends_as, &e->gets) != 17)
		return false;
	e->peer.cid = peer_cid;
	e->guest.cid = 3 + (uint64_t)e->vm;
	e->is_open = is_open;
	e->answers = answers;
	e->tells = tells;
	return true;
}

static void read_stream(const char *path)
{
	int programs[CONNS];
	FILE *f = fopen(path, "re");

	ck_assert_msg(f, "%s", path);
	memset(programs, -1, sizeof programs);
	end_process(&proc);
	begin_process(true);
	for (int v = 0; v < VMS; v++)
		read_blob(f, v, programs);
	for (n_ends = 0; n_ends < CONNS && read_end(f, &ends[n_ends]); n_ends++)
		ends[n_ends].fd = programs[n_ends];
	ck_assert(feof(f));
	fclose(f);
	for (int v = 0; v < VMS; v++)
		mux_resume(proc.vms[v].mux, loop_now_ms(proc.loop));
}

/* ---- the tests ---- */

static int listen_at(const char *at)
{
	struct sockaddr_un addr = { .sun_family = AF_UNIX };
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

	snprintf(addr.sun_path, sizeof addr.sun_path, "%s", at);
	unlink(at);
	ck_assert_int_eq(bind(fd, (struct sockaddr *)&addr, sizeof addr), 0);
	ck_assert_int_eq(listen(fd, 8), 0);
	return fd;
}

static void setup(void)
{
	ck_assert_int_eq(closer_init(), 0);
	closer_start();
	fds_before = unit_count_fds();
	for (int v = 0; v < VMS; v++) {
		char at[108];

		snprintf(paths[v], sizeof paths[v], "%s/vm%d", scratch_path(), v);
		snprintf(at, sizeof at, "%s_%d", paths[v], HOST_PORT);
		listeners[v] = listen_at(paths[v]);
		port_listeners[v] = listen_at(at);
	}
	for (int i = 0; i < RX_BUFS; i++) {
		rx_iovs[i] = (struct iovec){ rx_memory[i], RX_SIZE };
		rx_bufs[i] = (struct rx_buf){ &rx_iovs[i], 1, RX_SIZE };
	}
	n_ends = n_moves = 0;
	begin_process(false);
}

static void teardown(void)
{
	end_process(&proc);
	for (size_t i = 0; i < n_ends; i++)
		fd_close(&ends[i].fd);
	for (int v = 0; v < VMS; v++) {
		fd_close(&listeners[v]);
		fd_close(&port_listeners[v]);
	}
	for (int64_t deadline = deadline_in(DEADLINE_MS);
	     unit_count_fds() != fds_before && deadline_left(deadline); )
		poll(NULL, 0, 1);
	ck_assert_int_eq(unit_count_fds(), fds_before);
}

static void guest_calls(int v, uint32_t from, uint64_t cid, uint32_t port)
{
	struct vsock_addr guest = { 3 + (uint64_t)v, from }, peer = { cid, port };
	int kind = cid == VSOCK_CID_HOST ? TO_HOST : TO_SIBLING;

	guest_says(add_end(v, kind, guest, peer), VSOCK_OP_REQUEST, NULL, 0, 0);
}

static void hear_ok(int fd)
{
	char line[32];
	ssize_t n;

	ck_assert(deadline_poll(fd, POLLIN, deadline_in(DEADLINE_MS)));
	n = recv(fd, line, sizeof line, MSG_DONTWAIT | MSG_PEEK);
	for (ssize_t i = 0; i < n; i++)
		if (line[i] == '\n')
			n = i + 1;
	ck_assert_int_eq(recv(fd, line, (size_t)n, MSG_DONTWAIT), n);
	ck_assert_mem_eq(line, "OK 90\n", 6);
	ck_assert_int_eq(n, 6);
}

/* The end that a host program has begun; NULL: not yet. */
static struct talk *find_called(void)
{
	for (size_t i = 0; i < n_ends; i++)
		if (ends[i].kind == FROM_HOST)
			return &ends[i];
	return NULL;
}

/* A host program calls vm 0. Its line comes in pieces, with a process in between. */
static void host_calls(void)
{
	struct sockaddr_un addr = { .sun_family = AF_UNIX };
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	struct talk *e;

	memcpy(addr.sun_path, paths[0], sizeof paths[0]);
	ck_assert_int_eq(connect(fd, (struct sockaddr *)&addr, sizeof addr), 0);
	ck_assert_int_eq(write(fd, "CONNE", 5), 5);
	step_once(1);
	move();
	ck_assert_int_eq(write(fd, "CT 90\n", 6), 6);
	for (int64_t deadline = deadline_in(DEADLINE_MS); !(e = find_called()); step_once(1))
		ck_assert_int_gt(deadline_left(deadline), 0);
	step_once(1);				/* the guest's answer */
	hear_ok(fd);
	e->fd = fd;
}

static bool is_complete(const struct talk *e)
{
	return e->sent == TOTAL && e->received == TOTAL &&
		(e->kind == TO_SIBLING || e->kind == FROM_SIBLING ||
		 (e->host_sent == TOTAL && e->host_received == TOTAL));
}

static bool are_complete(void)
{
	for (size_t i = 0; i < n_ends; i++)
		if (!is_complete(&ends[i]))
			return false;
	return true;
}

/* The guest has finished: the host program reads the end, and answers with its own. */
static void finish(struct talk *e)
{
	char byte;

	guest_says(e, VSOCK_OP_SHUTDOWN, NULL, 0, VSOCK_SHUTDOWN_SEND);
	move();
	ck_assert(deadline_poll(e->fd, POLLIN, deadline_in(DEADLINE_MS)));
	ck_assert_int_eq(recv(e->fd, &byte, 1, MSG_DONTWAIT), 0);
	ck_assert_int_eq(shutdown(e->fd, SHUT_WR), 0);
	move();
	for (int64_t deadline = deadline_in(DEADLINE_MS); !e->shut; ) {
		int vm = e->vm;
		struct rx_sink rx = { .borrow = borrow, .used = used, .ctx = &vm };

		ck_assert_int_gt(deadline_left(deadline), 0);
		ck_assert_int_eq(loop_step(proc.loop, 10), 0);
		mux_output(proc.vms[vm].mux, &rx, loop_now_ms(proc.loop));
	}
}

static void call_all(void)
{
	guest_calls(0, 1024, VSOCK_CID_HOST, HOST_PORT);
	guest_calls(1, 1024, VSOCK_CID_HOST, HOST_PORT);
	guest_calls(0, 2000, 4, SIBLING_PORT);
	guest_calls(1, 2000, 3, SIBLING_PORT);
}

/* @life: of a process, in steps; 0: there is but one. */
static void talk_to_the_end(size_t life)
{
	int64_t deadline = deadline_in(2 * DEADLINE_MS);

	ck_assert_uint_eq(n_ends, 7);
	for (size_t step = 0; !are_complete(); step++) {
		ck_assert_int_gt(deadline_left(deadline), 0);
		step_once(step);
		if (life && step % life == 0 && n_moves < MOVES)
			move();
	}
	for (size_t i = 0; i < n_ends; i++)
		if (ends[i].fd >= 0)
			finish(&ends[i]);
}

static const size_t lives[] = { 0, 40, 7, 1 };

START_TEST(in_the_middle_of_traffic)
{
	call_all();
	if (lives[_i])
		move();
	host_calls();
	talk_to_the_end(lives[_i]);
}
END_TEST

/* Each release adds its own: TAKEOVER_WRITES=FILE, and this program, which is of that version. */
static const char *const streams[] = { "0.1.0" };

START_TEST(from_another_version)
{
	char path[512];

	snprintf(path, sizeof path, STREAMS "/%s.devices", streams[_i]);
	read_stream(path);
	talk_to_the_end(40);
}
END_TEST

START_TEST(from_this_version)
{
	const char *path = getenv("TAKEOVER_WRITES");
	char ours[128];

	snprintf(ours, sizeof ours, "%s/stream", scratch_path());
	call_all();
	host_calls();
	for (size_t step = 0; step < WRITTEN_AT; step++)
		step_once(1);			/* in which the programs do not read */
	write_stream(path ? path : ours);
	for (size_t i = 0; i < n_ends; i++)
		fd_close(&ends[i].fd);
	read_stream(path ? path : ours);
	talk_to_the_end(0);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("takeover");
	TCase *tc = tcase_create("takeover");

	scratch_begin();
	tcase_add_checked_fixture(tc, setup, teardown);
	tcase_set_timeout(tc, 120);
	tcase_add_loop_test(tc, in_the_middle_of_traffic, 0, COUNT(lives));
	tcase_add_test(tc, from_this_version);
	tcase_add_loop_test(tc, from_another_version, 0, COUNT(streams));
	suite_add_tcase(suite, tc);
	return unit_main(suite);
}
