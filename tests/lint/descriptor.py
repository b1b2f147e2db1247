#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-3-Clause
"""The file by which launchers find the program says what the program says of itself.
tests/lint/descriptor.py FILE BINARY DAEMON; TAP."""

import json
import subprocess
import sys

file, binary, daemon = sys.argv[1:]
with open(file, encoding="utf-8") as f:
    described = json.load(f)
asked = subprocess.run([daemon, "--print-capabilities"], check=True, capture_output=True)
says = json.loads(asked.stdout)

results = {
    "it has the members of VhostUserBackend": set(described) == {"description", "type", "binary"},
    "its binary is where that is installed": described["binary"] == binary,
    "its type is the program's": described["type"] == says["type"] == "vsock",
    "the program names its features, of which there are none": says["features"] == [],
}
for i, (name, is_so) in enumerate(results.items(), 1):
    print("ok" if is_so else "not ok", i, "-", name)
print(f"1..{len(results)}")
sys.exit(not all(results.values()))
