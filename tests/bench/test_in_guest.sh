#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
#
# The benchmark inside a guest: beside the kernel's vhost-vsock all rows run and lose no byte, as
# all are compared; and another daemon in turns. tests/bench/test_in_guest.sh BENCH DAEMON; TAP.
# Skips, and says why, where there can be no such guest.

set -euo pipefail

# shellcheck source=tests/lib/tap.sh
. "$(dirname "$0")/../lib/tap.sh"

here=$(dirname "$0")
bench=$1
daemon=$2
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT

# in_guest OPTION...: sets $text and $status
in_guest() {
	status=0
	text=$("$here/in_guest.py" "$bench" "$daemon" --quick "$@" 2>"$dir/said") || status=$?
	[ "$status" != 77 ] || {
		echo "1..0 # SKIP $(tail -n 1 "$dir/said")"
		exit
	}
	cat "$dir/said" >&2
}

# check NAME COMMAND...: shows what was said when it fails
check() {
	local name=$1

	shift
	if "$@"; then
		result ok "$name"
	else
		result "not ok" "$name"
		echo "$text" >&2
	fi
}

is_said() { grep -qE "$1" <<<"$text"; }
ends_with() { [ "$status" = "$1" ]; }
# Each row has ours, theirs and a ratio, and their cost; or ours alone, where the kernel has ended
# each of its tries by a rule of its own (kernel.h).
has_row() {
	is_said "^$1 +[^ ]+ +[0-9.]+ \[.*\] +[0-9.]+ \[.*\] +[0-9.]+ \[" ||
		{ is_said "^$1 +[^ ]+ +[0-9.]+ \[.*\] +- +-" &&
			sed -n "/^$1 /,/^[^ ]/p" <<<"$text" | grep -q "kernel, round 1 void: "; }
}
has_result() {
	python3 -c 'import json, sys
rows = json.load(open(sys.argv[1]))["rows"]
assert [row["name"] for row in rows] == sys.argv[2:], rows
assert all(row["to_other"]["median"] > 0 if "to_other" in row else
           row["ours"]["median"] > 0 and "too many packets" in row["other"]["error"]
           for row in rows), rows' "$dir/json" "$@"
}

in_guest --kernel --json "$dir/json"
rows=(g2h-64k g2h-4k g2h-64 h2g-64k h2g-64k-poll h2g-4k h2g-64 bidir-64k g2h-seq-64 g2h-seq-4k
	h2g-seq-64 h2g-seq-4k rr-1 rr-1-epoll rr-4k crr-guest crr-host many-100 many-100-h2g)
for row in "${rows[@]}"; do
	check "$row beside the kernel" has_row "$row"
done
check "nothing failed" ends_with 0
check "what the worker spends is counted" \
	is_said "^ +kernel .* cpu s/100k [0-9.]+ +switches/op [0-9.]+ +kicks/op [0-9.]+ +calls/op"
check "the results come out as well" has_result "${rows[@]}"

in_guest --against "$daemon --supervise=off" --only rr-1
check "another daemon in turns" has_row rr-1
check "... and it ends well" ends_with 0

# What is ours to open is the guest's, not that of the machine that this runs on.
status=0
text=$("$bench" --kernel --quick --daemon "$daemon" 2>&1) || status=$?
check "outside it refuses" is_said "inside a guest only"
check "... and fails" [ "$status" != 0 ]
end_tests
