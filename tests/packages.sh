# SPDX-License-Identifier: BSD-3-Clause
# shellcheck shell=bash
#
# Sourced: installs what a script needs and does not find, on Debian and its kin.
#
#	need WHAT...	commands, or pkg-config modules as "lib:NAME"

package_of() {
	case $1 in
	cc) echo gcc libc6-dev ;;
	ninja) echo ninja-build ;;
	qemu-system-x86_64) echo qemu-system-x86 ;;
	busybox) echo busybox-static ;;
	xz) echo xz-utils ;;
	lib:check) echo check ;;
	lib:yaml-0.1) echo libyaml-dev ;;
	lib:libseccomp) echo libseccomp-dev ;;
	*) echo "$1" ;;
	esac
}

is_there() {
	case $1 in
	lib:*) pkg-config --exists "${1#lib:}" 2>/dev/null ;;
	*) command -v "$1" >/dev/null ;;
	esac
}

# All absent ones in one go; what cannot be installed is left to the build to say.
need() {
	local what packages=() sudo=()

	for what in "$@"; do
		# shellcheck disable=SC2207
		is_there "$what" || packages+=($(package_of "$what"))
	done
	[ ${#packages[@]} -gt 0 ] || return 0
	if ! command -v apt-get >/dev/null; then
		echo "not found, and no apt-get to install: ${packages[*]}" >&2
		return 0
	fi
	echo "installing ${packages[*]}" >&2
	[ "$(id -u)" = 0 ] || sudo=(sudo)
	{
		"${sudo[@]}" apt-get -qq -o DPkg::Lock::Timeout=300 update &&
		"${sudo[@]}" env DEBIAN_FRONTEND=noninteractive apt-get -qq \
			-o DPkg::Lock::Timeout=300 install -y \
			--no-install-recommends "${packages[@]}"
	} </dev/null >/dev/null || echo "could not install ${packages[*]}" >&2
}
