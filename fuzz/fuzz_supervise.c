/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The channel between supervisor and engine, from both sides: what either makes of the other
 * when somebody has taken that over. There are no processes: to end one and to fork are
 * functions of this file.
 *
 * Input: what is attacked (1 byte: bit 0 the engine, before it has started, else the
 * supervisor; bit 1 one VM instead of three; bit 2 another engine is about to take over; bit
 * 3 the engine is ready already; bit 4 there is a control API; bit 5 the VMs are captured),
 * then steps of 8 bytes: type, VM and speaker, descriptors, how long, and 4 bytes of what is said. A type beyond the last is no message: the engine
 * ends, and another begins; or a child for a connect ends. One from FIRST_ORDER on is an order
 * of the control API, with a VM's row that is put together from pieces. To the engine, a STATE
 * is a piece of a real row or of real settings, changed at one place.
 *
 * Asserted, after each step: the supervisor keeps no more than SUPERVISE_SLOTS_MAX
 * descriptors of a VM, each in its slot, in order; it has ended nobody but engines, none
 * after its end; one to which it does not listen is ended; it says nothing that an engine
 * may not hear; a front-end that it has accepted for one is kept before that hears of it, and it
 * waits for none, also at a socket that blocks; without an engine no front-end is in session of which nothing is kept; once
 * it ends, that stays so; each CID is that of one VM, and what an order has added has no path
 * outside the folders for it; a capture that has ended is not begun again, and another not
 * before that. The engine that obeys until it has to begin has the VMs that it was
 * told of, each once. At the end, on either side, no descriptor is left.
 */
#include <assert.h>
#include <errno.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>

#include "config/plan.h"
#include "config/plan_state.h"
#include "control/events.h"
#include "daemon/hosted_internal.h"
#include "daemon/supervisor_internal.h"
#include "daemon/vm.h"
#include "input.h"
#include "sandbox/guard.h"
#include "util/closer.h"
#include "util/fd.h"
#include "util/log.h"

enum {
	FIRST_CID = 3, VMS = 3, STEPS_MAX = 400, FDS = 600, SEND_FDS_MAX = 70,
	FRONT_ENDS = 3, FIRST_PID = 10000, LEN_STEP = 4000, LEN_MAX = 6 * LEN_STEP,
};

/* ---- what there is none of here ---- */

static pid_t next_pid = FIRST_PID;
static pid_t alive[2];				/* the engine, the next one; 0: ended */
static bool is_killed[2];

int kill(pid_t pid, int sig)
{
	int i = pid == alive[1];

	assert(pid > 0 && pid == alive[i] && sig == SIGKILL);
	is_killed[i] = true;
	return 0;
}

pid_t fork(void)
{
	return next_pid++;
}

void guard_start(int status)
{
	(void)status;
}

int closer_init(void)
{
	return 0;
}

void closer_start(void)
{
}

void closer_deinit(void)
{
}

void closer_close(int *fd)
{
	fd_close(fd);
}

void closer_unmap(struct closer_map *m)
{
	munmap(m->at, m->len);
	free(m);
}

/* ---- what is said ---- */

struct step {
	uint8_t type, who, n_fds, len;
	uint32_t what;
};

static struct step take_step(struct input *in)
{
	struct step step;

	input_take(in, &step, sizeof step);
	return step;
}

static int count_fds(void)
{
	int n = 0;

	for (int fd = 0; fd < FDS; fd++)
		n += fcntl(fd, F_GETFD) >= 0;
	return n;
}

static uint64_t cid_of(uint8_t who)
{
	if (who % 8 <= VMS)
		return FIRST_CID + (uint64_t)who % 8;
	return who % 8 == 7 ? UINT64_MAX : 0;
}

/* Of one size, mostly. */
static size_t length(const struct step *step)
{
	return step->len < 200 ? sizeof(struct supervise_msg) :
		step->len < 250 ? step->len - 200u : (size_t)(step->len - 249) * LEN_STEP;
}

