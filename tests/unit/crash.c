/* SPDX-License-Identifier: BSD-3-Clause */
/* A device in a process that dies at its Nth step, and one that takes its place. */
#include "crash.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <sys/ptrace.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include "protocol/journal.h"
#include "support/deadline.h"
#include "support/must.h"
#include "util/log.h"
#include "vhost/gmem.h"

/* ---- the engine ---- */

enum { DROP, KEEP, ACCEPT };

struct keep_msg {
	uint32_t slot, what;			/* ACCEPT: also the answer */
};

static int channel, listening;

/* Whoever is gone hears nothing. */
static void send_msg(int to, uint32_t slot, uint32_t what, int fd)
{
	struct keep_msg m = { slot, what };
	union {
		struct cmsghdr align;
		char bytes[CMSG_SPACE(sizeof(int))];
	} control = { .bytes = "" };
	struct iovec iov = { &m, sizeof m };
	struct msghdr mh = { .msg_iov = &iov, .msg_iovlen = 1 };

	if (fd >= 0) {
		control.align = (struct cmsghdr){ .cmsg_level = SOL_SOCKET,
			.cmsg_type = SCM_RIGHTS, .cmsg_len = CMSG_LEN(sizeof fd) };
		memcpy(CMSG_DATA(&control.align), &fd, sizeof fd);
		mh.msg_control = &control;
		mh.msg_controllen = sizeof control;
	}
	must(sendmsg(to, &mh, MSG_NOSIGNAL) == sizeof m || errno == EPIPE || errno == ECONNRESET);
}

/* False: nothing has been said. */
static bool receive_msg(int from, struct keep_msg *m, int *fd)
{
	union {
		struct cmsghdr align;
		char bytes[CMSG_SPACE(sizeof(int))];
	} control;
	struct iovec iov = { m, sizeof *m };
	struct msghdr mh = {
		.msg_iov = &iov, .msg_iovlen = 1,
		.msg_control = &control, .msg_controllen = sizeof control,
	};

	*fd = -1;
	if (recvmsg(from, &mh, MSG_DONTWAIT | MSG_CMSG_CLOEXEC) != sizeof *m)
		return false;
	if (CMSG_FIRSTHDR(&mh))
		memcpy(fd, CMSG_DATA(CMSG_FIRSTHDR(&mh)), sizeof *fd);
	return true;
}

static int keep(void *ctx, uint32_t slot, int fd)
{
	(void)ctx;
	send_msg(channel, slot, KEEP, fd);
	return 0;
}

static void drop(void *ctx, uint32_t slot)
{
	(void)ctx;
	send_msg(channel, slot, DROP, -1);
}

static int ask_to_accept(void *ctx)
{
	(void)ctx;
	send_msg(channel, JOURNAL_SLOT_ACCEPTED, ACCEPT, -1);
	return 0;
}

static struct device *dev;

static void on_answer(struct loop_source *source, uint32_t events)
{
	struct keep_msg m;
	int fd;

	(void)events;
	if (receive_msg(source->fd, &m, &fd))
		device_accepted(dev, fd >= 0 ? 0 : LISTENER_E_NONE, fd);
}

/* ---- what is behind the device ---- */

static bool serves(struct backend *b, uint64_t cid)
{
	(void)b;
	return cid == VSOCK_CID_HOST;
}

static void stream_close(struct stream *s, bool reset)
{
	(void)reset;
	free(s);
}

static void stream_wait_for(struct stream *s, unsigned events)
{
	(void)s;
	(void)events;
}

static int connect_to(struct backend *b, enum vsock_type type, const struct vsock_addr *src,
		      const struct vsock_addr *dst, struct stream **out)
{
	static const struct stream_ops ops = {
		.close = stream_close, .wait_for = stream_wait_for,
	};

	(void)b;
	(void)type;
	(void)src;
	if (dst->port != CRASH_PENDING_PORT)
		return BACKEND_E_NOBODY;
	*out = calloc(1, sizeof **out);
	must(*out);
	(*out)->type = VSOCK_TYPE_STREAM;
	(*out)->ops = &ops;
	return BACKEND_E_PENDING;
}

