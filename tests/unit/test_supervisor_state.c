/* SPDX-License-Identifier: BSD-3-Clause */
/* What a supervisor of another version leaves behind: that of each release is understood, and
 * nothing that has been cut, or is of a version to come. */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "daemon/supervisor_internal.h"
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

int main(void)
{
	Suite *suite = suite_create("supervisor_state");
	TCase *tc = tcase_create("supervisor_state");

	tcase_add_checked_fixture(tc, NULL, teardown);
	tcase_add_loop_test(tc, of_each_release, 0, COUNT(versions));
	tcase_add_loop_test(tc, cut_anywhere, 0, COUNT(versions));
	tcase_add_loop_test(tc, of_a_version_to_come, 0, COUNT(versions));
	suite_add_tcase(suite, tc);
	return unit_main(suite);
}
