#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
#
# Arrows only point down: no #include reaches into a layer that the table of the README's
# architecture section does not allow. And the kernel's headers come last of the system's:
# <linux/vm_sockets.h> has not always included the <sys/socket.h> that it needs.
# tests/lint/layers.sh [ROOT]; TAP.
#
# A rule that nothing can break proves nothing, so each kind of violation is planted
# in a copy of the tree first, and has to be found.

set -euo pipefail

root=$(cd "${1:-$(dirname "$0")/../..}" && pwd)

# What FOLDER may include besides itself and libc: folders (with /) and single headers.
allowed() {
	case $1 in
	main)			echo "backend/ config/ device/ sandbox/ protocol/ util/ vhost/ vsock/" ;;
	device)			echo "vhost/ vsock/ util/ protocol/" ;;
	backend)		echo "vsock/backend.h util/ protocol/hybrid.h" ;;
	vsock | vhost)		echo "util/ protocol/" ;;
	sandbox | config)		echo "util/" ;;
	util | protocol)	echo "" ;;
	*)			return 1 ;;
	esac
}

# Prints a line for each violation under DIR.
violations() {
	local dir=$1 file layer rules header rule ok

	while read -r file; do
		case $file in
		"$dir"/src/main.c)	layer=main ;;
		"$dir"/src/*)		layer=${file#"$dir"/src/}; layer=${layer%%/*} ;;
		*)			layer=protocol ;;
		esac
		if ! rules=$(allowed "$layer"); then
			echo "${file#"$dir"/}: its folder is in no layer"
			continue
		fi
		while read -r header; do
			ok=
			for rule in $layer/ $rules; do
				case $header in
				"$rule") ok=1 ;;
				"$rule"*) [ "${rule%/}" != "$rule" ] && ok=1 ;;
				esac
			done
			case $header in
			*..*) ok= ;;
			esac
			[ "$ok" ] || echo "${file#"$dir"/}: $layer may not include \"$header\""
		done < <(sed -nE 's/^[[:space:]]*#[[:space:]]*include[[:space:]]*"([^"]*)".*/\1/p' "$file")
	done < <(find "$dir/src" "$dir/protocol" -name '*.[ch]' | sort)
}

# Prints a line for each header of the C library under DIR that comes behind one of the kernel's.
disorder() {
	local dir=$1 folder

	for folder in src protocol tests fuzz; do
		[ ! -d "$dir/$folder" ] || find "$dir/$folder" -name '*.[ch]'
	done | sort | while read -r file; do
		awk -v name="${file#"$dir"/}" '
			/^[ \t]*#[ \t]*include[ \t]*<(linux|asm)\// { kernel = $0 }
			/^[ \t]*#[ \t]*include[ \t]*</ && !/<(linux|asm)\// && kernel {
				print name ": " $0 " behind " kernel
			}' "$file"
	done
}

n=0
failed=0

result() {	# ok|"not ok" NAME
	n=$((n + 1))
	echo "$1 $n - $2"
	[ "$1" = ok ] || failed=1
}

found=$(violations "$root")
if [ -z "$found" ]; then
	result ok "every include points down"
else
	result "not ok" "every include points down"
	echo "$found" >&2
fi

found=$(disorder "$root")
if [ -z "$found" ]; then
	result ok "the kernel's headers come last"
else
	result "not ok" "the kernel's headers come last"
	echo "$found" >&2
fi

copy=$(mktemp -d)
trap 'rm -rf "$copy"' EXIT

plant() {	# NAME FILE LINE
	mkdir -p "$copy/src" "$copy/protocol" "$(dirname "$copy/$2")"
	echo "$3" >"$copy/$2"
	if [ -n "$(violations "$copy")" ]; then
		result ok "a violation is found: $1"
	else
		result "not ok" "a violation is found: $1"
	fi
	rm -rf "$copy/src" "$copy/protocol"
}

plant "util to vhost" src/util/planted.c '#include "vhost/virtq.h"'
plant "vsock to vhost" src/vsock/planted.h '#include "vhost/gmem.h"'
plant "vhost to vsock" src/vhost/planted.c '#include "vsock/mux.h"'
plant "vsock to device" src/vsock/planted.c '  #  include	"device/device.h"'
plant "backend to the core's inside" src/backend/planted.c '#include "vsock/conn.h"'
plant "backend to other wire layouts" src/backend/planted.c '#include "protocol/vhost_user.h"'
plant "config to device" src/config/planted.c '#include "device/worker.h"'
plant "protocol to util" protocol/planted.h '#include "util/fd.h"'
plant "a relative path" src/util/planted.c '#include "../device/device.h"'
plant "a path not from the root" src/vhost/planted.c '#include "virtq.h"'
plant "a folder in no layer" src/misc/planted.c '#include <stdio.h>'

mkdir -p "$copy/tests/unit"
printf '#include <linux/vm_sockets.h>\n#include <sys/socket.h>\n' >"$copy/tests/unit/planted.c"
if [ -n "$(disorder "$copy")" ]; then
	result ok "a violation is found: a header of the kernel first"
else
	result "not ok" "a violation is found: a header of the kernel first"
fi

mkdir -p "$copy/src/device" "$copy/protocol"
echo '#include "vhost/virtq.h"' >"$copy/src/device/planted.c"
if [ -z "$(violations "$copy")" ]; then
	result ok "a lawful include is let through"
else
	result "not ok" "a lawful include is let through"
fi

echo "1..$n"
exit $failed
