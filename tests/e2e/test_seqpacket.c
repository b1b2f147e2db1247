/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * SOCK_SEQPACKET between guest and host: each message arrives whole and alone, or the connection
 * is reset and the log says which limit it was.
 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "e2e/sibs.h"
#include "e2e/upgrade.h"
#include "protocol/virtio_ring.h"
#include "support/host_messages.h"

#define COUNT(array) ((int)(sizeof (array) / sizeof *(array)))

enum {
	ALL = 256 * 1024,			/* bytes: buf_alloc of the guest's sockets */
	TX_BUFFER = 64 * 1024,			/* of those that are started small */
	TRAILER = 7,
};

static uint8_t bytes[4 * ALL];

static const char *const small_buffer[] = { "--tx-buffer-size", "65536", NULL };

static const struct driver_options guests[] = {
	{ .rx_buf_len = 0 },
	{ .rx_buf_len = 45 },			/* a byte in each */
	{ .rx_buf_len = 100, .rx_shape = RX_SPLIT_HEADER, .tx_shape = TX_TWO },
	{ .rx_buf_len = 65536 + 44, .tx_shape = TX_MANY },
	{ .queue_size = 4, .rx_buf_len = 256 },
	{ .rx_buf_len = 300, .rx_shape = RX_INDIRECT, .tx_shape = TX_INDIRECT },
};

static void start(const char *const *extra, const struct driver_options *opt)
{
	e2e_start(extra, opt);
}

static struct pair guest_connects(void)
{
	int listener = host_messages_listen(vhd.uds, PORT, 16);
	struct pair p = { .guest = sock_dial_as(&vm, VSOCK_TYPE_SEQPACKET, 2, PORT) };

	ck_assert(sock_wait_open(p.guest));
	p.host = host_messages_accept(listener);
	host_unlisten(listener, vhd.uds, PORT);
	return p;
}

static struct pair host_connects(void)
{
	struct pair p;

	sock_listen_as(&vm, VSOCK_TYPE_SEQPACKET, PORT);
	p.host = host_messages_dial(vhd.uds, PORT);
	p.guest = sock_accept(&vm, PORT);
	ck_assert_int_eq(p.guest->type, VSOCK_TYPE_SEQPACKET);
	ck_assert_uint_eq(host_messages_read_ok(p.host), PORT);
	return p;
}

static struct pair connects(bool from_guest)
{
	return from_guest ? guest_connects() : host_connects();
}

static void guest_sends(struct pair p, size_t len, uint32_t seed)
{
	pattern_fill(bytes, len, 0, seed);
	ck_assert(sock_send_msg(p.guest, bytes, len, 0));
}

static void host_gets(struct pair p, size_t len, uint32_t seed)
{
	ck_assert_int_eq(host_recv_message(p.host, bytes, sizeof bytes, DEADLINE_MS), (ssize_t)len);
	ck_assert_uint_eq(pattern_check(bytes, len, 0, seed), len);
}

static void host_sends(struct pair p, size_t len, uint32_t seed)
{
	pattern_fill(bytes, len, 0, seed);
	ck_assert(host_send_message(p.host, bytes, len));
}

static void guest_gets(struct pair p, size_t len, uint32_t seed)
{
	uint32_t flags;

	ck_assert_int_eq(sock_recv_msg(p.guest, bytes, sizeof bytes, &flags, DEADLINE_MS),
			 (ssize_t)len);
	ck_assert_uint_eq(pattern_check(bytes, len, 0, seed), len);
	ck_assert_uint_eq(flags, VSOCK_SEQ_EOM);
}

static void check_talks(struct pair p)
{
	guest_sends(p, 1000, 1);
	host_gets(p, 1000, 1);
	host_sends(p, 5000, 2);
	guest_gets(p, 5000, 2);
}

static void check_reset(struct pair p, const char *why)
{
	ck_assert(sock_wait_reset(p.guest, DEADLINE_MS));
	while (host_recv_message(p.host, bytes, sizeof bytes, DEADLINE_MS) >= 0)
		;
	ck_assert(host_is_closed(p.host, DEADLINE_MS));
	ck_assert(daemon_wait_log(&vhd, why));
	close(p.host);
}

/* ---- messages ---- */

static const size_t sizes[] = {
	1, 2, 44, 55, 56, 4051, 4052, 4053, 8104, 8105, 65535, TX_BUFFER, 100000, 200000,
};

START_TEST(one_of_each_size)
{
	struct pair p;

	start(small_buffer, &guests[_i % COUNT(guests)]);
	p = connects(_i < COUNT(guests));
	for (int i = 0; i < COUNT(sizes); i++) {
		if (sizes[i] <= TX_BUFFER) {
			guest_sends(p, sizes[i], 7);
			host_gets(p, sizes[i], 7);
		}
		host_sends(p, sizes[i], 8);
		guest_gets(p, sizes[i], 8);
	}
	close(p.host);
	ck_assert(sock_wait_shutdown(p.guest, VSOCK_SHUTDOWN_BOTH, DEADLINE_MS));
	ck_assert(sock_close(p.guest));
}
END_TEST

static size_t size_of(uint32_t i)
{
	static const size_t some[] = { 64, 1, 5000, 0, 300, 20000, 64, 64, 0, 4052, 17 };

	return some[i % COUNT(some)];
}

