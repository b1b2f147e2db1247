#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
#
# Nobody can flood the log: where guests, front-ends and host programs are dealt with, each
# log line from info up goes through a limit, save those of the start and the end, which are
# counted here. tests/lint/logs.sh [ROOT]; TAP.

set -euo pipefail

# shellcheck source=tests/lib/tap.sh
. "$(dirname "$0")/../lib/tap.sh"

root=$(cd "${1:-$(dirname "$0")/../..}" && pwd)

# How many lines of FILE come but once in the life of the daemon, or of a device.
once() {
	case $1 in
	backend/afvsock.c)	echo 4 ;;	# it begins to listen
	backend/afvsock_none.c)	echo 1 ;;
	device/worker.c)	echo 1 ;;	# a thread ends
	util/log_limit.c)	echo 1 ;;	# a limit changes hands, its window being over
	*)			echo 0 ;;
	esac
}

# Prints a line for each file under DIR with more, or fewer, than that.
violations() {
	local dir=$1 file n

	while read -r file; do
		n=$(grep -cE '\blog_(err|warn|info)\(|\blog_at\(LEVEL_(ERR|WARN|INFO)' "$dir/src/$file" || true)
		[ "$n" = "$(once "$file")" ] ||
			echo "src/$file: $n unlimited log lines, $(once "$file") expected"
	done < <(cd "$dir/src" && find backend device util vhost vsock -name '*.c' \
		! -path util/log.c 2>/dev/null | sort)
}

none "what a peer can cause is logged with a limit" "$(violations "$root")"

# A rule that nothing can break proves nothing.
copy=$(mktemp -d)
trap 'rm -rf "$copy"' EXIT
mkdir -p "$copy/src/vhost"
printf '\tif (bad)\n\t\tlog_warn(tag, "bad");\n' >"$copy/src/vhost/planted.c"
some "a violation is found" "$(violations "$copy")"
end_tests
