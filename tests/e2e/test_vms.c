/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Many VMs in one process: what they cost, what each may take, and that one that
 * cannot be had does not keep the others from starting.
 */
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "e2e/e2e.h"

enum {
	MANY = 1000,
	START_MS = 5000,
	RSS_PER_VM = 64 * 1024,
};

static void path_in(char *out, size_t size, const char *name)
{
	ck_assert_int_lt(snprintf(out, size, "%s/%s", vhd.dir, name), (int)size);
}

/* The packet that answers a REQUEST to @cid. */
static struct driver_pkt ask(struct driver *d, uint64_t cid, uint32_t from_port)
{
	struct driver_pkt request = driver_pkt(d, VSOCK_OP_REQUEST, from_port, PORT);
	const struct driver_kept *k;

	request.dst_cid = cid;
	request.buf_alloc = 65536;
	driver_keep_packets(d);
	ck_assert(driver_send(d, &request, NULL));
	k = driver_next(d, DEADLINE_MS);
	ck_assert_ptr_nonnull(k);
	ck_assert_uint_eq(k->pkt.src_cid, cid);
	ck_assert_uint_eq(k->pkt.dst_port, from_port);
	return k->pkt;
}

static const uint64_t hosts_cids[] = { VSOCK_CID_HOST, 5, 77 };

START_TEST(host_answers_for_further_cids)
{
	const char *const extra[] = { "--host-cid", "5+77", NULL };
	int listener;

	e2e_start(extra, NULL);
	listener = host_listen(vhd.uds, PORT, 16);
	ck_assert_uint_eq(ask(&vm, hosts_cids[_i], 1).op, VSOCK_OP_RESPONSE);
	close(host_accept(listener));
	close(listener);
}
END_TEST

static const uint64_t nobodys_cids[] = { 0, 1, 3, 4, 6, 78, UINT32_MAX, UINT64_MAX };

START_TEST(nobody_answers_for_others)
{
	const char *const extra[] = { "--host-cid", "5+77", NULL };

	e2e_start(extra, NULL);
	ck_assert_uint_eq(ask(&vm, nobodys_cids[_i], 1).op, VSOCK_OP_RST);
}
END_TEST

/* ---- one bad VM ---- */

enum in_the_way { NO_FOLDER, OTHER_FILE, LISTENER };

static const struct {
	enum in_the_way what;
	bool of_uds_path;
	const char *says;
} bad_cases[] = {
	{ NO_FOLDER, false, "No such file or directory" },
	{ NO_FOLDER, true, "No such file or directory" },
	{ OTHER_FILE, false, "a file that is not a socket is in the way" },
	{ OTHER_FILE, true, "a file that is not a socket is in the way" },
	{ LISTENER, false, "somebody listens there already" },
	{ LISTENER, true, "somebody listens there already" },
};

/* A path that cannot be listened on; returns what has to be closed, or -1. */
static int make_bad_path(enum in_the_way what, char *path, size_t size)
{
	int fd;

	path_in(path, size, what == NO_FOLDER ? "no/folder" : "bad");
	if (what == NO_FOLDER)
		return -1;
	if (what == OTHER_FILE) {
		fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
	} else {
		struct sockaddr_un at = { .sun_family = AF_UNIX };

		snprintf(at.sun_path, sizeof at.sun_path, "%s", path);
		fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
		must(bind(fd, (struct sockaddr *)&at, sizeof at) == 0);
		must(listen(fd, 16) == 0);
	}
	must(fd >= 0);
	return fd;
}

static void make_bad_vm(char *words, size_t size, int i, const char *bad)
{
	char fine[128];

	path_in(fine, sizeof fine, "fine");
	snprintf(words, size, "guest-cid=4,socket=%s,uds-path=%s",
		 bad_cases[i].of_uds_path ? fine : bad, bad_cases[i].of_uds_path ? bad : fine);
}

