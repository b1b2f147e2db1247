#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-3-Clause
"""The AF_VSOCK backend: the daemon inside a guest.

The guest boots with the daemon, the program test_afvsock.c and the libraries that
both need put behind its image. Its script runs the daemon once before the kernel
knows AF_VSOCK, then loads vsock_loopback and runs the program, whose TAP comes out
of a serial port and is passed on. The machine itself opens no AF_VSOCK connection.

A second guest has a vsock device, from a daemon out here, so that its ports can be
reached by a peer with another CID: the host, 2.
"""

import contextlib
import glob
import os
import re
import subprocess
import sys
import threading
import time

import inside
import vm

SCRIPT = """
out=/dev/ttyS1
/bin/busybox stty -F $out raw
end() {
	echo "== $1 ended: $2" >$out
}
/daemon --socket /tmp/s --forward-cid 1 >$out 2>&1
end early $?
case " $(/bin/busybox cat /proc/cmdline) " in
*" vm.peers "*)
	/bin/busybox rm -f /more/*
	which=peers
	;;
*)
	/bin/busybox rm -f /modules/*-vmw_vsock_virtio_transport.ko
	;;
esac
for file in /modules/*.ko /more/*.ko; do
	[ ! -e $file ] || /bin/busybox insmod $file
done
export AFVSOCK_TEST_IN=guest VHOST_DEVICE_VSOCK=/daemon
/test_afvsock $which >$out 2>&1
end program $?
/bin/busybox poweroff -f
"""


def run_guest(scratch, initrd, name, word="", extra=()):
    """Until it powers itself off; what came out of the second serial port."""
    out, console = scratch.path(name + ".txt"), scratch.path(name + "-console.log")
    args = [*inside.machine(initrd, word, console), "-accel", vm.ACCEL, "-m", "1G", "-smp", "2",
            "-object", "memory-backend-memfd,id=mem0,size=1G,share=on",
            "-machine", "q35,memory-backend=mem0", "-serial", f"file:{out}", *extra]
    if vm.ACCEL != "tcg":
        args += ["-cpu", "host"]
    try:
        subprocess.run(args, stdin=subprocess.DEVNULL, check=True, timeout=500 * vm.SCALE)
    except subprocess.SubprocessError as e:
        vm.complain(e)
    with open(out, errors="replace") as f:
        return f.read()


class Dialler(threading.Thread):
    """Connects to each port, again and again; keeps all that comes before an end."""

    def __init__(self, uds, ports):
        super().__init__(daemon=True)
        self.uds, self.heard, self.over = uds, {port: set() for port in ports}, False

    def run(self):
        while not self.over:
            for port, heard in self.heard.items():
                with contextlib.suppress(OSError):
                    s, answer = vm.dial(self.uds, port, 5)
                    with s:
                        if answer:
                            heard.add(s.recv(100))
            time.sleep(0.01)


def run_peers(scratch, initrd):
    daemon = vm.Daemon(scratch, (9,))
    dialler = Dialler(daemon.uds(), (7001, 7002, 7003))
    dialler.start()
    text = run_guest(scratch, initrd, "peers", "vm.peers",
                     ["-chardev", f"socket,id=vsk0,path={daemon.front_socket()}",
                      "-device", "vhost-user-vsock-pci,chardev=vsk0"])
    dialler.over = True
    dialler.join()
    daemon.stop()
    return text, dialler.heard


class Tap:
    def __init__(self):
        self.n, self.failed = 0, False

    def line(self, ok, name, details=""):
        self.n += 1
        self.failed |= not ok
        print(f"{'ok' if ok else 'not ok'} {self.n} - {name}", flush=True)
        if not ok and details:
            vm.complain(f"*** {name}\n{details}")


def report_early(tap, text):
    early, _, rest = text.partition("== early ended: ")
    status = rest.partition("\n")[0]
    tap.line(status == "1" and "forward-cid 1: this kernel has no AF_VSOCK" in early,
             "a kernel without AF_VSOCK", f"status {status}, {early}")


def report(tap, name, text):
    failed_before, tap.failed = tap.failed, False
    rest = text.partition("== early ended: ")[2].partition("\n")[2]
    program, _, status = rest.partition("== program ended: ")
    lines = program.splitlines()
    for line in lines:
        result = re.match(r"(not ok|ok) \d+ - (.*)", line)
        if result:
            tap.line(result[1] == "ok", result[2], result[2])
    plan = sum(re.fullmatch(r"1\.\.[1-9]\d*", line) is not None for line in lines)
    tap.line(plan == 1 and status.strip() == ("1" if tap.failed else "0"),
             f"{name}: the program came to its end",
             "\n".join(lines[-40:]) + f"\nstatus {status}")
    for line in lines:
        if line.startswith("#"):
            vm.complain(line)
    tap.failed |= failed_before


def main():
    if len(sys.argv) != 3:
        sys.exit(f"usage: {sys.argv[0]} DAEMON TEST_AFVSOCK")
    vm.prepare_image()
    if not glob.glob(os.path.join(vm.IMAGE, "more", "vsock_loopback.ko")):
        vm.skip_all("the guest's kernel has no module vsock_loopback")
    vm.daemon_path = os.path.abspath(sys.argv[1])
    scratch, tap = vm.Scratch(), Tap()
    try:
        initrd = inside.make_initrd(scratch, SCRIPT, {"daemon": sys.argv[1],
                                                      "test_afvsock": sys.argv[2]})
        text = run_guest(scratch, initrd, "loopback")
        report_early(tap, text)
        report(tap, "loopback", text)
        text, heard = run_peers(scratch, initrd)
        report(tap, "peers", text)
        tap.line(heard[7001] <= {b""} and all(b"hello" in heard[port] for port in (7002, 7003)),
                 "what the peers heard", heard)
        if tap.failed:
            vm.show_logs(scratch)
    finally:
        scratch.end()
    print(f"1..{tap.n}", flush=True)
    sys.exit(1 if tap.failed else 0)


if __name__ == "__main__":
    with vm.all_ends_with_us():
        main()