/* Many are under way at once; empty ones pass, and are no end. */
START_TEST(many_in_a_row)
{
	const struct driver_options *guest = &guests[_i % COUNT(guests)];
	const uint32_t n = guest->rx_buf_len == 45 ? 100 : 2000;	/* of a packet for each byte */
	uint32_t sent = 0, got = 0;
	int64_t deadline;
	struct pair p;

	start(NULL, guest);
	p = connects(_i < COUNT(guests));
	for (uint32_t i = 0; i < n; i++) {	/* the host's socket holds some, the daemon more */
		guest_sends(p, size_of(i), i);
		if (i >= 8)
			host_gets(p, size_of(i - 8), i - 8);
	}
	for (uint32_t i = n - 8; i < n; i++)
		host_gets(p, size_of(i), i);
	deadline = deadline_in(3 * DEADLINE_MS);
	while (got < n) {
		uint32_t flags;

		pattern_fill(bytes, size_of(sent), 0, sent);
		while (sent < n && host_send_message_now(p.host, bytes, size_of(sent))) {
			sent++;
			pattern_fill(bytes, size_of(sent), 0, sent);
		}
		ck_assert(deadline_left(deadline));
		ck_assert_int_eq(sock_recv_msg(p.guest, bytes, sizeof bytes, &flags, DEADLINE_MS),
				 (ssize_t)size_of(got));
		ck_assert_uint_eq(pattern_check(bytes, size_of(got), 0, got), size_of(got));
		got++;
	}
	close(p.host);
}
END_TEST

/* Nobody reads; then all is there. */
START_TEST(slow_readers)
{
	struct pair p;
	uint32_t sent = 0, got = 0;

	start(NULL, NULL);
	p = connects(_i);
	pattern_fill(bytes, size_of(0), 0, 0);
	while (sock_room(p.guest) > 20000 || driver_wait(&vm, deadline_in(QUIET_MS), false)) {
		if (sock_room(p.guest) <= 20000)
			continue;
		guest_sends(p, size_of(sent), sent);
		sent++;
	}
	ck_assert_uint_gt(sent, 20);
	for (; got < sent; got++)
		host_gets(p, size_of(got), got);
	check_talks(p);
	sent = 0;
	do {
		pattern_fill(bytes, size_of(sent), 0, sent);
		while (host_send_message_now(p.host, bytes, size_of(sent))) {
			sent++;
			pattern_fill(bytes, size_of(sent), 0, sent);
		}
	} while (driver_wait(&vm, deadline_in(QUIET_MS), false));
	ck_assert_uint_gt(sent, 20);
	for (got = 0; got < sent; got++)
		guest_gets(p, size_of(got), got);
	check_talks(p);
	close(p.host);
}
END_TEST

/* As many messages as there are bytes to buffer. */
START_TEST(tiny_ones_wait)
{
	uint32_t sent = 0;
	struct pair p;

	start(NULL, NULL);
	p = connects(_i);
	bytes[0] = 7;
	while (sent < 20000)
		if (sock_send_part(p.guest, bytes, 1, VSOCK_SEQ_EOM))
			sent++;
		else
			driver_turn(&vm);
	sock_shutdown(p.guest, VSOCK_SHUTDOWN_SEND);
	driver_flush(&vm);
	for (uint32_t i = 0; i < sent; i++)
		ck_assert_int_eq(host_recv_message(p.host, bytes, 100, DEADLINE_MS), 1);
	ck_assert_int_eq(host_recv_message(p.host, bytes, 100, DEADLINE_MS), HOST_END);
	close(p.host);
}
END_TEST

/* The packets of two messages, of two connections, come in turns. */
START_TEST(fragments_of_two)
{
	struct pair p[2];
	size_t done[2] = { 0, 0 };

	start(NULL, NULL);
	for (int i = 0; i < 2; i++) {
		p[i] = guest_connects();
		p[i].guest->packet_max = 100;
	}
	pattern_fill(bytes, 10000, 0, 5);
	while (done[0] < 10000 || done[1] < 10000)
		for (int i = 0; i < 2; i++) {
			size_t here = 10000 - done[i] < 100 ? 10000 - done[i] : 100;

			if (here)
				done[i] += sock_send_part(p[i].guest, bytes + done[i], here,
							  done[i] + here == 10000 ?
							  VSOCK_SEQ_EOM : 0);
			driver_turn(&vm);
		}
	for (int i = 0; i < 2; i++) {
		host_gets(p[i], 10000, 5);
		ck_assert(host_is_quiet(p[i].host, 10));
		close(p[i].host);
	}
}
END_TEST

/* ---- ends ---- */

START_TEST(half_close)
{
	struct pair p;

	start(NULL, NULL);
	p = connects(_i & 1);
	if (_i & 2) {
		guest_sends(p, 100, 1);
		guest_sends(p, 0, 1);
		sock_shutdown(p.guest, VSOCK_SHUTDOWN_SEND);
		host_gets(p, 100, 1);
		host_gets(p, 0, 1);
		ck_assert_int_eq(host_recv_message(p.host, bytes, 1, DEADLINE_MS), HOST_END);
		host_sends(p, 50000, 2);
		guest_gets(p, 50000, 2);
	} else {
		host_sends(p, 100, 1);
		host_sends(p, 0, 1);
		ck_assert_int_eq(shutdown(p.host, SHUT_WR), 0);
		guest_gets(p, 100, 1);
		guest_gets(p, 0, 1);
		ck_assert_int_eq(sock_recv_msg(p.guest, bytes, 1, NULL, DEADLINE_MS), SOCK_END);
		ck_assert_uint_eq(p.guest->peer_shutdown, VSOCK_SHUTDOWN_SEND);
		guest_sends(p, 50000, 2);
		host_gets(p, 50000, 2);
	}
	close(p.host);
	ck_assert(sock_close(p.guest));
}
END_TEST

