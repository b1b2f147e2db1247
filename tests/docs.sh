#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
#
# What is written about the daemon is what it does: every option of --help is in the man page
# and in the README, and none that it does not have; the sample file starts a daemon; mandoc
# has nothing to complain about. tests/docs.sh DAEMON [ROOT]; TAP.

set -euo pipefail

daemon=$1
root=$(cd "${2:-$(dirname "$0")/..}" && pwd)
man=$root/src/data/vhost-device-vsock.1
sample=$root/src/data/example.yaml
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT

n=0
failed=0

result() {	# ok|"not ok" NAME
	n=$((n + 1))
	echo "$1 $n - $2"
	[ "$1" = ok ] || failed=1
}

same() {	# NAME WANTED GOT
	if [ "$2" = "$3" ]; then
		result ok "$1"
	else
		result "not ok" "$1"
		diff <(echo "$2") <(echo "$3") >&2 || true
	fi
}

# The options of --help, of the man page and of the README, one a line.
of_help() {
	"$daemon" --help | sed -nE 's/^ {2,6}(-., )?(--[a-z-]+).*/\2/p' | sort
}

of_man() {
	sed -n '/^\.SH OPTIONS/,/^\.SH CONFIGURATION/p' "$1" | sed 's/\\-/-/g' | grep -A1 '^\.TP' |
		grep -oE -- '--[a-z]+(-[a-z]+)*' | sort
}

of_readme() {
	sed -nE '/^## Options/,/^## /s/^\| (`-.`, )?`(--[a-z-]+)`.*/\2/p' "$1" | sort
}

wanted=$(of_help)
same "the man page has every option" "$wanted" "$(of_man "$man")"
same "the README has every option" "$wanted" "$(of_readme "$root/README.md")"
same "the man page is of this version" "$("$daemon" --version)" \
	"$(sed -nE 's/^\.TH .* "(vhost-device-vsock [^"]*)".*/\1/p' "$man")"

# The sample says how to make its folder, and is right but for that; elsewhere, here.
mkdir=$(sed -nE 's/^#  +(mkdir .*)/\1/p' "$sample")
folder=${mkdir##* }
"$daemon" --config <(sed "s|$folder|$scratch/none|" "$sample") >"$scratch/log" 2>&1 || true
same "the sample is read to its end" "" "$(grep -v 'No such file or directory\|left out' "$scratch/log")"

if command -v mandoc >/dev/null; then
	same "mandoc finds nothing wrong" "" "$(mandoc -T lint "$man" 2>&1 || true)"
else
	result ok "mandoc finds nothing wrong # SKIP mandoc is not installed"
fi

# A rule that nothing can break proves nothing.
sed '/^| `--linger`/d' "$root/README.md" >"$scratch/README.md"
sed '/linger\\~/d' "$man" >"$scratch/man"
if [ "$(of_readme "$scratch/README.md")" != "$wanted" ] && [ "$(of_man "$scratch/man")" != "$wanted" ]; then
	result ok "an option that is missing is found"
else
	result "not ok" "an option that is missing is found"
fi
echo "1..$n"
exit $failed
