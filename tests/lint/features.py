#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-3-Clause
"""The README's tables of feature bits are what the daemon answers: each bit that the
specifications name has a row, each that is offered says so, and no other does; the tests that
are named are there.
tests/lint/features.py DAEMON [ROOT]; TAP.

A rule that nothing can break proves nothing, so each kind of mistake is made in a copy of the
tables, and has to be found."""

import os
import re
import socket
import struct
import subprocess
import sys
import tempfile
import time

# virtio 1.3, 5.10.3 and 6, and what older and newer versions and vhost have besides.
VIRTIO = {
    0: "STREAM", 1: "SEQPACKET", 2: "NO_IMPLIED_STREAM",
    24: "NOTIFY_ON_EMPTY", 26: "LOG_ALL", 27: "ANY_LAYOUT",
    28: "INDIRECT_DESC", 29: "EVENT_IDX", 30: "PROTOCOL_FEATURES",
    32: "VERSION_1", 33: "ACCESS_PLATFORM", 34: "RING_PACKED", 35: "IN_ORDER",
    36: "ORDER_PLATFORM", 37: "SR_IOV", 38: "NOTIFICATION_DATA", 39: "NOTIF_CONFIG_DATA",
    40: "RING_RESET", 41: "ADMIN_VQ", 42: "SUSPEND",
}
# vhost-user.rst, "Protocol features".
PROTOCOL = {
    0: "MQ", 1: "LOG_SHMFD", 2: "RARP", 3: "REPLY_ACK", 4: "MTU", 5: "BACKEND_REQ",
    6: "CROSS_ENDIAN", 7: "CRYPTO_SESSION", 8: "PAGEFAULT", 9: "CONFIG",
    10: "BACKEND_SEND_FD", 11: "HOST_NOTIFIER", 12: "INFLIGHT_SHMFD", 13: "RESET_DEVICE",
    14: "INBAND_NOTIFICATIONS", 15: "CONFIGURE_MEM_SLOTS", 16: "STATUS", 17: "XEN_MMAP",
    18: "SHARED_OBJECT", 19: "DEVICE_STATE", 20: "GET_VRING_BASE_INFLIGHT",
    21: "GPA_ADDRESSES", 22: "SHMEM",
}
TABLES = {"virtio feature": VIRTIO, "vhost-user protocol feature": PROTOCOL}
GET_FEATURES, GET_PROTOCOL_FEATURES = 1, 15
VERSION, REPLY = 1, 4

daemon = sys.argv[1]
root = sys.argv[2] if len(sys.argv) > 2 else os.path.join(os.path.dirname(__file__), "../..")


def ask(sock, request):
    sock.sendall(struct.pack("=III", request, VERSION, 0))
    answer = sock.recv(20, socket.MSG_WAITALL)
    head = struct.unpack("=III", answer[:12])
    assert head == (request, VERSION | REPLY, 8), head
    return struct.unpack("=Q", answer[12:])[0]


def connect(path, process):
    """Connects as soon as the daemon listens."""
    deadline = time.monotonic() + 20
    while True:
        sock = socket.socket(socket.AF_UNIX)
        sock.settimeout(20)
        try:
            sock.connect(path)
            return sock
        except OSError:
            sock.close()
            if process.poll() is not None or time.monotonic() > deadline:
                raise
            time.sleep(0.01)


def answers():
    """What the daemon offers: the sets of bits for the two tables."""
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "socket")
        process = subprocess.Popen([daemon, "--socket", path,
                                    "--uds-path", os.path.join(folder, "uds")])
        try:
            with connect(path, process) as sock:
                found = [ask(sock, GET_FEATURES), ask(sock, GET_PROTOCOL_FEATURES)]
        finally:
            process.terminate()
            process.wait(20)
    return dict(zip(TABLES, ({bit for bit in range(64) if bits >> bit & 1} for bits in found)))


