/* SPDX-License-Identifier: BSD-3-Clause */
/* Named sockets: what may be replaced, what may be removed, when it is seen. */
#include "util/listener.h"
#include "util/unix_socket.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/inotify.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include "support/scratch.h"
#include "unit.h"
#include "util/fd.h"

static const struct listener_access PRIVATE = {
	.mode = 0600, .uid = (uid_t)-1, .gid = (gid_t)-1,
};

static char folder[64];
static struct listener l;

static void setup(void)
{
	snprintf(folder, sizeof folder, "%s/XXXXXX", scratch_path());
	ck_assert_ptr_nonnull(mkdtemp(folder));
	ck_assert_int_eq(chdir(folder), 0);
	listener_init(&l);
}

/* Each test leaves the folder empty. */
static void teardown(void)
{
	ck_assert_int_eq(chdir("/"), 0);
	ck_assert_int_eq(rmdir(folder), 0);
}

static bool exists(const char *path)
{
	struct stat st;

	return lstat(path, &st) == 0;
}

static int try_connect(const char *path)
{
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	int r = unix_connect(fd, path);

	fd_close(&fd);
	return r;
}

/* A socket of that name that somebody bound and left. */
static void leave_socket(const char *path)
{
	struct sockaddr_un sa = { .sun_family = AF_UNIX };
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	strcpy(sa.sun_path, path);
	ck_assert_int_eq(bind(fd, (struct sockaddr *)&sa, sizeof sa), 0);
	close(fd);
}

static void leave_file(const char *path)
{
	int fd = open(path, O_CREAT | O_EXCL | O_WRONLY | O_CLOEXEC, 0600);

	ck_assert_int_eq(write(fd, "precious", 8), 8);
	close(fd);
}

static void expect_file(const char *path)
{
	char text[16];
	int fd = open(path, O_RDONLY | O_CLOEXEC);

	ck_assert_int_eq(read(fd, text, sizeof text), 8);
	close(fd);
	ck_assert_int_eq(unlink(path), 0);
}

START_TEST(opens_and_accepts)
{
	int fds = unit_count_fds(), fd = -1;

	ck_assert_int_eq(listener_open(&l, "s", SOCK_STREAM, &PRIVATE), 0);
	ck_assert_int_eq(listener_accept(&l, &fd), LISTENER_E_NONE);
	ck_assert_int_eq(fd, -1);
	ck_assert_int_eq(try_connect("s"), 0);
	ck_assert_int_eq(listener_accept(&l, &fd), 0);
	ck_assert_int_eq(fcntl(fd, F_GETFL) & O_NONBLOCK, O_NONBLOCK);
	ck_assert_int_eq(fcntl(fd, F_GETFD), FD_CLOEXEC);
	fd_close(&fd);
	listener_deinit(&l);
	listener_deinit(&l);
	ck_assert(!exists("s"));
	ck_assert_int_eq(unit_count_fds(), fds);
}
END_TEST

/* The kernel has it by the path that was asked for, as ss, lsof and who looks for it in
 * /proc/net/unix want it; and that is the only name that ever appears. */
START_TEST(bound_by_its_path)
{
	char buf[4096] __attribute__((aligned(8)));
	int ifd = inotify_init1(IN_NONBLOCK | IN_CLOEXEC);
	struct sockaddr_un sa = { .sun_path = "" };
	socklen_t size = sizeof sa;
	unsigned n = 0;
	ssize_t len;

	ck_assert_int_ge(inotify_add_watch(ifd, ".", IN_CREATE | IN_MOVED_TO | IN_DELETE), 0);
	ck_assert_int_eq(listener_open(&l, "./s", SOCK_STREAM, &PRIVATE), 0);
	len = read(ifd, buf, sizeof buf);
	for (char *at = buf; at < buf + len; n++) {
		const struct inotify_event *e = (void *)at;

		ck_assert_str_eq(e->name, "s");
		ck_assert_uint_eq(e->mask, IN_CREATE);
		at += sizeof *e + e->len;
	}
	ck_assert_uint_eq(n, 1);
	ck_assert_int_eq(getsockname(l.fd, (struct sockaddr *)&sa, &size), 0);
	ck_assert_str_eq(sa.sun_path, "./s");
	ck_assert_int_eq(try_connect("s"), 0);
	close(ifd);
	listener_deinit(&l);
}
END_TEST

static struct listener living;

static void leave_listener(const char *path)
{
	ck_assert_int_eq(listener_open(&living, path, SOCK_STREAM, &PRIVATE), 0);
}

struct in_the_way_case {
	const char *name, *path;
	void (*leave)(const char *path);
	int result;
	const char *why;
};

static const struct in_the_way_case in_the_way_cases[] = {
	{ "stale socket", "s", leave_socket, 0, NULL },
	{ "file", "s", leave_file, LISTENER_E_OTHER_FILE, "a file that is not a socket is in the way" },
	{ "listener", "s", leave_listener, LISTENER_E_BUSY, "somebody listens there already" },
};

