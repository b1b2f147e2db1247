#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-3-Clause
"""What a QEMU can do with a vsock device: its kinds, its hot-plug, its memory.

Run with the installed QEMU and, by VM_QEMU=sid, with that of Debian unstable. What is not
about a kind of device or machine is in the other files."""

import contextlib
import os
import socket
import threading
import time
import unittest

import relay
import vm
from vm import MIB, Daemon, Guest, Scratch, VmTest

ENDLESS = 1 << 40
BOOT_MIB = 192
BLOCK = 128 << 10                   # less than all buffers of an echo hold
OST_DEVICE_CHECK, OST_SUCCESS = 1, 0        # ACPI's _OST: of what comes


def shared_memory(mib, name="mem0"):
    return ["-object", f"memory-backend-memfd,id={name},size={mib}M,share=on"]


class QemuTest(VmTest):
    """A guest on a machine of the class's own."""

    device = {"driver": "vhost-user-vsock-pci", "id": "vsock0", "chardev": "vsk0"}
    words = ""

    @classmethod
    def machine(cls):
        return ["-machine", "q35,memory-backend=mem0", "-m", f"{BOOT_MIB}M"]

    @classmethod
    def front_socket(cls):
        return cls.daemon.front_socket()

    @classmethod
    def make_guest(cls, i):
        device = ",".join(cls.device[key] if key == "driver" else f"{key}={cls.device[key]}"
                          for key in cls.device)
        return Guest(cls.daemon, wait=False, words=cls.words, machine=[
            "-accel", vm.ACCEL, *shared_memory(BOOT_MIB), *cls.machine(),
            "-chardev", f"socket,id=vsk0,path={cls.front_socket()}", "-device", device])

    def works(self):
        for opener in "guest", "host":
            self.exchange(opener, f"duplex {MIB} {MIB}; shut wr; eof",
                          f"duplex {MIB} {MIB}; shut wr; eof")

    def log(self):
        with open(self.daemon.log, errors="replace") as f:
            return f.read()


# ---- kinds of devices and machines ----

class Kind:
    """For each kind of device; mixed into a QemuTest."""

    stop_s = 5

    def start_both(self, n):
        """A transfer that each side opened; they are in the middle of it."""
        pairs = [self.start(opener, f"seed {n + i}; duplex {n} {n}; shut wr; eof",
                            f"seed {n + i}; recv {MIB}; event going; duplex {n} {n - MIB};"
                            "shut wr; eof")
                 for i, opener in enumerate(("guest", "host"))]
        for _, host in pairs:
            host.event("going")
        return pairs

    def test_traffic(self):
        for pair in self.start_both(16 * MIB):
            self.finish(*pair)

    def test_stop_and_cont_under_traffic(self):
        pairs = self.start_both(64 * MIB)
        self.guest.command("stop")
        time.sleep(self.stop_s)
        for pair in pairs:
            self.assertEqual([job.result for job in pair], [None, None])
        self.guest.command("cont")
        for pair in pairs:
            self.finish(*pair)

    def start_endless(self):
        """Transfers that only an end of the device ends: the jobs in the guest, and on the
        host."""
        # The last three: Linux, without a device.
        ends = "expect EPIPE,ECONNRESET,ENOTCONN,ENODEV,ENOMEM"
        up = self.start("guest", f"{ends} send {ENDLESS}",
                        f"recv {4 * MIB}; event half; until-end")
        down = self.start("host", f"recv {4 * MIB}; event half; until-end",
                          f"{ends} send {ENDLESS}; until-end")
        up[1].event("half")
        down[0].event("half")
        return [up[0], down[0]], [up[1], down[1]]

    def test_system_reset_under_traffic(self):
        boots = self.guest.agent.n_ready
        _, on_host = self.start_endless()
        self.guest.reset()
        for job in on_host:
            job.done()
        self.guest.wait_ready(boots + 1)
        self.works()