/* The host is slow: it gets all messages of a guest that has closed. */
START_TEST(lingering)
{
	struct pair p;
	uint32_t sent = 0;

	start(NULL, NULL);
	p = connects(_i);
	while (sock_room(p.guest) > 20000 || driver_wait(&vm, deadline_in(QUIET_MS), false))
		if (sock_room(p.guest) > 20000) {
			guest_sends(p, size_of(sent), sent);
			sent++;
		}
	sock_shutdown(p.guest, VSOCK_SHUTDOWN_BOTH);
	driver_is_quiet(&vm, QUIET_MS);
	for (uint32_t i = 0; i < sent; i++)
		host_gets(p, size_of(i), i);
	ck_assert_int_eq(host_recv_message(p.host, bytes, 1, DEADLINE_MS), HOST_END);
	ck_assert(sock_wait_reset(p.guest, DEADLINE_MS));
	close(p.host);
}
END_TEST

/* Of a message that has begun nothing arrives, whatever ends the connection. */
START_TEST(begun_and_never_ended)
{
	struct pair p;

	start(NULL, NULL);
	p = guest_connects();
	guest_sends(p, 10, 1);
	ck_assert_uint_eq(sock_send_part(p.guest, bytes, 1000, 0), 1000);
	if (_i == 0)
		sock_shutdown(p.guest, VSOCK_SHUTDOWN_SEND);
	else if (_i == 1)
		sock_shutdown(p.guest, VSOCK_SHUTDOWN_BOTH);
	else
		sock_send_rst(p.guest);
	host_gets(p, 10, 1);
	ck_assert_int_eq(host_recv_message(p.host, bytes, 1, DEADLINE_MS), HOST_END);
	close(p.host);
	e2e_check_alive();
}
END_TEST

/* ---- limits ---- */

static size_t read_wmem_max(void)
{
	FILE *f = fopen("/proc/sys/net/core/wmem_max", "re");
	size_t n = 0;

	ck_assert(f && fscanf(f, "%zu", &n) == 1);
	fclose(f);
	return n;
}

/* As large as the host's socket can be made. */
START_TEST(longer_than_the_host_takes)
{
	size_t wmem_max = read_wmem_max(), too_long = 2 * wmem_max + 1;
	char size[32];
	const char *const large[] = { "--tx-buffer-size", size, NULL };
	struct driver_options ahead = { .sends_ahead = true };
	uint8_t *message = calloc(1, too_long);
	struct pair p;

	snprintf(size, sizeof size, "%zu", 2 * too_long);
	start(large, &ahead);
	p = guest_connects();
	guest_sends(p, 100, 3);
	host_gets(p, 100, 3);
	guest_sends(p, 200000, 3);
	host_gets(p, 200000, 3);
	sock_send(p.guest, message, too_long);
	check_reset(p, "net.core.wmem_max");
	e2e_check_alive();
	free(message);
}
END_TEST

START_TEST(longer_than_the_buffer)
{
	struct pair p;

	start(small_buffer, NULL);
	p = guest_connects();
	for (size_t sent = 0; sent < TX_BUFFER; )
		sent += sock_send_part(p.guest, bytes, 1024, 0);
	check_reset(p, "tx-buffer-size");
	e2e_check_alive();
}
END_TEST

START_TEST(longer_than_the_guest_takes)
{
	struct driver_options opt = { .buf_alloc = 10000 };
	struct pair p;

	start(NULL, &opt);
	p = connects(_i);
	host_sends(p, 10000, 1);
	guest_gets(p, 10000, 1);
	host_sends(p, 10001, 1);
	check_reset(p, "SO_VM_SOCKETS_BUFFER_SIZE");
	e2e_check_alive();
}
END_TEST

/* The rest of a message will never come: the guest has made its buffer smaller meanwhile. */
START_TEST(longer_than_the_guest_takes_by_now)
{
	struct driver_options opt = { .queue_size = 4 };
	struct pair p;

	start(NULL, &opt);
	p = connects(_i);
	host_sends(p, 100000, 1);
	while (!p.guest->n_queue)
		ck_assert(driver_wait(&vm, deadline_in(DEADLINE_MS), false));
	ck_assert_uint_lt(p.guest->n_queue, 50000);
	p.guest->buf_alloc = 50000;
	sock_tell_credit(p.guest);
	check_reset(p, "SO_VM_SOCKETS_BUFFER_SIZE");
	e2e_check_alive();
}
END_TEST

/* A guest that sends nothing, again and again, uses up no more memory than another. */
START_TEST(empty_for_ever)
{
	struct daemon_usage before, after;
	struct pair p;

	start(NULL, NULL);
	p = guest_connects();
	before = daemon_usage(&vhd);
	for (int i = 0; i < 200000 && p.guest->state == SOCK_OPEN; i++)
		if (!sock_send_part(p.guest, bytes, 0, VSOCK_SEQ_EOM))
			driver_turn(&vm);
	after = daemon_usage(&vhd);
	ck_assert_uint_le(after.rss_bytes, before.rss_bytes + (8 << 20) + SANITIZER_RSS_SLACK);
	close(p.host);
	e2e_check_alive();
}
END_TEST

/* ---- types ---- */

