/* SPDX-License-Identifier: BSD-3-Clause */
/* Runs config_read() and keeps what it did. */
#include "config_run.h"

#include <check.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "config/config.h"
#include "config/plan.h"
#include "support/scratch.h"

mode_t config_run_umask = 022;

/* Standard output or error, caught in a memfd. */
struct capture {
	FILE *stream;
	int memfd, saved;
};

static void capture_begin(struct capture *c, FILE *stream)
{
	c->stream = stream;
	fflush(stream);
	c->memfd = memfd_create("capture", MFD_CLOEXEC);
	c->saved = dup(fileno(stream));
	ck_assert_int_ge(dup2(c->memfd, fileno(stream)), 0);
}

static void capture_end(struct capture *c, char *text)
{
	ssize_t n;

	fflush(c->stream);
	dup2(c->saved, fileno(c->stream));
	n = pread(c->memfd, text, CONFIG_RUN_TEXT - 1, 0);
	ck_assert_int_ge(n, 0);
	text[n] = '\0';
	close(c->memfd);
	close(c->saved);
}

static bool is_same(const struct socket_plan *a, const struct socket_plan *b)
{
	return a->mode == b->mode && a->gid == b->gid;
}

static void describe_sockets(FILE *to, const struct vm_plan *vm)
{
	fprintf(to, " sockets=%o:%d,%o:%d", (unsigned)vm->vhost_socket.mode,
		(int)vm->vhost_socket.gid, (unsigned)vm->uds_socket.mode,
		(int)vm->uds_socket.gid);
}

/* Of modes and groups only what is not as for all sockets. */
static void describe_vm(FILE *to, const struct vm_plan *vm, const struct plan *plan)
{
	ck_assert_uint_eq(vm->limits.linger_ms, plan->linger_ms);
	fprintf(to, "cid=%" PRIu64, vm->guest_cid);
	if (vm->socket)
		fprintf(to, " socket=%s", vm->socket);
	if (vm->connect)
		fprintf(to, " connect=%s", vm->connect);
	if (vm->vhost_socket.fd >= 0)
		fprintf(to, " %s=%d", vm->vhost_socket.fd_listens ? "listens" : "connected",
			vm->vhost_socket.fd);
	if (vm->uds_path)
		fprintf(to, " uds=%s", vm->uds_path);
	if (vm->has_forward_cid)
		fprintf(to, " forward=%" PRIu32, vm->forward_cid);
	for (size_t i = 0; i < vm->n_forward_listen; i++)
		fprintf(to, "%c%" PRIu32, i ? '+' : ':', vm->forward_listen[i]);
	for (size_t i = 0; i < vm->n_forward_listen_seqpacket; i++)
		fprintf(to, " seqpacket:%" PRIu32, vm->forward_listen_seqpacket[i]);
	fprintf(to, " tx=%" PRIu32 " queue=%" PRIu32 " groups=", vm->limits.tx_buffer_size,
		vm->queue_size);
	for (size_t i = 0; i < vm->n_groups; i++)
		fprintf(to, "%s%s", i ? "+" : "", vm->groups[i]);
	if (vm->forward_listen_any)
		fputs(" any", to);
	for (size_t i = 0; i < vm->n_host_cids; i++)
		fprintf(to, "%s%" PRIu64, i ? "+" : " host=", vm->host_cids[i]);
	if (vm->limits.max_connections != 4096)
		fprintf(to, " max=%" PRIu32, vm->limits.max_connections);
	if (vm->limits.max_buffered != 256 << 20)
		fprintf(to, " buffered=%" PRIu64, vm->limits.max_buffered);
	if (vm->poll_us)
		fprintf(to, " poll=%" PRIu32, vm->poll_us);
	if (vm->max_memory)
		fprintf(to, " memory=%" PRIu64, vm->max_memory);
	if (!is_same(&vm->vhost_socket, &plan->vhost_socket) ||
	    !is_same(&vm->uds_socket, &plan->vhost_socket))
		describe_sockets(to, vm);
	fputs("; ", to);
}

static void describe(char *text, const struct plan *plan)
{
	FILE *to = fmemopen(text, CONFIG_RUN_TEXT, "w");

	for (size_t i = 0; i < plan->n_vms; i++)
		describe_vm(to, &plan->vms[i], plan);
	fprintf(to, "level=%d mode=%o linger=%" PRIu32 " grace=%" PRIu32, plan->log_level,
		(unsigned)plan->vhost_socket.mode, plan->linger_ms, plan->pause_grace_ms);
	if (plan->handshake_ms != 10 * 1000)
		fprintf(to, " handshake=%" PRIu32, plan->handshake_ms);
	if (plan->vhost_socket.gid != (gid_t)-1)
		fprintf(to, " gid=%u", (unsigned)plan->vhost_socket.gid);
	if (plan->uid != (uid_t)-1 || plan->gid != (gid_t)-1)
		fprintf(to, " user=%d:%d", (int)plan->uid, (int)plan->gid);
	if (plan->sandbox != SANDBOX_ON)
		fprintf(to, " sandbox=%d", plan->sandbox);
	if (plan->threads)
		fprintf(to, " threads=%" PRIu32, plan->threads);
	if (plan->log_file)
		fprintf(to, " log=%s", plan->log_file);
	fclose(to);
}

void config_run_words(struct config_run *run, int argc, char **argv)
{
	struct capture out, err;
	struct plan plan;

	memset(&plan, 0xa5, sizeof plan);	/* must not be looked at */
	memset(run, 0, sizeof *run);
	capture_begin(&out, stdout);
	capture_begin(&err, stderr);
	run->result = config_read(&plan, config_run_umask, argc, argv);
	capture_end(&err, run->err);
	capture_end(&out, run->out);
	if (run->result == 0)
		describe(run->plan, &plan);
	else
		ck_assert(!plan.vms && !plan.n_vms && !plan.log_file);
	plan_deinit(&plan);
	plan_deinit(&plan);
}

void config_run(struct config_run *run, const char *words)
{
	char *argv[CONFIG_RUN_WORDS + 2] = { strdup("vhost-device-vsock") };
	char *copy = strdup(words), *rest = copy;
	int argc = 1;

	for (char *word; (word = strsep(&rest, " ")); ) {
		if (*word) {
			ck_assert_int_le(argc, CONFIG_RUN_WORDS);
			argv[argc++] = word;
		}
	}
	config_run_words(run, argc, argv);
	free(argv[0]);
	free(copy);
}

void config_run_yaml(struct config_run *run, const char *text, size_t len)
{
	char folder[64];
	FILE *file;

	snprintf(folder, sizeof folder, "%s/XXXXXX", scratch_path());
	ck_assert_ptr_nonnull(mkdtemp(folder));
	ck_assert_int_eq(chdir(folder), 0);
	file = fopen("vms.yaml", "we");
	ck_assert_ptr_nonnull(file);
	ck_assert_uint_eq(fwrite(text, 1, len, file), len);
	ck_assert_int_eq(fclose(file), 0);

	config_run(run, "--config vms.yaml");

	ck_assert_int_eq(unlink("vms.yaml"), 0);
	ck_assert_int_eq(chdir("/"), 0);
	ck_assert_int_eq(rmdir(folder), 0);
}
