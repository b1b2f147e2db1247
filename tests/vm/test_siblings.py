#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-3-Clause
"""Guests of one daemon that talk to each other, and to the host meanwhile."""

import vm
from vm import MIB, Guest, VmTest

A, B, OTHER = 0, 1, 2                   # indices of guests; CIDs are 3 more


class Siblings(VmTest):
    """A and B share the default group, the third has one of its own."""

    cids = (3, 4, 5)
    groups = {5: "lonely"}

    def link(self, a_steps, b_steps, threads=1, a=A, b=B):
        """A script for each end of a connection that @a opens to @b."""
        port = self.port()
        listener = self.guests[b].listen(f"listen vsock:{port}; accept;" + b_steps, threads)
        caller = self.guests[a].run(f"connect vsock:{self.cids[b]}:{port};" + a_steps, threads)
        return caller, listener

    def test_a_line_each_way(self):
        for a, b in (A, B), (B, A):
            self.finish(*self.link("send 1000; recv 1000", "recv 1000; send 1000", a=a, b=b))

    def test_64_mib_both_ways_while_each_talks_to_the_host(self):
        n = 64 * MIB
        jobs = [self.link(f"duplex {n} {n}; shut wr; eof", f"duplex {n} {n}; shut wr; eof")]
        for i in A, B:
            jobs.append(self.start("guest", f"duplex {n // 4} {n // 4}; shut wr; eof",
                                   f"duplex {n // 4} {n // 4}; shut wr; eof", vm=i))
        for job in jobs:
            self.finish(*job, timeout=180)

    def test_half_close_both_ways(self):
        self.finish(*self.link("send 5000; shut wr; recv 7000; eof",
                               "recv 5000; eof; send 7000; shut wr"))
        self.finish(*self.link("recv 5000; eof; send 7000; shut wr",
                               "send 5000; shut wr; recv 7000; eof"))

    def test_writes_and_closes_towards_a_slow_reader(self):
        self.finish(*self.link("send 200000", "chunk 10000; pace 10; recv 200000; eof"))

    def test_100_connections_at_once(self):
        self.finish(*self.link("barrier; seed 1000 1000; send 10000; recv 10000; shut wr; eof",
                               "barrier; echo", threads=100))

    def test_nobody_listens(self):
        job = self.guests[A].run(f"expect ECONNRESET,ECONNREFUSED connect vsock:4:{self.port()}")
        self.assertLess(job.done()["connect_us"], 500_000)

    def test_no_common_group(self):
        for a, b in (A, OTHER), (OTHER, A):
            job = self.guests[a].run("expect ECONNRESET,ECONNREFUSED "
                                     f"connect vsock:{self.cids[b]}:{self.port()}")
            self.assertLess(job.done()["connect_us"], 500_000)

    def test_oneself(self):
        self.guests[A].run(f"connect vsock:3:{self.port()}").failed()

    def test_sibling_is_killed_in_mid_transfer(self):
        caller, listener = self.link("expect EPIPE,ECONNRESET send 1099511627776",
                                     f"recv {4 * MIB}; event half; drain")
        beside = self.start("guest", f"duplex {16 * MIB} {16 * MIB}; shut wr; eof",
                            f"duplex {16 * MIB} {16 * MIB}; shut wr; eof", vm=A)
        listener.event("half")
        self.guests[B].kill()
        caller.done()
        self.finish(*beside)
        job = self.guests[A].run("expect ECONNRESET,ECONNREFUSED connect vsock:4:1")
        self.assertLess(job.done()["connect_us"], 500_000)
        self.guests[B] = Guest(self.daemon, B)
        self.test_a_line_each_way()

    def test_sibling_does_not_read(self):
        """It holds up the connections to itself, and nothing else."""
        caller, listener = self.link("send 1099511627776", "recv 1; event got; wait")
        listener.event("got")
        n = 16 * MIB
        jobs = [self.link(f"duplex {n} {n}; shut wr; eof", f"duplex {n} {n}; shut wr; eof")]
        for i in A, B:
            jobs.append(self.start("guest", f"duplex {n} {n}; shut wr; eof",
                                   f"duplex {n} {n}; shut wr; eof", vm=i))
        for job in jobs:
            self.finish(*job)

    def test_sibling_stands_still(self):
        """QEMU's stop: it takes no RX buffers at all."""
        caller, listener = self.link("send 1099511627776", "recv 1; event got; drain")
        listener.event("got")
        self.guests[B].command("stop")
        try:
            n = 16 * MIB
            self.finish(*self.start("guest", f"duplex {n} {n}; shut wr; eof",
                                    f"duplex {n} {n}; shut wr; eof", vm=A))
        finally:
            self.guests[B].command("cont")


if __name__ == "__main__":
    vm.main()
