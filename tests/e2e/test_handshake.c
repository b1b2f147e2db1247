/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The CONNECT line of host programs: in pieces, with data behind it, followed by
 * a close, too long, never; and what the guest sees of it.
 */
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "e2e/e2e.h"

enum { LINE_PORT = 1024 };

static void setup(void)
{
	e2e_setup_vm();
	sock_listen(&vm, LINE_PORT);
}

static int dial_with(const char *line)
{
	int fd = host_connect(vhd.uds);

	ck_assert_int_ge(fd, 0);
	ck_assert(host_write(fd, line, strlen(line)));
	return fd;
}

/* The guest has accepted, and both ends talk. */
static void check_stands(int fd)
{
	struct pair p = { .host = fd, .guest = sock_accept(&vm, LINE_PORT) };

	ck_assert_uint_eq(host_read_ok(fd), LINE_PORT);
	e2e_check_talks(p);
	e2e_close(p);
}

static const char *const good_lines[] = {
	"CONNECT 1024\n", "connect 1024\n", "CoNnEcT 1024\n", "CONNECT 1024\r\n",
	"CONNECT 1024 and more\n", "CONNECT 0000000000000000001024\n",
};

START_TEST(line_accepted)
{
	check_stands(dial_with(good_lines[_i]));
}
END_TEST

static const char *const bad_lines[] = {
	"\n", "\r\n", "CONNECT\n", "CONNECT \n", "CONNECT x\n", "CONNECT -1\n",
	"CONNECT 4294967296\n", "CONNECT 18446744073709552640\n", "CONNECT 1024x\n",
	"CONNECT1024\n", "CONNECTED 1024\n", "HELLO 1024\n", "GET / HTTP/1.1\r\n",
	"CONNECT 1024                      \n", "\x01\x02\x03\n",
};

START_TEST(line_refused_closed_at_once)
{
	int64_t start = daemon_clock_ms(&vhd);
	int fd = dial_with(bad_lines[_i]);

	ck_assert(host_is_closed(fd, DEADLINE_MS));
	ck_assert_int_lt(daemon_clock_ms(&vhd) - start, 2000);
	ck_assert_uint_eq(vm.n_rx_pkts, 0);
}
END_TEST

START_TEST(line_cut_at_every_byte)
{
	static const char line[] = "CONNECT 1024\n";
	size_t len = sizeof line - 1;
	int fd;

	for (size_t cut = 1; cut < len; cut++) {
		fd = host_connect(vhd.uds);
		ck_assert(host_write(fd, line, cut));
		ck_assert(host_is_quiet(fd, 5));
		ck_assert(host_write(fd, line + cut, len - cut));
		check_stands(fd);
	}
}
END_TEST

START_TEST(line_byte_by_byte)
{
	static const char line[] = "CONNECT 1024\n";
	int fd = host_connect(vhd.uds);

	for (size_t i = 0; i < sizeof line - 1; i++)
		ck_assert(host_write(fd, line + i, 1));
	check_stands(fd);
}
END_TEST

START_TEST(ok_comes_in_one_write_and_names_the_port)
{
	int fd = dial_with("CONNECT 1024\n");
	char reply[64];

	sock_accept(&vm, LINE_PORT);
	ck_assert(deadline_poll(fd, POLLIN, deadline_in(DEADLINE_MS)));
	ck_assert_int_eq(recv(fd, reply, sizeof reply, 0), 8);
	ck_assert_mem_eq(reply, "OK 1024\n", 8);
}
END_TEST

START_TEST(payload_behind_the_line_is_delivered)
{
	int fd = dial_with("CONNECT 1024\nhello\nworld");
	struct sock *s = sock_accept(&vm, LINE_PORT);
	char got[12] = "";

	ck_assert_uint_eq(host_read_ok(fd), LINE_PORT);
	ck_assert_uint_eq(sock_recv_full(s, got, 11), 11);
	ck_assert_str_eq(got, "hello\nworld");
	e2e_check_talks((struct pair){ s, fd });
}
END_TEST

START_TEST(large_payload_behind_the_line_is_delivered)
{
	static uint8_t bytes[13 + 100000];
	int fd = host_connect(vhd.uds);
	struct sock *s;

	memcpy(bytes, "CONNECT 1024\n", 13);
	pattern_fill(bytes + 13, 100000, 0, 9);
	ck_assert(host_write(fd, bytes, sizeof bytes));
	s = sock_accept(&vm, LINE_PORT);
	ck_assert_uint_eq(sock_recv_full(s, bytes, 100000), 100000);
	ck_assert_uint_eq(pattern_check(bytes, 100000, 0, 9), 100000);
	ck_assert_uint_eq(host_read_ok(fd), LINE_PORT);
}
END_TEST