def rows(text, title):
    """The cells of each row of the table: bit, name, offered, why, tests."""
    table = re.search(rf"^\| bit \| {title} \|.*\n\|[-|]+\n((?:\|.*\n)*)", text, re.M)
    lines = table[1].splitlines() if table else []
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]


def missing_tests(cell):
    """The tests of the cell that are not there; "e2e `rings`, `crash`; fuzz `virtq`"."""
    names = []
    for part in cell.split(";"):
        kind = re.match(r"\s*(unit|e2e|fuzz|vm) `", part)
        names += [(kind[1] if kind else "", name) for name in re.findall(r"`(\w+)`", part)]
    places = {
        "unit": "tests/unit/test_{}.c", "e2e": "tests/e2e/test_{}.c",
        "fuzz": "fuzz/fuzz_{}.c", "vm": "tests/vm/test_{}.py",
    }
    missing = [name for kind, name in names
               if kind not in places
               or not os.path.exists(os.path.join(root, places[kind].format(name)))]
    return missing if names else ["none named"]


def mistakes(text, offered):
    """What is wrong in the tables, a line each."""
    found = []
    for title, specified in TABLES.items():
        seen = {}
        for cells in rows(text, title):
            if len(cells) != 5 or not cells[0].isdigit() or cells[2] not in ("yes", "no"):
                found.append(f"{title}: not a row: {cells}")
                continue
            bit, name = int(cells[0]), cells[1].strip("`")
            if bit in seen:
                found.append(f"{title} {bit}: twice")
            seen[bit] = cells[2] == "yes"
            if specified.get(bit) != name:
                found.append(f"{title} {bit}: {name}, which should be {specified.get(bit)}")
            if not cells[3]:
                found.append(f"{title} {bit}: no reason")
            found += [f"{title} {bit}: no such test: {name}" for name in missing_tests(cells[4])]
        found += [f"{title} {bit}: no row" for bit in specified if bit not in seen]
        found += [f"{title} {bit}: offered, which it does not say" for bit in offered[title]
                  if not seen.get(bit)]
        found += [f"{title} {bit}: not offered, but it says so" for bit, said in seen.items()
                  if said and bit not in offered[title]]
    return found


with open(os.path.join(root, "README.md"), encoding="utf-8") as f:
    readme = f.read()
real = answers()
wrong = mistakes(readme, real)
print("\n".join(wrong), file=sys.stderr)

results = {"the README has each feature bit as the daemon answers": not wrong}
for what, pattern, replacement in [
        ("a row is missing", r"^\| 28 \|.*\n", ""),
        ("a row is there twice", r"^(\| 35 \|.*\n)", r"\1\1"),
        ("a bit is called otherwise", r"`RING_PACKED`", "`PACKED`"),
        ("a bit is offered, unsaid", r"^(\| 29 \| `EVENT_IDX` \|) yes", r"\1 no"),
        ("a bit is said, not offered", r"^(\| 34 \| `RING_PACKED` \|) no", r"\1 yes"),
        ("a protocol bit is offered, unsaid", r"^(\| 9 \| `CONFIG` \|) yes", r"\1 no"),
        ("a protocol bit is said, not offered", r"^(\| 16 \| `STATUS` \|) no", r"\1 yes"),
        ("a test is not there", r"^(\| 32 \|.*)e2e `rings`", r"\1e2e `gone`"),
        ("no test is named", r"^(\| 29 \| `EVENT_IDX` \|[^|]*\|[^|]*\|).*", r"\1 |"),
        ("no reason is given", r"^(\| 29 \| `EVENT_IDX` \|[^|]*\|)[^|]*\|", r"\1 |"),
        ("a table is missing", r"^\| bit \| vhost-user.*\n", "")]:
    spoilt = re.sub(pattern, replacement, readme, flags=re.M)
    results[f"it is found if {what}"] = spoilt != readme and bool(mistakes(spoilt, real))
for i, (name, is_so) in enumerate(results.items(), 1):
    print("ok" if is_so else "not ok", i, "-", name)
print(f"1..{len(results)}")
sys.exit(not all(results.values()))
