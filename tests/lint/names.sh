#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
#
# What is written about files is about files that are there: each path to a source, a script or
# a text in the documents and in the scripts leads to one. tests/lint/names.sh [ROOT]; TAP.

set -euo pipefail

# shellcheck source=tests/lib/tap.sh
. "$(dirname "$0")/../lib/tap.sh"

root=$(cd "${1:-$(dirname "$0")/../..}" && pwd)

# Prints a line for each path in a document or script of DIR that leads nowhere, from its top,
# from its src or from where the file is. Lint itself plants files that never were.
dead_names() {
	local dir=$1 file name

	(cd "$dir" && find README.md src tests fuzz -path tests/lint -prune -o -type f \
		\( -name '*.md' -o -name '*.sh' -o -name '*.py' -o -name '*.txt' \) -print | sort) |
		while read -r file; do
			grep -oE '(^|[^A-Za-z0-9_/.$}-])[a-z]+(/[A-Za-z0-9_-]+)+\.(c|h|sh|py|txt|md|yaml|1)\b' \
				"$dir/$file" | sed 's/^[^a-z]//' | sort -u |
				while read -r name; do
					[ -e "$dir/$name" ] || [ -e "$dir/src/$name" ] ||
						[ -e "$dir/${file%/*}/$name" ] || echo "$file: there is no $name"
				done || :
		done
}

none "each path leads to a file" "$(dead_names "$root")"

# A rule that nothing can break proves nothing.
copy=$(mktemp -d)
trap 'rm -rf "$copy"' EXIT
mkdir -p "$copy/src/vsock" "$copy/tests" "$copy/fuzz"
touch "$copy/src/vsock/conn.c" "$copy/README.md"
echo 'layer="src/vsock/conn.c vsock/conn.c $root/no/such.c"' >"$copy/tests/a.sh"
none "what is there is let through" "$(dead_names "$copy")"
for text in 'see `src/vsock/gone.c`' 'vsock/gone.c' 'run tests/gone.sh'; do
	echo "$text" >"$copy/README.md"
	some "a violation is found: $text" "$(dead_names "$copy")"
done
end_tests
