#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
#
# Arrows only point down: no #include reaches into a layer that the table below does not allow.
# It is the one place where that stands: what src/meson.build links follows from it, and the
# README's drawing has each layer above those that it may include. And the kernel's headers
# come last of the system's: <linux/vm_sockets.h> has not always included the <sys/socket.h>
# that it needs. tests/lint/layers.sh [ROOT]; TAP.
#
# A rule that nothing can break proves nothing, so each kind of violation is planted
# in a copy of the tree first, and has to be found.

set -euo pipefail

root=$(cd "${1:-$(dirname "$0")/../..}" && pwd)

# Highest first. A library each, but for main, which is the program, and protocol.
LAYERS="main daemon device backend config sandbox vsock vhost util protocol"

# What FOLDER may include besides itself and libc: folders (with /) and single headers.
allowed() {
	case $1 in
	main)			echo "config/ daemon/ sandbox/launch.h util/" ;;
	daemon)			echo "config/plan.h backend/ device/ sandbox/ protocol/ util/ vhost/gmem.h" ;;
	device)			echo "vhost/ vsock/ util/ protocol/" ;;
	backend)		echo "vsock/backend.h util/ protocol/hybrid.h" ;;
	vsock | vhost)		echo "util/ protocol/" ;;
	config)			echo "vsock/limits.h util/" ;;
	sandbox)		echo "util/" ;;
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

# What LAYER may include, as "LAYER FOLDER" lines.
below() {
	local rule

	for rule in $(allowed "$1"); do
		echo "$1 ${rule%%/*}"
	done | sort -u
}

all_below() {
	local layer

	for layer in $LAYERS; do
		below "$layer"
	done
}

# Adds to the pairs on standard input those that follow: A B and B C make A C.
follow() {
	awk '
		{
			has[$1, $2]
			ends[$1]
			ends[$2]
		}
		END {
			do {
				more = 0
				for (a in ends)
					for (b in ends)
						for (c in ends)
							if (a != c && (a, b) in has && (b, c) in has && !((a, c) in has)) {
								has[a, c]
								more = 1
							}
			} while (more)
			for (pair in has) {
				split(pair, name, SUBSEP)
				print name[1], name[2]
			}
		}' | sort -u
}

# What the libraries of FILE, a meson.build, and its program are linked with: "LAYER LAYER";
# and where their sources are: "LAYER FOLDER", if that is another.
linked() {
	tr '\n' ' ' <"$1" | awk -v layers="$LAYERS" '
		function declared(pattern) {
			return match($0, pattern) ? substr($0, RSTART, RLENGTH) : ""
		}
		function note(layer, text, keep,    name) {
			for (; match(text, keep); text = substr(text, RSTART + RLENGTH)) {
				name = substr(text, RSTART, RLENGTH)
				gsub(/_dep$|\/$|^\x27/, "", name)
				if (name in is_layer && name != layer)
					print layer, name
			}
		}
		{
			n = split(layers, all, " ")
			for (i = 1; i <= n; i++)
				is_layer[all[i]]
			for (rest = $0; match(rest, /[a-z]+_lib = static_library\([^)]*\)/); ) {
				text = substr(rest, RSTART, RLENGTH)
				rest = substr(rest, RSTART + RLENGTH)
				layer = text
				sub(/_lib.*/, "", layer)
				note(layer, text, "[a-z]+_dep")
				note(layer, text, "\x27[a-z]+/")
			}
			text = declared("executable\\(\x27[^)]*\\)")
			if (text ~ /daemon_deps/)
				text = text declared("daemon_deps = \\[[^]]*\\]")
			note("main", text, "[a-z]+_dep")
		}' | sort -u
}

# Prints a line for each library of FILE that is linked upwards, and one if none is seen.
mislinked() {
	[ -n "$(linked "$1")" ] || echo "nothing is linked with anything"
	comm -13 <(all_below | follow) <(linked "$1" | follow) |
		sed -E 's/(.*) (.*)/\1 is linked with \2, which it may not include/'
}

# Prints a line for each layer of FILE's drawing, a README's, that stands beside or below
# one that it may include as a whole.
misdrawn() {
	local layer

	for layer in $LAYERS; do
		allowed "$layer" | grep -oE '[a-z]+/( |$)' | sed "s/^/$layer /; s/\/.*//"
	done | awk '
		FILENAME == ARGV[1] {
			if (/^## /)
				inside = /^## Architecture/
			if (inside && /^    /) {
				drawn = 1
				n = split($0, words, /   +/)	# names, then what they are
				for (i = 1; i <= n && words[i] !~ / /; i++) {
					sub(/\.c$/, "", words[i])
					line[words[i]] = FNR
				}
			} else if (drawn) {
				inside = 0
			}
			next
		}
		$1 in line && $2 in line && line[$1] >= line[$2] {
			print $1 " is not drawn above " $2
		}' "$1" -
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

same() {	# NAME FOUND
	if [ -z "$2" ]; then
		result ok "$1"
	else
		result "not ok" "$1"
		echo "$2" >&2
	fi
}

same "every include points down" "$(violations "$root")"
same "the kernel's headers come last" "$(disorder "$root")"
same "what is linked may be included" "$(mislinked "$root/src/meson.build")"
same "the drawing is of the same layers" "$(misdrawn "$root/README.md")"

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
plant "daemon to what reads the plan" src/daemon/planted.c '#include "config/keys.h"'
plant "daemon to the core's inside" src/daemon/planted.c '#include "vsock/conn.h"'
plant "main past the daemon" src/main.c '#include "device/worker.h"'
plant "config to the core" src/config/planted.c '#include "vsock/mux.h"'
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

spoil() {	# NAME CHECK FILE SED-SCRIPT
	sed "$4" "$3" >"$copy/spoilt"
	if [ -n "$($2 "$copy/spoilt")" ]; then
		result ok "a violation is found: $1"
	else
		result "not ok" "a violation is found: $1"
	fi
}

spoil "a library linked upwards" mislinked "$root/src/meson.build" \
	"/^vsock_lib/,/)/s/util_dep/util_dep, vhost_dep/"
spoil "no library at all" mislinked "$root/src/meson.build" "s/static_library/library/; s/_dep//g"
spoil "a source of another layer" mislinked "$root/src/meson.build" "s|'vsock/pkt.c'|'vhost/pkt.c'|"
spoil "layers drawn upside down" misdrawn "$root/README.md" \
	's/^\( *\)device   /\1other   /; s/^\( *\)util   /\1device   /; s/^\( *\)other   /\1util   /'

mkdir -p "$copy/src/device" "$copy/protocol"
echo '#include "vhost/virtq.h"' >"$copy/src/device/planted.c"
if [ -z "$(violations "$copy")" ]; then
	result ok "a lawful include is let through"
else
	result "not ok" "a lawful include is let through"
fi

echo "1..$n"
exit $failed