static void send_bytes(int to, const void *bytes, size_t len, unsigned n_fds)
{
	static int null = -1, memory = -1;
	int first;
	union {
		char bytes[CMSG_SPACE(SEND_FDS_MAX * sizeof(int))];
		struct cmsghdr align;
	} control = { .bytes = "" };
	struct iovec iov = { (void *)(uintptr_t)bytes, len };
	struct msghdr hdr = { .msg_iov = &iov, .msg_iovlen = 1 };

	if (null < 0)
		null = open("/dev/null", O_RDWR | O_CLOEXEC);
	if (memory < 0 && ((memory = memfd_create("shared", MFD_CLOEXEC)) < 0 ||
			   ftruncate(memory, sizeof(struct capture_shared)) < 0))
		abort();
	/* What a capture shares has to be large enough. */
	first = len >= sizeof(uint32_t) && *(const uint32_t *)bytes == SUPERVISE_CAPTURE ?
		memory : null;
	if (n_fds > SEND_FDS_MAX)
		n_fds = SEND_FDS_MAX;
	if (n_fds) {
		control.align = (struct cmsghdr){
			.cmsg_level = SOL_SOCKET, .cmsg_type = SCM_RIGHTS,
			.cmsg_len = CMSG_LEN(n_fds * sizeof(int)),
		};
		for (size_t i = 0; i < n_fds; i++)
			memcpy(CMSG_DATA(&control.align) + i * sizeof(int), i ? &null : &first,
			       sizeof(int));
		hdr.msg_control = &control;
		hdr.msg_controllen = CMSG_SPACE(n_fds * sizeof(int));
	}
	sendmsg(to, &hdr, MSG_DONTWAIT | MSG_NOSIGNAL);	/* or nobody listens */
}

/* @step->n_fds: as many as the type wants, or so many. */
static void send_step(int to, const struct step *step)
{
	static uint8_t bytes[LEN_MAX];
	struct supervise_msg m = {
		.type = step->type, .cid = cid_of(step->who),
		.u.kept.slot = step->what >> 16 & 1 ? step->what : step->what % 2048,
	};

	if (step->who & 0x20)
		m.u.connect.id = step->what;
	memcpy(bytes, &m, sizeof m);
	send_bytes(to, bytes, length(step), step->n_fds);
}

/* In "/" sockets may be said to be, but none is made there: a VM that connects listens nowhere. */
#define API_FOLDER	"/"

static const char *const words[] = {
	"socket-connect\0/x", "forward-cid\0" "1", "socket-connect\0" "//y", "forward-cid\0" "2",
	"uds-path\0/nowhere/u", "uds-path\0relative", "socket\0/nowhere/../s", "fd\0" "7",
	"guest-cid\0" "9", "socket-group\0" "0", "groups\0a+b", "max-memory\0" "1000",
	"forward-listen\0" "1+2", "queue_size\0" "3", "\0", "socket\0",
};

/* Two words, a third of which the type and the length decide. */
static size_t put_row(char *row, const struct step *step)
{
	size_t len = 0;

	for (int i = 0; i < 3; i++) {
		const char *word = words[step->what >> (16 + 4 * i) & 15];
		size_t n = strlen(word) + 1;

		memcpy(row + len, word, n);
		len += n;
		n = strlen(word + n) + 1;
		memcpy(row + len, word + strlen(word) + 1, n);
		len += n;
	}
	return step->len & 1 && len > 1 ? len - 1 : len;
}

static uint32_t send_order(int to, const struct step *step)
{
	static uint8_t bytes[LEN_MAX];
	struct supervise_msg m = {
		.type = SUPERVISE_ADD + step->type % 6, .u.order.id = step->what & 0xffff,
	};
	unsigned n_fds = step->n_fds & 4 ? step->n_fds : m.type == SUPERVISE_UPGRADE;
	size_t len = 0;

	m.cid = m.type <= SUPERVISE_DELETE || step->who & 0x40 ? cid_of(step->who) + (step->who >> 3 & 3) : 0;
	m.u.order.code = step->len % 8;
	if (m.type == SUPERVISE_ADD)
		len = put_row((char *)bytes + sizeof m, step);
	m.u.order.n = (uint16_t)len;
	memcpy(bytes, &m, sizeof m);
	send_bytes(to, bytes, sizeof m + len, n_fds);
	return m.type;
}

/* ---- the supervisor ---- */