START_TEST(one_bad_vm_is_left_out)
{
	char good[384], words[384], bad[128], fine[128], *log;
	const char *const args[] = {
		"--vm", words, "--vm", good, "--log-level=info", "--threads=1", NULL,
	};
	int fd = make_bad_path(bad_cases[_i].what, bad, sizeof bad);

	make_bad_vm(words, sizeof words, _i, bad);
	snprintf(good, sizeof good, "guest-cid=3,socket=%s,uds-path=%s", vhd.socket, vhd.uds);
	daemon_spawn(&vhd, args);
	ck_assert(daemon_wait_listening(&vhd, vhd.socket));
	driver_up(&vm, vhd.socket, NULL);
	e2e_check_alive();
	ck_assert_uint_eq(ask(&vm, 4, 1).op, VSOCK_OP_RST);	/* a sibling in name only */
	path_in(fine, sizeof fine, "fine");
	ck_assert_int_eq(access(fine, F_OK), -1);
	log = daemon_log(&vhd);
	ck_assert_msg(strstr(log, bad_cases[_i].says) != NULL, "%s", log);
	ck_assert_msg(strstr(log, " error main: vm 4 is left out: ") != NULL, "%s", log);
	free(log);
	ck_assert(daemon_wait_log(&vhd, " main: serving 1 of 2 VMs with 1 worker\n"));
	if (fd >= 0)
		close(fd);
}
END_TEST

START_TEST(only_bad_vms_are_too_few)
{
	char words[384], other[384], bad[128];
	const char *const args[] = { "--vm", words, "--vm", other, NULL };
	int fd = make_bad_path(bad_cases[_i].what, bad, sizeof bad);

	make_bad_vm(words, sizeof words, _i, bad);
	snprintf(other, sizeof other, "guest-cid=3,socket=%s/no/3,uds-path=%s", vhd.dir, vhd.uds);
	daemon_spawn(&vhd, args);
	ck_assert_int_eq(daemon_wait_exit(&vhd, DEADLINE_MS), 1);
	if (fd >= 0)
		close(fd);
}
END_TEST

START_TEST(the_only_vm_is_bad)
{
	char words[384], bad[128], *log;
	const char *const args[] = { "--vm", words, NULL };
	int fd = make_bad_path(bad_cases[_i].what, bad, sizeof bad);

	make_bad_vm(words, sizeof words, _i, bad);
	daemon_spawn(&vhd, args);
	ck_assert_int_eq(daemon_wait_exit(&vhd, DEADLINE_MS), 1);
	log = daemon_log(&vhd);
	ck_assert_msg(strstr(log, bad_cases[_i].says) != NULL, "%s", log);
	ck_assert_msg(strstr(log, " error main: vm 4 is left out: ") != NULL, "%s", log);
	free(log);
	if (fd >= 0)
		close(fd);
}
END_TEST

/* ---- a long uds-path ---- */

static const struct {
	size_t len;				/* of the path */
	uint32_t works, fails;			/* ports; 0: none does */
	const char *says;			/* NULL: nothing */
} long_cases[] = {
	{ 96, UINT32_MAX - 1, 0, NULL },
	{ 97, 999999999, 1000000000, "97 bytes: the guest reaches only ports of up to 9 digits of" },
	{ 105, 9, 10, "105 bytes: the guest reaches only ports of 1 digit of" },
	{ 106, 0, 1, "106 bytes: the guest reaches no port of" },
	{ 107, 0, 1, "107 bytes: the guest reaches no port of" },
};

/* It still serves host programs; what the guest cannot reach is said at the start. */
START_TEST(long_uds_path)
{
	char uds[108], *log;
	const char *const args[] = { "--socket", vhd.socket, "--uds-path", uds, NULL };
	struct sock *s;

	path_in(uds, sizeof uds, "");
	while (strlen(uds) < long_cases[_i].len)
		strcat(uds, "x");
	daemon_spawn(&vhd, args);
	ck_assert(daemon_wait_listening(&vhd, uds));
	ck_assert(daemon_wait_listening(&vhd, vhd.socket));
	driver_up(&vm, vhd.socket, NULL);
	e2e_check_talks(e2e_host_connects(&vm, uds));
	if (long_cases[_i].works) {
		int listener = host_listen(uds, long_cases[_i].works, 16);

		s = sock_dial(&vm, long_cases[_i].works);
		ck_assert(sock_wait_open(s));
		close(host_accept(listener));
		close(listener);
	}
	if (long_cases[_i].fails)
		ck_assert(!sock_wait_open(sock_dial(&vm, long_cases[_i].fails)));
	log = daemon_log(&vhd);
	if (long_cases[_i].says)
		ck_assert_msg(strstr(log, long_cases[_i].says) && strstr(log, uds), "%s", log);
	else
		ck_assert_msg(!strstr(log, "reaches"), "%s", log);
	free(log);
}
END_TEST

/* ---- connections ---- */