static void explain(struct backend *b, const struct vsock_addr *dst, int error, char *text,
		    size_t size)
{
	(void)b;
	(void)dst;
	(void)error;
	snprintf(text, size, "a test");
}

static void backend_free(struct backend *b)
{
	(void)b;
}

static struct backend backend = {
	.ops = &(const struct backend_ops){
		.serves = serves, .connect = connect_to, .explain = explain, .free = backend_free,
	},
};

static void on_front_end(uint64_t cid)
{
	must(cid == CRASH_CID);
}

/* Until it is killed. */
static _Noreturn void run_engine(const struct journal_kept *kept, size_t n)
{
	static const struct journal_keeper keeper = { .keep = keep, .drop = drop };
	static const struct device_hooks hooks = {
		.came = on_front_end, .gone = on_front_end, .over = on_front_end,
	};
	static struct device_scratch scratch;
	struct device_config config = {
		.address = { .fd = listening, .accept = ask_to_accept }, .hooks = &hooks,
		.guest_cid = CRASH_CID, .queue_size = CRASH_QUEUE_SIZE, .pause_grace_ms = 60000,
		.limits = {
			.tx_buffer_size = 1 << 16, .max_connections = CRASH_MAX_CONNECTIONS,
			.max_buffered = 1 << 20, .linger_ms = 1000,
		},
		.memory = { .max_memory = 1 << 30, .mem_slots = 32 },
		.scratch = &scratch, .keeper = &keeper, .kept = n ? kept : NULL, .n_kept = n,
	};
	struct loop_source answers = { .dispatch = on_answer, .fd = -1 };

	signal(SIGPIPE, SIG_IGN);
	must(ptrace(PTRACE_TRACEME, 0, NULL, NULL) == 0);
	raise(SIGSTOP);
	must(gmem_catch_sigbus() == 0 && loop_new(&config.loop) == 0);
	must(device_new(&dev, &config) == 0);
	device_add_backend(dev, &backend);
	must(loop_add(config.loop, &answers, channel, EPOLLIN) == 0);
	loop_run(config.loop);
	_exit(1);
}

/* ---- the keeper ---- */

static struct journal_kept kept[JOURNAL_SLOTS_MAX + 1];
static unsigned n_kept;
static struct crash_report *report;
static unsigned n_answers;			/* to each question */

/* What is in @slot goes, and @fd, if there is one, takes its place. */
static void set_slot(uint32_t slot, int fd)
{
	unsigned i = 0;

	must(slot < JOURNAL_SLOTS_MAX || slot == JOURNAL_SLOT_ACCEPTED);
	while (i < n_kept && kept[i].slot != slot)
		i++;
	if (i < n_kept) {
		close(kept[i].fd);
		kept[i] = kept[--n_kept];
	}
	if (fd >= 0)
		kept[n_kept++] = (struct journal_kept){ slot, fd };
	atomic_store(&report->n_kept, n_kept);
}