static void make_row(struct vm_plan *row, uint64_t cid)
{
	vm_plan_init(row);
	row->guest_cid = cid;
	row->has_forward_cid = true;
	row->forward_cid = 1;
	row->queue_size = 256;
	row->capture.snaplen = 76;
	row->capture.n_files = 1;
	row->limits = (struct vsock_limits){
		.tx_buffer_size = 65536, .max_connections = 100, .max_buffered = 1 << 20,
	};
	row->groups = calloc(1, sizeof *row->groups);
	if (!row->groups || !(row->groups[0] = strdup(PLAN_GROUP)))
		abort();
	row->n_groups = 1;
}

static struct supervisor s;
static struct plan plan;
static bool is_ending, is_told_to_end;
static int peers[2];				/* of the engine, of the next one */

static void check_accepted(const struct supervise_msg *m)
{
	const struct held_vm *h = supervisor_find(&s, m->cid);

	assert(h && held_vm_get(h, SUPERVISE_SLOT_ACCEPTED) >= 0);
}

static void hear_supervisor(int peer)
{
	struct channel_msg msg;
	int r;

	while (peer >= 0 && !(r = channel_receive(peer, CHANNEL_SUPERVISOR, &msg))) {
		if (msg.m.type == SUPERVISE_ACCEPTED && msg.n_fds)
			check_accepted(&msg.m);
		channel_msg_deinit(&msg);
	}
	assert(peer < 0 || r == CHANNEL_E_NONE || r == CHANNEL_E_END);
}

static void make_channel(int *ours, int *theirs)
{
	int pair[2];

	if (channel_pair(pair) < 0 || fcntl(pair[0], F_SETFL, O_NONBLOCK) < 0 ||
	    fcntl(pair[1], F_SETFL, O_NONBLOCK) < 0)
		abort();
	*ours = pair[0];
	fd_close(theirs);
	*theirs = pair[1];
}

static void begin_engine(bool is_ready)
{
	int channel;

	make_channel(&channel, &peers[0]);
	loop_timer_cancel(s.loop, &s.restart);
	alive[0] = next_pid++;
	is_killed[0] = false;
	supervisor_adopt_engine(&s, alive[0], channel);
	s.state = is_ready ? SUPERVISOR_SERVING : SUPERVISOR_STARTING;
	s.has_served |= is_ready;
}

static void begin_successor(void)
{
	struct successor *next = &s.successor;

	make_channel(&next->channel, &peers[1]);
	next->pid = alive[1] = next_pid++;
	is_killed[1] = false;
	next->state = SUCCESSOR_PREPARING;
	s.is_upgrading = true;
	if (loop_add(s.loop, &next->source, next->channel, EPOLLIN) < 0)
		abort();
}

static void child_ends(pid_t pid, int code, int status)
{
	siginfo_t info = { .si_code = code };

	info.si_pid = pid;
	info.si_status = status;
	supervisor_on_child(&s, &info);
}

/* Who is in session has something that is kept of it, or it has ended with the engine: one that
 * has been accepted is the next. */
static void check_sessions(void)
{
	for (size_t i = 0; i < s.n_vms; i++) {
		const struct held_vm *h = s.vms[i];

		assert(!h->has_front_end || h->n_kept > 1 ||
		       (h->n_kept && held_vm_get(h, SUPERVISE_SLOT_ACCEPTED) < 0));
	}
}

/* One that takes over is the engine as soon as it has everything; the end of the one before is
 * heard of later. */
static void engine_is_followed(void)
{
	pid_t before = alive[0];

	if (!alive[1] || s.engine != alive[1])
		return;
	assert(!before || is_killed[0]);
	alive[0] = alive[1];
	is_killed[0] = is_killed[1];
	alive[1] = 0;
	fd_close(&peers[0]);
	peers[0] = fd_take(&peers[1]);
	if (before)
		child_ends(before, CLD_KILLED, SIGKILL);
}