class Pci(Kind, QemuTest):
    """vhost-user-vsock-pci behind a root port, where it can be plugged."""

    device = {**QemuTest.device, "bus": "port0"}
    stop_s = 15                         # longer than --pause-grace, and any other time-out

    @classmethod
    def machine(cls):
        return [*super().machine(), "-device", "pcie-root-port,id=port0,chassis=1"]

    def test_stop_and_cont_under_traffic(self):
        if not vm.says_reset():
            self.skipTest("this QEMU needs a --pause-grace: vm_life has it")
        super().test_stop_and_cont_under_traffic()

    def unplug(self):
        self.guest.command("device_del", id=self.device["id"])
        vm.wait_until(lambda: self.device["id"] not in self.guest.peripherals(),
                      "the device is unplugged")

    def plug(self):
        """False: QEMU has not yet let go of what the last one had."""
        try:
            self.guest.command("device_add", **self.device)
        except AssertionError as e:
            if "already in use" in str(e):
                return False
            raise
        return True

    def test_device_del_and_device_add(self):
        port = self.port()
        echo = self.guest.listen(f"listen vsock:{port};" + "accept; echo; close;" * 3)
        for _ in range(3):
            in_guest, on_host = self.start_endless()
            self.unplug()
            for job in in_guest + on_host:
                job.done()
            s, line = self.dial(port)
            s.close()
            self.assertEqual(line, "")
            vm.wait_until(self.plug, "the chardev is free again")
            s = vm.wait_until(lambda: self.reached(port), "the guest has its device again")
            with s:
                s.sendall(b"x")
                self.assertEqual(s.recv(1), b"x")
            self.works()
        echo.done()

    def reached(self, port):
        s, line = self.dial(port)
        if line:
            return s
        s.close()
        return None


class Microvm(Kind, QemuTest):
    """vhost-user-vsock-device, on virtio-mmio."""

    daemon_args = ("--pause-grace", "600")
    device = {"driver": "vhost-user-vsock-device", "chardev": "vsk0"}

    @classmethod
    def machine(cls):
        # It has one serial port by itself.
        return ["-machine", "microvm,memory-backend=mem0", "-m", f"{BOOT_MIB}M",
                "-device", "isa-serial,chardev=serial1,index=1"]

    @classmethod
    def make_guest(cls, i):
        cls.words = tsc_words()
        return super().make_guest(i)


def tsc_words():
    """Its clock chip is too slow for a busy machine: a guest that cannot measure the
    processor's clock takes long to boot."""
    with open("/proc/cpuinfo") as f:
        for line in f:
            if line.startswith("cpu MHz"):
                return f"tsc_early_khz={round(float(line.split()[-1]) * 1000)}"
    return ""


class Generic(Kind, QemuTest):
    """QEMU's device for any back-end, which has all three queues."""

    daemon_args = ("--pause-grace", "600")      # it never says RESET_DEVICE
    device = {"driver": "vhost-user-test-device-pci", "chardev": "vsk0", "virtio-id": "19",
              "num_vqs": "3", "config_size": "8", "vq_size": "128"}

    @classmethod
    def setUpClass(cls):
        if not vm.device_options(cls.device["driver"]):
            raise unittest.SkipTest(f"this QEMU has no {cls.device['driver']}")
        super().setUpClass()

    @classmethod
    def front_socket(cls):
        return cls.relay_path

    @classmethod
    def make_guest(cls, i):
        cls.relay_path = cls.scratch.path("relay.sock")
        cls.relay = relay.Relay(cls.relay_path, cls.daemon.front_socket())
        return super().make_guest(i)

    def test_another_back_end_is_announced(self):
        """By the event queue: a guest that sends nothing learns that its connections are
        void."""
        guest, host = self.start_from_guest("send 1; until-end",
                                            "recv 1; event open; until-end", threads=10)
        for _ in range(10):
            host.event("open")
        self.relay.stopped.clear()
        self.guest.command("stop")
        vm.wait_until(lambda: self.relay.stopped >= {0, 1, 2}, "all queues are stopped")
        self.daemon.stop()
        host.done()
        type(self).daemon = Daemon(self.scratch, self.cids, self.daemon_args)
        self.relay.replace_back(self.daemon.front_socket())
        self.guest.command("cont")
        guest.done()
        self.works()


# ---- memory that comes and goes ----