/* A one-shot sender: its bytes arrive although it has gone. */
static void check_one_shot(int fd, bool closes)
{
	char got[4] = "";
	struct sock *s;

	if (closes)
		close(fd);
	else
		shutdown(fd, SHUT_WR);
	s = sock_accept(&vm, LINE_PORT);
	ck_assert_uint_eq(sock_recv_full(s, got, 3), 3);
	ck_assert_str_eq(got, "bye");
	ck_assert(sock_wait_shutdown(s, VSOCK_SHUTDOWN_SEND, DEADLINE_MS));
	if (!closes) {
		ck_assert_uint_eq(host_read_ok(fd), LINE_PORT);
		e2e_check_guest_to_host((struct pair){ s, fd }, 1000, 1);
	}
	sock_close(s);
	e2e_check_alive();
}

START_TEST(line_payload_and_shutdown_at_once)
{
	check_one_shot(dial_with("CONNECT 1024\nbye"), false);
}
END_TEST

START_TEST(line_payload_and_close_at_once)
{
	check_one_shot(dial_with("CONNECT 1024\nbye"), true);
}
END_TEST

/* Nobody listens: who has said more than its line is not told of a reset. */
START_TEST(line_and_payload_refused_is_an_end)
{
	int fd = dial_with("CONNECT 1025\nhello");
	int64_t deadline = deadline_in(DEADLINE_MS);
	char byte;

	while (!deadline_poll(fd, POLLIN, deadline_in(5))) {
		ck_assert(deadline_left(deadline));
		driver_turn(&vm);
	}
	ck_assert_int_eq(read(fd, &byte, 1), 0);
	close(fd);
}
END_TEST

START_TEST(line_and_close_before_response)
{
	const struct driver_kept *k;
	struct driver_pkt response;

	driver_keep_packets(&vm);
	close(dial_with("CONNECT 1024\n"));
	k = driver_next(&vm, DEADLINE_MS);
	ck_assert_ptr_nonnull(k);
	ck_assert_uint_eq(k->pkt.op, VSOCK_OP_REQUEST);
	response = driver_pkt(&vm, VSOCK_OP_RESPONSE, LINE_PORT, k->pkt.src_port);
	ck_assert(driver_send(&vm, &response, NULL));
	k = driver_next(&vm, DEADLINE_MS);
	ck_assert_ptr_nonnull(k);
	ck_assert(k->pkt.op == VSOCK_OP_SHUTDOWN || k->pkt.op == VSOCK_OP_RST);
	vm.input = sock_input;
	e2e_check_alive();
}
END_TEST

START_TEST(no_data_before_the_response)
{
	int fd = dial_with("CONNECT 1024\nearly");
	struct driver_pkt response;
	const struct driver_kept *k;

	driver_keep_packets(&vm);
	k = driver_next(&vm, DEADLINE_MS);
	ck_assert_uint_eq(k->pkt.op, VSOCK_OP_REQUEST);
	ck_assert_uint_eq(k->pkt.len, 0);
	ck_assert_uint_eq(k->pkt.dst_port, LINE_PORT);
	response = driver_pkt(&vm, VSOCK_OP_RESPONSE, LINE_PORT, k->pkt.src_port);
	ck_assert(driver_is_quiet(&vm, QUIET_MS));
	ck_assert(host_is_quiet(fd, 0));
	ck_assert(driver_send(&vm, &response, NULL));
	k = driver_next(&vm, DEADLINE_MS);
	ck_assert_uint_eq(k->pkt.op, VSOCK_OP_RW);
	ck_assert_uint_eq(k->pkt.len, 5);
	ck_assert_mem_eq(k->data, "early", 5);
}
END_TEST

START_TEST(line_without_newline_closed_at_32_bytes)
{
	int fd = dial_with("CONNECT 1024                   "); /* 31 */

	ck_assert(host_is_quiet(fd, QUIET_MS));
	ck_assert(host_write(fd, "  ", 2));
	ck_assert(host_is_closed(fd, DEADLINE_MS));
	ck_assert_uint_eq(vm.n_rx_pkts, 0);
}
END_TEST