/* With a last word, maybe. */
static void engine_ends(const struct step *step)
{
	const struct step last = { .type = step->n_fds, .who = step->len, .n_fds = step->who >> 3 & 1 };

	if (!alive[0])
		return;
	if (step->who & 4)
		send_step(peers[0], &last);
	fd_close(&peers[0]);
	alive[0] = 0;
	child_ends(s.engine, step->who & 1 ? CLD_EXITED : CLD_KILLED, step->what % 32);
	if (s.state != SUPERVISOR_ENDING) {
		check_sessions();
		begin_engine(step->who & 2);
	}
}

static void happen(const struct step *step)
{
	pid_t child = s.connects.children[step->what % CONNECTS_MAX];

	switch (step->type % 4) {
	case 0:
		engine_ends(step);
		return;
	case 1:
		if (child)
			child_ends(child, CLD_EXITED, 0);
		return;
	case 2:
		if (alive[1] && (pid_t)alive[1] == s.successor.pid) {
			alive[1] = 0;
			child_ends(s.successor.pid, CLD_KILLED, SIGSEGV);
		}
		return;
	default:
		if (step->who & 0x40 && s.vms[0]->plan.capture.path && !s.is_upgrading)
			supervisor_plan_capture(&s, s.vms[step->what % s.n_vms]);
		else if (alive[0])
			child_ends(s.engine, step->who & 1 ? CLD_STOPPED : CLD_CONTINUED, 0);
	}
}

static void check_capture(const struct held_capture *c)
{
	assert(!c->settings == (c->files.shared_fd < 0) && !c->settings == !c->files.n);
	assert(!c->settings || !c->leaving);
	assert(!c->leaving == (c->leaving_fd < 0));
	assert(c->id <= s.n_captures && c->leaving <= c->id);
}

static void check_vm(const struct held_vm *h)
{
	check_capture(&h->capture);
	assert(h->n_kept <= SUPERVISE_SLOTS_MAX);
	for (size_t i = 0; i < h->n_kept; i++) {
		assert(h->kept[i].slot < SUPERVISE_SLOTS_MAX);
		assert(!i || h->kept[i - 1].slot < h->kept[i].slot);
		assert(fcntl(h->kept[i].fd, F_GETFD) >= 0);
	}
}

static void check_supervisor(void)
{
	for (size_t i = 0; i < s.n_vms; i++)
		check_vm(s.vms[i]);
	assert(s.from_engine.fd >= 0 || !alive[0] || is_killed[0] ||
	       s.state == SUPERVISOR_ENDING);	/* which does not wait for long */
	assert(s.successor.source.fd >= 0 || !alive[1] || is_killed[1]);
	assert(!is_ending || s.state == SUPERVISOR_ENDING);
	is_ending = s.state == SUPERVISOR_ENDING;
	assert(s.n_vms == 1 || s.state != SUPERVISOR_ENDING || !s.has_served || is_told_to_end);
	for (size_t i = 0; i < s.n_vms; i++)
		for (size_t k = 0; k < i; k++)
			assert(s.vms[i]->plan.guest_cid != s.vms[k]->plan.guest_cid);
	assert(s.orders.n_removals <= s.n_leaving);
	assert(s.orders.upgrade_id || s.orders.upgrade_fd < 0);
}

static char *copied(const char *text)
{
	char *copy = strdup(text);

	if (!copy)
		abort();
	return copy;
}

static void add_api(void)
{
	int fd = open("/dev/null", O_RDONLY | O_CLOEXEC);

	listener_restore(&s.api, fd, NULL, 0, 0);
	plan.api_folders = calloc(1, sizeof *plan.api_folders);
	if (!plan.api_folders)
		abort();
	plan.api_folders[plan.n_api_folders++] = copied(API_FOLDER);
	s.has_vsock = true;
}

static void plan_capture(struct held_vm *h)
{
	static const struct capture_plan plan_null = { .snaplen = 76, .n_files = 1 };

	h->plan.capture = plan_null;
	h->plan.capture.path = strdup("/dev/null");
	supervisor_plan_capture(&s, h);
}