START_TEST(in_the_way)
{
	const struct in_the_way_case *c = &in_the_way_cases[_i];
	char why[LISTENER_TEXT_MAX], us[64];
	int fds = unit_count_fds();

	listener_init(&living);
	c->leave(c->path);
	ck_assert_msg(listener_open(&l, "s", SOCK_STREAM, &PRIVATE) == c->result, "%s", c->name);
	if (c->result) {
		listener_explain("s", &(struct folders){ .n = 0 }, c->result, why);
		ck_assert_msg(strncmp(why, c->why, strlen(c->why)) == 0, "%s", why);
		if (c->result == LISTENER_E_BUSY) {
			snprintf(us, sizeof us, ": process %d (test_listener)", (int)getpid());
			ck_assert_str_eq(why + strlen(c->why), us);
		}
		if (c->leave == leave_file)
			expect_file(c->path);
		ck_assert_ptr_null(l.path);
		ck_assert_int_eq(l.fd, -1);
	} else {
		ck_assert_int_eq(try_connect("s"), 0);
	}
	listener_deinit(&l);
	listener_deinit(&living);
	ck_assert_int_eq(unit_count_fds(), fds);
}
END_TEST

START_TEST(live_one_is_left_alone)
{
	struct listener second;

	ck_assert_int_eq(listener_open(&l, "s", SOCK_STREAM, &PRIVATE), 0);
	ck_assert_int_eq(listener_open(&second, "s", SOCK_STREAM, &PRIVATE), LISTENER_E_BUSY);
	listener_deinit(&second);
	ck_assert_int_eq(try_connect("s"), 0);
	listener_deinit(&l);
}
END_TEST

START_TEST(symlink_is_another_kind_of_file)
{
	ck_assert_int_eq(symlink("elsewhere", "s"), 0);
	ck_assert_int_eq(listener_open(&l, "s", SOCK_STREAM, &PRIVATE), LISTENER_E_OTHER_FILE);
	ck_assert_int_eq(unlink("s"), 0);
	listener_deinit(&l);
}
END_TEST

/* Removed only if ours: somebody else has put something there since. */
START_TEST(successor_is_not_removed)
{
	struct listener second;

	ck_assert_int_eq(listener_open(&l, "s", SOCK_STREAM, &PRIVATE), 0);
	ck_assert_int_eq(unlink("s"), 0);
	ck_assert_int_eq(listener_open(&second, "s", SOCK_STREAM, &PRIVATE), 0);
	listener_deinit(&l);
	ck_assert_int_eq(try_connect("s"), 0);
	listener_deinit(&second);

	ck_assert_int_eq(listener_open(&l, "s", SOCK_STREAM, &PRIVATE), 0);
	ck_assert_int_eq(unlink("s"), 0);
	leave_file("s");
	listener_deinit(&l);
	expect_file("s");
}
END_TEST

/* ---- two at once ---- */

enum { ROUNDS = 1000 };

static struct {
	pthread_barrier_t step;
	int results[2];
} *race;

static void meet(void)
{
	pthread_barrier_wait(&race->step);
}

/* Both find what a crash has left, and no more than one of them may have the name. */
static void run_racer(int me)
{
	for (int round = 0; round < ROUNDS; round++) {
		if (me == 0)
			leave_socket("s");
		meet();
		race->results[me] = listener_open(&l, "s", SOCK_STREAM, &PRIVATE);
		meet();
		if (me == 0) {
			ck_assert_int_eq(race->results[0] + race->results[1], LISTENER_E_BUSY);
			ck_assert_int_eq(race->results[0] * race->results[1], 0);
			ck_assert_int_eq(try_connect("s"), 0);
		}
		meet();
		listener_deinit(&l);
		meet();
		if (me == 0)
			ck_assert(!exists("s"));
	}
}

START_TEST(one_of_two)
{
	pthread_barrierattr_t attr;
	pid_t child;
	int status;

	race = mmap(NULL, sizeof *race, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	ck_assert_ptr_ne(race, MAP_FAILED);
	pthread_barrierattr_init(&attr);
	pthread_barrierattr_setpshared(&attr, PTHREAD_PROCESS_SHARED);
	pthread_barrier_init(&race->step, &attr, 2);
	child = fork();
	if (child == 0) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		run_racer(1);
		_exit(0);
	}
	run_racer(0);
	ck_assert_int_eq(waitpid(child, &status, 0), child);
	ck_assert_int_eq(status, 0);
	munmap(race, sizeof *race);
}
END_TEST

