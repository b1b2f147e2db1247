/* SPDX-License-Identifier: BSD-3-Clause */
/* What every unit test program needs. */
#include "unit.h"

#include <dirent.h>
#include <stdlib.h>

int unit_main(Suite *suite)
{
	SRunner *runner = srunner_create(suite);
	int n_failed;

	srunner_set_tap(runner, "-");
	srunner_run_all(runner, CK_SILENT);
	n_failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return n_failed ? EXIT_FAILURE : EXIT_SUCCESS;
}

/* How many entries a folder has. */
static int count_entries(const char *path)
{
	DIR *dir = opendir(path);
	int n = 0;

	ck_assert_ptr_nonnull(dir);
	while (readdir(dir))
		n++;
	closedir(dir);
	return n - 2;				/* ".", ".." */
}

int unit_count_fds(void)
{
	return count_entries("/proc/self/fd") - 1;	/* the folder itself */
}

int unit_count_threads(void)
{
	return count_entries("/proc/self/task");
}
