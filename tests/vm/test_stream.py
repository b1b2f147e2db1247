#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-3-Clause
"""One connection, or many, between a guest and the host: every byte, every ending."""

import os
import shutil
import socket
import subprocess
import time

import vm
from vm import MIB, VmTest


class Connect(VmTest):
    """Who can be reached, and how soon one is told that nobody can."""

    def test_guest_reaches_host(self):
        self.exchange("guest", "send 1000; recv 1000", "recv 1000; send 1000")

    def test_host_reaches_guest(self):
        self.exchange("host", "send 1000; recv 1000", "recv 1000; send 1000")

    def test_host_is_told_the_port_it_reached(self):
        port = self.port()
        guest = self.guest.listen(f"listen vsock:{port}; accept; drain")
        s, line = self.dial(port)
        s.close()
        self.assertEqual(line, f"OK {port}\n")
        guest.done()

    def test_guest_that_finds_nobody_is_told_at_once(self):
        for _ in range(5):
            job = self.guest.run("expect ECONNRESET,ECONNREFUSED "
                                 f"connect vsock:2:{self.port()}")
            self.assertLess(job.done()["connect_us"], 500_000)

    def test_guest_that_calls_an_unknown_cid_is_told_at_once(self):
        # A Linux guest sends this out, for want of a transport that knows better.
        job = self.guest.run("connect vsock:77:1234")
        result = job.failed()
        self.assertIn(result["error"], ("ECONNRESET", "ECONNREFUSED", "ENODEV"))
        self.assertLess(result["connect_us"], 500_000)

    def test_host_that_finds_nobody_is_hung_up_on_at_once(self):
        for _ in range(5):
            start = time.monotonic()
            s, line = self.dial(self.port())
            s.close()
            self.assertEqual(line, "")
            self.assertLess(time.monotonic() - start, 1.0 * vm.SCALE)

    def test_200_connections_at_once_from_the_guest(self):
        self.exchange("guest",
                      "barrier; seed 1000 1000; send 10000; recv 10000; shut wr; eof",
                      "barrier; echo", threads=200)

    def test_200_connections_at_once_from_the_host(self):
        self.exchange("host", "barrier; echo",
                      "barrier; seed 1000 1000; send 10000; recv 10000; shut wr; eof",
                      threads=200)

    def test_one_after_the_other(self):
        """No descriptor and no port is left behind; tearDown looks."""
        port = self.port()
        guest = self.guest.listen(f"listen vsock:{port};" + "accept; echo; close;" * 20)
        for _ in range(20):
            self.host.run(f"connect hybrid:{port}:{self.daemon.uds()};"
                          "send 100; recv 100; shut wr; eof").done()
        guest.done()


    def test_guest_bound_but_not_listening_refuses(self):
        port = self.port()
        guest = self.guest.run(f"bind vsock:{port}; event bound; wait")
        guest.event("bound")
        start = time.monotonic()
        s, line = self.dial(port)
        s.close()
        self.assertEqual(line, "")
        self.assertLess(time.monotonic() - start, 1.0 * vm.SCALE)

    def test_guest_meets_a_stale_socket(self):
        port = self.port()
        path = f"{self.daemon.uds()}_{port}"
        stale = socket.socket(socket.AF_UNIX)
        stale.bind(path)
        stale.close()
        job = self.guest.run(f"expect ECONNRESET,ECONNREFUSED connect vsock:2:{port}")
        self.assertLess(job.done()["connect_us"], 500_000)
        os.unlink(path)

    def test_guest_calls_again_from_the_same_port(self):
        """Its close is answered at once, not left to the kernel's 8 s."""
        port = self.port()
        host = self.host.listen(f"listen unix:{self.daemon.uds()}_{port};"
                                + "accept; echo; close;" * 5)
        start = time.monotonic()
        for _ in range(5):
            def attempt():
                job = self.guest.run(f"bind vsock:{port}; connect vsock:2:{port};"
                                     "send 100; recv 100; shut wr; eof; close")
                result = job.wait()
                if result["how"] == "failed":
                    self.assertEqual((result["verb"], result["error"]),
                                     ("bind", "EADDRINUSE"))
                return result["how"] == "done"
            vm.wait_until(attempt, "the guest may use its port again")
        self.assertLess(time.monotonic() - start, 5 * vm.SCALE)
        host.done()


