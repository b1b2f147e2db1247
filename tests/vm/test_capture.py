#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-3-Clause
"""What a real guest and its device say to each other, as tshark sees it; and what the event
monitor tells of the same connections."""

import json
import os
import shutil
import signal
import struct
import subprocess

import vm
from vm import MIB, Daemon, VmTest, wait_until

RW = 5


class Watched(Daemon):
    """All its packets are captured, and its events."""

    def __init__(self, scratch, cids=(3,), extra=(), groups=None):
        self.pcap, self.events_path = scratch.path("a.pcap"), scratch.path("events")
        super().__init__(scratch, cids, (
            *extra, "--capture", self.pcap, "--capture-size", "0",
            "--event-monitor", f"path={self.events_path}"), groups)

    def events(self, name=None):
        with open(self.events_path) as f:
            events = [json.loads(line) for line in f if line.endswith("\n")]
        return [e for e in events if name in (None, e["event"])]

    def packets(self):
        """How many whole packets are in the file, and how many bytes they are."""
        with open(self.pcap, "rb") as f:
            data = f.read()
        n, at = 0, 24
        while at + 16 <= len(data):
            size = struct.unpack_from("<I", data, at + 8)[0]
            if at + 16 + size > len(data):
                break
            n, at = n + 1, at + 16 + size
        return n, at


class Captured(VmTest):
    """One guest, of which every packet is captured."""

    daemon_class = Watched

    def settle(self):
        """Until all is written; a copy that grows no more."""
        seen = []

        def is_quiet():
            self.host.run("event over").done()
            seen.append(self.daemon.packets())
            return len(seen) > 20 and len(set(seen[-20:])) == 1

        wait_until(is_quiet, "the capture came to rest", 30)
        copy = self.scratch.path("copy.pcap")
        shutil.copy(self.daemon.pcap, copy)
        return copy

    def tshark(self, path, *args):
        if not shutil.which("tshark"):
            self.skipTest("tshark is not installed")
        done = subprocess.run(["tshark", "-n", "-r", path, *args], stdout=subprocess.PIPE,
                              stderr=subprocess.PIPE, text=True, check=False)
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertNotIn("cut short", done.stderr)
        return done.stdout.splitlines()

    def check_sound(self, path):
        """Not one packet that tshark does not understand."""
        n = self.daemon.packets()[0]
        rows = self.tshark(path, "-T", "fields", "-e", "vsock.src_cid", "-e", "vsock.dst_cid")
        self.assertEqual(len(rows), n)
        for row in rows:
            self.assertEqual(set(row.split("\t")), {"3", "2"})
        self.assertEqual(self.tshark(path, "-Y", "_ws.malformed || !vsock || "
                                     "vsock.virtio.op == 0 || vsock.virtio.op > 7"), [])

    def lost(self):
        with open(self.daemon.log) as f:
            return "lost so far" in f.read()

    def payload(self, path, source):
        return sum(int(n) for n in self.tshark(
            path, "-Y", f"vsock.virtio.op == {RW} && vsock.src_cid == {source}",
            "-T", "fields", "-e", "vsock.virtio.len"))

    def test_every_packet_is_decoded(self):
        path = self.settle()
        before = self.payload(path, 3), self.payload(path, 2)
        for opener in "guest", "host":
            self.exchange(opener, "send 100000; recv 200000; shut wr; eof",
                          "recv 100000; send 200000; shut wr; eof", threads=10)
        self.exchange("guest", f"send {2 * MIB}; shut wr; eof", "drain")
        self.guest.run("expect ECONNRESET,ECONNREFUSED "
                       f"connect vsock:2:{self.port()}").done()
        path = self.settle()
        self.check_sound(path)
        if self.lost():
            vm.note("this machine is too slow to capture all of it")
            return
        self.assertEqual(self.payload(path, 3) - before[0], 20 * 100000 + 2 * MIB)
        self.assertEqual(self.payload(path, 2) - before[1], 20 * 200000)

    def test_events_tell_the_same(self):
        before = len(self.daemon.events("connection-closed"))
        self.exchange("guest", "send 1234; recv 5678; shut wr; eof",
                      "recv 1234; send 5678; shut wr; eof")
        wait_until(lambda: len(self.daemon.events("connection-closed")) > before,
                   "the event of its end")
        event = self.daemon.events("connection-closed")[-1]
        self.assertEqual(event["source"], "vm")
        properties = event["properties"]
        self.assertEqual((properties["cid"], properties["peer_cid"], properties["origin"],
                          properties["bytes_to_host"], properties["bytes_to_guest"]),
                         (3, 2, "guest", 1234, 5678))
        self.assertTrue(self.daemon.events("guest-running"))
        self.assertTrue(self.daemon.events("front-end-connected"))

    def test_goes_on_after_an_upgrade_and_a_crash(self):
        for _ in range(2):
            n = self.daemon.packets()[0]
            self.daemon.upgrade()
            self.exchange("guest", "send 1000; recv 1000", "recv 1000; send 1000")
            wait_until(lambda n=n: self.daemon.packets()[0] > n, "more packets")
            n = self.daemon.packets()[0]
            old = self.daemon.engine()
            os.kill(old, signal.SIGKILL)
            wait_until(lambda old=old: self.daemon.find_engine() not in (None, old), "another")
            self.exchange("guest", "send 1000; recv 1000", "recv 1000; send 1000")
            wait_until(lambda n=n: self.daemon.packets()[0] > n, "more packets")
        self.check_sound(self.settle())
        self.assertEqual(len(self.daemon.events("engine-died")), 2)
        self.assertEqual(len(self.daemon.events("upgraded")), 2)


if __name__ == "__main__":
    vm.main()
