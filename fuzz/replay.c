/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Runs a fuzz target over files instead of over what libFuzzer invents, so that
 * every compiler can replay the corpus: replay FILE|FOLDER...
 */
#include <dirent.h>
#include <errno.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* The target makes a copy of exact size itself. 0 or -errno. */
static int replay_stream(FILE *file)
{
	struct stat st;
	uint8_t *data;
	size_t size;

	if (fstat(fileno(file), &st) < 0)
		return -errno;
	data = malloc((size_t)st.st_size + 1);
	if (!data)
		return -ENOMEM;
	size = fread(data, 1, (size_t)st.st_size, file);
	LLVMFuzzerTestOneInput(data, size);
	free(data);
	return 0;
}

static int replay_file(const char *path)
{
	FILE *file = fopen(path, "rbe");
	int r;

	if (!file)
		return -errno;
	r = replay_stream(file);
	fclose(file);
	return r;
}

static int is_visible(const struct dirent *entry)
{
	return entry->d_name[0] != '.';
}

/* Counts the files that ran into *@n_run. */
static int replay(const char *path, unsigned *n_run)
{
	struct dirent **entries;
	int n = scandir(path, &entries, is_visible, alphasort), r = 0;

	if (n < 0) {
		if (errno != ENOTDIR)
			return -errno;
		r = replay_file(path);
		*n_run += r == 0;
		return r;
	}
	for (int i = 0; i < n; i++) {
		char *inner = NULL;

		if (r == 0 && asprintf(&inner, "%s/%s", path, entries[i]->d_name) < 0)
			r = -ENOMEM;
		if (r == 0)
			r = replay(inner, n_run);
		free(inner);
		free(entries[i]);
	}
	free(entries);
	return r;
}

int main(int argc, char **argv)
{
	unsigned n_run = 0;

	for (int i = 1; i < argc; i++) {
		int r = replay(argv[i], &n_run);

		if (r) {
			fprintf(stderr, "%s: %s\n", argv[i], strerror(-r));
			return 1;
		}
	}
	printf("%u files replayed\n", n_run);
	return n_run ? 0 : 1;
}
