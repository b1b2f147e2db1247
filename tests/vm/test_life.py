#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-3-Clause
"""Guests that reboot, stop, die and come again, alone and beside others."""

import socket
import time

import vm
from vm import MIB, Daemon, Guest, Host, VmTest

ENDLESS = 1 << 40


class Reset(VmTest):
    """system_reset, at any moment."""

    def setUp(self):
        self.boots = self.guest.agent.n_ready

    def works_again(self):
        self.guest.wait_ready(self.boots + 1)
        for opener in "guest", "host":
            self.exchange(opener, f"duplex {MIB} {MIB}; shut wr; eof",
                          f"duplex {MIB} {MIB}; shut wr; eof")

    def test_while_the_guest_sends(self):
        for opener in "guest", "host":
            with self.subTest(opener):
                self.boots = self.guest.agent.n_ready
                _, host = self.start(opener, f"send {ENDLESS}",
                                     f"recv {4 * MIB}; event half; until-end")
                host.event("half")
                self.guest.reset()
                host.done()
                self.works_again()

    def test_while_the_host_sends(self):
        for opener in "guest", "host":
            with self.subTest(opener):
                self.boots = self.guest.agent.n_ready
                guest, host = self.start(
                    opener, f"recv {4 * MIB}; event half; drain",
                    f"expect EPIPE,ECONNRESET send {ENDLESS}; until-end")
                guest.event("half")
                self.guest.reset()
                host.done()
                self.works_again()

    def test_while_connections_are_idle(self):
        guest, host = self.start("guest", "send 1; wait",
                                 "recv 1; event open; until-end", threads=20)
        for _ in range(20):
            host.event("open")
        self.guest.reset()
        host.done()
        self.works_again()

    def test_while_nobody_reads(self):
        """Both directions are full when the guest goes."""
        guest, host = self.start("guest", f"send 1; event open; wait; send {ENDLESS}",
                                 f"recv 1; expect EPIPE,ECONNRESET send {ENDLESS};"
                                 "until-end")
        guest.event("open")
        vm.wait_until(lambda: host.status()["sent"] > 0, "the host sends")
        self.guest.reset()
        host.done()
        self.works_again()

    def test_host_calls_all_the_while(self):
        """Clients of a rebooting guest get an answer or a hang-up, and it survives."""
        self.guest.reset()
        answers = []
        while self.guest.agent.n_ready == self.boots:
            s, line = self.dial(self.port())
            s.close()
            answers.append(line)
        self.assertEqual(set(answers), {""})
        self.works_again()


class Stop(VmTest):
    """QEMU's stop and cont: the guest stands still, its connections stay."""

    daemon_args = ("--pause-grace", "600")

    def test_in_the_middle_of_transfers(self):
        n = 32 * MIB
        guest, host = self.start("guest", f"duplex {n} {n}; shut wr; eof",
                                 f"recv {MIB}; event going; duplex {n} {n - MIB};"
                                 "shut wr; eof")
        host.event("going")
        for _ in range(3):
            self.guest.command("stop")
            before = host.status()["received"]
            vm.wait_until(lambda: self.is_still(host), "the transfer stands still")
            self.guest.command("cont")
            vm.wait_until(lambda: host.status()["received"] > before or host.result,
                          "the transfer goes on")
        self.finish(guest, host)

    def test_for_longer_than_any_timeout(self):
        """Those of the set-up, of the closing, of the handshake: 10 s at most."""
        n = 4 * MIB
        guest, host = self.start("host", f"duplex {n} {n}; shut wr; eof",
                                 f"recv {MIB}; event going; duplex {n} {n - MIB};"
                                 "shut wr; eof")
        host.event("going")
        self.guest.command("stop")
        time.sleep(11)
        self.guest.command("cont")
        self.finish(guest, host)

    def is_still(self, job):
        before = job.status(), self.daemon.wakeups()
        self.host.run("event over").done()
        return before == (job.status(), self.daemon.wakeups())

    def test_connections_of_a_stopped_guest(self):
        """Nobody waits for it for ever; and when it goes on, it can be reached again."""
        port = self.port()
        guest = self.guest.listen(f"listen vsock:{port}; accept; echo; close; accept; echo")
        self.guest.command("stop")
        try:
            s, line = self.dial(port)
            s.close()
            self.assertEqual(line, "")
        finally:
            self.guest.command("cont")
        self.exchange("host", "recv 100; send 100", "send 100; recv 100")
        guest.kill()


class Grace(VmTest):
    """A pause longer than --pause-grace cannot be told from a reset."""

    daemon_args = ("--pause-grace", "1")

    def test_connections_end_on_both_sides(self):
        if vm.says_reset():
            self.skipTest("this QEMU tells a pause from a reset")
        guest, host = self.start("guest", "send 1; until-end",
                                 "recv 1; event open; until-end")
        host.event("open")
        self.guest.command("stop")
        try:
            host.done()
        finally:
            self.guest.command("cont")
        guest.done()
        for opener in "guest", "host":
            self.exchange(opener, "recv 10; send 10", "send 10; recv 10")


