#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
#
# The shape of the source: no file of src is longer than 500 lines; no header includes itself
# by way of others, nor does a module, which is NAME.c, NAME.h and NAME_internal.h, in src or
# in tests and fuzz.
# tests/lint/shape.sh [ROOT]; TAP.
#
# A rule that nothing can break proves nothing, so each kind of violation is planted in an
# empty tree, and has to be found.

set -euo pipefail

# shellcheck source=tests/lib/tap.sh
. "$(dirname "$0")/../lib/tap.sh"

root=$(cd "${1:-$(dirname "$0")/../..}" && pwd)

LINES_MAX=500

# Arrows that close a circle of modules and stay for a reason, FROM TO; one that closes none
# any more has to go from here.
excused() {
	# What a packet carries is gathered; what is gathered is written by its connection.
	echo "vsock/gather vsock/conn"
	# The table of requests names their handlers, which are told their row of it.
	echo "vhost/request vhost/session_requests"
	# Packets go from the scripted driver to its sockets, which send by way of it.
	echo "tests/support/driver tests/support/driver_io"
	echo "tests/support/driver tests/support/sock"
}

# Prints a line for each file of DIR/src that is too long.
long_files() {
	find "$1/src" -name '*.[ch]' | sort | while read -r file; do
		awk -v name="${file#"$1"/}" -v max=$LINES_MAX '
			END { if (NR > max) print name ": " NR " lines, " max " are allowed" }' "$file"
	done
}

# arrows DIR h|c: "FROM TO" for each include of one of DIR's own files: of the headers, or of
# modules. What is in src has its name without that.
arrows() {
	local folders=() folder

	for folder in src fuzz tests; do
		[ ! -d "$1/$folder" ] || folders+=("$folder")
	done
	(cd "$1" && find "${folders[@]}" -name '*.[ch]' -exec awk -v kind="$2" '
		function node(path) {
			if (kind == "c")
				sub(/(_internal)?\.[ch]$/, "", path)
			sub(/^src\//, "", path)
			return path
		}
		function found(from, name,    folder) {	# beside it, or from where includes are spelled
			folder = from
			sub(/[^\/]*$/, "", folder)
			if (folder name in files)
				return folder name
			return "tests/" name in files ? "tests/" name : "src/" name
		}
		BEGIN {
			for (i = 1; i < ARGC; i++)
				files[ARGV[i]]
		}
		/^[ \t]*#[ \t]*include[ \t]*"/ && (kind == "c" || FILENAME ~ /\.h$/) {
			split($0, quoted, "\"")
			from = node(FILENAME)
			to = node(found(FILENAME, quoted[2]))
			if (from != to || kind == "h")
				print from, to
		}' {} +) | sort -u
}

# Prints the nodes of a circle if there is one among the arrows on standard input.
circle() {
	local all

	all=$(cat)
	awk '$1 == $2 { print $1 }' <<<"$all"	# which tsort takes for a node without arrows
	{ tsort <<<"$all" 2>&1 >/dev/null || :; } | sed -n 's/^tsort: \([^:]*\)$/\1/p'
}

# What DIR's modules have of circles beyond what is excused.
module_circle() {
	arrows "$1" c | grep -vxFf <(excused) | circle
}

none "no file is too long" "$(long_files "$root")"
none "headers include each other in no circle" "$(arrows "$root" h | circle)"
none "modules include each other in no circle" "$(module_circle "$root")"
none "what is excused would be a circle" "$(
	excused | while read -r excuse; do
		[ -n "$(arrows "$root" c | grep -vxFf <(excused | grep -vxF "$excuse") | circle)" ] ||
			echo "$excuse: closes no circle"
	done)"

copy=$(mktemp -d)
trap 'rm -rf "$copy"' EXIT

begin() {
	rm -rf "$copy/src"
	mkdir -p "$copy/src/util" "$copy/src/vhost"
}

include() {	# FROM TO...
	local from=$1 to

	shift
	for to; do
		echo "#include \"$to\"" >>"$copy/src/$from"
	done
}

found() {	# NAME FOUND
	some "a violation is found: $1" "$2"
}

begin
seq $LINES_MAX >"$copy/src/util/planted.c"
none "a file of just the length is let through" "$(long_files "$copy")"
echo >>"$copy/src/util/planted.c"
found "one line more" "$(long_files "$copy")"

begin
include util/a.h util/b.h util/d.h
include util/b.h util/c.h
include util/c.h util/d.h
include util/c.c util/a.h
none "what is no circle of headers is let through" "$(arrows "$copy" h | circle)"
include util/d.h util/b.h
found "a circle of three headers" "$(arrows "$copy" h | circle)"

begin
include util/a.h util/a.h
found "a header that includes itself" "$(arrows "$copy" h | circle)"

begin
include util/a.c util/a.h util/a_internal.h util/b.h
include util/a_internal.h util/a.h
include util/b.c util/b.h util/c.h
include util/b.h
none "a module's own headers are let through" "$(module_circle "$copy")"
include util/c.c util/a.h
found "a circle of three sources" "$(module_circle "$copy")"

begin
mkdir -p "$copy/fuzz"
include ../fuzz/a.c a.h b.h
include ../fuzz/b.c b.h
include ../fuzz/a.h util/a.h
include ../fuzz/b.h util/a.h
none "what is no circle of tests is let through" "$(module_circle "$copy")"
include ../fuzz/b.h a.h
found "a circle of tests" "$(module_circle "$copy")"
rm -r "$copy/fuzz"

begin
include util/a.c util/a_internal.h
include util/a_internal.h util/b.h
include util/b.c util/a.h
found "a circle by way of an internal header" "$(module_circle "$copy")"

end_tests
