#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
#
# Programs of Debian unstable beside those of the distribution that runs here:
# tests/lib/sid.sh ROOT PACKAGE...
#
# Unpacks the packages, and all that they depend on, below ROOT; installs nothing, and needs
# no root. ROOT/run PROGRAM [ARGUMENT...] runs one of them with its own libraries; PROGRAM is a
# path below ROOT ("usr/bin/socat"). What is there is kept, so a second call costs nothing and
# needs no network; calls at the same time wait for each other.
#
# SID_CACHE (default ROOT.cache) has the lists and the fetched packages; several ROOTs may
# share it. Exit status 77, with the reason on the last line, when a package cannot be had.

set -euo pipefail

root=${1:?usage: sid.sh ROOT PACKAGE...}
shift
[ $# -gt 0 ] || { echo "usage: sid.sh ROOT PACKAGE..." >&2; exit 2; }
mirror=${DEBIAN_MIRROR:-http://deb.debian.org/debian}
keyring=/usr/share/keyrings/debian-archive-keyring.gpg

missing() {
	echo "sid.sh: $*" >&2
	exit 77
}

for program in apt-get dpkg-deb flock; do
	command -v "$program" >/dev/null || missing "no $program"
done
[ -e "$keyring" ] || missing "no debian-archive-keyring"

mkdir -p "$root" "${SID_CACHE:=$root.cache}"
root=$(realpath "$root")
cache=$(realpath "$SID_CACHE")
# shellcheck disable=SC2094
exec 9>"$cache/lock"
flock 9
stamp="$root/.packages"
[ ! -e "$stamp" ] || [ "$(cat "$stamp")" != "$*" ] || exit 0

mkdir -p "$cache"/{lists/partial,archives/partial,none/partial,sources.d}
: >"$cache/status"
echo "deb [signed-by=$keyring] $mirror sid main" >"$cache/sources.list"
# Nothing counts as installed: so all that a package needs comes along.
apt() {
	local command=$1

	shift
	"$command" -o Dir::State::Lists="$cache/lists" -o Dir::State::status="$cache/status" \
		-o Dir::Cache="$cache" -o Dir::Cache::archives="$cache/archives" \
		-o Dir::Etc::SourceList="$cache/sources.list" \
		-o Dir::Etc::SourceParts="$cache/sources.d" \
		-o APT::Sandbox::User="$(id -un)" -o Debug::NoLocking=true -o Acquire::Retries=2 \
		-o Acquire::http::Timeout=60 "$@"
}

[ -e "$cache/fetched" ] || {
	apt apt-get -qq -o APT::Update::Error-Mode=any update >&2 ||
		missing "the package lists of Debian unstable cannot be fetched"
	touch "$cache/fetched"
}
# Those that are fetched already are not printed: so where none are.
uris=$(apt apt-get -qq --no-install-recommends --print-uris install "$@" \
	-o Dir::Cache::archives="$cache/none" 2>/dev/null) ||
	missing "Debian unstable has no $*"
apt apt-get -qq -y --no-install-recommends --download-only install "$@" >/dev/null 2>&1 ||
	missing "$* cannot be fetched"
rm -rf "$root"
mkdir -p "$root"
while read -r _ file _; do
	dpkg-deb --fsys-tarfile "$cache/archives/$file" |
		tar -x -C "$root" --no-same-owner --exclude='./dev/*'
done <<<"$uris"

cat >"$root/run" <<'EOF'
#!/bin/sh
# run PROGRAM [ARGUMENT...]: with the libraries beside it
root=$(dirname "$0")
program=$1
shift
triplet=$(basename "$(dirname "$(ls -d "$root"/usr/lib/*/libc.so.6)")")
exec "$root"/usr/lib/"$triplet"/ld-linux* --argv0 "$program" \
	--library-path "$root/usr/lib/$triplet:$root/lib/$triplet:$root/usr/lib/$triplet/systemd:$root/usr/lib" \
	"$root/$program" "$@"
EOF
chmod +x "$root/run"
echo "$*" >"$stamp"