/* Some front-ends have come, and gone; the socket blocks, as if an engine had made it so. */
static void listen_at(struct listener *l)
{
	struct sockaddr_un addr = { .sun_family = AF_UNIX };
	socklen_t len = sizeof addr.sun_family;
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	if (bind(fd, (struct sockaddr *)&addr, len) < 0 || listen(fd, FRONT_ENDS) < 0)
		abort();
	len = sizeof addr;
	getsockname(fd, (struct sockaddr *)&addr, &len);
	for (int i = 0; i < FRONT_ENDS; i++) {
		int c = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

		if (connect(c, (struct sockaddr *)&addr, len) < 0)
			abort();
		fd_close(&c);
	}
	listener_restore(l, fd, NULL, 0, 0);
}

static void supervisor_begin(uint8_t how)
{
	static char uds[] = "/nowhere/uds", socket[] = "/nowhere/socket";
	size_t n = how & 2 ? 1 : VMS;
	char name[16];

	plan_init(&plan);
	s = (struct supervisor){ .plan = &plan, .shared_fd = -1, .ping_fd = -1, .program = -1 };
	listener_init(&s.api);
	supervisor_engine_init(&s);
	supervisor_folders_init(&s);
	supervisor_capture_init(&s);
	if (how & 16)
		add_api();
	s.vms = calloc(n, sizeof *s.vms);
	if (!s.vms || loop_new(&s.loop) < 0)
		abort();
	for (size_t i = 0; i < n; i++) {
		struct vm_plan row;

		make_row(&row, FIRST_CID + i);
		row.has_forward_cid = false;
		row.uds_path = copied(uds);
		snprintf(name, sizeof name, "%zu", i);
		row.uds_at.rest = copied(name);
		if (i) {			/* the first was passed */
			row.socket = copied(socket);
			snprintf(name, sizeof name, "s%zu", i);
			row.socket_at.rest = copied(name);
		}
		s.vms[i] = held_vm_new(&row);
		if (!s.vms[i])
			abort();
		s.vms[i]->is_served = true;
		if (i == 1)
			listen_at(&s.vms[i]->sockets.vhost);
		if (how & 32)
			plan_capture(s.vms[i]);
		s.n_vms++;
	}
	peers[0] = peers[1] = -1;
	is_ending = is_told_to_end = false;
	alive[0] = alive[1] = 0;
	begin_engine(how & 8);
	if (how & 4)
		begin_successor();
}

static void supervisor_end_all(void)
{
	alive[0] = alive[1] = 0;
	s.successor.pid = 0;
	s.is_killed = true;
	supervisor_give_up_successor(&s, "the test ends");
	supervisor_forget_engine(&s);
	supervisor_folders_deinit(&s);
	for (size_t i = 0; i < s.n_vms; i++)
		held_vm_free(s.vms[i]);
	free(s.vms);
	free(s.leaving);
	listener_deinit(&s.api);
	fd_close(&s.orders.upgrade_fd);
	loop_free(s.loop);
	plan_deinit(&plan);
	fd_close(&peers[0]);
	fd_close(&peers[1]);
}

/* A step of this type or a later one is an event: as it was when the corpus began, however many
 * messages there are now. Those that there was no room for come from FIRST_LATER on. */
enum { FIRST_EVENT = SUPERVISE_CONNECT_SEQPACKET + 4, FIRST_LATER = 0xb0, FIRST_ORDER = 0xc0 };
static_assert((int)FIRST_EVENT + FIRST_ORDER - FIRST_LATER > (int)SUPERVISE_DONE,
	      "each message can be said, or is an order");

static void attack_supervisor(struct input *in, uint8_t how)
{
	supervisor_begin(how);
	for (int i = 0; i < STEPS_MAX && in->left; i++) {
		struct step step = take_step(in);

		if (step.type >= FIRST_ORDER) {
			is_told_to_end |= send_order(peers[step.who >> 7], &step) == SUPERVISE_SHUTDOWN;
		} else if (step.type >= FIRST_EVENT && step.type < FIRST_LATER) {
			happen(&step);
		} else {
			if (step.type >= FIRST_LATER)
				step.type = (uint8_t)(FIRST_EVENT + step.type - FIRST_LATER);
			send_step(peers[step.who >> 7], &step);
		}
		for (int batch = 0; batch < 2; batch++)
			if (loop_step(s.loop, 0) < 0)
				abort();
		engine_is_followed();
		hear_supervisor(peers[0]);
		hear_supervisor(peers[1]);
		check_supervisor();
	}
	supervisor_end_all();
}

