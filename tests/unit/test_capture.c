/* SPDX-License-Identifier: BSD-3-Clause */
/* A capture: what is in its files, what is lost, and what ends it. */
#include "control/capture.h"
#include "protocol/pcap.h"			/* before the kernel's, which defines its names */

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>
#include <linux/vsockmon.h>

#include "config/plan.h"
#include "control/capture_files.h"
#include "support/captured.h"
#include "support/scratch.h"
#include "unit.h"
#include "util/blob.h"
#include "util/clock.h"
#include "util/fd.h"
#include "util/iov.h"
#include "vsock/pkt.h"

#define SAME(field) \
	_Static_assert(offsetof(struct wire_vsockmon_hdr, field) == \
		       offsetof(struct af_vsockmon_hdr, field), #field)

SAME(src_cid);
SAME(dst_cid);
SAME(src_port);
SAME(dst_port);
SAME(op);
SAME(transport);
SAME(len);
_Static_assert(sizeof(struct wire_vsockmon_hdr) == sizeof(struct af_vsockmon_hdr), "header");
_Static_assert((int)VSOCKMON_OP_UNKNOWN == (int)AF_VSOCK_OP_UNKNOWN &&
	       (int)VSOCKMON_OP_CONNECT == (int)AF_VSOCK_OP_CONNECT &&
	       (int)VSOCKMON_OP_DISCONNECT == (int)AF_VSOCK_OP_DISCONNECT &&
	       (int)VSOCKMON_OP_CONTROL == (int)AF_VSOCK_OP_CONTROL &&
	       (int)VSOCKMON_OP_PAYLOAD == (int)AF_VSOCK_OP_PAYLOAD, "operations");
_Static_assert((int)VSOCKMON_TRANSPORT_VIRTIO == (int)AF_VSOCK_TRANSPORT_VIRTIO, "transport");

enum { WAIT_MS = 20000, HEADERS = 76, RECORD = 16, FILE_HEAD = 24 };

static char dir[64], path[96];
static atomic_int n_ended;
static struct capture_files files;		/* duplicates of what the capture has */
static struct capture_settings settings;
static struct capture *capture;
static uint32_t n_put;				/* each packet has its number */

static void on_ended(uint64_t cid, uint64_t id, const struct capture_state *last)
{
	ck_assert_int_le(last->error, 0);
	ck_assert_uint_eq(cid, 3);
	ck_assert_uint_eq(id, 7);
	n_ended++;
}

static void setup(void)
{
	snprintf(dir, sizeof dir, "/tmp/capture-XXXXXX");
	ck_assert_ptr_nonnull(mkdtemp(dir));
	snprintf(path, sizeof path, "%s/a", dir);
	signal(SIGPIPE, SIG_IGN);
	signal(SIGXFSZ, SIG_IGN);
	settings = (struct capture_settings){ .snaplen = 262144, .name = "a" };
	capture_files_init(&files);
	capture = NULL;
	n_put = 0;
	n_ended = 0;
}

static void teardown(void)
{
	char command[128];

	capture_free(capture);
	capture_files_close(&files);
	snprintf(command, sizeof command, "rm -r %s", dir);
	ck_assert_int_eq(system(command), 0);
}

static void open_files(const char *at, uint32_t n)
{
	char *name = strdup(at);
	const struct capture_plan plan = { .path = name, .n_files = n };

	ck_assert_int_eq(capture_files_open(&files, &plan), 0);
	free(name);
}

/* The next process, or the first. */
static void make(size_t ring_bytes)
{
	struct capture_config config = {
		.settings = &settings, .cid = 3, .id = 7, .ended = on_ended,
		.shared_fd = dup(files.shared_fd), .n_files = files.n, .ring_bytes = ring_bytes,
	};

	for (size_t i = 0; i < files.n; i++)
		config.fds[i] = dup(files.fds[i]);
	ck_assert_int_eq(capture_new(&capture, &config), 0);
}

static void begin(uint32_t n_files, size_t ring_bytes)
{
	open_files(path, n_files);
	make(ring_bytes);
	ck_assert_int_eq(capture_start(capture), 0);
}

static void put_pkt(const struct pkt *pkt, size_t there)
{
	struct device_tap tap = capture_tap(capture);
	static char bytes[300000];
	struct iov_cur cur;
	struct iovec iov[2] = {
		{ bytes, there < 5 ? there : 5 }, { bytes + 5, there < 5 ? 0 : there - 5 },
	};

	for (size_t i = 0; i < there; i++)
		bytes[i] = (char)(n_put + i);
	if (there >= sizeof n_put)
		memcpy(bytes, &n_put, sizeof n_put);
	iov_cur_init(&cur, iov, 2);
	tap.packet(tap.ctx, pkt, &cur);
	ck_assert_uint_eq(cur.left, there);	/* who comes next still has all of it */
	n_put++;
}

static void put(size_t len)
{
	const struct pkt pkt = {
		.src = { 3, 1024 }, .dst = { 2, 80 }, .type = VSOCK_TYPE_STREAM,
		.op = VSOCK_OP_RW, .len = (uint32_t)len, .buf_alloc = 9, .fwd_cnt = 8,
	};

	put_pkt(&pkt, len);
}

static void flush(void)
{
	capture_flush(capture, clock_ms() + WAIT_MS);
}

static struct capture_state state(void)
{
	struct capture_state s;

	capture_get_state(capture, &s);
	return s;
}

/* Its thread is done. */
static void finish(void)
{
	capture_end(capture);
	capture_wait(capture, clock_ms() + WAIT_MS);
	ck_assert_int_eq(n_ended, 1);
}

static void wait_ended(void)
{
	capture_wait(capture, clock_ms() + WAIT_MS);
	ck_assert_int_eq(n_ended, 1);
}

/* What came when it had ended already is of no interest. */
static void check_lost_of(uint64_t at_most)
{
	ck_assert_uint_ge(state().lost, 1);
	ck_assert_uint_le(state().lost, at_most);
}

static uint32_t number_of(const struct captured *c)
{
	uint32_t n;

	ck_assert_uint_ge(c->n_payload, sizeof n);
	memcpy(&n, c->payload, sizeof n);
	return n;
}

/* The file has whole packets, in order, from @first on; returns how many. */
static size_t check_file(const char *at, uint32_t first)
{
	struct captured_file f;
	size_t n;

	captured_read(&f, at);
	for (size_t i = 0; i < f.n; i++) {
		ck_assert_uint_eq(number_of(&f.packets[i]), first + i);
		for (size_t k = 4; k < f.packets[i].n_payload; k++)
			ck_assert_uint_eq(f.packets[i].payload[k], (uint8_t)(first + i + k));
	}
	n = f.n;
	captured_free(&f);
	return n;
}

/* ---- a packet ---- */

static const struct {
	uint16_t op, mon_op;
} ops[] = {
	{ VSOCK_OP_INVALID, AF_VSOCK_OP_UNKNOWN }, { VSOCK_OP_REQUEST, AF_VSOCK_OP_CONNECT },
	{ VSOCK_OP_RESPONSE, AF_VSOCK_OP_CONNECT }, { VSOCK_OP_RST, AF_VSOCK_OP_DISCONNECT },
	{ VSOCK_OP_SHUTDOWN, AF_VSOCK_OP_DISCONNECT }, { VSOCK_OP_RW, AF_VSOCK_OP_PAYLOAD },
	{ VSOCK_OP_CREDIT_UPDATE, AF_VSOCK_OP_CONTROL },
	{ VSOCK_OP_CREDIT_REQUEST, AF_VSOCK_OP_CONTROL }, { 8, AF_VSOCK_OP_UNKNOWN },
	{ 0xffff, AF_VSOCK_OP_UNKNOWN },
};

START_TEST(each_operation)
{
	struct captured_file f;

	begin(1, 0);
	for (int i = 0; i < COUNT(ops); i++)
		put_pkt(&(struct pkt){ .src = { UINT64_MAX, 1 }, .dst = { 2, UINT32_MAX },
			.type = 2, .op = ops[i].op }, 0);
	finish();
	captured_read(&f, path);
	ck_assert_uint_eq(f.n, COUNT(ops));
	ck_assert_uint_eq(f.snaplen, 262144);
	for (int i = 0; i < COUNT(ops); i++) {
		ck_assert_uint_eq(f.packets[i].op, ops[i].op);
		ck_assert_uint_eq(f.packets[i].mon_op, ops[i].mon_op);
		ck_assert_uint_eq(f.packets[i].src_cid, UINT64_MAX);
		ck_assert_uint_eq(f.packets[i].dst_port, UINT32_MAX);
		ck_assert_uint_eq(f.packets[i].type, 2);
		ck_assert_uint_eq(f.packets[i].orig_len, HEADERS);
	}
	captured_free(&f);
}
END_TEST

static const struct cut_case {
	const char *name;
	uint32_t snaplen, says;			/* bytes of payload */
	size_t is_there, captured;
} cut_cases[] = {
	{ "all of it", 262144, 1000, 1000, 1000 },
	{ "cut", 100, 1000, 1000, 24 },
	{ "just not cut", HEADERS + 1000, 1000, 1000, 1000 },
	{ "by one", HEADERS + 999, 1000, 1000, 999 },
	{ "headers alone", HEADERS, 1000, 1000, 0 },
	{ "none to be cut", HEADERS, 0, 0, 0 },
	{ "more is there", 262144, 10, 1000, 10 },
	{ "less is there", 262144, UINT32_MAX, 1000, 1000 },
	{ "nothing is there", 262144, 7, 0, 0 },
	{ "the longest", 262144, 65536, 65536, 65536 },
	{ "longer than any", 262144, 262144, 262144, 262144 - HEADERS },
};

START_TEST(cut)
{
	const struct cut_case *c = &cut_cases[_i];
	size_t real = c->says < c->is_there ? c->says : c->is_there;
	struct captured_file f;

	settings.snaplen = c->snaplen;
	begin(1, 0);
	put_pkt(&(struct pkt){ .op = VSOCK_OP_RW, .len = c->says }, c->is_there);
	finish();
	captured_read(&f, path);
	ck_assert_uint_eq(f.n, 1);
	ck_assert_msg(f.packets[0].n_payload == c->captured, "%s", c->name);
	ck_assert_uint_eq(f.packets[0].orig_len, HEADERS + real);
	ck_assert_uint_eq(f.packets[0].len, c->says);
	captured_free(&f);
}
END_TEST

static const struct filter_case {
	uint32_t src, dst;
	bool passes;
} filter_cases[] = {
	{ 80, 1, true }, { 1, 80, true }, { 22, 80, true }, { 1, 2, false }, { 0, 8080, false },
	{ UINT32_MAX, 5, true },
};

START_TEST(by_port)
{
	const struct filter_case *c = &filter_cases[_i];
	struct captured_file f;

	settings.n_ports = 3;
	settings.ports[0] = 22;
	settings.ports[1] = UINT32_MAX;
	settings.ports[2] = 80;
	begin(1, 0);
	put_pkt(&(struct pkt){ .src.port = c->src, .dst.port = c->dst }, 0);
	finish();
	captured_read(&f, path);
	ck_assert_uint_eq(f.n, c->passes);
	captured_free(&f);
}
END_TEST

/* ---- files ---- */

/* A ring that is so small that each packet lies elsewhere in it, and many over its end. */
START_TEST(the_ring_goes_round)
{
	begin(1, 4096);
	for (size_t i = 0; i < 400; i++) {
		put(4 + i * 37 % 3000);
		flush();
	}
	finish();
	ck_assert_uint_eq(check_file(path, 0), 400);
	ck_assert_uint_eq(state().packets, 400);
	ck_assert_uint_eq(state().lost, 0);
}
END_TEST

START_TEST(files_go_round)
{
	enum { EACH = FILE_HEAD + 3 * (RECORD + HEADERS + 100) };
	char name[3][128];

	for (int i = 0; i < 3; i++)
		snprintf(name[i], sizeof name[i], i ? "%s.%d" : "%s", path, i);
	settings.max_bytes = EACH;
	begin(3, 0);
	for (int i = 0; i < 4; i++)
		put(100);
	flush();
	ck_assert_uint_eq(check_file(name[0], 0), 3);
	ck_assert_uint_eq(check_file(name[1], 3), 1);
	for (int i = 0; i < 7; i++)
		put(100);
	flush();
	ck_assert_uint_eq(check_file(name[0], 9), 2);	/* emptied, and used again */
	finish();
	ck_assert_uint_eq(check_file(name[1], 3), 3);
	ck_assert_uint_eq(check_file(name[2], 6), 3);
}
END_TEST

/* A packet that is larger than a file may be gets one of its own. */
START_TEST(a_packet_larger_than_a_file)
{
	char name[128];

	snprintf(name, sizeof name, "%s.1", path);
	settings.max_bytes = 100;
	begin(2, 0);
	put(1000);
	put(1000);
	finish();
	ck_assert_uint_eq(check_file(path, 0), 1);
	ck_assert_uint_eq(check_file(name, 1), 1);
}
END_TEST

START_TEST(the_only_file_is_full)
{
	settings.max_bytes = FILE_HEAD + 3 * (RECORD + HEADERS + 100) + 50;
	begin(1, 0);
	for (int i = 0; i < 5; i++)
		put(100);
	wait_ended();
	put(100);				/* nobody is interested */
	ck_assert_uint_eq(check_file(path, 0), 3);
	ck_assert_uint_eq(state().packets, 3);
	check_lost_of(2);
	ck_assert_int_eq(state().error, -EFBIG);
}
END_TEST

/* ---- what is lost ---- */

START_TEST(a_full_ring_is_counted)
{
	enum { LEN = RECORD + HEADERS + 50, FIT = 4096 / LEN };

	open_files(path, 1);
	make(4096);				/* nobody takes anything out of it */
	for (int i = 0; i < FIT; i++)
		put(50);
	ck_assert_uint_eq(state().lost, 0);
	put(50);
	put(50);
	ck_assert_uint_eq(state().lost, 2);
	put(4096 - FIT * LEN - RECORD - HEADERS + 1);	/* too large by one byte */
	ck_assert_uint_eq(state().lost, 3);
	put(4096 - FIT * LEN - RECORD - HEADERS);	/* to the last byte */
	ck_assert_uint_eq(state().lost, 3);
	put_pkt(&(struct pkt){ .op = VSOCK_OP_RST }, 0);
	ck_assert_uint_eq(state().lost, 4);
	ck_assert_uint_eq(state().packets, 0);
}
END_TEST

/* The thread is held up: what does not fit is lost, and counted; all else arrives, in order. */
START_TEST(a_reader_that_stands_still)
{
	uint8_t *bytes = malloc(4 << 20);
	struct captured_file f;
	int reader, n_lost;
	size_t n = 0;

	ck_assert_int_eq(mkfifo(path, 0600), 0);
	reader = open(path, O_RDONLY | O_NONBLOCK | O_CLOEXEC);
	begin(2, 64 * 1024);
	ck_assert_uint_eq(files.n, 1);
	for (int i = 0; i < 1000; i++)
		put(1000);
	ck_assert_uint_gt(state().lost, 0);
	ck_assert_uint_lt(state().packets, 1000);
	n_lost = (int)state().lost;
	fcntl(reader, F_SETFL, 0);
	capture_end(capture);
	capture_files_close(&files);
	for (ssize_t got; (got = read(reader, bytes + n, 65536)) > 0; n += (size_t)got)
		;
	capture_wait(capture, clock_ms() + WAIT_MS);
	captured_parse(&f, bytes, n);
	ck_assert_uint_eq(f.n, 1000 - (unsigned)n_lost);
	ck_assert_uint_eq(state().packets, f.n);
	ck_assert_uint_eq(state().lost, (uint64_t)n_lost);
	for (size_t i = 1; i < f.n; i++)
		ck_assert_uint_gt(number_of(&f.packets[i]), number_of(&f.packets[i - 1]));
	captured_free(&f);
	close(reader);
}
END_TEST

/* It is to end, and its reader does not read: it ends all the same. */
START_TEST(a_reader_that_never_reads)
{
	uint64_t start_ms;
	int reader;

	ck_assert_int_eq(mkfifo(path, 0600), 0);
	reader = open(path, O_RDONLY | O_NONBLOCK | O_CLOEXEC);
	begin(1, 1 << 20);
	for (int i = 0; i < 500; i++)
		put(1000);
	start_ms = clock_ms();
	finish();
	ck_assert_uint_lt(clock_ms() - start_ms, 5000);
	ck_assert_uint_gt(state().lost, 0);
	ck_assert_uint_eq(state().lost + state().packets, 500);
	close(reader);
}
END_TEST

START_TEST(a_reader_that_leaves)
{
	int reader;

	ck_assert_int_eq(mkfifo(path, 0600), 0);
	reader = open(path, O_RDONLY | O_NONBLOCK | O_CLOEXEC);
	begin(1, 0);
	put(10);
	flush();
	close(reader);
	put(10);
	wait_ended();
	ck_assert_int_eq(state().error, -EPIPE);
	ck_assert_uint_eq(state().packets, 1);
	ck_assert_uint_eq(state().lost, 1);
}
END_TEST

/* In the middle of a packet: the file has whole ones. */
START_TEST(no_room_for_all_of_it)
{
	const struct rlimit limit = { 10000, RLIM_INFINITY };

	begin(2, 0);
	ck_assert_int_eq(setrlimit(RLIMIT_FSIZE, &limit), 0);
	for (int i = 0; i < 20; i++)
		put(1000);
	wait_ended();
	ck_assert_int_eq(setrlimit(RLIMIT_FSIZE, &(struct rlimit){ RLIM_INFINITY, RLIM_INFINITY }), 0);
	ck_assert_int_eq(state().error, -EFBIG);
	ck_assert_uint_eq(check_file(path, 0), 9);	/* of 1092 bytes each */
	ck_assert_uint_eq(state().packets, 9);
	check_lost_of(11);
}
END_TEST

START_TEST(no_room_at_all)
{
	open_files("/dev/full", 2);
	make(0);
	ck_assert_int_eq(capture_start(capture), 0);
	wait_ended();
	ck_assert_int_eq(state().error, -ENOSPC);
}
END_TEST

/* ---- from one process to the next ---- */

static struct capture_shared *map(void)
{
	void *shared = mmap(NULL, sizeof(struct capture_shared), PROT_READ | PROT_WRITE, MAP_SHARED,
			    files.shared_fd, 0);

	ck_assert_ptr_ne(shared, MAP_FAILED);
	return shared;
}

/* What is behind the last whole packet goes; what was never written is lost. */
START_TEST(another_goes_on)
{
	struct capture_shared *shared;

	begin(2, 0);
	put(100);
	put(100);
	flush();
	finish();
	capture_free(capture);
	shared = map();
	ck_assert_uint_eq(shared->ended, 0);	/* it was told to end */
	shared->seen += 5;			/* in a ring that is no more */
	ck_assert_int_eq(pwrite(files.fds[0], "torn", 4, 24 + 2 * (RECORD + HEADERS + 100)), 4);
	n_ended = 0;
	make(0);
	ck_assert_int_eq(capture_start(capture), 0);
	ck_assert_uint_eq(state().lost, 5);
	put(100);
	finish();
	ck_assert_uint_eq(check_file(path, 0), 3);
	ck_assert_uint_eq(state().packets, 3);
	ck_assert_uint_eq(state().lost, 5);
	munmap(shared, sizeof *shared);
}
END_TEST

static const struct hostile_case {
	const char *name;
	uint64_t place;
} hostile_cases[] = {
	{ "nothing", 0 },
	{ "in the header", 23 },
	{ "behind the end", 1000000 },
	{ "of no file", UINT64_C(2) << CAPTURE_PLACE_BITS | 24 },
	{ "of file 255", UINT64_C(255) << CAPTURE_PLACE_BITS | 24 },
	{ "all bits", UINT64_MAX },
	{ "an empty file", UINT64_C(1) << CAPTURE_PLACE_BITS | 24 },
};

START_TEST(a_place_that_is_none)
{
	struct capture_shared *shared;

	begin(2, 0);
	put(100);
	finish();
	capture_free(capture);
	shared = map();
	shared->place = hostile_cases[_i].place;
	n_ended = 0;
	n_put = 0;
	make(0);
	ck_assert_int_eq(capture_start(capture), 0);
	put(100);
	put(100);
	finish();
	ck_assert_msg(check_file(path, 0) == 2, "%s", hostile_cases[_i].name);
	munmap(shared, sizeof *shared);
}
END_TEST

START_TEST(one_that_has_ended_stays_so)
{
	struct capture_shared *shared;

	open_files(path, 1);
	shared = map();
	shared->ended = ENOSPC;
	make(0);
	ck_assert_int_eq(capture_start(capture), 0);
	put(100);
	capture_wait(capture, clock_ms() + WAIT_MS);
	ck_assert_int_eq(state().error, -ENOSPC);
	ck_assert_uint_eq(state().packets, 0);
	munmap(shared, sizeof *shared);
}
END_TEST

/* Who reads a pipe has half a packet, and would take anything for its rest. */
START_TEST(a_torn_pipe_ends)
{
	struct capture_shared *shared;
	char bytes[FILE_HEAD + 1];
	int reader;

	ck_assert_int_eq(mkfifo(path, 0600), 0);
	reader = open(path, O_RDONLY | O_NONBLOCK | O_CLOEXEC);
	open_files(path, 1);
	shared = map();
	shared->place = 24;
	shared->is_torn = 1;
	make(0);
	ck_assert_int_eq(capture_start(capture), 0);
	put(100);
	wait_ended();
	ck_assert_int_eq(state().error, -EPIPE);
	ck_assert_int_le(read(reader, bytes, sizeof bytes), 0);
	close(reader);
	munmap(shared, sizeof *shared);
}
END_TEST

START_TEST(memory_that_is_too_small)
{
	struct capture_config config = {
		.settings = &settings, .shared_fd = memfd_create("small", MFD_CLOEXEC),
	};
	struct capture *c = NULL;

	ck_assert_int_eq(capture_new(&c, &config), -EINVAL);
	ck_assert_ptr_null(c);
}
END_TEST

/* ---- what is opened ---- */

START_TEST(nobody_else_has_the_file)
{
	struct capture_files other;
	const struct capture_plan plan = { .path = path, .n_files = 1 };
	struct captured_file f;

	begin(2, 0);
	put(100);
	flush();
	ck_assert_int_eq(capture_files_open(&other, &plan), CAPTURE_FILES_E_TAKEN);
	captured_read(&f, path);		/* and has not emptied it */
	ck_assert_uint_eq(f.n, 1);
	captured_free(&f);
	finish();
	capture_free(capture);
	capture = NULL;
	ck_assert_int_eq(capture_files_open(&other, &plan), 0);
	capture_files_close(&other);
}
END_TEST

START_TEST(of_another_kind)
{
	struct capture_plan plan = { .path = dir, .n_files = 1 };
	struct capture_files f;
	char next[128];

	ck_assert_int_eq(capture_files_open(&f, &plan), -EISDIR);
	ck_assert_int_eq(mkfifo(path, 0600), 0);
	plan.path = path;
	ck_assert_int_eq(capture_files_open(&f, &plan), -ENXIO);	/* and does not block */
	ck_assert_str_eq(capture_files_str_error(-ENXIO),
			 "nobody reads that pipe: its reader has to be there first");
	unlink(path);
	snprintf(next, sizeof next, "%s.1", path);
	ck_assert_int_eq(symlink("/dev/null", next), 0);
	plan.n_files = 2;
	ck_assert_int_eq(capture_files_open(&f, &plan), CAPTURE_FILES_E_KIND);
	ck_assert_int_eq(f.shared_fd, -1);
}
END_TEST

START_TEST(private_files)
{
	struct stat st;

	begin(2, 0);
	ck_assert_int_eq(stat(path, &st), 0);
	ck_assert_uint_eq(st.st_mode & 0777, 0600);
	finish();
}
END_TEST

/* ---- settings as state ---- */

START_TEST(settings_are_kept)
{
	struct capture_settings loaded;
	struct blob_reader in;
	struct blob b;

	settings.snaplen = 1000;
	settings.max_bytes = UINT64_C(1) << 50;
	settings.n_ports = CAPTURE_PORTS_MAX;
	for (uint32_t i = 0; i < CAPTURE_PORTS_MAX; i++)
		settings.ports[i] = UINT32_MAX - i;
	blob_init(&b, 1 << 20, 0);
	capture_settings_save(&settings, &b);
	blob_read(&in, b.bytes, b.len, NULL);
	ck_assert(capture_settings_load(&loaded, &in));
	ck_assert_mem_eq(&loaded, &settings, sizeof loaded);
	for (size_t n = 0; n < b.len; n++) {
		blob_read(&in, b.bytes, n, NULL);
		ck_assert(!capture_settings_load(&loaded, &in));
	}
	blob_deinit(&b);
}
END_TEST

START_TEST(settings_are_not_believed)
{
	static const struct { uint32_t snaplen, n_ports; } rows[] = {
		{ 75, 0 }, { 262145, 0 }, { 100, CAPTURE_PORTS_MAX + 1 }, { 100, UINT32_MAX },
		{ 100, 1 }, { 0, 0 },
	};
	struct capture_settings loaded;
	struct blob_reader in;
	size_t section;
	struct blob b;

	blob_init(&b, 1 << 20, 0);
	section = blob_open(&b, BLOB_TAG('C', 'A', 'P', 'T'), 1);
	blob_put_string(&b, "x");
	blob_put_u32(&b, rows[_i].snaplen);
	blob_put_u64(&b, 0);
	blob_put_u32(&b, rows[_i].n_ports);
	blob_close(&b, section);
	blob_read(&in, b.bytes, b.len, NULL);
	ck_assert(!capture_settings_load(&loaded, &in));
	blob_deinit(&b);
}
END_TEST

static TCase *add_case(Suite *s, const char *name)
{
	TCase *tc = tcase_create(name);

	tcase_add_checked_fixture(tc, setup, teardown);
	tcase_set_timeout(tc, 25);
	suite_add_tcase(s, tc);
	return tc;
}

int main(void)
{
	Suite *s = suite_create("capture");
	TCase *tc = add_case(s, "packets");

	tcase_add_test(tc, each_operation);
	tcase_add_loop_test(tc, cut, 0, COUNT(cut_cases));
	tcase_add_loop_test(tc, by_port, 0, COUNT(filter_cases));
	tc = add_case(s, "files");
	tcase_add_test(tc, the_ring_goes_round);
	tcase_add_test(tc, files_go_round);
	tcase_add_test(tc, a_packet_larger_than_a_file);
	tcase_add_test(tc, the_only_file_is_full);
	tc = add_case(s, "losses");
	tcase_add_test(tc, a_full_ring_is_counted);
	tcase_add_test(tc, a_reader_that_stands_still);
	tcase_add_test(tc, a_reader_that_never_reads);
	tcase_add_test(tc, a_reader_that_leaves);
	tcase_add_test(tc, no_room_for_all_of_it);
	tcase_add_test(tc, no_room_at_all);
	tc = add_case(s, "next");
	tcase_add_test(tc, another_goes_on);
	tcase_add_loop_test(tc, a_place_that_is_none, 0, COUNT(hostile_cases));
	tcase_add_test(tc, one_that_has_ended_stays_so);
	tcase_add_test(tc, a_torn_pipe_ends);
	tcase_add_test(tc, memory_that_is_too_small);
	tc = add_case(s, "opened");
	tcase_add_test(tc, nobody_else_has_the_file);
	tcase_add_test(tc, of_another_kind);
	tcase_add_test(tc, private_files);
	tc = add_case(s, "settings");
	tcase_add_test(tc, settings_are_kept);
	tcase_add_loop_test(tc, settings_are_not_believed, 0, 6);
	return unit_main(s);
}