START_TEST(another_type_listens)
{
	int streams = host_listen(vhd.uds, PORT, 4);
	int messages = host_messages_listen(vhd.uds, PORT + 1, 4);
	struct sock *s;

	start(NULL, NULL);
	s = sock_dial_as(&vm, VSOCK_TYPE_SEQPACKET, 2, PORT);
	ck_assert(!sock_wait_open(s) && s->was_refused);
	s = sock_dial_as(&vm, VSOCK_TYPE_STREAM, 2, PORT + 1);
	ck_assert(!sock_wait_open(s) && s->was_refused);
	ck_assert(daemon_wait_log(&vhd, "a socket of another type listens there"));
	ck_assert(host_is_quiet(streams, 10) && host_is_quiet(messages, 10));
	s = sock_dial_as(&vm, 3, 2, PORT);
	ck_assert(!sock_wait_open(s) && s->was_refused);
	host_unlisten(streams, vhd.uds, PORT);
	host_unlisten(messages, vhd.uds, PORT + 1);
	e2e_check_alive();
}
END_TEST

/* What a guest has not acknowledged it does not get. */
static const struct known {
	uint64_t without;
	bool streams, messages;
} known[] = {
	{ 0, true, true },
	{ 1 << VIRTIO_VSOCK_F_SEQPACKET, true, false },
	{ 1 << VIRTIO_VSOCK_F_STREAM, false, true },
	{ 1 << VIRTIO_VSOCK_F_STREAM | 1 << VIRTIO_VSOCK_F_NO_IMPLIED_STREAM, true, true },
	{ 7, true, false },			/* as before there were these bits */
};

START_TEST(what_the_guest_knows)
{
	const struct known *k = &known[_i];
	struct driver_options opt = { .without = k->without };
	int streams = host_listen(vhd.uds, PORT, 4);
	int messages = host_messages_listen(vhd.uds, PORT + 1, 4), fd;

	start(NULL, &opt);
	ck_assert(sock_wait_open(sock_dial(&vm, PORT)) == k->streams);
	ck_assert(sock_wait_open(sock_dial_as(&vm, VSOCK_TYPE_SEQPACKET, 2, PORT + 1)) ==
		  k->messages);
	sock_listen(&vm, PORT);
	sock_listen_as(&vm, VSOCK_TYPE_SEQPACKET, PORT + 1);
	fd = host_dial(vhd.uds, PORT);
	ck_assert(k->streams ? sock_accept(&vm, PORT) && host_read_ok(fd) == PORT :
		  host_is_closed(fd, DEADLINE_MS));
	close(fd);
	fd = host_messages_dial(vhd.uds, PORT + 1);
	ck_assert(k->messages ?
		  sock_accept(&vm, PORT + 1) && host_messages_read_ok(fd) == PORT + 1 :
		  host_is_closed(fd, DEADLINE_MS));
	close(fd);
	host_unlisten(streams, vhd.uds, PORT);
	host_unlisten(messages, vhd.uds, PORT + 1);
}
END_TEST

/* ---- the handshake ---- */

static const struct opening {
	const char *line;
	size_t len;
	bool is_good;
} openings[] = {
	{ "CONNECT 1234\n", 13, true }, { "connect 1234", 12, true },
	{ "CONNECT 1234\r\n", 14, true },
	{ "", 0, false }, { "\n", 1, false }, { "CONNECT\n", 8, false }, { "HELLO 1234\n", 11, false },
	{ "CONNECT 1234\nmore", 17, false },
	{ "CONNECT 1234                           \n", 40, false },
};

START_TEST(first_messages)
{
	const struct opening *o = &openings[_i];
	int fd;

	start(NULL, NULL);
	sock_listen_as(&vm, VSOCK_TYPE_SEQPACKET, PORT);
	fd = host_messages_connect(vhd.uds);
	ck_assert(host_send_message(fd, o->line, o->len));
	if (o->is_good) {
		struct pair p = { .host = fd };

		host_sends(p, 5, 1);		/* waits for nobody */
		p.guest = sock_accept(&vm, PORT);
		ck_assert_uint_eq(host_messages_read_ok(fd), PORT);
		guest_gets(p, 5, 1);
	} else {
		ck_assert(host_is_closed(fd, DEADLINE_MS));
		ck_assert_uint_eq(vm.n_rx_pkts, 0);
	}
	close(fd);
	e2e_check_alive();
}
END_TEST

/* A program says all it has and leaves, without having read the answer. */
START_TEST(one_shot_sender)
{
	struct driver_options opt = { .queue_size = 4 };
	uint32_t sent = 0;
	struct pair p;

	start(NULL, &opt);
	sock_listen_as(&vm, VSOCK_TYPE_SEQPACKET, PORT);
	p.host = host_messages_dial(vhd.uds, PORT);
	p.guest = sock_accept(&vm, PORT);
	ck_assert(deadline_poll(p.host, POLLIN, deadline_in(DEADLINE_MS)));
	pattern_fill(bytes, size_of(0), 0, 0);
	while (sent < 50 && host_send_message_now(p.host, bytes, size_of(sent))) {
		sent++;
		pattern_fill(bytes, size_of(sent), 0, sent);
	}
	ck_assert_uint_gt(sent, 10);
	close(p.host);
	if (_i && vhd.is_supervised)
		upgrade();
	for (uint32_t i = 0; i < sent; i++)
		guest_gets(p, size_of(i), i);
	ck_assert(sock_wait_reset(p.guest, DEADLINE_MS));
	e2e_check_alive();
}
END_TEST

