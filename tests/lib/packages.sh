# SPDX-License-Identifier: BSD-3-Clause
# shellcheck shell=bash
#
# Sourced: installs what a script needs and does not find, on Debian and its kin.
#
#	need WHAT... [-- WHAT...]	commands, or pkg-config modules as "lib:NAME"; behind
#					the -- what the script can do without
#	is_there WHAT			can it be had now?
#
# Where it cannot be installed, one line says what root has to do. The script ends with that,
# unless it can do without. With tests/lib/jobs.sh, a signal ends the installation too.

package_of() {
	case $1 in
	cc) echo gcc libc6-dev ;;
	ninja) echo ninja-build ;;
	qemu-system-x86_64) echo qemu-system-x86 ;;
	busybox) echo busybox-static ;;
	xz) echo xz-utils ;;
	setpriv | setarch) echo util-linux ;;
	lib:check) echo check ;;
	lib:yaml-0.1) echo libyaml-dev ;;
	lib:libseccomp) echo libseccomp-dev ;;
	lib:libmicrohttpd) echo libmicrohttpd-dev ;;
	lib:jansson) echo libjansson-dev ;;
	promtool) echo prometheus ;;
	*) echo "$1" ;;
	esac
}

is_there() {
	case $1 in
	lib:*) pkg-config --exists "${1#lib:}" 2>/dev/null ;;
	*) command -v "$1" >/dev/null ;;
	esac
}

# Sets $packages to those of what is absent.
find_absent() {
	local what

	packages=()
	for what; do
		# shellcheck disable=SC2207
		is_there "$what" || packages+=($(package_of "$what"))
	done
}

# Sets $as_root to what makes a command root's; false: nothing does, not without a terminal
# to ask for a password on.
may_install() {
	as_root=()
	command -v apt-get >/dev/null || return
	[ "$(id -u)" != 0 ] || return 0
	as_root=(sudo)
	command -v sudo >/dev/null || return
	sudo -n true 2>/dev/null || { [ -t 0 ] && [ -t 2 ]; }
}

# In a group of its own, where it can be waited for, unless it asks for a password. What
# an earlier one left half done is done first.
apt_get() {
	local how=() script

	# shellcheck disable=SC2016
	script='
		[ -z "$(dpkg --audit)" ] || { dpkg --configure -a; apt-get -qq -f install -y; }
		apt-get -qq -o DPkg::Lock::Timeout=300 update &&
		exec apt-get -qq -o DPkg::Lock::Timeout=300 install -y --no-install-recommends "$@"'

	[ ${#as_root[@]} -gt 0 ] || ! declare -F attend_gently >/dev/null || how=(attend_gently)
	"${how[@]}" "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive sh -c "$script" sh "$@" \
		</dev/null >/dev/null
}

need() {
	local needed=() all=() packages as_root

	while [ $# -gt 0 ] && [ "$1" != -- ]; do
		needed+=("$1")
		shift
	done
	all=("${needed[@]}" "${@:2}")
	find_absent "${all[@]}"
	[ ${#packages[@]} -gt 0 ] || return 0
	if may_install; then
		echo "installing ${packages[*]}" >&2
		apt_get "${packages[@]}" || :		# what is there now tells
		find_absent "${all[@]}"
		[ ${#packages[@]} -gt 0 ] || return 0
	fi
	echo "${0##*/}: not installed; root has to: apt-get install --no-install-recommends ${packages[*]}" >&2
	find_absent "${needed[@]}"
	[ ${#packages[@]} = 0 ] || exit 1
}
