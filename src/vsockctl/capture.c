/* SPDX-License-Identifier: BSD-3-Clause */
/* vsockctl capture: the packets of a VM, as pcap. */
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
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
	int fd;
	unsigned file;				/* its number */
	uint64_t n_bytes;			/* in it */
	uint8_t header[HEADER_MAX];		/* which each has */
	size_t header_len;
	bool is_full;				/* there is one, and it is as large as it may be */
	int error;				/* -errno of a write, or of opening the next one */
	int trouble;				/* PCAP_SPLIT_E_* */
	char path[PATH_MAX_BYTES];		/* of the request */
	bool has_lost;				/* the daemon has said how many it lost: */
	uint64_t lost;
	struct pcap_split split;
};

static bool write_all(struct target *t, const void *bytes, size_t len)
{
	const char *at = bytes;

	t->n_bytes += len;
	while (len > 0) {
		ssize_t n = write(t->fd, at, len);

		if (n < 0 && errno == EINTR)
			continue;		/* the record is written to its end */
		if (n < 0) {
			t->error = error_last();
			return false;
		}
		at += n;
		len -= (size_t)n;
	}
	return true;
}

/* -errno. */
static int open_file(struct target *t)
{
	char *name = NULL;

	if (t->file ? asprintf(&name, "%s.%u", t->name, t->file) < 0 : !(name = strdup(t->name)))
		return -ENOMEM;
	fd_close(&t->fd);
	t->fd = open(name, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOCTTY, 0600);
	t->n_bytes = 0;
	free(name);
	return t->fd < 0 ? error_last() : 0;
}

static bool open_next(struct target *t)
{
	unsigned n_files = t->args->files ? t->args->files : 2;

	t->is_full = n_files == 1;
	if (t->is_full)
		return false;
	t->file = (t->file + 1) % n_files;
	t->error = open_file(t);
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
		if (!open_next(t))
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

static int open_target(struct target *t)
{
	struct stat st;
	int r;

	if (strcmp(t->name, "-") != 0) {
		r = open_file(t);
		if (!r && t->args->size && (fstat(t->fd, &st) < 0 || !S_ISREG(st.st_mode)))
			text_complain("%s: --size is for files", t->name);
		else if (!r)
			return EXIT_DONE;
		else
			text_complain("%s: %s", t->name, error_str(r));
		return EXIT_FAILED;
	}
	if (t->args->size) {
		text_complain("--size is for files");
		return EXIT_USAGE;
	}
	if (isatty(STDOUT_FILENO)) {
		text_complain("packets are not for a terminal");
		return EXIT_FAILED;
	}
	t->fd = dup(STDOUT_FILENO);
	return t->fd < 0 ? EXIT_FAILED : EXIT_DONE;
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
		text_complain("%s: %s", t->name, error_str(t->error));
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
	fd_close(&t.fd);
	return r;
}