static struct stat stat_of(const char *suffix)
{
	struct stat st = { .st_mode = 0 };
	char path[128];

	snprintf(path, sizeof path, "%s%s", vhd.uds, suffix);
	if (lstat(path, &st) < 0)
		ck_assert_int_eq(errno, ENOENT);
	return st;
}

START_TEST(the_name)
{
	static const char *const open_to_all[] = { "--socket-mode", "0666", NULL };
	char path[128];
	int fd;

	start(open_to_all, NULL);
	ck_assert(S_ISSOCK(stat_of("_seqpacket").st_mode));
	ck_assert_uint_eq(stat_of("_seqpacket").st_mode, stat_of("").st_mode);
	ck_assert_int_eq(daemon_stop(&vhd, END_MS), 0);
	ck_assert_uint_eq(stat_of("_seqpacket").st_mode, 0);
	driver_deinit(&vm);

	snprintf(path, sizeof path, "%s_seqpacket", vhd.uds);
	fd = open(path, O_CREAT | O_EXCL | O_WRONLY | O_CLOEXEC, 0600);
	ck_assert_int_ge(fd, 0);
	close(fd);
	start(NULL, NULL);			/* without it, and says so */
	ck_assert(daemon_wait_log(&vhd, "have no SOCK_SEQPACKET socket to connect to"));
	check_talks(guest_connects());
	e2e_check_alive();
	ck_assert(S_ISREG(stat_of("_seqpacket").st_mode));
	unlink(path);
}
END_TEST

/* The name is another VM's by what its user has said: that VM is served as if there were no such
 * socket. */
static const struct named {
	const char *first, *second;		/* socket, uds-path */
	const char *theirs, *free;		/* has nobody's _seqpacket; has one */
} named[] = {
	{ "@/a,uds-path=@/x", "@/b,uds-path=@/x_seqpacket", "x_seqpacket",
	  "x_seqpacket_seqpacket" },
	{ "@/a,uds-path=@/x_seqpacket", "@/b,uds-path=@/x", "x_seqpacket",
	  "x_seqpacket_seqpacket" },
	{ "@/a,uds-path=@/x", "@/x_seqpacket,uds-path=@/y", "x_seqpacket",
	  "y_seqpacket" },
	{ "@/a,uds-path=@/x", "@/b,uds-path=@/./x_seqpacket", "x_seqpacket",
	  "x_seqpacket_seqpacket" },
};

/* @: the test's folder. */
static void put_folder(char *out, const char *words)
{
	for (; *words; words++)
		if (*words == '@')
			out = stpcpy(out, vhd.dir);
		else
			*out++ = *words;
	*out = '\0';
}

/* Of what listens there; -1: nothing. */
static int type_at(const char *path)
{
	static const int types[] = { SOCK_STREAM, SOCK_SEQPACKET };
	struct sockaddr_un sa = { .sun_family = AF_UNIX };
	int found = -1;

	must((size_t)snprintf(sa.sun_path, sizeof sa.sun_path, "%s", path) < sizeof sa.sun_path);
	for (int i = 0; i < 2; i++) {
		int fd = socket(AF_UNIX, types[i] | SOCK_CLOEXEC, 0);

		must(fd >= 0);
		if (connect(fd, (struct sockaddr *)&sa, sizeof sa) == 0)
			found = types[i];
		close(fd);
	}
	return found;
}

static void check_type(const char *name, int type)
{
	int64_t deadline = deadline_in(DEADLINE_MS);
	char path[128];

	snprintf(path, sizeof path, "%s/%s", vhd.dir, name);
		while (type_at(path) != type) {
		ck_assert_msg(deadline_left(deadline), "%s", path);
		usleep(1000);
	}
}

START_TEST(names_of_other_vms)
{
	const struct named *n = &named[_i];
	char words[2][512];
	const char *const args[] = { "--vm", words[0], "--vm", words[1], NULL };
	size_t len;

	for (int i = 0; i < 2; i++) {
		len = (size_t)snprintf(words[i], sizeof words[i], "guest-cid=%d,socket=", 3 + i);
		put_folder(words[i] + len, i ? n->second : n->first);
	}
	daemon_spawn(&vhd, args);
	check_type("a", SOCK_STREAM);
	check_type(n->theirs, SOCK_STREAM);
	check_type(n->free, SOCK_SEQPACKET);
	ck_assert(!daemon_has_logged(&vhd, "is left out"));
}
END_TEST

/* ---- another engine ---- */

START_TEST(upgrade_in_the_middle)
{
	struct pair p;
	uint32_t sent = 0;
	int waiting;

	start(NULL, &guests[_i]);
	if (!vhd.is_supervised)
		return;
	p = connects(_i & 1);
	waiting = host_messages_connect(vhd.uds);	/* has not said its line */
	while (sock_room(p.guest) > 24000 || driver_wait(&vm, deadline_in(QUIET_MS), false))
		if (sock_room(p.guest) > 24000) {
			guest_sends(p, size_of(sent), sent);
			sent++;
		}
	pattern_fill(bytes, 3000, 0, 9);
	ck_assert_uint_eq(sock_send_part(p.guest, bytes, 3000, 0), 3000);
	host_sends(p, 100000, 4);		/* more than the rings hold */
	host_sends(p, 0, 5);
	upgrade();
	pattern_fill(bytes, 5000, 0, 9);
	ck_assert_uint_eq(sock_send_part(p.guest, bytes + 3000, 2000, VSOCK_SEQ_EOM), 2000);
	for (uint32_t i = 0; i < sent; i++)
		host_gets(p, size_of(i), i);
	host_gets(p, 5000, 9);
	guest_gets(p, 100000, 4);
	guest_gets(p, 0, 5);
	check_talks(p);
	sock_listen_as(&vm, VSOCK_TYPE_SEQPACKET, PORT);
	ck_assert(host_send_message(waiting, "CONNECT 1234\n", 13));
	sock_accept(&vm, PORT);
	ck_assert_uint_eq(host_messages_read_ok(waiting), PORT);
	close(waiting);
	close(p.host);
}
END_TEST