class Handshake(VmTest):
    """The host's side of the connection set-up, as programs really write it."""

    def guest_expects(self, text):
        port = self.port()
        return port, self.guest.listen(f"listen vsock:{port}; accept; hear; eof"), text

    def check(self, guest, text):
        self.assertEqual(guest.event("heard")["text"], text)
        guest.done()

    def test_line_in_pieces(self):
        port, guest, text = self.guest_expects("after the line")
        s = socket.socket(socket.AF_UNIX)
        s.connect(self.daemon.uds())
        for byte in f"CONNECT {port}\n".encode():
            s.send(bytes([byte]))
        self.assertEqual(s.recv(100), f"OK {port}\n".encode())
        s.sendall(text.encode() + b"\n")
        s.close()
        self.check(guest, text)

    def test_payload_behind_the_line(self):
        port, guest, text = self.guest_expects("in the same write")
        s = socket.socket(socket.AF_UNIX)
        s.connect(self.daemon.uds())
        s.sendall(f"CONNECT {port}\n{text}\n".encode())
        s.shutdown(socket.SHUT_WR)
        self.check(guest, text)
        s.close()

    def test_one_shot_sender(self):
        """printf 'CONNECT...' | nc -N: closed before the guest could answer."""
        port, guest, text = self.guest_expects("and gone")
        s = socket.socket(socket.AF_UNIX)
        s.connect(self.daemon.uds())
        s.sendall(f"CONNECT {port}\n{text}\n".encode())
        s.close()
        self.check(guest, text)

    def test_socat(self):
        if shutil.which("socat") is None:
            self.skipTest("no socat")
        port, guest, text = self.guest_expects("by socat")
        subprocess.run(["socat", "-u", "STDIN", f"UNIX-CONNECT:{self.daemon.uds()}"],
                       input=f"CONNECT {port}\n{text}\n".encode(), check=True,
                       timeout=30 * vm.SCALE)
        self.check(guest, text)

    def test_silent_clients_hold_nobody_up(self):
        silent = []
        for _ in range(50):
            s = socket.socket(socket.AF_UNIX)
            s.connect(self.daemon.uds())
            silent.append(s)
        self.exchange("host", "recv 1000; send 1000", "send 1000; recv 1000")
        self.exchange("guest", "recv 1000; send 1000", "send 1000; recv 1000")
        for s in silent:
            s.close()


class Bulk(VmTest):
    """Many bytes: all of them, in order, once."""

    def test_64_mib_from_guest(self):
        for opener in "guest", "host":
            with self.subTest(opener):
                self.exchange(opener, f"send {64 * MIB}; shut wr; eof", "drain; shut wr")

    def test_64_mib_from_host(self):
        for opener in "guest", "host":
            with self.subTest(opener):
                self.exchange(opener, "drain; shut wr", f"send {64 * MIB}; shut wr; eof")

    def test_64_mib_both_ways_at_once(self):
        n = 64 * MIB
        self.exchange("guest", f"seed 7 8; duplex {n} {n}; shut wr; eof",
                      f"seed 8 7; duplex {n} {n}; shut wr; eof")

    def test_odd_sizes(self):
        """Writes of one byte, of primes, across packet and buffer sizes."""
        for chunk, n in (1, 3000), (13, 30011), (4051, 500009), (65537, 3000017):
            with self.subTest(chunk=chunk):
                self.exchange("host", f"chunk {chunk}; duplex {n} {n}; shut wr; eof",
                              f"chunk {chunk}; duplex {n} {n}; shut wr; eof")

    def test_large_writes_and_buffers(self):
        n = 16 * MIB
        self.exchange("guest", f"chunk {MIB}; duplex {n} {n}; shut wr; eof",
                      f"chunk {MIB}; duplex {n} {n}; shut wr; eof")

    def test_guest_with_a_tiny_buffer(self):
        port = self.port()
        host = self.host.listen(f"listen unix:{self.daemon.uds()}_{port}; accept;"
                                f"send {2 * MIB}; shut wr; eof")
        guest = self.guest.run(f"opt vsock-buffer 4096; connect vsock:2:{port};"
                               "drain; shut wr")
        self.finish(guest, host)

    def test_guest_with_a_tiny_buffer_sends(self):
        """No more ahead than that holds, since 2026."""
        port = self.port()
        host = self.host.listen(f"listen unix:{self.daemon.uds()}_{port}; accept; drain; shut wr")
        guest = self.guest.run(f"opt vsock-buffer 4096; connect vsock:2:{port};"
                               f"send {MIB}; shut wr; eof")
        self.finish(guest, host)

    def test_guest_with_a_large_buffer(self):
        port = self.port()
        host = self.host.listen(f"listen unix:{self.daemon.uds()}_{port}; accept;"
                                f"send {16 * MIB}; shut wr; eof")
        guest = self.guest.run(f"opt vsock-buffer {4 * MIB}; connect vsock:2:{port};"
                               "drain; shut wr")
        self.finish(guest, host)

    def test_eight_streams_share(self):
        n = 4 * MIB
        self.exchange("guest", f"seed 20; duplex {n} {n}; shut wr; eof",
                      "echo", threads=8)

    def test_peek(self):
        self.exchange("host", "peek 3000; recv 1000; peek 2000; recv 2000; eof",
                      "send 3000; shut wr; eof")


