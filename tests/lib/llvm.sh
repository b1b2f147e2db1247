# SPDX-License-Identifier: BSD-3-Clause
# shellcheck shell=bash
#
# Sourced: clang's source-based coverage. tests/lib/packages.sh and tests/lib/build.sh have been
# sourced before.
#
#	llvm_need		installs clang and the tools of its version
#	llvm_build DIR		sets up a build with coverage, if there is none
#	llvm_cov SUBCOMMAND...	llvm-cov; llvm_profdata likewise

llvm_need() {
	need clang
	llvm_version=$(clang -dumpversion | cut -d. -f1)
	command -v "llvm-cov-$llvm_version" llvm-cov >/dev/null || need "llvm-$llvm_version"
	[ -n "$(find "$(clang -print-resource-dir)" -name 'libclang_rt.profile*' -print -quit)" ] ||
		need "libclang-rt-$llvm_version-dev"
}

llvm_tool() {
	local tool=$1

	shift
	"$(command -v "$tool-$llvm_version" "$tool" | head -1)" "$@"
}

llvm_cov() { llvm_tool llvm-cov "$@"; }
llvm_profdata() { llvm_tool llvm-profdata "$@"; }

llvm_build() {
	CC=clang set_up "$1" -Dc_args='-fprofile-instr-generate -fcoverage-mapping' \
		-Dc_link_args=-fprofile-instr-generate >/dev/null
}