class Kill(VmTest):
    """QEMU killed by SIGKILL; a new one on the same daemon."""

    def test_ten_times(self):
        guest = self.guest
        for turn in range(10):
            up, host_in = self.start("guest", f"send {ENDLESS}",
                                     f"recv {2 * MIB}; event half; until-end")
            _, host_out = self.start("host", "drain",
                                     f"send {2 * MIB}; event half;"
                                     f"expect EPIPE,ECONNRESET send {ENDLESS}")
            host_in.event("half")
            host_out.event("half")
            guest.kill()
            host_in.done()
            host_out.done()
            s, line = self.dial(self.port())
            s.close()
            self.assertEqual(line, "")
            guest = Guest(self.daemon)
            self.guests[0] = guest
            type(self).guest = guest
            for opener in "guest", "host":
                self.exchange(opener, f"duplex {MIB} {MIB}; shut wr; eof",
                              f"duplex {MIB} {MIB}; shut wr; eof")
            vm.wait_until(lambda: self.daemon.fds() <= self.quiet_fds,
                          f"as many descriptors as before, turn {turn}")

    def test_guest_powers_off(self):
        _, host = self.start("guest", "send 1; wait", "recv 1; event open; until-end")
        host.event("open")
        self.guest.agent.order("quit")
        host.done()
        self.guest.process.wait(60)
        self.guests[0] = type(self).guest = Guest(self.daemon)
        self.exchange("host", "recv 10; send 10", "send 10; recv 10")

    def test_front_end_probes(self):
        """Connections to the front socket that say nothing, before and beside QEMU."""
        for _ in range(20):
            with socket.socket(socket.AF_UNIX) as s:
                s.connect(self.daemon.front_socket())
        self.exchange("guest", "recv 10; send 10", "send 10; recv 10")
        self.guest.kill()
        for _ in range(20):
            with socket.socket(socket.AF_UNIX) as s:
                s.connect(self.daemon.front_socket())
        self.guests[0] = type(self).guest = Guest(self.daemon)
        self.exchange("guest", "recv 10; send 10", "send 10; recv 10")


class Two(VmTest):
    """Two guests of one daemon."""

    cids = (3, 4)

    def test_each_has_its_own(self):
        for i in 0, 1:
            for opener in "guest", "host":
                self.exchange(opener, f"seed {i + 1}; duplex {MIB} {MIB}; shut wr; eof",
                              f"seed {i + 1}; duplex {MIB} {MIB}; shut wr; eof", vm=i)

    def test_both_at_once(self):
        n = 16 * MIB
        pairs = [self.start(opener, f"seed {i + 1}; duplex {n} {n}; shut wr; eof",
                            f"seed {i + 1}; duplex {n} {n}; shut wr; eof", vm=i)
                 for i in (0, 1) for opener in ("guest", "host")]
        for pair in pairs:
            self.finish(*pair, timeout=120)

    def survives(self, harm):
        """One transfers, the other is harmed in the middle of its own transfer."""
        n = 64 * MIB
        pair = self.start("guest", f"duplex {n} {n}; shut wr; eof",
                          f"recv {MIB}; event going; duplex {n} {n - MIB}; shut wr; eof")
        _, victim = self.start("guest", f"send {ENDLESS}",
                               f"recv {2 * MIB}; event half; until-end", vm=1)
        victim.event("half")
        pair[1].event("going")
        harm(self.guests[1])
        victim.done()
        self.finish(*pair, timeout=120)

    def test_one_is_killed(self):
        self.survives(Guest.kill)
        self.guests[1] = Guest(self.daemon, 1)
        self.exchange("host", "recv 10; send 10", "send 10; recv 10", vm=1)

    def test_one_is_reset(self):
        boots = self.guests[1].agent.n_ready
        self.survives(Guest.reset)
        self.guests[1].wait_ready(boots + 1)
        self.exchange("host", "recv 10; send 10", "send 10; recv 10", vm=1)

    def test_one_is_full(self):
        """The other's host program does not read."""
        victim = self.start("guest", f"send {ENDLESS}", "recv 1; event got; wait", vm=1)
        victim[1].event("got")
        n = 16 * MIB
        self.exchange("guest", f"duplex {n} {n}; shut wr; eof",
                      f"duplex {n} {n}; shut wr; eof")


class Early(VmTest):
    """Host programs that come before any guest did."""

    def test_before_the_first_boot(self):
        scratch = vm.Scratch()
        try:
            self.before_boot(scratch)
        except BaseException:
            vm.show_logs(scratch)
            raise
        finally:
            scratch.end()

    def before_boot(self, scratch):
        daemon = Daemon(scratch)
        for _ in range(10):
            s, line = vm.dial(daemon.uds(), 5)
            s.close()
            self.assertEqual(line, "")
        host, guest = Host(scratch), Guest(daemon)
        job = guest.listen("listen vsock:5; accept; echo")
        host.run(f"connect hybrid:5:{daemon.uds()}; send 10; recv 10; shut wr; eof").done()
        job.done()
        daemon.stop()       # with the guest still there

    def test_daemon_ends_under_a_running_guest(self):
        scratch = vm.Scratch()
        try:
            daemon = Daemon(scratch)
            guest, host = Guest(daemon), Host(scratch)
            job = host.listen(f"listen unix:{daemon.uds()}_9; accept; recv 1;"
                              "event open; until-end")
            guest.run(f"connect vsock:2:9; send {ENDLESS}")
            job.event("open")
            daemon.stop()
            job.done()
        except BaseException:
            vm.show_logs(scratch)
            raise
        finally:
            scratch.end()


if __name__ == "__main__":
    vm.main()
