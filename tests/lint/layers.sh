#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
#
# Arrows only point down: no #include reaches into a layer that the table below does not allow.
# It is the one place where that stands: what src/meson.build links is the same, and the
# README's drawing has each layer above those that it may include. And the kernel's headers
# come last of the system's: <linux/vm_sockets.h> has not always included the <sys/socket.h>
# that it needs. tests/lint/layers.sh [ROOT]; TAP.
#
# A rule that nothing can break proves nothing, so each kind of violation is planted
# in a copy of the tree first, and has to be found.

set -euo pipefail

# shellcheck source=tests/lib/tap.sh
. "$(dirname "$0")/../lib/tap.sh"

root=$(cd "${1:-$(dirname "$0")/../..}" && pwd)

# Highest first. A library each, but for main, which is the program, and protocol. vsockctl is
# a program of its own.
LAYERS="main vsockctl daemon control device backend config sandbox vsock vhost util protocol"

# What FOLDER may include besides itself and libc: folders (with /) and single headers.
allowed() {
	case $1 in
	main)			echo "config/ daemon/ sandbox/guard.h sandbox/launch.h util/" ;;
	daemon)			echo "config/plan.h config/plan_state.h config/compare.h config/config.h config/api.h config/error.h backend/ control/ device/ sandbox/ protocol/ util/ vhost/gmem.h" ;;
	control)		echo "openapi.h config/plan.h device/ vsock/ util/ protocol/" ;;
	device)			echo "vhost/ vsock/ util/ protocol/" ;;
	backend)		echo "vsock/backend.h util/ protocol/hybrid.h" ;;
	vsock | vhost)		echo "util/ protocol/" ;;
	config)			echo "vsock/limits.h util/" ;;
	sandbox)		echo "util/" ;;
	vsockctl)		echo "util/ protocol/" ;;
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

# What the libraries of FILE, a meson.build, and its program have to do with other layers,
# directly or by way of others: "LAYER FOLDER", for sources of it and for linking with it.
linked() {
	tr '\n' ' ' <"$1" | awk '
		function declared(pattern) {
			return match($0, pattern) ? substr($0, RSTART, RLENGTH) : ""
		}
		function add(from, to) {
			if (to != from && !((from, to) in has)) {
				has[from, to] = 1
				return 1
			}
			return 0
		}
		function note(layer, text, keep,    at, name) {
			for (; match(text, keep); text = substr(text, RSTART + RLENGTH)) {
				name = substr(text, RSTART, RLENGTH)
				gsub(/_dep$|\/$|^\x27/, "", name)
				add(layer, name)
			}
		}
		{
			layers = ""
			rest = $0
			while (match(rest, /[a-z]+_lib = static_library\([^)]*\)/)) {
				text = substr(rest, RSTART, RLENGTH)
				rest = substr(rest, RSTART + RLENGTH)
				layer = text
				sub(/_lib.*/, "", layer)
				layers = layers " " layer
				note(layer, text, "[a-z]+_dep")
				note(layer, text, "\x27[a-z]+/")
			}
			text = declared("executable\\(\x27[^)]*\\)")
			note("main", text, "[a-z]+_dep")
			if (text ~ /daemon_deps/)
				note("main", declared("daemon_deps = \\[[^]]*\\]"), "[a-z]+_dep")
			n = split("main" layers, all, " ")
			for (i in all)
				is_layer[all[i]] = 1
			do {
				more = 0
				for (i in all)
					for (j in all)
						for (k in all)
							if ((all[i], all[j]) in has && (all[j], all[k]) in has)
								more += add(all[i], all[k])
			} while (more)
			for (pair in has) {
				split(pair, ends, SUBSEP)
				if (ends[2] in is_layer)
					print ends[1], ends[2]
			}
		}' | sort -u
}