/* How many of @n the guest gets; their ends go to @pairs. */
static unsigned connect_some(struct driver *d, const char *uds, struct pair *pairs, unsigned n)
{
	int listener = host_listen(uds, PORT, 16);
	unsigned done = 0;

	for (; done < n; done++) {
		struct sock *s = sock_dial(d, PORT);

		if (!sock_wait_open(s)) {
			sock_free(s);
			break;
		}
		pairs[done] = (struct pair){ .guest = s, .host = host_accept(listener) };
	}
	host_unlisten(listener, uds, PORT);
	return done;
}

START_TEST(connections_beyond_the_limit_are_refused)
{
	const char *const extra[] = { "--max-connections", "3", NULL };
	struct pair pairs[4];
	int fd;

	e2e_start(extra, NULL);
	ck_assert_uint_eq(connect_some(&vm, vhd.uds, pairs, 4), 3);
	sock_listen(&vm, PORT);
	fd = host_dial(vhd.uds, PORT);
	ck_assert(host_is_closed(fd, DEADLINE_MS));
	close(fd);
	for (int i = 0; i < 3; i++)
		e2e_check_talks(pairs[i]);
	e2e_close(pairs[2]);
	ck_assert_uint_eq(connect_some(&vm, vhd.uds, pairs + 2, 2), 1);
	e2e_close(pairs[2]);
	ck_assert(driver_flush(&vm));		/* the daemon knows, too */
	pairs[2] = e2e_host_connects(&vm, vhd.uds);
	for (int i = 0; i < 3; i++)
		e2e_close(pairs[i]);
}
END_TEST

/* Sends until neither the host's socket nor the daemon takes more; or to its reset. */
static void stuff(struct driver *d, struct sock *s)
{
	static const uint8_t bytes[65536];

	while (s->state == SOCK_OPEN && (sock_send_some(s, bytes, sizeof bytes) ||
			       driver_wait(d, deadline_in(QUIET_MS), true)))
		;
}

/* There is memory for one slow receiver; who needs it for a second is reset. */
START_TEST(buffers_beyond_the_limit_are_refused)
{
	const char *const extra[] = { "--max-buffered", "65536", NULL };
	struct pair pairs[3];
	char got[4096];

	e2e_start(extra, NULL);
	ck_assert_uint_eq(connect_some(&vm, vhd.uds, pairs, 3), 3);
	stuff(&vm, pairs[0].guest);
	ck_assert_int_eq(pairs[0].guest->state, SOCK_OPEN);
	stuff(&vm, pairs[1].guest);
	ck_assert(sock_wait_reset(pairs[1].guest, DEADLINE_MS));
	e2e_check_talks(pairs[2]);		/* it needs none */
	ck_assert_uint_eq(host_read(pairs[0].host, got, sizeof got), sizeof got);
	ck_assert_int_eq(pairs[0].guest->state, SOCK_OPEN);
}
END_TEST

/* VM 3, which gets its guest, and VM 4, which is at @socket and @uds. */
static void start_two(char socket[128], char uds[128])
{
	char a[384], b[384];
	const char *const args[] = { "--vm", a, "--vm", b, NULL };

	path_in(socket, 128, "vm4.sock");
	path_in(uds, 128, "vm4.vsock");
	snprintf(a, sizeof a, "guest-cid=3,socket=%s,uds-path=%s", vhd.socket, vhd.uds);
	snprintf(b, sizeof b, "guest-cid=4,socket=%s,uds-path=%s", socket, uds);
	daemon_spawn(&vhd, args);
	ck_assert(daemon_wait_listening(&vhd, vhd.socket));
	ck_assert(daemon_wait_listening(&vhd, socket));
	driver_up(&vm, vhd.socket, NULL);
}

/* With few descriptors, one guest takes what it can get; the other still gets its own. */
START_TEST(one_guest_does_not_take_anothers_descriptors)
{
	struct rlimit limit = { 300, 300 };
	struct driver_options options = { .cid = 4 };
	struct driver other = { 0 };
	char socket[128], uds[128], *log;
	static struct pair ours[300], theirs[300];
	unsigned n;

	must(setrlimit(RLIMIT_NOFILE, &limit) == 0);
	start_two(socket, uds);
	driver_up(&other, socket, &options);
	n = connect_some(&vm, vhd.uds, ours, 300);
	ck_assert_uint_ge(n, 50);
	ck_assert_uint_le(n, 100);
	ck_assert_uint_eq(connect_some(&other, uds, theirs, 300), n);
	e2e_check_talks(ours[n - 1]);
	e2e_check_talks(theirs[n - 1]);
	log = daemon_log(&vhd);
	ck_assert_msg(strstr(log, "only 300 files may be open: max-connections is at most") != NULL,
		      "%s", log);
	free(log);
	driver_deinit(&other);
}
END_TEST

