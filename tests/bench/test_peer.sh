#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
#
# The benchmark beside a peer: the two take turns, and what a peer cannot do is said in the
# row and ends nothing. tests/bench/test_peer.sh BENCH DAEMON; TAP.

set -euo pipefail

# shellcheck source=tests/lib/tap.sh
. "$(dirname "$0")/../lib/tap.sh"

bench=$1
daemon=$2
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT

# against PEER ROW...: its output, and its status as the last line
against() {
	local peer=$1

	shift
	"$bench" --quick --daemon "$daemon" --peer "$peer" --only "$(IFS=,; echo "$*")" 2>&1 &&
		echo "status 0" || echo "status $?"
}

# expect NAME PATTERN TEXT: a line of it is like that
expect() {
	if grep -qE "$2" <<<"$3"; then
		result ok "$1"
	else
		result "not ok" "$1"
		echo "$3" >&2
	fi
}

rows=(g2h-64k h2g-64k rr-1 crr-guest crr-host sib-64k vms-8)
text=$(against "$daemon --supervise=off" "${rows[@]}")
for row in "${rows[@]}"; do
	expect "$row has both sides and a ratio" \
		"^$row +[^ ]+ +[0-9.]+ \[.*\] +[0-9.]+ \[.*\] +[0-9.]+ \[" "$text"
done
none "none of it failed" "$(grep FAILED <<<"$text")"
expect "... so it ends well" "^status 0$" "$text"

cat >"$dir/strict" <<END
#!/bin/sh
[ \$# = 2 ] && [ "\$1" = --vm ] || { echo "options: \$*" >&2; exit 2; }
exec "$daemon" --supervise=off "\$@"
END
chmod +x "$dir/strict"
text=$(against "$dir/strict" rr-1)
expect "a peer gets --vm and nothing else" "^rr-1 .*\] +[0-9.]+ \[.*\] +[0-9.]+ \[" "$text"

printf '#!/bin/sh\nexit 3\n' >"$dir/ends"
chmod +x "$dir/ends"
text=$(against "$dir/ends" rr-1 many-idle pause)
expect "a peer that ends has no value" "^rr-1 +[^ ]+ +[0-9.]+ \[.*\] +- +-" "$text"
expect "... which its row says" "peer, round 1 FAILED: .*did not start" "$text"
expect "... and the next one comes" "^many-idle " "$text"
expect "an upgrade is not asked of it" "peer, round 1 FAILED: .*cannot be replaced" "$text"
expect "... and all that is no failure of ours" "^status 0$" "$text"
text=$(against "$daemon" uds-64 memcpy)
expect "rows without a daemon have no peer" "no row of that name" "$text"
end_tests
