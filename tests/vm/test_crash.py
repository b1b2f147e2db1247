#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-3-Clause
"""A guest whose daemon crashes, and is told to read its file again."""

import os
import signal
import statistics
import time

import vm
from vm import MIB, SCALE, Daemon, VmTest

ENDLESS = 1 << 40
CRASHES = 10
WORKS_MS = 200                      # a new connection, on a machine that has time
ENDS_MS = 1500                      # the guest's shortest time-out is 2 s


class FileDaemon(Daemon):
    """Its VMs are in a file, which can be another one later."""

    def arguments(self, groups):
        self.write(self.uds())
        return ["--config", self.scratch.path("vms.yaml"), "--log-level", "info"]

    def write(self, uds, extra=""):
        with open(self.scratch.path("vms.yaml"), "w") as f:
            f.write(f"vms:\n  - {{ guest-cid: 3, socket: {self.front_socket()}, "
                    f"uds-path: {uds} }}\n{extra}")

    def reload(self, uds, extra, is_done):
        self.write(uds, extra)
        self.process.send_signal(signal.SIGHUP)
        vm.wait_until(is_done, "the file to be read")

    def find_engine(self):
        """The engine that serves; None: there is none now."""
        pid = self.process.pid
        try:
            with open(f"/proc/{pid}/task/{pid}/children") as f:
                children = f.read().split()
            for child in children:
                with open(f"/proc/{child}/comm") as f:
                    if f.read() == "vsock-engine\n":
                        return int(child)
        except (FileNotFoundError, ProcessLookupError):
            pass
        return None

    def engine(self):
        return vm.wait_until(self.find_engine, "an engine")


def ms_since(start):
    return (time.monotonic() - start) * 1000


class Live(VmTest):
    """One guest, which runs all the while."""

    daemon_class = FileDaemon
    daemon_args = ("--threads", "1")       # one that is made for more VMs would stay

    def traffic(self):
        """Connections of all kinds, in the middle of what they do."""
        pairs = [
            self.start("guest", "send 1; until-end", "recv 1; event going; until-end"),
            self.start("host", "recv 1; send 1; until-end",
                       "send 1; recv 1; event going; until-end"),
            self.start("guest", f"expect EPIPE,ECONNRESET send {ENDLESS}",
                       f"recv {MIB}; event going; until-end"),
            self.start("host", "until-end",
                       f"send {MIB}; event going; expect EPIPE,ECONNRESET send {ENDLESS}"),
        ]
        for _, host in pairs:
            host.event("going")
        return pairs

    def crash(self):
        """(ms until a new connection works, ms until all others have ended)"""
        pairs = self.traffic()
        port = self.port()
        echo = self.guest.listen(f"listen vsock:{port}; accept; echo")
        engine = self.daemon.engine()
        start = time.monotonic()
        os.kill(engine, signal.SIGKILL)
        s, line = self.dial(port)
        self.assertTrue(line.startswith("OK "), line)
        s.sendall(b"x")
        self.assertEqual(s.recv(1), b"x")
        works_ms = ms_since(start)
        for guest, host in pairs:
            guest.done()
            host.done()
        ends_ms = ms_since(start)
        s.close()
        echo.done()
        return works_ms, ends_ms

    def test_engine_is_killed_again_and_again(self):
        times = [self.crash() for _ in range(CRASHES)]
        works, ends = zip(*times)
        vm.note("a new connection works after "
                f"{', '.join(f'{ms:.0f}' for ms in works)} ms")
        vm.note(f"all others had ended after {', '.join(f'{ms:.0f}' for ms in ends)} ms")
        self.assertLessEqual(statistics.median(works), WORKS_MS * SCALE)
        self.assertLess(max(ends), ENDS_MS * SCALE)
        for opener in "guest", "host":
            self.exchange(opener, f"duplex {MIB} {MIB}; shut wr; eof",
                          f"duplex {MIB} {MIB}; shut wr; eof")

    def test_file_is_read_again_under_load(self):
        n = 16 * MIB
        pairs = [self.start(opener, f"duplex {n} {n}; shut wr; eof",
                            f"recv {MIB}; event going; duplex {n} {n - MIB}; shut wr; eof")
                 for opener in ("guest", "host")]
        for _, host in pairs:
            host.event("going")
        engine, old, moved = self.daemon.engine(), self.daemon.uds(), self.scratch.path("moved")
        other = self.scratch.path("other")
        self.daemon.reload(moved, f"  - {{ guest-cid: 4, socket: {other}, "
                                  f"uds-path: {other}.vsock }}\n",
                           lambda: os.path.exists(moved) and os.path.exists(other))
        port = self.port()
        echo = self.guest.listen(f"listen vsock:{port}; accept; echo")
        s, line = vm.dial(moved, port)
        self.assertTrue(line.startswith("OK "), line)
        s.close()
        echo.done()
        self.daemon.reload(old, "", lambda: os.path.exists(old) and not os.path.exists(other))
        for pair in pairs:
            self.finish(*pair)
        self.assertEqual(self.daemon.engine(), engine)
        self.exchange("host", "recv 10; send 10", "send 10; recv 10")


if __name__ == "__main__":
    vm.main()
