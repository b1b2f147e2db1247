/* SPDX-License-Identifier: BSD-3-Clause */
/* vsockctl capture: the packets of a VM, as pcap. */
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "util/error.h"
#include "util/fd.h"
#include "vsockctl/api.h"
#include "vsockctl/command.h"
#include "vsockctl/exit.h"
#include "vsockctl/follow.h"
#include "vsockctl/pcap_split.h"
#include "vsockctl/text.h"

struct target {
	int fd;
	int error;				/* -errno of a write */
	int trouble;				/* PCAP_SPLIT_E_* */
	struct pcap_split split;
};

static bool put(void *ctx, const void *bytes, size_t len)
{
	struct target *t = ctx;
	const char *at = bytes;

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

static bool take(void *ctx, const char *bytes, size_t len)
{
	struct target *t = ctx;

	t->trouble = pcap_split_take(&t->split, bytes, len, put, t);
	return !t->trouble;
}

static int open_target(const char *name)
{
	int fd;

	if (strcmp(name, "-") != 0) {
		fd = open(name, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOCTTY, 0600);
		if (fd < 0)
			text_complain("%s: %s", name, error_str(error_last()));
		return fd;
	}
	if (isatty(STDOUT_FILENO)) {
		text_complain("packets are not for a terminal");
		return -1;
	}
	return dup(STDOUT_FILENO);
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

static int outcome(const struct target *t, const char *name, int r)
{
	switch (t->trouble) {
	case PCAP_SPLIT_E_FORMAT:
		text_complain("what came is no pcap, or has a packet that is too long");
		return EXIT_FAILED;
	case PCAP_SPLIT_E_MEMORY:
		text_complain("no memory");
		return EXIT_FAILED;
	case PCAP_SPLIT_E_PUT:
		text_complain("%s: %s", name, error_str(t->error));
		return EXIT_FAILED;
	default:
		return r;
	}
}

int command_capture(const struct args *a)
{
	struct target t = { .fd = -1 };
	const struct follow f = { .sink = take, .ctx = &t };
	char path[API_PATH_MAX];
	int r = check_vm(a);

	if (r)
		return r;
	t.fd = open_target(a->operands[1]);
	if (t.fd < 0)
		return EXIT_FAILED;
	api_vm_path(a, "/capture", path);
	r = outcome(&t, a->operands[1], follow(a, path, &f));
	if (r == EXIT_DONE)
		fprintf(stderr, "%" PRIu64 " packets\n", t.split.n_records);
	pcap_split_deinit(&t.split);
	fd_close(&t.fd);
	return r;
}