/* A program that takes over makes the socket if the one before had none. */
START_TEST(upgrade_that_brings_the_socket)
{
	char path[128];
	int fd;

	snprintf(path, sizeof path, "%s_seqpacket", vhd.uds);
	must((fd = open(path, O_CREAT | O_EXCL | O_WRONLY | O_CLOEXEC, 0600)) >= 0);
	close(fd);
	start(NULL, NULL);
	if (!vhd.is_supervised)
		return;
	must(unlink(path) == 0);
	upgrade();
	check_type("vm.sock_seqpacket", SOCK_SEQPACKET);
	check_talks(host_connects());
	upgrade();
	check_talks(host_connects());
}
END_TEST

/* The engine crashes: both sides hear of it, and new connections work. */
START_TEST(crash)
{
	struct pair p;

	start(NULL, NULL);
	if (!vhd.is_supervised)
		return;
	p = guest_connects();
	check_talks(p);
	kill(daemon_engine(&vhd), SIGKILL);
	ck_assert(sock_wait_reset(p.guest, DEADLINE_MS));
	ck_assert_int_eq(host_recv_message(p.host, bytes, 1, DEADLINE_MS), HOST_END);
	close(p.host);
	check_talks(host_connects());
}
END_TEST

/* ---- between two guests ---- */

static struct sib_pair messages_connect(struct sib *from, struct sib *to)
{
	struct sib_pair p;

	sock_listen_as(&to->d, VSOCK_TYPE_SEQPACKET, PORT);
	p.from = sock_dial_as(&from->d, VSOCK_TYPE_SEQPACKET, to->cid, PORT);
	p.to = sock_accept(&to->d, PORT);
	ck_assert(sock_wait_open(p.from));
	return p;
}

static struct sib_pair siblings_connect(int opener)
{
	return messages_connect(&sibs[opener], &sibs[!opener]);
}

static void siblings_up(const char *const *extra, const struct driver_options *one,
			const struct driver_options *other)
{
	sibs_spawn_with(2, NULL, extra);
	sib_up(&sibs[0], one);
	sib_up(&sibs[1], other);
}

static void expect_message(struct sock *to, size_t len, uint32_t flags, uint32_t seed)
{
	uint32_t seen;

	ck_assert_int_eq(sock_recv_msg(to, bytes, sizeof bytes, &seen, DEADLINE_MS), (ssize_t)len);
	ck_assert_uint_eq(seen, VSOCK_SEQ_EOM | flags);
	ck_assert_uint_eq(pattern_check(bytes, len, 0, seed), len);
}

/* Sends what there is credit for while the other reads. */
static void pass_message(struct sock *from, struct sock *to, size_t len, uint32_t flags,
			 uint32_t seed)
{
	int64_t deadline = deadline_in(DEADLINE_MS);
	size_t sent = 0;

	pattern_fill(bytes, len, 0, seed);
	do {
		sent += sock_send_part(from, bytes + sent, len - sent, VSOCK_SEQ_EOM | flags);
		driver_turn(to->d);
		driver_turn(from->d);
		ck_assert(deadline_left(deadline));
	} while (sent < len);
	expect_message(to, len, flags, seed);
}

/* All sizes up to what the receiver buffers, records too; in both directions. */
START_TEST(siblings_of_each_size)
{
	static const size_t more[] = { 0, 1, 52, 4052, 4096, 5000, 65536, 131064, 131072, 200000, ALL };
	struct sib_pair p;

	siblings_up(NULL, &guests[_i % COUNT(guests)], &guests[(_i + 2) % COUNT(guests)]);
	p = siblings_connect(_i & 1);
	for (int i = 0; i < COUNT(more); i++) {
		pass_message(p.from, p.to, more[i], i & 1 ? VSOCK_SEQ_EOR : 0, 3);
		pass_message(p.to, p.from, more[i], i & 1 ? 0 : VSOCK_SEQ_EOR, 4);
	}
	sibs_close(p);
	sibs_check_alive(&sibs[0], &sibs[1]);
}
END_TEST

/* As long as both buffers allow, which may be longer than any message of the host. */
START_TEST(siblings_huge)
{
	static const char *const large[] = {
		"all,tx-buffer-size=16777216", "all,tx-buffer-size=16777216",
	};
	const size_t len = 12 << 20;
	struct driver_options opt = { .buf_alloc = 16 << 20 };
	uint8_t *message = malloc(len), *got = malloc(len);
	int64_t deadline = deadline_in(3 * DEADLINE_MS);
	struct sib_pair p;
	size_t sent = 0;

	must(message && got);
	sibs_spawn_with(2, large, NULL);
	sib_up(&sibs[0], &opt);
	sib_up(&sibs[1], &opt);
	p = siblings_connect(0);
	pattern_fill(message, len, 0, 6);
	while (sent < len && deadline_left(deadline)) {
		sent += sock_send_part(p.from, message + sent, len - sent, VSOCK_SEQ_EOM);
		driver_turn(p.to->d);
		driver_turn(p.from->d);
	}
	ck_assert_uint_eq(sent, len);
	ck_assert_int_eq(sock_recv_msg(p.to, got, len, NULL, DEADLINE_MS), (ssize_t)len);
	ck_assert_uint_eq(pattern_check(got, len, 0, 6), len);
	sibs_close(p);
	free(message);
	free(got);
}
END_TEST