static void limit_files_to_512(void)
{
	const struct rlimit limit = { 512, 512 };

	must(setrlimit(RLIMIT_NOFILE, &limit) == 0);
}

/* A front-end has more memory regions than there are descriptors: the supervisor, which keeps
 * them too, is not the one that runs out. */
START_TEST(one_front_end_does_not_take_all_descriptors)
{
	struct driver_options options = { .cid = 4 };
	struct driver other = { 0 };
	char socket[128], uds[128];
	pid_t engine;

	vhd.prepare = limit_files_to_512;
	start_two(socket, uds);
	engine = daemon_engine(&vhd);
	driver_init(&other, &options);
	while (other.guest.n_regions < 509)
		guest_add_region(&other.guest, UINT64_C(0x300000000) +
				 other.guest.n_regions * 0x4000, 0x2000, 0);
	driver_attach(&other, socket);		/* as far as it gets */
	ck_assert_int_eq(daemon_engine(&vhd), engine);
	e2e_check_talks(e2e_host_connects(&vm, vhd.uds));
	driver_deinit(&other);
	driver_up(&other, socket, &options);
	e2e_check_alive();
	driver_deinit(&other);
}
END_TEST

/* ---- address space ---- */

enum { SPARSE_REGIONS = 70 };
#define TIB	(UINT64_C(1) << 40)

/* A file of which nothing is there, as a region. */
static struct guest_region sparse_region(uint64_t gpa, uint64_t size)
{
	struct guest_region r = {
		.gpa = gpa, .size = size, .uaddr = gpa, .fd = memfd_create("sparse", MFD_CLOEXEC),
	};

	must(r.fd >= 0 && ftruncate(r.fd, (off_t)size) == 0);
	return r;
}

/* Negotiates, so that each request is answered. */
static void share_nothing_yet(struct vmm *fe, const char *socket)
{
	const struct guest none = { .n_regions = 0 };
	struct guest_ring rings[VSOCK_NUM_QUEUES] = { { .num = 0 } };
	struct start_habits habits = START_CLOUD_HYPERVISOR;

	habits.n_queues = 0;
	must(vmm_connect(fe, socket));
	must(vmm_start(fe, &none, rings, &habits, UINT64_MAX) == 0);
}

/* CID 3, with @further keys, and CID 4, whose socket is told. */
static void spawn_two(const char *further, char *socket, size_t size)
{
	char a[384], b[384], uds[128];
	const char *const args[] = { "--vm", a, "--vm", b, NULL };

	path_in(socket, size, "vm4.sock");
	path_in(uds, sizeof uds, "vm4.vsock");
	snprintf(a, sizeof a, "guest-cid=3,socket=%s,uds-path=%s%s", vhd.socket, vhd.uds, further);
	snprintf(b, sizeof b, "guest-cid=4,socket=%s,uds-path=%s", socket, uds);
	daemon_spawn(&vhd, args);
	ck_assert(daemon_wait_listening(&vhd, uds));
}

/* As much as it is allowed; that is less than all there is. */
START_TEST(one_front_end_does_not_take_all_address_space)
{
	struct driver_options options = { .cid = 4 };
	struct vmm greedy = { .sock = -1 };
	struct driver other = { 0 };
	struct guest_region r;
	char socket[128];
	int n = 0, i;

	if (IS_SANITIZED)			/* which have other plans for it */
		return;
	spawn_two("", socket, sizeof socket);
	share_nothing_yet(&greedy, vhd.socket);
	r = sparse_region(0, 2 * TIB);
	for (i = 0; i < SPARSE_REGIONS; i++, r.gpa += r.size, r.uaddr += r.size)
		n += vmm_add_mem_reg(&greedy, &r) == 0;
	ck_assert_int_ge(n, 1);
	ck_assert_int_lt(n, SPARSE_REGIONS);
	ck_assert(daemon_wait_log(&vhd, "bytes that a VM may have mapped; see max-memory"));
	close(r.fd);

	driver_up(&other, socket, &options);	/* the other one's share is there */
	r = sparse_region(TIB, TIB);
	ck_assert_int_eq(vmm_add_mem_reg(&other.fe, &r), 0);
	close(r.fd);
	driver_deinit(&other);
	ck_assert_int_eq(vmm_get_queue_num(&greedy, &(uint64_t){ 0 }), 0);
	vmm_close(&greedy);
}
END_TEST

