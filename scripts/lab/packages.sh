#!/usr/bin/env bash
# The packages that the lab's image is made from, by an apt of the lab's own: with its own lists and downloads, and a
# status that says "nothing installed". The host's apt is only read, for which mirror it uses.
#
#   packages.sh resolve DIR   asks the mirror what the newest versions are: DIR/kernel, DIR/guest and DIR/tools, one
#                             package file name a line. Exit code 3: the mirror can't be asked
#   packages.sh fetch DIR     downloads what `resolve` named; prints the directory with the files
#
# Kernel, OpenZFS and QEMU come from Backports: Debian 12's own OpenZFS (2.1) is too old for what we claim, and its QEMU
# (7.2) makes the newer kernel oops at random.
set -euo pipefail
# shellcheck source=scripts/lab/common.sh
. "$(dirname "${BASH_SOURCE[0]}")/common.sh"

readonly release=bookworm
readonly from_backports="src:linux src:linux-signed-amd64 src:zfs-linux src:qemu src:seabios"
readonly flavour=cloud-amd64 # virtio built in, NFS and bridges as modules, and little else
readonly guest_packages=(base-files bash coreutils util-linux mount kmod iproute2 procps tar
    nfs-common nfs-kernel-server rpcbind busybox-static zfsutils-linux)
# Unpacked beside the image, never installed.
readonly tool_packages=(qemu-system-x86 qemu-system-data seabios socat)

readonly state=$lab_cache/apt
apt_options=(
    -o "Dir::Etc::sourcelist=$state/lab.sources" -o Dir::Etc::sourceparts=/dev/null
    -o "Dir::Etc::preferences=$state/preferences" -o Dir::Etc::preferencesparts=/dev/null
    -o "Dir::State=$state/state" -o "Dir::State::lists=$state/lists" -o "Dir::State::status=$state/status"
    -o "Dir::Cache=$state/cache" -o "Dir::Cache::archives=$state/debs"
    -o APT::Architecture=amd64 -o APT::Architectures=amd64 -o APT::Install-Recommends=false
    -o APT::Sandbox::User=root -o Debug::NoLocking=1 -o Acquire::Languages=none
    # Anything less than every list is as good as none: it would resolve to other versions.
    -o APT::Update::Error-Mode=any -o Acquire::Retries=2
)

apt() { DEBIAN_FRONTEND=noninteractive apt-get "${apt_options[@]}" -qq "$@"; }

# Where the host gets a suite from. apt tells itself, however its sources are written down.
mirror_of() { # SUITE
    apt-get -o Debug::NoLocking=1 -o "Dir::State::lists=$state/empty" --print-uris update 2>/dev/null |
        sed -nE "s#^'(.*)/dists/$1/InRelease'.*#\1#p" | head -n 1
}

source_stanza() { # URI SUITES
    printf 'Types: deb\nURIs: %s\nSuites: %s\nComponents: main contrib\nSigned-By: %s\n\n' \
        "$1" "$2" /usr/share/keyrings/debian-archive-keyring.gpg
}

prepare() {
    local main security
    mkdir -p "$state"/{state,lists,cache,debs,empty}/partial
    : >"$state/status"
    main=$(mirror_of "$release")
    [[ -n $main ]] || die "the host's apt sources name no mirror of Debian $release"
    security=$(mirror_of "$release-security")
    {
        source_stanza "$main" "$release $release-updates $release-backports"
        if [[ -n $security ]]; then source_stanza "$security" "$release-security"; fi
    } >"$state/lab.sources"
    printf 'Package: %s\nPin: release n=%s-backports\nPin-Priority: 990\n' "$from_backports" "$release" >"$state/preferences"
}

update() {
    local log=$state/update.log
    if apt update >"$log" 2>&1; then return; fi
    if grep -q "$release-backports.*does not have a Release file" "$log"; then
        die "the host's mirror has no $release-backports, from where kernel, OpenZFS and QEMU come"
    fi
    sed 's/^/  /' "$log" | tail -n 5 >&2
    exit 3
}

# The first package of a name that a package depends on.
dependency() { # PACKAGE PREFIX
    apt-cache "${apt_options[@]}" depends "$1" |
        awk -v prefix="$2" '$1 == "Depends:" && index($2, prefix) == 1 { print $2; exit }'
}

kernel_packages() {
    local image headers common kbuild
    image=$(dependency "linux-image-$flavour" linux-image-)
    headers=$(dependency "linux-headers-$flavour" linux-headers-)
    common=$(dependency "$headers" linux-headers-)
    kbuild=$(dependency "$common" linux-kbuild-)
    [[ -n $kbuild ]] || kbuild=$(dependency "$headers" linux-kbuild-)
    [[ ${image#linux-image-} == "${headers#linux-headers-}" ]] ||
        die "the mirror has kernel ${image#linux-image-} but headers of ${headers#linux-headers-}; try again later"
    printf '%s\n' "$image" "$headers" "$common" "$kbuild" zfs-dkms
}

# apt leaves out of this list what it has already: so ask beside an empty directory.
file_names() { # APT-COMMAND PACKAGE...
    apt -o "Dir::Cache::archives=$state/empty" --print-uris "$@" | awk '{ print $2 }' | sort
}

resolve() { # DIR
    prepare
    update
    kernel_packages >"$1/kernel.packages"
    local -a kernel
    mapfile -t kernel <"$1/kernel.packages"
    file_names download "${kernel[@]}" >"$1/kernel"
    file_names -y install "${guest_packages[@]}" >"$1/guest"
    file_names -y install "${tool_packages[@]}" >"$1/tools"
    local list
    for list in kernel guest tools; do
        [[ -s $1/$list ]] || die "apt named no packages for the $list"
    done
    if ! grep -q '^zfs-dkms_.*bpo' "$1/kernel" || ! grep -q '^qemu-system-x86_.*bpo' "$1/tools"; then
        die "OpenZFS or QEMU did not resolve to $release-backports"
    fi
}

fetch() { # DIR
    local -a kernel
    local file
    mapfile -t kernel <"$1/kernel.packages"
    (cd "$state/debs" && apt download "${kernel[@]}") >&2
    apt -y --download-only install "${guest_packages[@]}" >&2
    apt -y --download-only install "${tool_packages[@]}" >&2
    while read -r file; do
        [[ -s $state/debs/$file ]] || die "the mirror changed meanwhile: $file was not downloaded; try again"
    done < <(cat "$1"/{kernel,guest,tools})
    apt autoclean >&2 # what the mirror has no more
    printf '%s\n' "$state/debs"
}

case ${1:-} in
    resolve | fetch) "$1" "$2" ;;
    *) wrong_usage "packages.sh: no such command: ${1:-}" ;;
esac
