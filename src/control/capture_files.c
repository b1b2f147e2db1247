/* SPDX-License-Identifier: BSD-3-Clause */
/* The files of a capture. */
#include "control/capture_files.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "config/plan.h"
#include "control/capture.h"
#include "util/closer.h"
#include "util/error.h"
#include "util/fd.h"

void capture_files_init(struct capture_files *f)
{
	*f = (struct capture_files){ .shared_fd = -1 };
}

void capture_files_close(struct capture_files *f)
{
	for (size_t i = 0; i < f->n; i++)
		closer_close(&f->fds[i]);
	fd_close(&f->shared_fd);
	f->n = 0;
}

void capture_files_unlock(const struct capture_files *f)
{
	for (size_t i = 0; i < f->n; i++)
		flock(f->fds[i], LOCK_UN);
}

static int make_shared(int *out)
{
	int fd = memfd_create("capture", MFD_CLOEXEC | MFD_ALLOW_SEALING), r = 0;

	if (fd < 0 || ftruncate(fd, sizeof(struct capture_shared)) < 0 ||
	    fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL) < 0)
		r = error_last();
	if (r)
		fd_close(&fd);
	else
		*out = fd;
	return r;
}

/* A pipe without a reader is refused by O_NONBLOCK, which is also how it is written. */
static int open_one(const char *path, int *out, mode_t *kind)
{
	int fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC | O_NOCTTY | O_NONBLOCK, 0600), r = 0;
	struct stat st;

	if (fd < 0)
		return error_last();
	if (fstat(fd, &st) < 0)
		r = error_last();
	else if (!S_ISREG(st.st_mode) && !S_ISFIFO(st.st_mode) && !S_ISCHR(st.st_mode))
		r = CAPTURE_FILES_E_KIND;
	else if (S_ISREG(st.st_mode) && flock(fd, LOCK_EX | LOCK_NB) < 0)
		r = errno == EWOULDBLOCK ? CAPTURE_FILES_E_TAKEN : error_last();
	if (r) {
		fd_close(&fd);
		return r;
	}
	*out = fd;
	*kind = st.st_mode & S_IFMT;
	return 0;
}

static int open_next(struct capture_files *f, const char *path, mode_t *kind)
{
	char *name, number[24] = "";
	int r;

	if (f->n)
		snprintf(number, sizeof number, ".%zu", f->n);
	if (asprintf(&name, "%s%s", path, number) < 0)
		return -ENOMEM;
	r = open_one(name, &f->fds[f->n], kind);
	free(name);
	if (!r)
		f->n++;
	return r;
}

int capture_files_open(struct capture_files *f, const struct capture_plan *plan)
{
	mode_t kind = S_IFREG;
	int r;

	capture_files_init(f);
	r = make_shared(&f->shared_fd);
	while (!r && f->n < plan->n_files && kind == S_IFREG)
		r = open_next(f, plan->path, &kind);
	if (!r && f->n > 1 && kind != S_IFREG)
		r = CAPTURE_FILES_E_KIND;	/* the next ones have to be files, too */
	for (size_t i = 0; !r && kind == S_IFREG && i < f->n; i++)
		r = ftruncate(f->fds[i], 0) < 0 ? error_last() : 0;
	if (r)
		capture_files_close(f);
	return r;
}

void capture_settings_of(struct capture_settings *out, const struct capture_plan *plan)
{
	*out = (struct capture_settings){
		.snaplen = plan->snaplen, .max_bytes = plan->max_bytes,
		.n_ports = plan->n_ports,
	};
	static_assert((int)PLAN_CAPTURE_PORTS_MAX == (int)CAPTURE_PORTS_MAX, "one number");
	snprintf(out->name, sizeof out->name, "%s", plan->path);
	if (plan->n_ports)
		memcpy(out->ports, plan->ports, plan->n_ports * sizeof *plan->ports);
}

int capture_open(struct capture **out, uint64_t cid, const struct capture_plan *plan)
{
	struct capture_settings settings;
	struct capture_config config = { .settings = &settings, .cid = cid };
	struct capture_files f;
	int r = capture_files_open(&f, plan);

	if (r)
		return r;
	capture_settings_of(&settings, plan);
	config.shared_fd = f.shared_fd;
	config.n_files = f.n;
	memcpy(config.fds, f.fds, f.n * sizeof *f.fds);
	return capture_new(out, &config);
}

const char *capture_files_str_error(int error)
{
	switch (error) {
	case CAPTURE_FILES_E_TAKEN:
		return "another capture writes to it, or to one of the files that follow it";
	case CAPTURE_FILES_E_KIND:
		return "neither a file, nor a pipe or a character device";
	case -ENXIO:
		return "nobody reads that pipe: its reader has to be there first";
	default:
		return error_str(error);
	}
}