/* _i: a limit of its own; one that leaves too little for the other. */
START_TEST(max_memory_as_told)
{
	struct vmm fe = { .sock = -1 };
	char socket[128], further[64];
	struct guest_region r;
	uint64_t max = _i ? UINT64_C(1) << 50 : 1 << 20;

	snprintf(further, sizeof further, ",max-memory=%llu", (unsigned long long)max);
	spawn_two(further, socket, sizeof socket);
	ck_assert_int_eq(daemon_has_logged(&vhd, "warn main: max-memory: all VMs together may map "
					   "more than"), _i);
	share_nothing_yet(&fe, vhd.socket);
	r = sparse_region(0, (1 << 20) + 1);
	ck_assert_int_eq(vmm_add_mem_reg(&fe, &r), !_i);
	r.size = 1 << 20;
	r.gpa = 1 << 24;
	ck_assert_int_eq(vmm_add_mem_reg(&fe, &r), 0);
	close(r.fd);
	vmm_close(&fe);
}
END_TEST

/* ---- the log ---- */

enum { NOISE = 1000 };

/* A packet from somebody else's address: dropped, with a line. */
static void send_strange_packet(struct driver *d)
{
	struct driver_pkt pkt = driver_pkt(d, VSOCK_OP_RW, 1, PORT);

	pkt.src_cid = 99;
	ck_assert(driver_send(d, &pkt, NULL));
}

/* One guest's noise is cut; another's first line is there all the same. */
START_TEST(noisy_guest_silences_nobody)
{
	struct driver_options options = { .cid = 4 };
	struct driver other = { 0 };
	char socket[128], *log;
	int n = 0;

	spawn_two("", socket, sizeof socket);
	driver_up(&vm, vhd.socket, NULL);
	driver_up(&other, socket, &options);
	for (int i = 0; i < NOISE; i++)
		send_strange_packet(&vm);
	ck_assert(driver_flush(&vm));
	send_strange_packet(&other);
	ck_assert(daemon_wait_log(&vhd, " warn vm 4: packet from cid 99 dropped\n"));
	log = daemon_log(&vhd);
	for (const char *at = log; (at = strstr(at, " warn vm 3: packet from cid 99 ")); at++)
		n++;
	ck_assert_int_ge(n, 1);
	ck_assert_int_le(n, NOISE / 2);
	free(log);
	driver_deinit(&other);
}
END_TEST

/* ---- what many cost ---- */

static void write_config(const char *path, unsigned n)
{
	FILE *f = fopen(path, "we");

	must(f);
	fputs("vms:\n", f);
	for (unsigned i = 0; i < n; i++)
		fprintf(f, "- {guest_cid: %u, socket: %s/s%u, uds_path: %s/u%u, groups: g%u}\n",
			3 + i, vhd.dir, i, vhd.dir, i, i % 200);
	must(fclose(f) == 0);
}

/* With --config, until the last VM is there; milliseconds of CPU that it took. */
static uint64_t start_many(unsigned n, const char *option, const char *value)
{
	char config[128], last[128];
	const char *const args[] = { "--config", config, option, value, NULL };

	path_in(config, sizeof config, "vms.yaml");
	write_config(config, n);
	snprintf(last, sizeof last, "%s/u%u", vhd.dir, n - 1);
	daemon_spawn(&vhd, args);
	ck_assert(daemon_wait_listening(&vhd, last));
	return daemon_usage_both(&vhd).cpu_ms;
}

static unsigned count_cpus(void)
{
	cpu_set_t set;

	must(sched_getaffinity(0, sizeof set, &set) == 0);
	return (unsigned)CPU_COUNT(&set);
}

static uint64_t max_maps(void)
{
	FILE *f = fopen("/proc/sys/vm/max_map_count", "re");
	unsigned long n = 0;

	must(f && fscanf(f, "%lu", &n) == 1);
	fclose(f);
	return n;
}

static void pass_quiet(void)
{
	ck_assert(!deadline_poll(vhd.pidfd, POLLIN, deadline_in(QUIET_MS)));
}