/* ---- the engine ---- */

/* Settings, of a capture too, or a VM's row, as a supervisor sends them; but for one byte, maybe. */
static void send_state(int to, const struct step *step)
{
	static uint8_t bytes[sizeof(struct supervise_msg) + SUPERVISE_PIECE_MAX];
	struct supervise_msg m = { .type = SUPERVISE_STATE };
	struct vm_plan row;
	struct blob b;

	make_row(&row, cid_of(step->who));
	blob_init(&b, SUPERVISE_PIECE_MAX, 0);
	if (step->who & 0x10)
		capture_settings_save(&(struct capture_settings){
			.name = "x", .snaplen = 100, .n_ports = 1 }, &b);
	else if (step->who & 0x40)
		plan_state_save(&plan, &b);
	else
		plan_state_save_vm(&row, &b);
	if (blob_error(&b))
		abort();
	if (step->what & 1)
		b.bytes[(step->what >> 16) % b.len] ^= (uint8_t)(step->what >> 8);
	m.u.number = b.len;
	memcpy(bytes, &m, sizeof m);
	memcpy(bytes + sizeof m, b.bytes, b.len);
	send_bytes(to, bytes, sizeof m + b.len, step->n_fds);
	blob_deinit(&b);
	vm_plan_deinit(&row);
}

static void hear_engine(int peer)
{
	struct channel_msg msg;

	while (!channel_receive(peer, CHANNEL_ENGINE, &msg))
		channel_msg_deinit(&msg);
}

static int obey_once(void)
{
	struct channel_msg msg;
	int r = channel_receive(hosted.channel, CHANNEL_SUPERVISOR, &msg);

	if (r)
		return r == CHANNEL_E_NONE ? 0 : r;
	if (msg.m.type == SUPERVISE_START || msg.m.type == SUPERVISE_PREPARE)
		r = CHANNEL_E_END;		/* from here on there are processes */
	else
		r = hosted_obey(&msg);
	channel_msg_deinit(&msg);
	return r;
}

static void check_engine(void)
{
	for (size_t i = 0; i < hosted.n_vms; i++)
		for (size_t j = 0; j < i; j++)
			assert(hosted_vm(i)->cid != hosted_vm(j)->cid);
}

static void attack_engine(struct input *in)
{
	int peer = -1, r = 0;

	plan_init(&plan);
	plan.handshake_ms = 1;
	hosted = (struct hosted){ .channel = -1, .api_fd = -1 };
	make_channel(&hosted.channel, &peer);
	channel_state_init(&hosted.state, SUPERVISE_BLOB_MAX, 0);
	plan_init(&hosted.plan);
	for (int i = 0; !r && i < STEPS_MAX && in->left; i++) {
		const struct step step = take_step(in);

		if (step.type == SUPERVISE_STATE && step.len < 200)
			send_state(peer, &step);
		else
			send_step(peer, &step);
		r = obey_once();
		hear_engine(peer);
		check_engine();
	}
	hosted_free_vms();
	if (hosted.shared)
		munmap(hosted.shared, sizeof *hosted.shared);
	plan_deinit(&hosted.plan);
	channel_state_deinit(&hosted.state);
	fd_close(&hosted.channel);
	fd_close(&hosted.api_fd);
	fd_close(&peer);
	plan_deinit(&plan);
}

/* Log lines go nowhere, also after settings have said where. */
static void silence(void)
{
	events_adopt(-1);
	log_adopt(LEVEL_ERR, open("/dev/null", O_WRONLY | O_CLOEXEC));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static bool has_begun;
	uint8_t *copy = input_copy(data, size);
	struct input in = { copy, size };
	uint8_t how = input_u8(&in);
	int before;

	if (!has_begun) {
		signal(SIGPIPE, SIG_IGN);
		send_bytes(-1, "", 0, 0);	/* it opens what it sends */
		has_begun = true;
	}
	silence();
	before = count_fds();
	if (how & 1)
		attack_engine(&in);
	else
		attack_supervisor(&in, how);
	silence();
	assert(count_fds() == before);
	free(copy);
	return 0;
}
