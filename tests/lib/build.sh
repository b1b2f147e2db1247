# SPDX-License-Identifier: BSD-3-Clause
# shellcheck shell=bash
#
# Sourced: builds. $root is the tree, $as is put before Meson (to be another user).
#
#	set_up DIR [OPTION...]	a build of the tree in DIR, by $CC and with these options. One that
#				is there is kept if it was set up so, to the end: build.ninja
#				is written before that, so a file of our own tells.
#	copy_tree DIR		all that a build needs

as=()

# shellcheck disable=SC2154
set_up() {
	local dir=$1 how

	shift
	how="$root ${CC:-cc} $*"
	[ "$(cat "$dir/set-up" 2>/dev/null)" != "$how" ] || return 0
	[ ! -e "$dir/meson-private" ] || rm -rf "$dir"
	"${as[@]}" meson setup "$dir" "$root" "$@" || return
	echo "$how" >"$dir/set-up"
}

copy_tree() {
	mkdir -p "$1" &&
	(cd "$root" && cp -a README.md COPYING meson.build meson_options.txt src protocol tests fuzz "$1")
}
