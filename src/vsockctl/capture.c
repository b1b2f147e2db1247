/* SPDX-License-Identifier: BSD-3-Clause */
/* vsockctl capture: the packets of a VM, as pcap. */
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "util/error.h"
#include "util/fd.h"
#include "vsockctl/api.h"
#include "vsockctl/command.h"
#include "vsockctl/exit.h"
#include "vsockctl/follow.h"
#include "vsockctl/pcap_split.h"
#include "vsockctl/text.h"

enum { HEADER_MAX = 64, PATH_MAX_BYTES = 1280, STOP_MS = 2000 };

/* Where it goes: standard output, a file, or files that are used in a circle. */
struct target {
	const struct args *args;
	const char *name;			/* of the first one, or of the output */
	int fd;					/* of the one that is written; of files, borrowed: */
	int files[ARGS_FILES_MAX];		/* all of the circle, locked against other captures */
	unsigned n_files, file;			/* how many are open; which is written */
	bool is_file;				/* it can be emptied, not a pipe or a device */
	uint64_t n_bytes;			/* in it */
	uint8_t header[HEADER_MAX];		/* which each has */
	size_t header_len;
	bool is_full;				/* there is one, and it is as large as it may be */
	int error;				/* of a write, as follow_write(), or of opening the
						   next one */
	int trouble;				/* PCAP_SPLIT_E_* */
	char path[PATH_MAX_BYTES];		/* of the request */
	bool has_lost;				/* the daemon has said how many it lost: */
	uint64_t lost;
	struct pcap_split split;
};

static bool write_all(struct target *t, const void *bytes, size_t len)
{
	t->n_bytes += len;
	t->error = follow_write(t->fd, bytes, len);
	return !t->error;
}

/* Goes on with that one of the circle, empty. -errno. */
static int begin_file(struct target *t, unsigned file)
{
	t->file = file;
	t->fd = t->files[file];
	t->n_bytes = 0;
	if (t->is_file && (ftruncate(t->fd, 0) < 0 || lseek(t->fd, 0, SEEK_SET) < 0))
		return error_last();
	return 0;
}

static bool next_file(struct target *t)
{
	t->is_full = t->n_files == 1;
	if (t->is_full)
		return false;
	t->error = begin_file(t, (t->file + 1) % t->n_files);
	return !t->error && write_all(t, t->header, t->header_len);
}

/* The first thing that comes is the header; the others are packets. */
static bool put(void *ctx, const void *bytes, size_t len)
{
	struct target *t = ctx;
	uint64_t size = t->args->size;

	if (!t->header_len && len <= sizeof t->header) {
		memcpy(t->header, bytes, len);
		t->header_len = len;
	} else if (size && t->n_bytes > t->header_len && t->n_bytes + len > size) {
		if (!next_file(t))
			return false;
	}
	return write_all(t, bytes, len);
}

static bool take(void *ctx, const char *bytes, size_t len)
{
	struct target *t = ctx;

	t->trouble = pcap_split_take(&t->split, bytes, len, put, t);
	return !t->trouble;
}

static const char *go_on(void *ctx)
{
	struct target *t = ctx;

	pcap_split_go_on(&t->split);
	text_complain("the engine has ended, or another one has taken over: it goes on, some packets "
		      "are missing");
	return t->path;
}

/* It ends at the daemon, so what has passed by now still comes. */
static bool stop(void *ctx, uint64_t capture)
{
	struct target *t = ctx;
	char path[API_PATH_MAX];
	const struct http_request request = {
		.socket = args_api(t->args, NULL), .method = "DELETE", .path = path,
		.timeout_ms = STOP_MS,
	};
	struct http_answer answer;
	json_t *json = NULL;

	snprintf(path, sizeof path, "/v1/captures/%" PRIu64, capture);
	if (capture && http_ask_aside(&request, &answer) == 0 && answer.status == 200)
		json = json_loadb(answer.body, answer.len, 0, NULL);
	if (capture)
		http_answer_deinit(&answer);
	t->has_lost = json_is_object(json);
	t->lost = api_number(json, "lost");
	json_decref(json);
	return t->has_lost;
}

/* A pipe's reader is waited for, and that is said; it is written as it comes, in any case. -errno. */
static int open_named(const char *name, int *fd)
{
	static const int flags = O_WRONLY | O_CREAT | O_CLOEXEC | O_NOCTTY;

	*fd = open(name, flags | O_NONBLOCK, 0600);
	if (*fd < 0 && errno == ENXIO) {
		text_complain("%s: waits until somebody reads it", name);
		*fd = open(name, flags, 0600);
	} else if (*fd >= 0 && fcntl(*fd, F_SETFL, 0) < 0) {
		fd_close(fd);
	}
	return *fd < 0 ? error_last() : 0;
}

