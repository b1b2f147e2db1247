/* SPDX-License-Identifier: BSD-3-Clause */
/* A VM that others must not hold up: see neighbour.h. */
#include "e2e/neighbour.h"

#include <dirent.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "e2e/flow.h"
#include "support/sanitized.h"

enum {
	CID = 1000,
	PERIOD_US = 1000,			/* from one message to the next */
	BUCKET_US = 50, BUCKETS = 40000,	/* the last: 2 s or more */
	SAMPLES_MIN = 200,
	WINDOW_US = 500 * 1000,
	ATTEMPTS = 3,
	HONEST_BYTES = 8 << 20,
	BUSY_SHARE = 12,			/* waiting for one part of so many is too much */
};

static struct {
	struct driver d;
	char socket[128], uds[128];
	struct pair pair;
	int schedstat;				/* of the worker */
	pthread_t thread;
	bool is_measuring, rests;
	atomic_bool ends;
	unsigned arrived;			/* bytes, at the guest */
	uint32_t counts[BUCKETS];		/* of round trips, by how long they took */
	uint64_t n;
	int64_t waited_us, lasted_us;		/* for a CPU, while it was measured */
} neighbour = { .schedstat = -1 };

static int64_t honest_us;			/* what is measured before the tests of a case */

const char *neighbour_words(void)
{
	static char words[512];

	snprintf(neighbour.socket, sizeof neighbour.socket, "%s/neighbour.vhost", vhd.dir);
	snprintf(neighbour.uds, sizeof neighbour.uds, "%s/neighbour.sock", vhd.dir);
	snprintf(words, sizeof words, "guest-cid=%d,socket=%s,uds-path=%s", CID,
		 neighbour.socket, neighbour.uds);
	return words;
}

static void on_data(struct sock *s, const uint8_t *data, size_t len)
{
	(void)s, (void)data;
	neighbour.arrived += (unsigned)len;
}

/* The first worker's; it has served us, so it is there. */
static int open_schedstat(void)
{
	pid_t engine = daemon_engine(&vhd);
	char path[300], name[32];
	struct dirent *e;
	int fd = -1;
	DIR *dir;

	snprintf(path, sizeof path, "/proc/%d/task", (int)engine);
	dir = opendir(path);
	must(dir);
	while (fd < 0 && (e = readdir(dir))) {
		FILE *f;

		snprintf(path, sizeof path, "/proc/%d/task/%.20s/comm", (int)engine, e->d_name);
		f = fopen(path, "re");
		if (f && fgets(name, sizeof name, f) && strcmp(name, "worker\n") == 0) {
			snprintf(path, sizeof path, "/proc/%d/task/%.20s/schedstat",
				 (int)engine, e->d_name);
			fd = open(path, O_RDONLY | O_CLOEXEC);
		}
		if (f)
			fclose(f);
	}
	closedir(dir);
	return fd;
}

void neighbour_up(void)
{
	const struct driver_options opt = { .cid = CID };

	must(daemon_wait_listening(&vhd, neighbour.socket));
	must(daemon_wait_listening(&vhd, neighbour.uds));
	driver_up(&neighbour.d, neighbour.socket, &opt);
	neighbour.pair = e2e_guest_connects(&neighbour.d, neighbour.uds);
	neighbour.pair.guest->sink = on_data;
	neighbour.schedstat = open_schedstat();
}

void neighbour_down(void)
{
	if (neighbour.is_measuring)
		neighbour_stop();
	if (!neighbour.d.inbox)
		return;
	close(neighbour.pair.host);
	if (neighbour.schedstat >= 0)
		close(neighbour.schedstat);
	neighbour.schedstat = -1;
	driver_deinit(&neighbour.d);
}

/* ---- measuring ---- */

