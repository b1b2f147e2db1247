#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-3-Clause
"""The benchmark inside a guest whose time is counted in instructions: QEMU's -icount.

    tests/bench/in_guest.py BENCH DAEMON [OPTION OF THE BENCHMARK]...

A nanosecond is an instruction there, of whichever CPU, and no time passes while all of them
are idle: so what else the machine does changes no figure, and rounds repeat to one per cent.
What takes time is the sum of what guest driver, daemon, host programs and their kernel
execute. What caches, system calls and CPUs at the same time cost beyond that is not in it.

The guest is one of tests/vm: busybox and Debian unstable's cloud kernel; nothing is installed.
tests/bench.sh --guest builds and calls this.

Environment: BENCH_CPUS (3); VM_KERNEL (sid), VM_QEMU and VM_CACHE as for tests/vm.

Exit status: the benchmark's; 77, with the reason, where there can be no such guest.
"""

import argparse
import os
import shlex
import subprocess
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "vm"))
os.environ.setdefault("VM_KERNEL", "sid")
import inside  # noqa: E402
import vm  # noqa: E402

# AF_VSOCK and vhost-vsock, but not the driver of a guest's own device, in the order of loading.
MODULES = "/modules/*-vsock.ko /modules/*-vmw_vsock_virtio_transport_common.ko /host/*.ko"
CPUS = os.environ.get("BENCH_CPUS", "3")
STATUS = "== status "

SCRIPT = """
out=/dev/ttyS1
for port in $out /dev/ttyS2; do
	/bin/busybox stty -F $port raw
done
for file in {modules}; do
	[ ! -e $file ] || /bin/busybox insmod $file	# or it is built in
done
# What a kernel puts off until after its start; it costs no time.
/bin/busybox sleep 30
ulimit -n 40000			# for the rows with 10,000 connections
export TMPDIR=/tmp BENCH_IN=guest
/bench {options} >$out 2>&1
echo "{status}$?" >$out
[ ! -e /json ] || /bin/busybox cat /json >/dev/ttyS2
/bin/busybox poweroff -f
"""

# The same instructions each time. Strings are copied by words: were it by bytes, as CPUs say
# that they do it fast, each byte would be an instruction. And idle CPUs halt: MWAIT is a loop here.
COUNTED = ["-accel", "tcg,thread=single", "-icount", "shift=0,sleep=off", "-seed", "1",
           "-rtc", "base=2026-01-01,clock=vm", "-cpu", "max,-erms,-fsrm,-monitor",
           "-machine", "q35", "-m", "1G"]
WORDS = "nokaslr norandmaps tsc=reliable clocksource=tsc"


def no_guest(reason):
    print(f"{os.path.basename(sys.argv[0])}: {reason}", file=sys.stderr)
    sys.exit(77)


def parse():
    parser = argparse.ArgumentParser(usage=__doc__.split("\n\n")[1].strip())
    parser.add_argument("bench")
    parser.add_argument("daemon")
    parser.add_argument("--against")
    parser.add_argument("--poll-us")
    parser.add_argument("--kernel", action="store_true")
    parser.add_argument("--json")
    return parser.parse_known_args()


def into_guest(programs, name, command):
    """The command there; `command`: a program and its options, as the benchmark has them."""
    program, *options = command.split()
    programs[name] = program
    return " ".join([f"/{name}", *options])


def bench_options(asked, rest, programs):
    options = ["--daemon", into_guest(programs, "daemon", asked.daemon), "--no-syscalls"]
    if asked.poll_us:
        options += ["--poll-us", asked.poll_us]
    if asked.poll_us and not (asked.against or asked.kernel):
        options += ["--no-limits"]
    if asked.against:
        options += ["--against", into_guest(programs, "other", asked.against), "--no-limits"]
    if asked.kernel:
        options += ["--kernel"]
    if asked.json:
        options += ["--json", "/json"]
    return shlex.join([*options, *rest])


def run(scratch, initrd, json):
    """Passes on what it says; the benchmark's status, or None."""
    json = os.path.abspath(json) if json else "/dev/null"
    args = [*inside.machine(initrd, WORDS, scratch.path("console.log")), *COUNTED,
            "-smp", CPUS, "-chardev", "stdio,id=out,signal=off", "-serial", "chardev:out",
            "-serial", f"file:{json}"]
    status = None
    with subprocess.Popen(args, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                          text=True, errors="replace") as guest:
        for line in guest.stdout:
            if line.startswith(STATUS):
                status = int(line.removeprefix(STATUS))
            else:
                print(line, end="", flush=True)
    return status


def main():
    asked, rest = parse()
    vm.skip_all = no_guest          # not as a test does it
    vm.prepare_image()
    programs = {"bench": asked.bench}
    options = bench_options(asked, rest, programs)
    scratch = vm.Scratch()
    script = SCRIPT.format(options=options, status=STATUS, modules=MODULES if asked.kernel else "")
    initrd = inside.make_initrd(scratch, script, programs)
    status = run(scratch, initrd, asked.json)
    if status is None:
        vm.show_logs(scratch)
        sys.exit("the guest ended before the benchmark")
    sys.exit(status)


if __name__ == "__main__":
    with vm.all_ends_with_us():
        main()
