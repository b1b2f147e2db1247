# SPDX-License-Identifier: BSD-3-Clause
# shellcheck shell=bash disable=SC2154
#
# Sourced: packages of the distribution that runs here, or of Debian unstable, without
# installing them.
#
#	apt_for PACKAGE COMMAND...	apt-get or apt-cache with lists that know the package
#	download PACKAGE DIR		unpacks it there
#
# $flavour is default or sid; $out/apt has lists and packages of our own, if they are needed.

# apt with lists and cache of its own: needs no root and changes nothing. A mirror that is
# behind is good enough.
private_apt() {
	local dir=$out/apt suite=sid source=

	mkdir -p "$dir"/{lists/partial,archives/partial,sources.d}
	touch "$dir/status"
	if [ "$flavour" = sid ]; then
		echo "deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg]" \
			"${DEBIAN_MIRROR:-http://deb.debian.org/debian} $suite main" >"$dir/sources.list"
		source="-o Dir::Etc::SourceList=$dir/sources.list"
		source="$source -o Dir::Etc::SourceParts=$dir/sources.d"
	fi
	# shellcheck disable=SC2086
	"$@" -o Dir::State::Lists="$dir/lists" -o Dir::State::status="$dir/status" \
		-o Dir::Cache="$dir" -o Dir::Cache::archives="$dir/archives" \
		-o APT::Sandbox::User="$(id -un)" -o Debug::NoLocking=true \
		-o Acquire::Check-Valid-Until=false $source
}

# The lists of the system if they know the package, else private ones.
apt_for() {
	local package=$1

	shift
	if [ "$flavour" != sid ] && apt-cache show "$package" >/dev/null 2>&1; then
		"$@" -o APT::Sandbox::User="$(id -un)"
		return
	fi
	[ -e "$out/apt/fetched" ] || {
		private_apt apt-get -qq -o APT::Update::Error-Mode=any update >&2 || return
		touch "$out/apt/fetched"
	}
	private_apt "$@"
}

# download PACKAGE DIR: unpacks it there.
download() {
	local package=$1 dir=$2

	rm -rf "$dir/deb"
	mkdir -p "$dir/deb"
	(cd "$dir/deb" && apt_for "$package" apt-get -qq download "$package" >&2) ||
		return 1
	dpkg-deb -x "$dir"/deb/*.deb "$dir"
	rm -rf "$dir/deb"
}
