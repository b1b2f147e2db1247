#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-3-Clause
"""Another build of the daemon takes over (SIGUSR2) under guests that are in the middle of
transfers: every byte arrives, and once."""

import os
import shutil
import tempfile

import vm
from vm import MIB, VmTest, wait_until

UPGRADES = 5


class Upgrade(VmTest):
    """Two guests, and a program that is installed anew."""

    cids = (3, 4)

    @classmethod
    def setUpClass(cls):
        cls.original, cls.folder = vm.daemon_path, tempfile.mkdtemp(prefix="vm-")
        vm.daemon_path = os.path.join(cls.folder, "daemon")
        cls.install(b"")
        try:
            super().setUpClass()
        except BaseException:
            shutil.rmtree(cls.folder)
            raise

    @classmethod
    def tearDownClass(cls):
        try:
            super().tearDownClass()
        finally:
            vm.daemon_path = cls.original
            shutil.rmtree(cls.folder)

    @classmethod
    def install(cls, more):
        """A build that differs in what is appended."""
        new = vm.daemon_path + ".new"
        shutil.copy(cls.original, new)
        with open(new, "ab") as f:
            f.write(more)
        os.rename(new, vm.daemon_path)

    @staticmethod
    def received(job):
        """Bytes so far, also of a job that is done meanwhile."""
        try:
            return job.status()["received"]
        except AssertionError:
            if job.result is None:
                raise
            return job.done()["received"]

    def upgrade_while(self, job, n):
        """At equal distances while @job receives @n bytes; a slow machine may miss the last ones.
        How often it was in the middle of that."""
        done = 0
        for i in range(UPGRADES):
            wait_until(lambda: self.received(job) >= n * (i + 1) // (UPGRADES + 1),
                       "bytes that move", 60)
            self.install(b"build %d" % i)
            self.daemon.upgrade()
            done += self.received(job) < n
        return done

    def check_both_ways(self, start):
        """@start: begins to move as many bytes as its argument; a fast guest gets more to do."""
        for n in 64 * MIB, 256 * MIB, 1024 * MIB:
            one, other = start(n)
            done = self.upgrade_while(one, n)
            self.finish(one, other, 120)
            if done >= 2:
                return
            vm.note(f"{n >> 20} MiB were over before the second upgrade")
        self.fail("it was over before the second upgrade")

    def test_64_mib_both_ways(self):
        for opener in "guest", "host":
            with self.subTest(opener):
                self.check_both_ways(
                    lambda n, opener=opener: self.start(opener, f"duplex {n} {n}; shut wr; eof",
                                                        f"duplex {n} {n}; shut wr; eof"))

    def test_64_mib_between_siblings(self):
        def start(n):
            port, script = self.port(), f"duplex {n} {n}; shut wr; eof"
            listener = self.guests[1].listen(f"listen vsock:{port}; accept;" + script)
            return self.guests[0].run(f"connect vsock:4:{port};" + script), listener
        self.check_both_ways(start)

    def test_idle_connections_go_on(self):
        guest, host = self.start_from_guest("send 1000; event sent; wait; recv 1000; eof",
                                            "recv 1000; event got; wait; send 1000; close")
        host.event("got")
        for i in range(UPGRADES):
            self.daemon.upgrade()
        host.go()
        guest.go()
        self.finish(guest, host)


if __name__ == "__main__":
    vm.main()
