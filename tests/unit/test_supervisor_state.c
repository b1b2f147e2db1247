/* SPDX-License-Identifier: BSD-3-Clause */
/* What a supervisor of another version leaves behind: that of each release is understood, and
 * nothing that has been cut, or is of a version to come. */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "daemon/supervisor_internal.h"
#include "support/scratch.h"
#include "unit.h"
#include "util/fd.h"

/*
 * Each release adds its own: the bytes of the file that the program after it is asked about
 * (supervisor_upgrade.c), of a daemon with a front-end, a VM that waits for one to leave, one
 * that connects, and one without its folder.
 */
static const char *const versions[] = { "0.1.0" };

/* Behind the numbers of the descriptors: the tag, and then the version, of the first section. */
enum { VERSION_AT = 4 };

static uint8_t *bytes;
static size_t len;

static void read_stream(const char *version)
{
	char path[512];
	struct stat st;
	int fd;

	snprintf(path, sizeof path, STREAMS "/%s.supervisor", version);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	ck_assert_msg(fd >= 0, "%s", path);
	ck_assert_int_eq(fstat(fd, &st), 0);
	len = (size_t)st.st_size;
	bytes = malloc(len);
	ck_assert_ptr_nonnull(bytes);
	ck_assert_int_eq(read(fd, bytes, len), (ssize_t)len);
	close(fd);
}

static bool is_understood(size_t n)
{
	int fd = memfd_create("state", MFD_CLOEXEC);
	bool is;

	ck_assert_int_ge(fd, 0);
	ck_assert_int_eq(write(fd, bytes, n), (ssize_t)n);
	is = supervisor_state_check(fd);
	close(fd);
	return is;
}

static void teardown(void)
{
	free(bytes);
}

START_TEST(of_each_release)
{
	int fds_before = unit_count_fds();

	read_stream(versions[_i]);
	ck_assert(is_understood(len));
	ck_assert_int_eq(unit_count_fds(), fds_before);
}
END_TEST

START_TEST(cut_anywhere)
{
	read_stream(versions[_i]);
	for (size_t n = 0; n < len; n++)
		ck_assert_msg(!is_understood(n), "%zu of %zu bytes", n, len);
}
END_TEST

START_TEST(of_a_version_to_come)
{
	uint64_t n_fds;

	read_stream(versions[_i]);
	memcpy(&n_fds, bytes, sizeof n_fds);
	bytes[sizeof n_fds + n_fds * sizeof(int) + VERSION_AT]++;
	ck_assert(!is_understood(len));
}
END_TEST

/* ---- of this version ---- */

static char path[128];

/* A VM with all its sockets, or without the one that it can do without. */
static struct held_vm *make_vm(const struct plan *plan, bool has_seqpacket)
{
	struct held_vm *held;
	struct vm_plan row;

	vm_plan_init(&row);
	row.guest_cid = 3;
	snprintf(path, sizeof path, "%s/vhost", scratch_path());
	row.socket = strdup(path);
	snprintf(path, sizeof path, "%s/uds", scratch_path());
	row.uds_path = strdup(path);
	row.vhost_socket.mode = row.uds_socket.mode = 0600;
	row.socket_at.rest = strdup("vhost");
	row.uds_at.rest = strdup("uds");
	row.queue_size = 128;
	row.capture.snaplen = 76;
	row.capture.n_files = 1;
	row.forward_cid = 1;
	row.limits.tx_buffer_size = 65536;
	row.limits.max_connections = row.said.max_connections = 16;
	row.max_memory = 1 << 20;		/* a share of it: nothing was said */
	row.is_by_api = true;
	row.limits.max_buffered = 1 << 20;
	row.groups = calloc(1, sizeof *row.groups);
	row.groups[0] = strdup("default");
	row.n_groups = 1;
	snprintf(path, sizeof path, "%s/uds_seqpacket", scratch_path());
	if (!has_seqpacket)
		ck_assert_int_eq(mkdir(path, 0700), 0);
	held = held_vm_new(&row);
	ck_assert_ptr_nonnull(held);
	ck_assert_int_eq(vm_sockets_open(&held->sockets, plan, &held->plan), 0);
	vm_sockets_open_seqpacket(&held->sockets, plan, &held->plan, false);
	ck_assert_int_eq(held->sockets.seqpacket.fd >= 0, has_seqpacket);
	return held;
}

/* The same descriptors, under the same numbers: of one of the two they are not. */
static void forget(struct listener *l)
{
	free(l->path);
	l->path = NULL;
	l->fd = -1;
}

static void check_same(struct listener *was, struct listener *is)
{
	ck_assert_int_eq(is->fd, was->fd);
	ck_assert_int_eq(is->path != NULL, was->path != NULL);
	if (is->path)
		ck_assert_str_eq(is->path, was->path);
	ck_assert_uint_eq(is->ino, was->ino);
	forget(is);
}

static void begin_capture(struct supervisor *s, struct held_vm *held)
{
	static char file[128];
	uint32_t ports[] = { 7, 8 };
	const struct capture_plan capture = {
		.path = file, .snaplen = 100, .n_files = 2, .max_bytes = 1000, .ports = ports,
		.n_ports = 2,
	};

	snprintf(file, sizeof file, "%s/a.pcap", scratch_path());
	s->has_older_engine = true;		/* nobody is told */
	s->n_captures = 41;
	ck_assert_int_eq(supervisor_begin_capture(s, held, &capture), 0);
	ck_assert_uint_eq(held->capture.id, 42);
	held->capture.is_told = true;
}