/* All that the engine has said so far. */
static void hear(int sock)
{
	struct keep_msg m;
	int fd;

	while (receive_msg(sock, &m, &fd)) {
		must((fd >= 0) == (m.what == KEEP));
		if (m.what == ACCEPT)
			fd = accept4(listening, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
		if (m.what != ACCEPT || fd >= 0)
			set_slot(m.slot, fd);
		for (unsigned i = 0; m.what == ACCEPT && i < n_answers; i++)
			send_msg(sock, m.slot, ACCEPT, fd);
		if (m.what == DROP && m.slot == JOURNAL_SLOT_ACCEPTED)
			atomic_fetch_add(&report->n_dropped, 1);
	}
}

static bool begins_to_wait(pid_t pid)
{
	struct __ptrace_syscall_info info;

	return ptrace(PTRACE_GET_SYSCALL_INFO, pid, sizeof info, &info) > 0 &&
		info.op == PTRACE_SYSCALL_INFO_ENTRY &&
		(info.entry.nr == SYS_epoll_wait || info.entry.nr == SYS_epoll_pwait);
}

/* Traces it to its @last step, or until it is killed, at any moment, when it is stopped too.
 * False: it ended before. */
static bool trace(pid_t pid, int sock, unsigned last)
{
	int status;

	must(waitpid(pid, &status, 0) == pid);
	if (WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL)
		return true;
	must(WIFSTOPPED(status));
	must(ptrace(PTRACE_SETOPTIONS, pid, NULL,
		    PTRACE_O_TRACESYSGOOD | PTRACE_O_EXITKILL) == 0 || errno == ESRCH);
	for (unsigned n = 0; ; n++) {
		bool is_idle = n && begins_to_wait(pid);

		atomic_store(&report->steps, n);
		atomic_store(&report->is_idle, false);
		hear(sock);
		atomic_store(&report->is_idle, is_idle);
		if (last && n == last)
			break;
		must(ptrace(PTRACE_SYSCALL, pid, NULL, NULL) == 0 || errno == ESRCH);
		must(waitpid(pid, &status, 0) == pid);
		if (WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL)
			return true;
		if (!WIFSTOPPED(status) || WSTOPSIG(status) != (SIGTRAP | 0x80))
			return false;
	}
	kill(pid, SIGKILL);
	must(waitpid(pid, &status, 0) == pid && WIFSIGNALED(status));
	return true;
}

/* The facts that hold, whichever they are. */
static void spoil(void)
{
	for (unsigned i = 0; i < n_kept; i++)
		for (off_t at = JOURNAL_COPY_AT; kept[i].slot == JOURNAL_SLOT &&
		     at < JOURNAL_NAMES_AT; at += JOURNAL_COPY_BYTES)
			must(pwrite(kept[i].fd, "spoilt", 6, at + 60) == 6);
}

static bool run_one(unsigned last)
{
	int socks[2];
	pid_t pid;
	bool ok;

	if (atomic_exchange(&report->is_spoilt, false))
		spoil();
	must(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, socks) == 0);
	pid = fork();
	must(pid >= 0);
	if (pid == 0) {
		channel = socks[1];
		close(socks[0]);
		run_engine(kept, n_kept);
	}
	close(socks[1]);
	atomic_store(&report->engine, pid);
	atomic_fetch_add(&report->n_engines, 1);
	ok = trace(pid, socks[0], last);
	hear(socks[0]);
	close(socks[0]);
	return ok;
}

static _Noreturn void run_keeper(const struct crash_plan *plan)
{
	unsigned last = plan->first;

	n_answers = plan->answers_twice ? 2 : 1;
	while (run_one(last))
		last = plan->later;
	atomic_store(&report->has_failed, true);
	_exit(1);
}

/* ---- for the test ---- */

void crash_begin(struct crash *c, const char *path, const struct crash_plan *plan)
{
	struct sockaddr_un addr = { .sun_family = AF_UNIX };

	listening = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	must(listening >= 0 && strlen(path) < sizeof addr.sun_path);
	memcpy(addr.sun_path, path, strlen(path));
	must(bind(listening, (struct sockaddr *)&addr, sizeof addr) == 0);
	must(listen(listening, 1) == 0);
	report = mmap(NULL, sizeof *report, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS,
		      -1, 0);
	must(report != MAP_FAILED);
	c->report = report;
	c->keeper = fork();
	must(c->keeper >= 0);
	if (c->keeper == 0)
		run_keeper(plan);
	close(listening);
}

void crash_now(struct crash *c)
{
	int64_t deadline = deadline_in(DEADLINE_MS);
	unsigned n = atomic_load(&c->report->n_engines);

	must(n && kill(atomic_load(&c->report->engine), SIGKILL) == 0);
	while (atomic_load(&c->report->n_engines) == n) {
		must(deadline_left(deadline));
		poll(NULL, 0, 1);
	}
}

void crash_end(struct crash *c)
{
	kill(c->keeper, SIGKILL);
	must(waitpid(c->keeper, NULL, 0) == c->keeper);
	munmap(c->report, sizeof *c->report);
}
