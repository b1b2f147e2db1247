#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
#
# What is written about metrics is what the daemon prints, each with its help and with what its
# labels can be; and promtool, where it is installed, has nothing to complain about.
# tests/lint/metrics.sh UNIT_TEST_OF_METRICS [ROOT]; TAP.

set -euo pipefail

# shellcheck source=tests/lib/tap.sh
. "$(dirname "$0")/../lib/tap.sh"

example=$1
root=$(cd "${2:-$(dirname "$0")/../..}" && pwd)
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT

# What the man page FILE says of them, as the test prints it: "name	help".
of_man() {
	sed -n '/^\.SH METRICS/,/^\.SH SANDBOX/p' "$1" | sed 's/\\-/-/g' | awk '
		/^\.B vhost_vsock_/ { name = $2; printf "%s%s\t", n++ ? "\n" : "", name; text = ""; next }
		/^\./ { name = ""; next }
		name { printf "%s%s", text ? " " : "", $0; text = 1 }
		END { print "" }'
}

differences() {	# MAN
	diff <("$example" names) <(of_man "$1") || :
}

man=$root/src/data/vhost-device-vsock.1
none "the man page has each metric" "$(differences "$man")"

# A rule that nothing can break proves nothing.
sed '/^\.B vhost_vsock_turn_seconds/d' "$man" >"$scratch/missing"
some "one that is missing is found" "$(differences "$scratch/missing")"
sed 's/guest_reset/gest_reset/' "$man" >"$scratch/wrong"
some "a label's value that is wrong is found" "$(differences "$scratch/wrong")"

if command -v promtool >/dev/null; then
	"$example" example >"$scratch/example"
	none "promtool check metrics" "$(promtool check metrics <"$scratch/example" 2>&1)"
	sed 's/^# HELP vhost_vsock_workers .*//' "$scratch/example" >"$scratch/bad"
	some "promtool looks at them" "$(promtool check metrics <"$scratch/bad" 2>&1 || :)"
else
	result ok "promtool check metrics # SKIP promtool is not installed (Debian: prometheus)"
fi
end_tests