/* Many wait in the daemon: each comes out as it went in. */
START_TEST(siblings_many_wait)
{
	struct driver_options ahead = { .sends_ahead = true };
	uint32_t sent = 0, got = 0;
	struct sib_pair p;

	siblings_up(NULL, &ahead, &ahead);
	p = siblings_connect(_i);
	do {
		pattern_fill(bytes, size_of(sent), 0, sent);
		while (sock_room(p.from) >= 20000 &&
		       sock_send_msg(p.from, bytes, size_of(sent), 0)) {
			sent++;
			pattern_fill(bytes, size_of(sent), 0, sent);
		}
	} while (driver_wait(p.from->d, deadline_in(QUIET_MS), false));
	ck_assert_uint_gt(sent, 100);
	for (; got < sent; got++) {
		ck_assert_int_eq(sock_recv_msg(p.to, bytes, sizeof bytes, NULL, DEADLINE_MS),
				 (ssize_t)size_of(got));
		ck_assert_uint_eq(pattern_check(bytes, size_of(got), 0, got), size_of(got));
	}
	pass_message(p.from, p.to, 100, 0, 1);
	sibs_close(p);
}
END_TEST

/* The receiver's buffer is too small: both see a reset; also where the receiver has said before
 * that it sends no more, so that all of what it had to say has arrived. */
START_TEST(siblings_too_long)
{
	struct driver_options small = { .buf_alloc = 10000, .sends_ahead = true };
	struct sib_pair p;

	siblings_up(NULL, NULL, &small);
	p = siblings_connect(0);
	pass_message(p.from, p.to, 10000, 0, 1);
	if (_i) {
		sock_shutdown(p.to, VSOCK_SHUTDOWN_SEND);
		ck_assert(sock_wait_shutdown(p.from, VSOCK_SHUTDOWN_SEND, DEADLINE_MS));
	}
	ck_assert(sock_send_msg(p.from, bytes, 10001, 0));
	while (p.to->state != SOCK_RESET)
		ck_assert(driver_wait(p.to->d, deadline_in(DEADLINE_MS), false));
	ck_assert(sock_wait_reset(p.from, DEADLINE_MS));
	ck_assert_uint_eq(p.from->peer_shutdown, _i ? VSOCK_SHUTDOWN_SEND : 0);
	ck_assert(daemon_wait_log(&vhd, "SO_VM_SOCKETS_BUFFER_SIZE"));
	sibs_check_alive(&sibs[0], &sibs[1]);
}
END_TEST

/* The receiver, which has said all that it had to say, leaves in the middle of a message. */
START_TEST(siblings_leave_in_the_middle)
{
	struct driver_options few = { .queue_size = 16, .rx_buf_len = 300 };
	struct sib_pair p;

	siblings_up(NULL, NULL, &few);
	p = siblings_connect(0);
	pass_message(p.from, p.to, 10000, 0, 1);
	sock_shutdown(p.to, VSOCK_SHUTDOWN_SEND);
	ck_assert(sock_wait_shutdown(p.from, VSOCK_SHUTDOWN_SEND, DEADLINE_MS));
	p.to->d->holds_rx = true;
	ck_assert(sock_send_msg(p.from, bytes, 10000, 0));
	while (!p.to->part)
		ck_assert(driver_wait(p.to->d, deadline_in(DEADLINE_MS), false));
	ck_assert(!p.to->marks.n);
	sock_send_rst(p.to);
	ck_assert(sock_wait_reset(p.from, DEADLINE_MS));
	ck_assert_uint_eq(p.from->peer_shutdown, VSOCK_SHUTDOWN_SEND);
	driver_release_rx(p.to->d);
	sibs_check_alive(&sibs[0], &sibs[1]);
}
END_TEST

static void expect_refused(struct sib *from, uint16_t type, struct sib *to)
{
	struct sock *s = sock_dial_as(&from->d, type, to->cid, PORT + 9);

	ck_assert(!sock_wait_open(s) && s->was_refused);
}

/* Where the other knows no messages, there is nobody to talk to. */
START_TEST(siblings_of_two_kinds)
{
	struct driver_options plain = { .without = 1 << VIRTIO_VSOCK_F_SEQPACKET };

	siblings_up(NULL, NULL, &plain);
	expect_refused(&sibs[0], VSOCK_TYPE_SEQPACKET, &sibs[1]);
	expect_refused(&sibs[1], VSOCK_TYPE_SEQPACKET, &sibs[0]);
	sibs_check_alive(&sibs[0], &sibs[1]);
}
END_TEST

/* A guest talks to two others in turns, and all three have the same worker: what it says goes from
 * ring to ring. */