START_TEST(silent_client_holds_nobody_up_and_is_closed)
{
	unsigned before = daemon_usage(&vhd).fds;
	int fd = host_connect(vhd.uds);

	e2e_check_alive();
	ck_assert_uint_le(daemon_usage(&vhd).fds, before + 1);
	ck_assert(host_is_closed(fd, 40000));
	close(fd);
	ck_assert(daemon_wait_fds(&vhd, before, DEADLINE_MS));
}
END_TEST

START_TEST(clients_that_connect_and_close_cost_nothing)
{
	unsigned before = daemon_usage(&vhd).fds;

	for (int i = 0; i < 500; i++)
		close(host_connect(vhd.uds));
	e2e_check_alive();
	ck_assert(daemon_wait_fds(&vhd, before, DEADLINE_MS));
	ck_assert_uint_lt(daemon_usage_both(&vhd).cpu_ms, 2000);
}
END_TEST

START_TEST(host_ports_are_high_and_unique)
{
	enum { N = 100 };
	uint32_t ports[N];
	int fds[N];

	for (int i = 0; i < N; i++) {
		fds[i] = dial_with("CONNECT 1024\n");
		ports[i] = sock_accept(&vm, LINE_PORT)->peer_port;
		ck_assert_uint_ge(ports[i], 1u << 30);
		ck_assert_uint_lt(ports[i], 1u << 31);
		for (int j = 0; j < i; j++)
			ck_assert_uint_ne(ports[i], ports[j]);
	}
	for (int i = 0; i < N; i++)
		ck_assert_uint_eq(host_read_ok(fds[i]), LINE_PORT);
}
END_TEST

START_TEST(host_speaks_while_no_rx_buffer_is_free)
{
	struct driver_options few = { .n_rx_bufs = 1 };
	struct sock *s;
	char got[4] = "";
	int fd;

	driver_deinit(&vm);
	driver_up(&vm, vhd.socket, &few);
	sock_listen(&vm, LINE_PORT);
	vm.holds_rx = true;
	fd = dial_with("CONNECT 1024\nbye");
	s = sock_accept(&vm, LINE_PORT);	/* the REQUEST took the buffer */
	ck_assert(driver_is_quiet(&vm, QUIET_MS));
	driver_release_rx(&vm);
	ck_assert_uint_eq(sock_recv_full(s, got, 3), 3);
	ck_assert_str_eq(got, "bye");
	e2e_check_talks((struct pair){ s, (host_read_ok(fd), fd) });
}
END_TEST

START_TEST(no_guest_closed_at_once)
{
	int fd = host_dial(vhd.uds, PORT);

	ck_assert(host_is_closed(fd, DEADLINE_MS));
	close(fd);
	driver_up(&vm, vhd.socket, NULL);
	e2e_check_alive();
}
END_TEST

int main(void)
{
	Suite *s = suite_create("handshake");
	TCase *tc = e2e_case(s, "handshake", setup, 60);

	tcase_add_loop_test(tc, line_accepted, 0,
			    sizeof good_lines / sizeof good_lines[0]);
	tcase_add_loop_test(tc, line_refused_closed_at_once, 0,
			    sizeof bad_lines / sizeof bad_lines[0]);
	tcase_add_test(tc, line_cut_at_every_byte);
	tcase_add_test(tc, line_byte_by_byte);
	tcase_add_test(tc, ok_comes_in_one_write_and_names_the_port);
	tcase_add_test(tc, payload_behind_the_line_is_delivered);
	tcase_add_test(tc, large_payload_behind_the_line_is_delivered);
	tcase_add_test(tc, line_payload_and_shutdown_at_once);
	tcase_add_test(tc, line_payload_and_close_at_once);
	tcase_add_test(tc, line_and_payload_refused_is_an_end);
	tcase_add_test(tc, line_and_close_before_response);
	tcase_add_test(tc, no_data_before_the_response);
	tcase_add_test(tc, line_without_newline_closed_at_32_bytes);
	tcase_add_test(tc, silent_client_holds_nobody_up_and_is_closed);
	tcase_add_test(tc, clients_that_connect_and_close_cost_nothing);
	tcase_add_test(tc, host_ports_are_high_and_unique);
	tcase_add_test(tc, host_speaks_while_no_rx_buffer_is_free);
	tcase_add_test(e2e_case(s, "no guest", e2e_setup_daemon, 60),
		       no_guest_closed_at_once);
	return e2e_run(s);
}
