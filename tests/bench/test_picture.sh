#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
#
# The picture of results: from what the benchmark writes, and from results that lack some of it.
# tests/bench/test_picture.sh BENCH DAEMON; TAP.

set -euo pipefail

# shellcheck source=tests/lib/tap.sh
. "$(dirname "$0")/../lib/tap.sh"

bench=$1
daemon=$2
picture=$(dirname "$0")/picture.py
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT

# draws FILE RESULT...: sets $status
draws() {
	local file=$1

	shift
	status=0
	"$picture" "$@" >"$file" 2>"$dir/said" || status=$?
}

# check NAME COMMAND...
check() {
	local name=$1

	shift
	if "$@"; then
		result ok "$name"
	else
		result "not ok" "$name"
		cat "$dir/said" >&2 || :
	fi
}

is_svg() { python3 -c 'import sys, xml.dom.minidom as m; m.parse(sys.argv[1])' "$1"; }
has() { grep -qF "$2" "$1"; }
lacks() { ! has "$@"; }
fails() { [ "$status" = "$1" ]; }

measure() {	# FILE OPTION...
	local file=$1

	shift
	"$bench" --quick --no-syscalls --daemon "$daemon" --json "$file" \
		--only g2h-64k,h2g-64,rr-1-pin "$@" >/dev/null 2>&1
}

measure "$dir/limits"
measure "$dir/peer" --peer "$daemon --supervise=off"

draws "$dir/both.svg" "$dir/limits" "$dir/peer"
check "real results make a picture" is_svg "$dir/both.svg"
check "... with what moves bytes" has "$dir/both.svg" "guest to host, 64 KiB"
check "... and round trips" has "$dir/both.svg" "round trip, 1 B, one CPU"
check "... and nothing that was not measured" lacks "$dir/both.svg" "guest to guest"
check "... beside the peer" has "$dir/both.svg" "the Rust daemon"
check "... and the limit" has "$dir/both.svg" "a relay that only wakes up"

draws "$dir/alone.svg" "$dir/limits"
check "without a peer there is one, too" is_svg "$dir/alone.svg"
check "... that does not name it" lacks "$dir/alone.svg" "the Rust daemon"

# Of 300 MiB/s, three times the limit; the peer does a tenth of ours.
cat >"$dir/known" <<'END'
{ "rows": [ { "name": "g2h-64k", "unit": "MiB/s",
  "ours": { "median": 300 }, "limit": { "median": 100 },
  "to_limit": { "median": 3, "min": 2, "max": 4 },
  "to_other": { "median": 10, "min": 5, "max": 20 } } ] }
END
draws "$dir/known.svg" "$dir/known" "$dir/known"
place() { grep -o "$1" "$dir/known.svg" | sed -n 's/.*[ c]x="\([0-9.]*\)".*/\1/p' | tail -n 1; }
ours=$(place '<circle cx="[0-9.]*"')
one=$(grep -o '<line x1="[0-9.]*"[^>]*stroke-dasharray' "$dir/known.svg" | sed 's/<line x1="\([0-9.]*\)".*/\1/')
peer=$(grep -o '<rect x="[0-9.]*" y="[0-9.]*" width="10"' "$dir/known.svg" | tail -n 1 |
	sed 's/<rect x="\([0-9.]*\)".*/\1/')
check "three times the limit, and a tenth of that, stand where a logarithm puts them" \
	python3 -c 'import math, sys
ours, one, peer = map(float, sys.argv[1:])
step = (ours - one) / math.log10(3)
sys.exit(abs((peer + 5 - ours) + step) > 0.5)' "$ours" "$one" "$peer"

echo '{ "rows": [] }' >"$dir/none"
draws "$dir/none.svg" "$dir/none"
check "of nothing there is none" fails 1
check "... which is said" has "$dir/said" "no row that is drawn has been measured"
draws "$dir/none.svg"
check "without results there is a usage" fails 2
end_tests