START_TEST(siblings_of_one_worker)
{
	static const char *const one[] = { "--threads=1", NULL };
	struct sib_pair p[2];

	sibs_spawn_with(3, NULL, one);
	for (int i = 0; i < 3; i++)
		sib_up(&sibs[i], NULL);
	for (int i = 0; i < 2; i++)
		p[i] = messages_connect(&sibs[0], &sibs[1 + i]);
	for (uint32_t first = 0; first < 200; first += 10) {
		for (uint32_t seed = first; seed < first + 10; seed++) {
			size_t len = size_of(seed) % 5000;

			pattern_fill(bytes, len, 0, seed);
			for (int i = 0; i < 2; i++)
				ck_assert(sock_send_msg(p[i].from, bytes, len, VSOCK_SEQ_EOR));
		}
		for (uint32_t seed = first; seed < first + 10; seed++)
			for (int i = 0; i < 2; i++)
				expect_message(p[i].to, size_of(seed) % 5000, VSOCK_SEQ_EOR, seed);
	}
	for (int i = 0; i < 2; i++) {
		pass_message(p[i].to, p[i].from, 300, 0, 1);
		sibs_close(p[i]);
		sibs_check_alive(&sibs[0], &sibs[1 + i]);
	}
}
END_TEST

START_TEST(siblings_upgrade)
{
	uint32_t sent = 0, got = 0;
	struct sib_pair p;

	siblings_up(NULL, NULL, NULL);
	if (!vhd.is_supervised)
		return;
	p = siblings_connect(_i);
	sibs[!_i].d.holds_rx = true;
	do {
		pattern_fill(bytes, size_of(sent), 0, sent);
		while (sock_room(p.from) >= 24000 &&
		       sock_send_msg(p.from, bytes, size_of(sent), VSOCK_SEQ_EOR)) {
			sent++;
			pattern_fill(bytes, size_of(sent), 0, sent);
		}
	} while (driver_wait(p.from->d, deadline_in(QUIET_MS), false));
	pattern_fill(bytes, 3000, 0, 77);
	ck_assert_uint_eq(sock_send_part(p.from, bytes, 1000, 0), 1000);
	upgrade();
	ck_assert_uint_eq(sock_send_part(p.from, bytes + 1000, 2000, VSOCK_SEQ_EOM), 2000);
	driver_release_rx(&sibs[!_i].d);
	for (; got < sent; got++) {
		uint32_t flags;

		ck_assert_int_eq(sock_recv_msg(p.to, bytes, sizeof bytes, &flags, DEADLINE_MS),
				 (ssize_t)size_of(got));
		ck_assert_uint_eq(flags, VSOCK_SEQ_EOM | VSOCK_SEQ_EOR);
		ck_assert_uint_eq(pattern_check(bytes, size_of(got), 0, got), size_of(got));
	}
	ck_assert_int_eq(sock_recv_msg(p.to, bytes, sizeof bytes, NULL, DEADLINE_MS), 3000);
	ck_assert_uint_eq(pattern_check(bytes, 3000, 0, 77), 3000);
	pass_message(p.to, p.from, 10, 0, 2);
	sibs_close(p);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("seqpacket");
	TCase *tc = e2e_case(s, "messages", e2e_setup_bare, 60);

	tcase_add_loop_test(tc, one_of_each_size, 0, 2 * COUNT(guests));
	tcase_add_loop_test(tc, many_in_a_row, 0, 2 * COUNT(guests));
	tcase_add_loop_test(tc, slow_readers, 0, 2);
	tcase_add_loop_test(tc, tiny_ones_wait, 0, 2);
	tcase_add_test(tc, fragments_of_two);
	tc = e2e_case(s, "ends", e2e_setup_bare, 60);
	tcase_add_loop_test(tc, half_close, 0, 4);
	tcase_add_loop_test(tc, lingering, 0, 2);
	tcase_add_loop_test(tc, begun_and_never_ended, 0, 3);
	tc = e2e_case(s, "limits", e2e_setup_bare, 60);
	tcase_add_test(tc, longer_than_the_host_takes);
	tcase_add_test(tc, longer_than_the_buffer);
	tcase_add_loop_test(tc, longer_than_the_guest_takes, 0, 2);
	tcase_add_loop_test(tc, longer_than_the_guest_takes_by_now, 0, 2);
	tcase_add_test(tc, empty_for_ever);
	tc = e2e_case(s, "types", e2e_setup_bare, 60);
	tcase_add_test(tc, another_type_listens);
	tcase_add_loop_test(tc, what_the_guest_knows, 0, COUNT(known));
	tc = e2e_case(s, "handshake", e2e_setup_bare, 60);
	tcase_add_loop_test(tc, first_messages, 0, COUNT(openings));
	tcase_add_loop_test(tc, one_shot_sender, 0, 2);
	tcase_add_test(tc, the_name);
	tcase_add_loop_test(tc, names_of_other_vms, 0, COUNT(named));
	tc = e2e_case(s, "another engine", e2e_setup_bare, 60);
	tcase_add_loop_test(tc, upgrade_in_the_middle, 0, COUNT(guests));
	tcase_add_test(tc, upgrade_that_brings_the_socket);
	tcase_add_test(tc, crash);
	tc = e2e_case_with(s, "siblings", e2e_setup_bare, sibs_teardown, 60);
	tcase_add_loop_test(tc, siblings_of_each_size, 0, COUNT(guests));
	tcase_add_test(tc, siblings_huge);
	tcase_add_loop_test(tc, siblings_many_wait, 0, 2);
	tcase_add_loop_test(tc, siblings_too_long, 0, 2);
	tcase_add_test(tc, siblings_leave_in_the_middle);
	tcase_add_test(tc, siblings_of_two_kinds);
	tcase_add_test(tc, siblings_of_one_worker);
	tcase_add_loop_test(tc, siblings_upgrade, 0, 2);
	return e2e_run(s);
}