class Echo(threading.Thread):
    """A connection whose bytes go to the guest and back until end() is called."""

    def __init__(self, test):
        super().__init__(daemon=True)
        port = test.port()
        self.job = test.guest.listen(f"listen vsock:{port}; accept; echo; close")
        self.socket, line = test.dial(port)
        assert line, "the guest is not reached"
        self.stream = self.socket.makefile("rb")
        self.n, self.error, self.is_over = 0, None, False
        self.start()

    def run(self):
        try:
            while not self.is_over:
                block = os.urandom(BLOCK)
                self.socket.sendall(block)
                assert self.stream.read(BLOCK) == block, "other bytes"
                self.n += 1
        except (OSError, AssertionError) as e:
            self.error = e

    def goes_on(self):
        """Blocks that have started after this is called arrive, too."""
        end = self.n + 3
        vm.wait_until(lambda: self.n >= end or self.error, "bytes move")
        assert not self.error, f"after {self.n} blocks: {self.error!r}"

    def end(self):
        self.goes_on()
        self.is_over = True
        self.join(60 * vm.SCALE)
        self.socket.shutdown(socket.SHUT_WR)
        assert self.stream.read() == b""
        self.stream.close()
        self.socket.close()
        assert self.job.done()["received"] == self.n * BLOCK


class Memory(QemuTest):
    """Regions that come and go under traffic."""

    daemon_args = ("-vv",)

    @classmethod
    def machine(cls):
        return ["-machine", "q35,memory-backend=mem0", "-m", f"{BOOT_MIB}M,slots=4,maxmem=4G"]

    def setUp(self):
        self.regions = self.n_added() - self.n_removed()

    def tearDown(self):
        """What a test leaves plugged has a descriptor."""
        type(self).quiet_fds += self.n_added() - self.n_removed() - self.regions
        super().tearDown()

    def n_added(self):
        return self.log().count(": ADD_MEM_REG, ")

    def n_removed(self):
        return self.log().count(": REM_MEM_REG, ")

    @contextlib.contextmanager
    def traffic(self):
        """Gives what waits until all connections have moved."""
        echoes = [Echo(self) for _ in range(3)]

        def goes_on():
            for echo in echoes:
                echo.goes_on()
        goes_on()
        yield goes_on
        for echo in echoes:
            echo.end()

    def online(self, how):
        """What the guest does with memory that comes: online_kernel, for sockets, too;
        online_movable, or offline, from where it can be taken away."""
        self.guest.run(f"write /sys/devices/system/memory/auto_online_blocks {how}").done()

    def hold(self, mib):
        """The guest has to keep bytes unread, which lie in the memory backend of that size."""
        n, size, before = 8, 4 * MIB, self.used_bytes(mib)
        guest, host = self.start_from_host(
            f"opt vsock-buffer {size}; wait; drain; shut wr", f"send {size}; shut wr; eof",
            threads=n)
        vm.wait_until(lambda: host.status()["sent"] == n * size and
                      self.used_bytes(mib) - before >= n * size // 2,
                      "the guest's buffers lie in that memory")
        guest.go()
        self.finish(guest, host)

    def used_bytes(self, mib):
        """Of the memory backend of that size: what has been touched."""
        folder, used = f"/proc/{self.guest.process.pid}/fd", {}
        for fd in os.listdir(folder):
            with contextlib.suppress(FileNotFoundError):
                if os.readlink(f"{folder}/{fd}").startswith("/memfd:"):
                    st = os.stat(f"{folder}/{fd}")
                    if st.st_size == mib * MIB:
                        used[st.st_ino] = st.st_blocks * 512
        return sum(used.values())