/* Opened and locked, as the daemon's own captures lock theirs, but not emptied so far. */
static int open_file(struct target *t, const char *name)
{
	int *fd = &t->files[t->n_files], r = open_named(name, fd);
	struct stat st;

	if (r) {
		text_complain("%s: %s", name, error_str(r));
		return EXIT_FAILED;
	}
	t->n_files++;
	t->is_file = fstat(*fd, &st) == 0 && S_ISREG(st.st_mode);
	if (!t->is_file) {
		if (!t->args->size)
			return EXIT_DONE;
		text_complain("%s: --size is for files", name);
		return EXIT_FAILED;
	}
	if (flock(*fd, LOCK_EX | LOCK_NB) == 0)
		return EXIT_DONE;
	r = error_last();
	text_complain("%s: %s", name, r == -EWOULDBLOCK ? "another capture writes to it" : error_str(r));
	return r == -EWOULDBLOCK ? EXIT_REFUSED : EXIT_FAILED;
}

/* None is emptied before all are ours. */
static int open_files(struct target *t)
{
	unsigned n = !t->args->size ? 1 : t->args->files ? t->args->files : 2;
	char *name;
	int r = EXIT_DONE;

	while (r == EXIT_DONE && t->n_files < n) {
		if (t->n_files ? asprintf(&name, "%s.%u", t->name, t->n_files) < 0 :
		    !(name = strdup(t->name))) {
			text_complain("no memory");
			return EXIT_FAILED;
		}
		r = open_file(t, name);
		free(name);
	}
	for (unsigned i = t->n_files; r == EXIT_DONE && i-- > 0; ) {
		t->error = begin_file(t, i);
		if (t->error) {
			text_complain("%s: %s", t->name, error_str(t->error));
			r = EXIT_FAILED;
		}
	}
	return r;
}

static int open_target(struct target *t)
{
	if (strcmp(t->name, "-") != 0)
		return open_files(t);
	if (t->args->size) {
		text_complain("--size is for files");
		return EXIT_USAGE;
	}
	if (isatty(STDOUT_FILENO)) {
		text_complain("packets are not for a terminal");
		return EXIT_FAILED;
	}
	t->fd = STDOUT_FILENO;
	return EXIT_DONE;
}

/* The path of the request, with what is said of packets. False: it is no CID. */
static bool make_path(struct target *t)
{
	const struct args *a = t->args;
	char base[API_PATH_MAX];
	size_t len;

	if (!api_vm_path(a, "/capture", base))
		return false;
	len = (size_t)snprintf(t->path, sizeof t->path, "%s", base);
	if (a->snaplen)
		len += (size_t)snprintf(t->path + len, sizeof t->path - len, "?snaplen=%" PRIu32,
					a->snaplen);
	for (unsigned i = 0; i < a->n_ports; i++)
		len += (size_t)snprintf(t->path + len, sizeof t->path - len, "%cport=%" PRIu32,
					a->snaplen || i ? '&' : '?', a->ports[i]);
	return true;
}

/* Before a file is emptied for nothing. */
static int check_vm(const struct args *a)
{
	char path[API_PATH_MAX];
	json_t *vm;
	int r;

	if (!api_vm_path(a, "", path))
		return EXIT_USAGE;
	r = api_get_for(a, path, &vm);
	if (r == EXIT_DONE)
		json_decref(vm);
	return r;
}

static int outcome(const struct target *t, int r)
{
	switch (t->trouble) {
	case PCAP_SPLIT_E_FORMAT:
		text_complain("what came is no pcap, or has a packet that is too long");
		return EXIT_FAILED;
	case PCAP_SPLIT_E_MEMORY:
		text_complain("no memory");
		return EXIT_FAILED;
	case PCAP_SPLIT_E_PUT:
		if (t->is_full)
			return EXIT_DONE;
		text_complain("%s: %s", t->name, follow_str_error(t->error));
		return EXIT_FAILED;
	default:
		return r;
	}
}

static void say_packets(const struct target *t)
{
	fprintf(stderr, "%" PRIu64 " packets", t->split.n_records);
	if (t->has_lost)
		fprintf(stderr, ", %" PRIu64 " lost", t->lost);
	fprintf(stderr, "%s\n", t->is_full ? ": the file is as large as it may be" : "");
}

int command_capture(const struct args *a)
{
	static struct target t;
	const struct follow f = { .sink = take, .again = go_on, .stop = stop, .ctx = &t };
	int r = check_vm(a);

	if (r)
		return r;
	t = (struct target){ .args = a, .name = a->operands[1], .fd = -1 };
	if (!make_path(&t))
		return EXIT_USAGE;
	r = open_target(&t);
	if (!r) {
		r = outcome(&t, follow(a, t.path, &f));
		if (r == EXIT_DONE)
			say_packets(&t);
	}
	pcap_split_deinit(&t.split);
	while (t.n_files > 0)
		fd_close(&t.files[--t.n_files]);
	return r;
}
