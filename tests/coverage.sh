#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
#
# What unit tests, end-to-end tests and the fuzz corpora reach together, by clang's
# source-based coverage: tests/coverage.sh
#
# Prints the regions reached of every file of src, then each unreached one of the files
# that parse what others wrote (CORE). Fails if a test fails, or if one of those files has
# less than GOAL percent of its regions reached. tests/coverage-unreached.txt says why
# the rest is not.
#
# Corpora that tests/fuzz.sh has found are replayed beside the committed ones.

set -euo pipefail

GOAL=95
CORE="src/vhost/virtq.c src/vhost/virtq_chain.c src/vhost/msg.c src/vhost/request.c src/vsock/pkt.c src/vsock/conn.c
	src/vsock/conn_to_guest.c src/vsock/conn_to_host.c src/vsock/conn_save.c
	src/vsock/mux_save.c src/vsock/mux_names.c src/util/blob.c"

root=$(cd "$(dirname "$0")/.." && pwd)
build=$root/build-coverage
profiles=$build/profiles

# shellcheck source=tests/lib/jobs.sh
. "$root/tests/lib/jobs.sh"
# shellcheck source=tests/lib/build.sh
. "$root/tests/lib/build.sh"
# shellcheck source=tests/lib/packages.sh
. "$root/tests/lib/packages.sh"
# shellcheck source=tests/lib/llvm.sh
. "$root/tests/lib/llvm.sh"
begin_work
need pkg-config cc meson ninja python3 lib:check lib:yaml-0.1 lib:libseccomp lib:libmicrohttpd lib:jansson
llvm_need

llvm_build "$build"
attend meson compile -C "$build" >"$build/compile.log" || { cat "$build/compile.log"; exit 1; }
rm -rf "$profiles"
mkdir -p "$profiles"

# Each program's processes share a few files, and add what they reached when they end. A
# process in a sandbox could not: the daemon's is left off.
export LLVM_PROFILE_FILE=$profiles/%4m.profraw
export TEST_SANDBOX=off
failed=0
# All but the one that measures, since counting is slower, and those about the sandbox,
# in which a profile cannot be written.
run() {
	attend meson test -C "$build" --no-rebuild --timeout-multiplier 3 --print-errorlogs "$@" || failed=1
}
run --suite unit --suite fuzz --suite soak
# shellcheck disable=SC2046
run --suite e2e $(meson test -C "$build" --list --no-rebuild --suite e2e 2>/dev/null |
	sed -n 's|.* / ||p' | grep -vxE 'e2e_(scale|sandbox.*|intruder.*)')
for corpus in "$root"/build-fuzz/corpus/*/; do
	[ -d "$corpus" ] && "$build/fuzz/fuzz_$(basename "$corpus")" "$corpus"
done

unset LLVM_PROFILE_FILE
llvm_profdata merge -o "$build/all.profdata" "$profiles"/*.profraw
objects=()
for exe in "$build"/tests/unit/test_* "$build"/fuzz/fuzz_*; do
	[ -f "$exe" ] && objects+=(-object "$exe")
done
llvm_cov export "$build/src/vhost-device-vsock" "${objects[@]}" \
	-instr-profile="$build/all.profdata" >"$build/coverage.json"

python3 - "$root" "$build/coverage.json" "$GOAL" "$CORE" <<'EOP' || failed=1
import json, os, sys
root, export, goal, core = sys.argv[1], sys.argv[2], int(sys.argv[3]), sys.argv[4].split()
CODE = 0				# kinds of regions; others are expansions and gaps
regions = {}				# file -> place -> was it reached, in any program
for function in json.load(open(export))["data"][0]["functions"]:
    for l1, c1, l2, c2, count, file, _, kind in function["regions"]:
        name = os.path.relpath(os.path.normpath(function["filenames"][file]), root)
        if kind == CODE and name.startswith("src/"):
            place = regions.setdefault(name, {})
            place[l1, c1, l2, c2] = place.get((l1, c1, l2, c2), False) or count > 0

def share(name):
    return sum(regions[name].values()) * 100 / len(regions[name])

print("\n%-32s %8s %8s %7s" % ("regions", "all", "reached", "%"))
for name in sorted(regions):
    print("%-32s %8d %8d %7.1f%s" % (name, len(regions[name]), sum(regions[name].values()),
                                     share(name), " *" if name in core else ""))
print("\nunreached in the files with a *:")
for name in core:
    lines = open(os.path.join(root, name)).read().split("\n")
    for (line, column, *_), reached in sorted(regions[name].items()):
        if not reached:
            print(f"{name}:{line}:{column}: {lines[line - 1].strip()}")
short = [name for name in core if share(name) < goal]
print(f"\nbelow {goal} %: {', '.join(short)}" if short else f"\nall of them at {goal} % or more")
sys.exit(bool(short))
EOP
exit $failed