/* Whoever holds the folder's lock holds nobody up for long. */
START_TEST(lock_that_is_held)
{
	int fd = open(".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);

	ck_assert_int_eq(flock(fd, LOCK_EX), 0);
	ck_assert_int_eq(listener_open(&l, "s", SOCK_STREAM, &PRIVATE), 0);
	ck_assert_int_eq(try_connect("s"), 0);
	listener_deinit(&l);
	close(fd);
}
END_TEST

/* ---- the name is exchanged at the worst moment ---- */

static void (*at_listen)(void);

int listen(int fd, int backlog)
{
	int r = (int)syscall(SYS_listen, fd, backlog);

	if (at_listen)
		at_listen();
	return r;
}

static void put_link(void)
{
	ck_assert_int_eq(unlink("s"), 0);
	ck_assert_int_eq(symlink("precious", "s"), 0);
}

static void put_file(void)
{
	ck_assert_int_eq(rename("precious", "s"), 0);
}

static void put_stale_socket(void)
{
	ck_assert_int_eq(unlink("s"), 0);
	leave_socket("s");
}

static void put_living_socket(void)
{
	ck_assert_int_eq(rename("t", "s"), 0);
}

static void (*const exchanges[])(void) = {
	put_link, put_file, put_stale_socket, put_living_socket,
};

/* Nobody is given what is not ours to give. */
START_TEST(exchanged_name_is_left_alone)
{
	struct listener_access open_to_all = { .mode = 0666, .uid = getuid(), .gid = getgid() };
	struct stat st;

	leave_file("precious");
	listener_init(&living);
	leave_listener("t");
	at_listen = exchanges[_i];
	ck_assert_int_eq(listener_open(&l, "s", SOCK_STREAM, &open_to_all), LISTENER_E_EXCHANGED);
	ck_assert_int_eq(l.fd, -1);
	ck_assert_int_eq(lstat("s", &st), 0);
	ck_assert(S_ISLNK(st.st_mode) || (st.st_mode & 0777) != 0666);
	ck_assert(stat("precious", &st) < 0 || (st.st_mode & 07777) == 0600);
	at_listen = NULL;
	listener_deinit(&living);
	unlink("precious");
	unlink("s");
	unlink("t");
}
END_TEST

struct mode_case {
	mode_t mode, umask;
};

static const struct mode_case mode_cases[] = {
	{ 0600, 0022 }, { 0660, 0077 }, { 0777, 0777 }, { 0600, 0 },
};

/* _i: also where nobody has asked for an owner. */
START_TEST(mode_whatever_the_umask)
{
	const struct mode_case *c = &mode_cases[_i & 3];
	struct listener_access access = { .mode = c->mode, .uid = getuid(), .gid = getgid() };
	struct stat st;

	umask(c->umask);
	access.uid = _i & 4 ? (uid_t)-1 : access.uid;
	access.gid = _i & 4 ? (gid_t)-1 : access.gid;
	ck_assert_int_eq(listener_open(&l, "s", SOCK_STREAM, &access), 0);
	ck_assert_int_eq(stat("s", &st), 0);
	ck_assert_uint_eq(st.st_mode & 07777, c->mode);
	ck_assert_uint_eq(st.st_uid, getuid());
	ck_assert_uint_eq(st.st_gid, getgid());
	ck_assert_uint_eq(umask(0), c->umask);
	listener_deinit(&l);
}
END_TEST

/* _i: length of the path, around the 107 bytes that fit into an address. */
START_TEST(long_paths)
{
	char path[128];

	memset(path, 'p', sizeof path);
	path[_i] = '\0';
	if (_i <= 107) {
		ck_assert_int_eq(listener_open(&l, path, SOCK_STREAM, &PRIVATE), 0);
		ck_assert_int_eq(try_connect(path), 0);
	} else {
		ck_assert_int_eq(listener_open(&l, path, SOCK_STREAM, &PRIVATE), LISTENER_E_NAME_LENGTH);
		ck_assert_int_eq(try_connect(path), UNIX_E_NAME_LENGTH);
	}
	listener_deinit(&l);
}
END_TEST

START_TEST(no_path)
{
	char why[LISTENER_TEXT_MAX];

	ck_assert_int_eq(listener_open(&l, "", SOCK_STREAM, &PRIVATE), -ENOENT);
	ck_assert_int_eq(listener_open(&l, "no/folder", SOCK_STREAM, &PRIVATE), -ENOENT);
	listener_explain("no/folder", &(struct folders){ .n = 0 }, -ENOENT, why);
	ck_assert_str_eq(why, "No such file or directory");
	ck_assert_int_eq(try_connect("s"), UNIX_E_NO_NAME);
	listener_deinit(&l);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("listener");
	TCase *tc = tcase_create("listener");
	int n_failed;

	tcase_add_checked_fixture(tc, setup, teardown);
	tcase_set_timeout(tc, 60);
	tcase_add_test(tc, opens_and_accepts);
	tcase_add_test(tc, bound_by_its_path);
	tcase_add_loop_test(tc, in_the_way, 0, COUNT(in_the_way_cases));
	tcase_add_test(tc, live_one_is_left_alone);
	tcase_add_test(tc, one_of_two);
	tcase_add_test(tc, lock_that_is_held);
	tcase_add_loop_test(tc, exchanged_name_is_left_alone, 0, COUNT(exchanges));
	tcase_add_test(tc, symlink_is_another_kind_of_file);
	tcase_add_test(tc, successor_is_not_removed);
	tcase_add_loop_test(tc, mode_whatever_the_umask, 0, 2 * COUNT(mode_cases));
	tcase_add_loop_test(tc, long_paths, 104, 110);
	tcase_add_test(tc, no_path);
	suite_add_tcase(suite, tc);
	scratch_begin();
	n_failed = unit_main(suite);
	scratch_end();
	return n_failed;
}
