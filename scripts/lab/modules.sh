#!/usr/bin/env bash
# Builds OpenZFS's kernel modules against the kernel of the image: the only slow part, some minutes.
#
#   modules.sh DEBS LIST OUT   the packages named in LIST, found in DEBS; spl.ko and zfs.ko into OUT
#
# Runs in a directory of its own beside OUT. The modules must not go into a repository: OpenZFS is CDDL, the kernel GPL.
set -euo pipefail
# shellcheck source=scripts/lab/common.sh
. "$(dirname "${BASH_SOURCE[0]}")/common.sh"

readonly debs=$1 list=$2 out=$3
work=$(mktemp -d "$out.work.XXXXXX")
trap 'rm -rf "$work"' EXIT

run_logged() { # LOG COMMAND...
    local log=$work/$1
    shift
    "$@" >"$log" 2>&1 || {
        tail -n 20 "$log" >&2
        die "building OpenZFS's modules failed at: $*"
    }
}

unpack() {
    local file
    while read -r file; do dpkg-deb -x "$debs/$file" "$work"; done <"$list"
}

# The headers expect to lie in /usr/src, and point at each other there.
relocate_headers() {
    local makefile
    for makefile in "$work"/usr/src/linux-headers-*/Makefile; do
        sed -i "s#/usr/src/#$work/usr/src/#g" "$makefile"
    done
    # With it there, linking a module wants pahole, and OpenZFS's configure ends with "kernel does not include loadable
    # module support".
    rm -f "$work"/usr/src/linux-headers-*/vmlinux
}

build() {
    local headers=("$work"/usr/src/linux-headers-*-cloud-amd64) common=("$work"/usr/src/linux-headers-*-common)
    cd "$work"/usr/src/zfs-*
    run_logged configure.log ./configure --disable-dependency-tracking --with-config=kernel \
        --with-linux="${common[0]}" --with-linux-obj="${headers[0]}"
    step "OpenZFS is configured; compiling"
    run_logged make.log make "-j$(nproc)"
}

mkdir -p "$out"
unpack
relocate_headers
step "configuring OpenZFS"
build
strip --strip-debug -o "$out/spl.ko" module/spl.ko
strip --strip-debug -o "$out/zfs.ko" module/zfs.ko