static void check_same_capture(struct held_capture *was, struct held_capture *is)
{
	ck_assert_uint_eq(is->id, was->id);
	ck_assert_int_eq(is->is_told, was->is_told);
	ck_assert_int_eq(is->settings != NULL, was->settings != NULL);
	if (!is->settings)
		return;
	ck_assert_mem_eq(is->settings, was->settings, sizeof *is->settings);
	ck_assert_uint_eq(is->files.n, 2);
	ck_assert_int_eq(is->files.shared_fd, was->files.shared_fd);
	ck_assert_mem_eq(is->files.fds, was->files.fds, 2 * sizeof *is->files.fds);
	is->files.n = 0;
	is->files.shared_fd = -1;
}

/* _i: with a socket for SOCK_SEQPACKET, and a capture. */
START_TEST(sockets_are_passed)
{
	int null = open("/dev/null", O_RDWR | O_CLOEXEC), state;
	struct plan plan, other;
	struct supervisor s = { .channel = null, .shared_fd = null, .plan = &plan, .n_vms = 1 };
	struct supervisor next = { .plan = &other };
	struct held_vm *held;
	struct stat st;

	plan_init(&plan);
	plan_init(&other);
	plan.handshake_ms = 10000;
	plan.api_folders = calloc(1, sizeof *plan.api_folders);
	plan.api_folders[plan.n_api_folders++] = realpath(scratch_path(), NULL);
	held = make_vm(&plan, _i);
	s.vms = &held;
	if (_i)
		begin_capture(&s, held);
	ck_assert_int_eq(supervisor_state_save(&s, &state), 0);
	ck_assert_int_eq(fstat(state, &st), 0);
	len = (size_t)st.st_size;
	bytes = malloc(len);
	ck_assert_int_eq(pread(state, bytes, len, 0), (ssize_t)len);
	for (size_t n = 0; n <= len; n++)
		ck_assert_int_eq(is_understood(n), n == len);
	ck_assert_int_eq(supervisor_state_pass(&s, state, true), 0);
	ck_assert_int_eq(fcntl(held->sockets.uds.fd, F_GETFD), 0);
	if (_i)
		ck_assert_int_eq(fcntl(held->sockets.seqpacket.fd, F_GETFD), 0);
	if (held->capture.settings)
		ck_assert_int_eq(fcntl(held->capture.files.fds[1], F_GETFD), 0);
	ck_assert_int_eq(supervisor_state_pass(&s, state, false), 0);
	ck_assert_int_eq(supervisor_state_load(&next, state), 0);
	ck_assert_uint_eq(next.n_vms, 1);
	check_same(&held->sockets.vhost, &next.vms[0]->sockets.vhost);
	check_same(&held->sockets.uds, &next.vms[0]->sockets.uds);
	check_same(&held->sockets.seqpacket, &next.vms[0]->sockets.seqpacket);
	ck_assert_uint_eq(next.vms[0]->plan.max_memory, held->plan.max_memory);
	ck_assert_uint_eq(next.vms[0]->plan.said.max_memory, 0);
	ck_assert_uint_eq(next.vms[0]->plan.said.max_connections, 16);
	ck_assert(next.vms[0]->plan.is_by_api);
	check_same_capture(&held->capture, &next.vms[0]->capture);
	ck_assert_uint_eq(next.n_captures, s.n_captures);
	held_vm_free(next.vms[0]);
	free(next.vms);
	held_vm_free(held);
	fd_close(&state);
	close(null);
	rmdir(path);
	plan_deinit(&plan);
	plan_deinit(&other);
}
END_TEST

/* The memory that an older program has shared with its engine ends before what has been added
 * since: to look at that would be a SIGBUS. One of this program goes on with its counts. */
START_TEST(shared_memory_of_another_program)
{
	struct supervisor sup = { .shared_fd = memfd_create("workers", MFD_CLOEXEC) };

	ck_assert_int_ge(sup.shared_fd, 0);
	ck_assert_int_eq(ftruncate(sup.shared_fd, sizeof sup.shared->handling), 0);
	ck_assert_int_eq(supervisor_share(&sup), 0);
	ck_assert_uint_eq(sup.shared->crashes, 0);
	sup.shared->crashes = 5;
	munmap(sup.shared, sizeof *sup.shared);
	sup.shared = NULL;
	ck_assert_int_eq(supervisor_share(&sup), 0);
	ck_assert_uint_eq(sup.shared->crashes, 5);
	supervisor_unshare(&sup);
	ck_assert_int_lt(sup.shared_fd, 0);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("supervisor_state");
	TCase *tc = tcase_create("supervisor_state");
	int status;

	tcase_add_checked_fixture(tc, NULL, teardown);
	tcase_add_loop_test(tc, of_each_release, 0, COUNT(versions));
	tcase_add_loop_test(tc, cut_anywhere, 0, COUNT(versions));
	tcase_add_loop_test(tc, of_a_version_to_come, 0, COUNT(versions));
	tcase_add_loop_test(tc, sockets_are_passed, 0, 2);
	tcase_add_test(tc, shared_memory_of_another_program);
	suite_add_tcase(suite, tc);
	scratch_begin();
	status = unit_main(suite);
	scratch_end();
	return status;
}
