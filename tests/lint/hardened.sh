#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
#
# The daemon is built as meson.build says that it hardens it: each FEATURE can be seen in the
# binary. And none of them in one that has none, or else the look proves nothing.
# tests/lint/hardened.sh DAEMON UNHARDENED [FEATURE]...; TAP.

set -euo pipefail

# shellcheck source=tests/lib/tap.sh
. "$(dirname "$0")/../lib/tap.sh"

daemon=$1
unhardened=$2
shift 2

# The bytes, in hexadecimal, with which the function NAME of BINARY begins.
beginning() {
	local name=$1 binary=$2 address text offset

	address=$(readelf -sW "$binary" | awk -v name="$name" '$4 == "FUNC" && $8 == name { address = $2 } END { print address }')
	read -r text offset < <(readelf -SW "$binary" | sed -nE 's/.* \.text +PROGBITS +([0-9a-f]+) ([0-9a-f]+) .*/\1 \2/p')
	od -An -tx1 -N4 -j $((0x$address - 0x$text + 0x$offset)) "$binary"
}

has() {	# FEATURE BINARY; reads to the end, else readelf would fail
	case $1 in
	pie)			readelf -hW "$2" | grep -c 'Type: *DYN' ;;
	relro)			readelf -lW "$2" | grep -c GNU_RELRO ;;
	bind-now)		readelf -dW "$2" | grep -cE '\(BIND_NOW\)|\(FLAGS(_1)?\).*\bNOW\b' ;;
	stack-protector)	readelf -sW --dyn-syms "$2" | grep -c '__stack_chk_fail' ;;
	fortify)		readelf -sW --dyn-syms "$2" | grep -cE ' __[a-z]+_chk(@|$)' ;;
	# Not the note: it needs every object to agree, also those of a C library without.
	cet)			beginning main "$2" | grep -c 'f3 0f 1e f[ab]' ;;	# endbr64, endbr32
	bti)			beginning main "$2" | grep -cE '(5f 24|3f 23) 03 d5' ;;	# bti c, paciasp
	*)			return 2 ;;
	esac >/dev/null
}

if ! command -v readelf >/dev/null; then
	echo "1..0 # SKIP readelf is not installed"
	exit 0
fi
if [ $# = 0 ]; then
	echo "1..0 # SKIP built without hardening"
	exit 0
fi

for feature; do
	if ! has "$feature" "$daemon"; then
		result "not ok" "$feature"
	elif has "$feature" "$unhardened"; then
		result "not ok" "$feature: found where it is not, too"
	else
		result ok "$feature"
	fi
done
end_tests