# What the table says of all layers, "LAYER FOLDER": of whole folders, which are linked with
# (but for the daemon's sandbox, of which tests have another one: it is the program's); and
# of these and of single headers, also by way of others.
below_all() {
	local layer

	for layer in $LAYERS; do
		below "$layer"
	done | sort -u
}

whole_folders() {
	local layer rule

	for layer in $LAYERS; do
		for rule in $(allowed "$layer"); do
			[ "${rule%/}" = "$rule" ] || echo "$layer ${rule%/}"
		done
	done | grep -v ' protocol$' | grep -vx 'daemon sandbox' | sort -u
}

reachable() {
	below_all | awk '
		{ has[$1, $2] = 1; node[$1] = node[$2] = 1 }
		END {
			for (k in node)
				for (i in node)
					for (j in node)
						if ((i, k) in has && (k, j) in has)
							has[i, j] = 1
			for (pair in has) {
				split(pair, ends, SUBSEP)
				print ends[1], ends[2]
			}
		}' | sort -u
}

# Prints a line for each library of FILE that is linked with too little or too much.
mislinked() {
	linked "$1" >"$copy/linked"
	whole_folders | comm -23 - "$copy/linked" |
		sed -E 's/(.*) (.*)/\1 may include \2, and is not linked with it/'
	reachable | comm -13 - "$copy/linked" |
		sed -E 's/(.*) (.*)/\1 is linked with \2, which it may not reach/'
}

# Prints a line for each layer of FILE's drawing, a README's, that stands beside or below
# one that it may include.
misdrawn() {
	below_all | awk '
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

copy=$(mktemp -d)
trap 'rm -rf "$copy"' EXIT

none "every include points down" "$(violations "$root")"
none "the kernel's headers come last" "$(disorder "$root")"
none "what is linked is what may be included" "$(mislinked "$root/src/meson.build")"
none "the drawing is of the same layers" "$(misdrawn "$root/README.md")"

plant() {	# NAME FILE LINE
	mkdir -p "$copy/src" "$copy/protocol" "$(dirname "$copy/$2")"
	echo "$3" >"$copy/$2"
	some "a violation is found: $1" "$(violations "$copy")"
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
plant "config to device" src/config/planted.c '#include "device/worker.h"'
plant "config to the core" src/config/planted.c '#include "vsock/mux.h"'
plant "the companion to the daemon" src/vsockctl/planted.c '#include "backend/hybrid.h"'
plant "protocol to util" protocol/planted.h '#include "util/fd.h"'
plant "a relative path" src/util/planted.c '#include "../device/device.h"'
plant "a path not from the root" src/vhost/planted.c '#include "virtq.h"'
plant "a folder in no layer" src/misc/planted.c '#include <stdio.h>'

mkdir -p "$copy/tests/unit"
printf '#include <linux/vm_sockets.h>\n#include <sys/socket.h>\n' >"$copy/tests/unit/planted.c"
some "a violation is found: a header of the kernel first" "$(disorder "$copy")"

spoil() {	# NAME CHECK FILE SED-SCRIPT
	sed "$4" "$3" >"$copy/spoilt"
	some "a violation is found: $1" "$($2 "$copy/spoilt")"
}

spoil "a library linked upwards" mislinked "$root/src/meson.build" \
	"/^vsock_lib/,/)/s/util_dep/util_dep, vhost_dep/"
spoil "a library linked with too little" mislinked "$root/src/meson.build" \
	"/^device_lib/,/)/s/vsock_dep, //"
spoil "a source of another layer" mislinked "$root/src/meson.build" "s|'vsock/pkt.c'|'vhost/pkt.c'|"
spoil "layers drawn upside down" misdrawn "$root/README.md" "s/^        util /        vhost /; s/^    vhost /    util /"

mkdir -p "$copy/src/device" "$copy/protocol"
echo '#include "vhost/virtq.h"' >"$copy/src/device/planted.c"
none "a lawful include is let through" "$(violations "$copy")"

end_tests