/* How long a thread has waited for a CPU so far, in us. */
static int64_t waited_us(int schedstat)
{
	unsigned long long ns;
	char text[100];
	ssize_t n = schedstat < 0 ? -1 : pread(schedstat, text, sizeof text - 1, 0);

	if (n <= 0)
		return 0;			/* a kernel that does not count it */
	text[n] = '\0';
	must(sscanf(text, "%*u %llu", &ns) == 1);
	return (int64_t)(ns / 1000);
}

static void pass_to_and_fro(void)
{
	int64_t deadline = deadline_in(DEADLINE_MS);
	unsigned before = neighbour.arrived;
	char byte = 'n';

	if (!host_write(neighbour.pair.host, &byte, 1))
		die("the neighbour's connection has ended");
	while (neighbour.arrived == before)
		if (!driver_wait(&neighbour.d, deadline, false))
			die("the neighbour is not served");
	if (!sock_send(neighbour.pair.guest, &byte, 1) ||
	    host_read(neighbour.pair.host, &byte, 1) != 1)
		die("the neighbour is not served");
}

/* Also those that were not sent because it took so long. */
static void count(int64_t took_us)
{
	if (took_us < 0)
		took_us = 0;
	do {
		int64_t bucket = took_us / BUCKET_US;

		neighbour.counts[bucket < BUCKETS ? bucket : BUCKETS - 1]++;
		neighbour.n++;
		took_us -= PERIOD_US;
	} while (took_us > 0);
}

static void *run(void *arg)
{
	int self = open("/proc/thread-self/schedstat", O_RDONLY | O_CLOEXEC);
	int64_t began = now_us();
	int64_t waited_before = waited_us(neighbour.schedstat) + waited_us(self);

	while (!atomic_load(&neighbour.ends) || neighbour.n < SAMPLES_MIN) {
		int64_t waited = waited_us(neighbour.schedstat) + waited_us(self);
		int64_t begin = now_us(), took;

		pass_to_and_fro();
		took = now_us() - begin;
		count(took - (waited_us(neighbour.schedstat) + waited_us(self) - waited));
		if (took < PERIOD_US)
			usleep((useconds_t)(PERIOD_US - took));
	}
	neighbour.lasted_us += now_us() - began;
	neighbour.waited_us += waited_us(neighbour.schedstat) + waited_us(self) - waited_before;
	if (self >= 0)
		close(self);
	return arg;
}

static void start_thread(void)
{
	atomic_store(&neighbour.ends, false);
	must(pthread_create(&neighbour.thread, NULL, run, NULL) == 0);
}

static void stop_thread(void)
{
	atomic_store(&neighbour.ends, true);
	must(pthread_join(neighbour.thread, NULL) == 0);
}

void neighbour_start(void)
{
	memset(neighbour.counts, 0, sizeof neighbour.counts);
	neighbour.n = 0;
	neighbour.waited_us = neighbour.lasted_us = 0;
	start_thread();
	neighbour.is_measuring = true;
	neighbour.rests = false;
}

void neighbour_rest(void)
{
	if (neighbour.is_measuring && !neighbour.rests)
		stop_thread();
	neighbour.rests = true;
}

void neighbour_go_on(void)
{
	if (neighbour.is_measuring && neighbour.rests)
		start_thread();
	neighbour.rests = false;
}

int64_t neighbour_stop(void)
{
	uint64_t seen = 0;
	int64_t bucket = -1;

	neighbour_rest();
	neighbour.is_measuring = false;
	while (seen * 100 < neighbour.n * 99)
		seen += neighbour.counts[++bucket];
	return (bucket + 1) * BUCKET_US;
}

/* ---- the rule ---- */

/*
 * Where threads wait that long for a CPU, others do that hold a lock of the kernel which the
 * worker needs, and their wait is not counted. And a sanitizer's daemon is another one.
 */
static bool is_no_measure(void)
{
	return IS_SANITIZED || neighbour.waited_us > neighbour.lasted_us / BUSY_SHARE;
}

bool neighbour_is_well(int64_t with_attack_us, int64_t with_honest_us)
{
	return is_no_measure() || with_attack_us < NEIGHBOUR_ALLOWED_US + 2 * with_honest_us;
}