class Dimm(Memory):
    """pc-dimm."""

    def plug(self, name, mib):
        self.guest.command("object-add", **{
            "qom-type": "memory-backend-memfd", "id": f"{name}-memory", "size": mib * MIB,
            "share": True})
        self.guest.command("device_add", driver="pc-dimm", id=name, memdev=f"{name}-memory")
        vm.wait_until(lambda: self.has_taken(name), f"the guest has taken {name}")

    def has_taken(self, name):
        """Its firmware was told how that went."""
        slot = next(dimm["data"]["slot"] for dimm in self.guest.command("query-memory-devices")
                    if dimm["data"].get("id") == name)
        return any((int(info["slot"]), info["source"], info["status"]) ==
                   (slot, OST_DEVICE_CHECK, OST_SUCCESS)
                   for info in self.guest.command("query-acpi-ospm-status"))

    def unplug(self, name):
        self.guest.command("device_del", id=name)
        vm.wait_until(lambda: name not in self.guest.peripherals(), f"{name} is unplugged")
        self.guest.command("object-del", id=f"{name}-memory")

    def test_comes_and_goes_under_traffic(self):
        with self.traffic() as goes_on:
            self.online("online_movable")
            for _ in range(3):
                added, removed = self.n_added(), self.n_removed()
                self.plug("dimm0", 128)
                goes_on()
                vm.wait_until(lambda: self.n_added() == added + 1, "a region more")
                self.unplug("dimm0")
                goes_on()
                vm.wait_until(lambda: self.n_removed() == removed + 1, "a region less")
        self.works()

    def test_guest_uses_it(self):
        """Its kernel does not give it back, so it stays."""
        with self.traffic() as goes_on:
            self.online("online_kernel")
            self.plug("dimm1", 256)
            goes_on()
            self.hold(256)
        self.works()


class VirtioMem(Memory):
    """virtio-mem; a newer QEMU shares of it what is in use."""

    @classmethod
    def machine(cls):
        cls.is_dynamic = "dynamic-memslots" in vm.device_options("virtio-mem-pci")
        options = ",dynamic-memslots=on" if cls.is_dynamic else ""
        return [*super().machine(), *shared_memory(1024, "vmem"),
                "-device", f"virtio-mem-pci,id=vmem0,memdev=vmem,requested-size=0{options}"]

    def size(self):
        return self.guest.command("qom-get", path="/machine/peripheral/vmem0", property="size")

    def request(self, mib):
        self.guest.command("qom-set", path="/machine/peripheral/vmem0",
                           property="requested-size", value=mib * MIB)

    def resize(self, mib):
        self.request(mib)
        vm.wait_until(lambda: self.size() == mib * MIB, f"the guest has {mib} MiB of it")

    def test_is_resized_under_traffic(self):
        with self.traffic() as goes_on:
            self.online("online_movable")
            added, removed = self.n_added(), self.n_removed()
            for mib in 256, 512, 0, 384, 0:
                self.resize(mib)
                goes_on()
            if self.is_dynamic:
                self.assertGreaterEqual(self.n_added(), added + 2)
                vm.wait_until(lambda: self.n_added() - added == self.n_removed() - removed,
                              "no region more than before")
            self.online("online_kernel")
            self.resize(256)
            goes_on()
            self.hold(1024)
            # What its kernel still uses it cannot give back.
            self.request(0)
            vm.wait_until(lambda: self.size() < 256 * MIB, "the guest has given back some")
            goes_on()
        self.works()


class NotShared(VmTest):
    """Memory that the daemon cannot see: it says so before one looks elsewhere."""

    cids = (3, 4, 5)
    memory = (
        [],
        ["-object", f"memory-backend-memfd,id=mem0,size={BOOT_MIB}M,share=off"],
        ["-object", f"memory-backend-file,id=mem0,size={BOOT_MIB}M,mem-path=FILE"],
    )

    @classmethod
    def make_guest(cls, i):
        memory = [word.replace("FILE", cls.scratch.path("memory")) for word in cls.memory[i]]
        return Guest(cls.daemon, i, wait=False, machine=[
            "-accel", vm.ACCEL, "-m", f"{BOOT_MIB}M", *memory,
            "-machine", "q35,memory-backend=mem0" if memory else "q35",
            "-chardev", f"socket,id=vsk0,path={cls.daemon.front_socket(i)}",
            "-device", "vhost-user-vsock-pci,chardev=vsk0"])

    def test_is_reported_within_5_s(self):
        for cid, memory in zip(self.cids, self.memory):
            with self.subTest(memory=memory):
                vm.wait_until(lambda: self.is_reported(cid), "a line about it", 5)

    def is_reported(self, cid):
        with open(self.daemon.log, errors="replace") as f:
            return any(f" vm {cid}: " in line and "share=on" in line for line in f)


if __name__ == "__main__":
    vm.main()