START_TEST(a_thousand_vms)
{
	struct daemon_usage usage;
	uint64_t rss_of_one, slots;
	char last[128];

	start_many(1, NULL, NULL);
	rss_of_one = daemon_usage(&vhd).rss_bytes;
	ck_assert_int_eq(daemon_stop(&vhd, DEADLINE_MS), 0);

	ck_assert_uint_lt(start_many(MANY, NULL, NULL), START_MS);
	snprintf(last, sizeof last, "%s/s%u", vhd.dir, MANY - 1);
	driver_up(&vm, last, &(struct driver_options){ .cid = 3 + MANY - 1 });
	snprintf(last, sizeof last, "%s/u%u", vhd.dir, MANY - 1);
	e2e_close(e2e_guest_connects(&vm, last));
	ck_assert_int_eq(vmm_get_max_mem_slots(&vm.fe, &slots), 0);
	ck_assert_uint_ge(slots, 8);		/* for all of them there are mappings */
	ck_assert_uint_le(slots * MANY, max_maps());
	usage = daemon_usage(&vhd);
	ck_assert_uint_le(usage.threads, count_cpus() + 2);
	ck_assert_uint_le(usage.rss_bytes, rss_of_one + MANY * (uint64_t)RSS_PER_VM);
	driver_detach(&vm);
	ck_assert(daemon_wait_asleep(&vhd, DEADLINE_MS));
	/* The worker's watchdog has its last looks. */
	ck_assert(daemon_rests(&vhd, daemon_usage_both, pass_quiet, QUIET_MS / 2,
			       5 + E2E_WAKEUPS(1)));
}
END_TEST

START_TEST(threads_as_told)
{
	static const struct {
		unsigned n_vms;
		const char *told;
		unsigned threads;
	} cases[] = { { 5, "1", 2 }, { 5, "3", 4 }, { 5, "1024", 6 }, { 1, "7", 2 } };
	int64_t deadline = deadline_in(DEADLINE_MS);

	start_many(cases[_i].n_vms, "--threads", cases[_i].told);
	/* They start when all sockets are there; and one that a worker makes to close
	 * descriptors has its maker's name for a moment. */
	while (daemon_usage(&vhd).threads != cases[_i].threads && deadline_left(deadline))
		deadline_poll(vhd.pidfd, POLLIN, deadline_in(10));
	ck_assert_uint_eq(daemon_usage(&vhd).threads, cases[_i].threads);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("vms");
	TCase *tc = e2e_case(s, "host CIDs", e2e_setup_bare, 60);
	int n_bad = sizeof bad_cases / sizeof *bad_cases;

	tcase_add_loop_test(tc, host_answers_for_further_cids, 0,
			    sizeof hosts_cids / sizeof *hosts_cids);
	tcase_add_loop_test(tc, nobody_answers_for_others, 0,
			    sizeof nobodys_cids / sizeof *nobodys_cids);
	tc = e2e_case(s, "bad VMs", e2e_setup_bare, 60);
	tcase_add_loop_test(tc, one_bad_vm_is_left_out, 0, n_bad);
	tcase_add_loop_test(tc, only_bad_vms_are_too_few, 0, n_bad);
	tcase_add_loop_test(tc, long_uds_path, 0, sizeof long_cases / sizeof *long_cases);
	tcase_add_loop_test(tc, the_only_vm_is_bad, 0, n_bad);
	tc = e2e_case(s, "limits", e2e_setup_bare, 60);
	tcase_add_test(tc, connections_beyond_the_limit_are_refused);
	tcase_add_test(tc, buffers_beyond_the_limit_are_refused);
	tcase_add_test(tc, one_guest_does_not_take_anothers_descriptors);
	tcase_add_test(tc, one_front_end_does_not_take_all_descriptors);
	tc = e2e_case(s, "memory", e2e_setup_bare, 60);
	tcase_add_test(tc, one_front_end_does_not_take_all_address_space);
	tcase_add_loop_test(tc, max_memory_as_told, 0, 2);
	tc = e2e_case(s, "log", e2e_setup_bare, 60);
	tcase_add_test(tc, noisy_guest_silences_nobody);
	tc = e2e_case(s, "cost", e2e_setup_bare, 120);
	if (e2e_may_open(4096, "a thousand VMs"))
		tcase_add_test(tc, a_thousand_vms);
	tcase_add_loop_test(tc, threads_as_told, 0, 4);
	return e2e_run(s);
}