int64_t neighbour_measure(void (*act)(void))
{
	int64_t end = now_us() + WINDOW_US;

	neighbour_start();
	do
		act();
	while (now_us() < end);
	return neighbour_stop();
}

void neighbour_compare(void (*honest)(void), void (*attack)(void))
{
	int64_t with_honest = 0, with_attack = 0;

	for (int i = 0; i < ATTEMPTS; i++) {
		with_honest = neighbour_measure(honest);
		with_attack = neighbour_measure(attack);
		printf("# round trips of the neighbour: %lld us, and %lld us with honest work\n",
		       (long long)with_attack, (long long)with_honest);
		if (neighbour_is_well(with_attack, with_honest))
			return;
	}
	ck_abort_msg("of 100 round trips of the neighbour 99 take up to %lld us, but %lld us with "
		     "honest work", (long long)with_attack, (long long)with_honest);
}

void neighbour_judge(void)
{
	int64_t took;

	if (!neighbour.is_measuring)
		return;
	took = neighbour_stop();
	ck_assert_msg(neighbour_is_well(took, honest_us),
		      "of 100 round trips of the neighbour 99 took up to %lld us, but %lld us with "
		      "honest work; waited for a CPU: %lld of %lld ms", (long long)took,
		      (long long)honest_us, (long long)neighbour.waited_us / 1000,
		      (long long)neighbour.lasted_us / 1000);
}

/* ---- fixtures ---- */

void neighbour_start_daemon(const char *words, const char *const *extra)
{
	char first[512];
	const char *args[32] = { "--threads=1", "--vm", first, "--vm", neighbour_words() };

	snprintf(first, sizeof first, "guest-cid=3,socket=%s,uds-path=%s%s%s", vhd.socket, vhd.uds,
		 words ? "," : "", words ? words : "");
	for (unsigned i = 5; extra && *extra; i++) {
		must(i + 1 < sizeof args / sizeof *args);
		args[i] = *extra++;
	}
	daemon_spawn(&vhd, args);
	if (!daemon_wait_listening(&vhd, vhd.socket) || !daemon_wait_listening(&vhd, vhd.uds))
		die("the daemon did not start: %s", daemon_log(&vhd));
	neighbour_up();
	neighbour_start();
}

void neighbour_setup_daemon(void)
{
	e2e_setup_bare();
	neighbour_start_daemon(NULL, NULL);
}

void neighbour_setup_vm(void)
{
	neighbour_setup_daemon();
	driver_up(&vm, vhd.socket, NULL);
}

void neighbour_teardown(void)
{
	neighbour_judge();
	neighbour_down();
	e2e_teardown();
}

/* New connections, and many bytes each way. */
static void work_honestly(void)
{
	struct pair p = e2e_guest_connects(&vm, vhd.uds);
	struct host_job job = { .fd = p.host, .to_write = HONEST_BYTES, .to_read = HONEST_BYTES,
				.write_seed = 1, .read_seed = 2 };
	struct flow flow = { .sock = p.guest, .to_send = HONEST_BYTES, .to_recv = HONEST_BYTES,
			     .send_seed = 2, .recv_seed = 1 };

	host_job_start(&job);
	flow_run(&vm, &flow, 1);
	must(host_job_finish(&job));
	e2e_close(p);
	e2e_check_alive();
}

static void measure_honest_work(void)
{
	neighbour_setup_vm();
	neighbour_stop();
	honest_us = neighbour_measure(work_honestly);
	printf("# round trips of the neighbour: %lld us with honest work\n", (long long)honest_us);
	neighbour_down();
	e2e_teardown();
}

TCase *neighbour_case(Suite *s, const char *name, void (*setup)(void), void (*teardown)(void),
		      int timeout_s)
{
	TCase *tc = e2e_case_with(s, name, setup, teardown, timeout_s);

	tcase_add_unchecked_fixture(tc, measure_honest_work, NULL);
	return tc;
}
