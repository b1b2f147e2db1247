#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
#
# What is written about the daemon is what it does: every option of --help, which is printed
# from the rows that are obeyed, is in the man page and in the README with its default and
# its largest value, and none that it does not have; the sample file starts a daemon; mandoc
# has nothing to complain about. tests/lint/docs.sh DAEMON [ROOT]; TAP.

set -euo pipefail

# shellcheck source=tests/lib/tap.sh
. "$(dirname "$0")/../lib/tap.sh"

daemon=$1
root=$(cd "${2:-$(dirname "$0")/../..}" && pwd)
man=$root/src/data/vhost-device-vsock.1
sample=$root/src/data/example.yaml
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT

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
	sed -n '/^\.SH OPTIONS/,/^\.SH CONFIGURATION/p' "$1" | sed 's/\\-/-/g' |
		grep -A1 '^\.T[PQ]' | grep -oE -- '--[a-z]+(-[a-z]+)*' | sort
}

of_readme() {
	sed -n '/^## Options/,/^## /p' "$1" | sed -nE 's/^\| (`-[^|]*`) \|.*/\1/p' |
		grep -oE -- '--[a-z-]+' | sort
}

# The numbers that are defaults: "--option N", one a line.
numbers_of_help() {
	"$daemon" --help | tr '\n' ' ' | sed 's/ --/\n--/g' |
		sed -nE 's/^(--[a-z-]+) .*\(default ([0-9]+)\).*/\1 \2/p' | sort
}

numbers_of_man() {
	sed 's/\\[-~]/-/g' "$1" | sed -nE '/^\.T[PQ]/{n;s/.*(--[a-z]+(-[a-z]+)*).*/\1/;h}
		/^Default: [0-9]+\.$/{s/Default: (.*)\./\1/;H;g;s/\n/ /;p}' | sort
}

numbers_of_readme() {
	sed -nE '/^## Options/,/^## /s/^\| `(--[a-z-]+)` \|[^|]*\| ([0-9]+) \|.*/\1 \2/p' "$1" | sort
}

numbers_of_sample() {
	sed -nE 's/^ +(- )?([a-z_]+): .*# .*\[([0-9]+)\]$/--\2 \3/p' "$1" | tr _ - | sort
}

# The largest values: "--option N", one a line; of at least three digits, as other numbers
# stand in the text, too.
largest_of_help() {
	"$daemon" --help | tr -s '\n ' ' ' | sed 's/ --/\n--/g' |
		sed -nE 's/^(--[a-z-]+) .* to ([1-9][0-9]{2,})[^0-9].*/\1 \2/p' | sort
}

largest_of_man() {
	sed 's/\\[-~]/-/g; s/^\.T[PQ]$/\x01/' "$1" | tr '\n\001' ' \n' |
		sed -nE 's/^ \.[A-Z]+ (--[a-z]+(-[a-z]+)*).* to ([1-9][0-9]{2,})[^0-9].*/\1 \3/p' | sort
}

largest_of_readme() {
	sed -nE '/^## Options/,/^## /s/^\| `(--[a-z-]+)` \|[^|]* to ([1-9][0-9]{2,}) \|.*/\1 \2/p' "$1" | sort
}

largest_of_sample() {
	sed -nE 's/^ +(- )?([a-z_]+): .*# .* to ([1-9][0-9]{2,})[^0-9].*/--\2 \3/p' "$1" | tr _ - | sort
}

wanted=$(of_help)
same "the man page has every option" "$wanted" "$(of_man "$man")"
same "the README has every option" "$wanted" "$(of_readme "$root/README.md")"
numbers=$(numbers_of_help)
same "the man page has every default" "$numbers" "$(numbers_of_man "$man")"
same "the README has every default" "$numbers" "$(numbers_of_readme "$root/README.md")"
shown=$(numbers_of_sample "$sample")
same "the sample's defaults are right" "$shown" "$(grep -Fxe "$shown" <<<"$numbers")"
largest=$(largest_of_help)
same "the man page has every largest value" "$largest" "$(largest_of_man "$man")"
same "the README has every largest value" "$largest" "$(largest_of_readme "$root/README.md")"
shown_largest=$(largest_of_sample "$sample")
same "the sample's largest values are right" "$shown_largest" "$(grep -Fxe "$shown_largest" <<<"$largest")"
same "the man page is of this version" "$("$daemon" --version)" \
	"$(sed -nE 's/^\.TH .* "(vhost-device-vsock [^"]*)".*/\1/p' "$man")"

# The sample says how to make its folder, and is right but for that; elsewhere, here.
mkdir=$(sed -nE 's/^#  +(mkdir .*)/\1/p' "$sample")
folder=${mkdir##* }
"$daemon" --config <(sed "s|$folder|$scratch/none|" "$sample") >"$scratch/log" 2>&1 || true
same "the sample is read to its end" "" "$(grep -v 'No such file or directory\|left out' "$scratch/log")"

# Whoever puts the sample, the socket unit beside it and the manual together uses the same paths.
paths=$(sed -n 's/^ListenStream=//p' "$root/src/data/vhost-device-vsock.socket" | sort)
for text in "$sample" "$root/src/data/operation.md"; do
	same "${text##*/} has the paths of the socket unit" "$paths" \
		"$(sed -nE 's/^ +(socket|uds_path): //p' "$text" | grep -Fxe "$paths" | sort)"
done

if command -v mandoc >/dev/null; then
	same "mandoc finds nothing wrong" "" "$(mandoc -T lint "$man" 2>&1 || true)"
else
	result ok "mandoc finds nothing wrong # SKIP mandoc is not installed"
fi

# A rule that nothing can break proves nothing.
sed '/^| .--linger. /d; s/| 4096 |/| 4097 |/; s/ to 32768 / to 32769 /' "$root/README.md" >"$scratch/README.md"
sed '/linger\\~/d; s/^Default: 4096/&0/; s/to 1024\./to 1023./' "$man" >"$scratch/man"
sed 's/\[1024\]/[1025]/; s/to 1048576/&0/' "$sample" >"$scratch/sample"
if [ "$(of_readme "$scratch/README.md")" != "$wanted" ] &&
	[ "$(of_man "$scratch/man")" != "$wanted" ] &&
	[ "$(numbers_of_readme "$scratch/README.md")" != "$numbers" ] &&
	[ "$(numbers_of_man "$scratch/man")" != "$numbers" ] &&
	[ "$(numbers_of_sample "$scratch/sample")" != "$shown" ] && [ "$shown" ] &&
	[ "$(largest_of_readme "$scratch/README.md")" != "$largest" ] &&
	[ "$(largest_of_man "$scratch/man")" != "$largest" ] &&
	[ "$(largest_of_sample "$scratch/sample")" != "$shown_largest" ] && [ "$shown_largest" ]; then
	result ok "what is missing or wrong is found"
else
	result "not ok" "what is missing or wrong is found"
fi
end_tests
