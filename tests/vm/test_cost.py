#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-3-Clause
"""What the daemon costs: nothing while nothing happens, nothing that stays."""

import os
import shutil
import signal
import subprocess
import time

import vm
from vm import VmTest

SECONDS = 5


class Quiet(VmTest):
    """No wake-up in five seconds."""

    def open_some(self, threads=10):
        guest, host = self.start("guest", "send 100; recv 100; event open; wait; shut wr; eof",
                                 "recv 100; send 100; wait; shut wr; eof", threads)
        for _ in range(threads):
            guest.event("open")
        return guest, host

    def wait_for_rest(self):
        def sleeps():
            before = self.daemon.wakeups()
            self.host.run("event over").done()
            time.sleep(0.2)
            return before == self.daemon.wakeups()
        vm.wait_until(sleeps, "the daemon came to rest", 20)

    def watch(self):
        self.wait_for_rest()
        wakeups, cpu = self.daemon.wakeups(), self.daemon.cpu_seconds()
        time.sleep(SECONDS)
        return self.daemon.wakeups() - wakeups, self.daemon.cpu_seconds() - cpu

    def quiet(self, wakeups_allowed=0):
        """Wait until it sleeps, then watch; again, if a guest had something to do all the same.
        What wakes up by itself does it each time."""
        for _ in range(3):
            wakeups, cpu = self.watch()
            if wakeups <= wakeups_allowed and cpu <= 0.01:
                return
            vm.note(f"{wakeups} wake-ups, {cpu} s")
        self.assertLessEqual(wakeups, wakeups_allowed)
        self.assertLessEqual(cpu, 0.01)


class Idle(Quiet):
    """Whatever is open, and whoever does not read."""

    def test_connections_open(self):
        guest, host = self.open_some()
        self.quiet()
        for job in guest, host:
            job.go()
        self.finish(guest, host)

    def test_host_does_not_read(self):
        _, host = self.start("guest", f"send {1 << 40}", "recv 1; event got; wait")
        host.event("got")
        self.quiet()

    def test_guest_does_not_read(self):
        """Its credit is used up, the host's socket is full. Now and then it is asked."""
        guest, _ = self.start("host", "recv 1; event got; wait", f"send {1 << 40}")
        guest.event("got")
        self.quiet(wakeups_allowed=4)

    def test_half_closed(self):
        guest, host = self.start("guest", "shut wr; recv 1; wait", "eof; send 1; wait")
        vm.wait_until(lambda: guest.status()["received"], "the byte came")
        self.quiet()

    def test_nobody_there(self):
        """The guest is gone, the daemon waits for the next."""
        self.guest.kill()
        self.quiet()
        self.guests[0] = type(self).guest = vm.Guest(self.daemon)


class Traced(Quiet):
    """The same as strace sees it: in the sandbox only if we may look into it."""

    daemon_args = () if vm.MAY_LOOK else ("--sandbox", "off")

    def trace(self):
        """The system calls in some seconds, but those that it sat in when strace came."""
        trace = self.scratch.path("strace.txt")
        pids = self.daemon.pids()
        strace = subprocess.Popen([*vm.LEASH, "strace", "-f", "-o", trace,
                                   *(f"--attach={pid}" for pid in pids)],
                                  stdin=subprocess.DEVNULL, stderr=subprocess.PIPE)
        try:
            for _ in pids:
                if b"attached" not in strace.stderr.readline():
                    self.skipTest("strace may not attach here")
            time.sleep(SECONDS)
        finally:
            strace.send_signal(signal.SIGINT)
            strace.communicate()
        with open(trace) as f:
            return [line for line in f if "unfinished" not in line
                    and "resumed" not in line and "detached" not in line]

    def test_no_system_call(self):
        """A worker that a busy machine or strace has held up is looked after, once."""
        if shutil.which("strace") is None:
            self.skipTest("no strace")
        guest, host = self.open_some()
        for _ in range(3):
            self.wait_for_rest()
            calls = self.trace()
            others = [call for call in calls if "epoll" not in call]
            if not others and len(calls) <= len(self.daemon.tasks()):
                break
        self.assertEqual(others, [])
        self.assertLessEqual(len(calls), len(self.daemon.tasks()))
        for job in guest, host:
            job.go()
        self.finish(guest, host)


class Paused(Quiet):
    """QEMU's stop; the connections are kept for as long as one may want."""

    daemon_args = ("--pause-grace", "600")

    def test_guest_stands_still(self):
        guest, _ = self.start("host", "recv 1; event got; drain", f"send {1 << 40}")
        guest.event("got")
        self.guest.command("stop")
        try:
            self.quiet()
        finally:
            self.guest.command("cont")


class Growth(VmTest):
    """2,000 connections leave nothing behind."""

    def round(self):
        for opener in "guest", "host":
            self.exchange(opener, "seed 5; send 3000; recv 3000; shut wr; eof" if
                          opener == "guest" else "echo",
                          "echo" if opener == "guest" else
                          "seed 5; send 3000; recv 3000; shut wr; eof", threads=100)

    def resident_kib(self):
        kib = 0
        for pid in self.daemon.pids():
            with open(f"/proc/{pid}/status") as f:
                kib += sum(int(line.split()[1]) for line in f if line.startswith("RssAnon"))
        return kib

    def test_2000_connections(self):
        self.round()
        self.round()
        memory, tasks = self.resident_kib(), len(self.daemon.tasks())
        for _ in range(10):
            self.round()
            vm.wait_until(lambda: self.daemon.fds() <= self.quiet_fds,
                          "as many descriptors as before")
        # One that closes descriptors may be there for a moment.
        vm.wait_until(lambda: len(self.daemon.tasks()) <= tasks, "as many threads as before")
        grown = self.resident_kib() - memory
        vm.note(f"resident memory: {memory} KiB, grown by {grown} KiB")
        if not self.is_sanitized():
            self.assertLess(grown, 256)

    def is_sanitized(self):
        with open(vm.daemon_path, "rb") as f:
            return b"__asan_init" in f.read() or "tsan" in os.environ.get("TSAN_OPTIONS", "")


if __name__ == "__main__":
    vm.main()