class Endings(VmTest):
    """Half a connection and a whole one; what was sent before arrives."""

    def test_request_then_answer_after_half_close_by_guest(self):
        for opener in "guest", "host":
            with self.subTest(opener):
                self.exchange(opener, f"send {MIB}; shut wr; drain",
                              f"drain; send {MIB}; close")

    def test_request_then_answer_after_half_close_by_host(self):
        for opener in "guest", "host":
            with self.subTest(opener):
                self.exchange(opener, f"drain; send {MIB}; close",
                              f"send {MIB}; shut wr; drain")

    def test_half_close_with_nothing_sent(self):
        self.exchange("guest", "shut wr; recv 5; eof", "eof; send 5; shut wr")
        self.exchange("host", "eof; send 5; shut wr", "shut wr; recv 5; eof")

    def test_guest_writes_and_closes(self):
        """The tail of the stream is not lost, however the buffers stand."""
        for n in 1, 5000, 70000, 4 * MIB:
            with self.subTest(n=n):
                self.exchange("guest", f"send {n}; close", "drain")

    def test_host_writes_and_closes(self):
        for n in 1, 5000, 70000, 4 * MIB:
            with self.subTest(n=n):
                self.exchange("host", "drain", f"send {n}; close")

    def test_guest_writes_and_closes_towards_a_slow_host(self):
        """The host starts to read when the guest has long closed."""
        n = 100_000
        guest, host = self.start_from_guest(f"send {n}; close", "wait; drain")
        guest.done()
        host.go()
        self.finish(guest, host)

    def test_host_writes_and_closes_towards_a_slow_guest(self):
        n = 100_000
        guest, host = self.start_from_host("wait; drain", f"send {n}; close")
        host.done()
        guest.go()
        self.finish(guest, host)

    def test_guest_process_is_killed(self):
        guest, host = self.start_from_guest("send 1000; event sent; wait",
                                            "recv 1000; event got; until-end")
        guest.event("sent")
        host.event("got")
        guest.kill()
        host.done()

    def test_host_process_is_killed(self):
        guest, host = self.start_from_guest("recv 1000; event got; until-end",
                                            "send 1000; event sent; wait")
        guest.event("got")
        host.kill()
        guest.done()

    def test_guest_writes_to_a_host_that_left(self):
        guest, host = self.start_from_guest(f"expect EPIPE,ECONNRESET send {1 << 40}",
                                            f"recv {MIB}; close")
        guest.done()
        host.done()

    def test_host_writes_to_a_guest_that_left(self):
        guest, host = self.start_from_host(f"recv {MIB}; close",
                                           f"expect EPIPE,ECONNRESET send {1 << 40}")
        guest.done()
        host.done()

    def test_guest_shuts_its_reading_side(self):
        """SHUTDOWN with the receive flag alone: the host's writes fail, its reads go on."""
        guest, host = self.start_from_guest(
            f"shut rd; event shut; wait; send 100000; close",
            f"expect EPIPE,ECONNRESET send {1 << 40}; event failed; until-end")
        guest.event("shut")
        host.event("failed")
        guest.go()
        guest.done()
        self.assertEqual(host.done()["received"], 100000)


class Slow(VmTest):
    """A side that does not read stops the other, and nobody else."""

    n = 8 * MIB

    def stuck(self, job):
        """Wait until a sender makes no progress: two looks, a whole exchange apart."""
        def still():
            before = job.status()["sent"]
            self.exchange("guest", "send 200000; recv 200000",
                          "recv 200000; send 200000")
            self.exchange("host", "recv 100; send 100", "send 100; recv 100")
            return before > 0 and job.status()["sent"] == before
        vm.wait_until(still, f"{job} is stuck")

    def test_host_does_not_read(self):
        guest, host = self.start_from_guest(f"send {self.n}; shut wr; eof",
                                            "wait; drain; shut wr")
        self.stuck(guest)
        cpu = self.daemon.cpu_seconds()
        wakeups = self.daemon.wakeups()
        self.assertEqual(guest.status()["sent"], guest.status()["sent"])
        self.assertLess(self.daemon.cpu_seconds() - cpu, 0.05)
        self.assertLess(self.daemon.wakeups() - wakeups, 10)
        host.go()
        self.finish(guest, host)

    def test_guest_does_not_read(self):
        guest, host = self.start_from_host("wait; drain; shut wr",
                                           f"send {self.n}; shut wr; eof")
        self.stuck(host)
        guest.go()
        self.finish(guest, host)

    def test_slow_host(self):
        self.exchange("guest", f"send {MIB}; shut wr; eof",
                      "chunk 16384; pace 20; drain; shut wr")

    def test_slow_guest(self):
        self.exchange("host", "chunk 16384; pace 20; drain; shut wr",
                      f"send {MIB}; shut wr; eof")

    def test_neither_reads_then_both_do(self):
        """Both directions full at once: no deadlock when they are read again."""
        port = self.port()
        uds = f"{self.daemon.uds()}_{port}"
        host = self.host.listen(f"listen unix:{uds}; accept; duplex {self.n} 0; shut wr;"
                                "until-end")
        guest = self.guest.run(f"connect vsock:2:{port}; wait; duplex {self.n} {self.n};"
                               "shut wr; eof")
        self.stuck(host)
        guest.go()
        self.finish(guest, host)


if __name__ == "__main__":
    vm.main()
