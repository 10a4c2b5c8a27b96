#!/usr/bin/env bash
# Finds the image in the cache, or builds it; prints its directory.
#
#   build.sh             asks the mirror, at most once a day, whether there are newer packages
#   build.sh --fresh     asks the mirror in any case
#   build.sh --any       whatever image these scripts built last; asks the mirror only when there is none
#
# An image's name is what it is made from: a hash of the scripts that make it, and one of the packages. A directory below
# images/ or modules/ is whole, since it gets its name when it is finished. What OpenZFS's modules are made from has a
# name of its own, so that another script or package does not compile them again.
#
# The guest's scripts, but for its first, are not in the image: each run lays them in.
set -euo pipefail
# shellcheck source=scripts/lab/common.sh
. "$(dirname "${BASH_SOURCE[0]}")/common.sh"
# shellcheck source=scripts/lab/host.sh
. "$lab_home/host.sh"

readonly current_for='-1 day'

scripts_digest() {
    (cd "$lab_home" && cat packages.sh modules.sh tools.sh rootfs.sh guest/init) | digest
}

newest_image() { # find's tests
    find "$lab_cache/images" -mindepth 1 -maxdepth 1 -name "$scripts-*" "$@" -printf '%T@ %p\n' 2>/dev/null |
        sort -rn | cut -d' ' -f2- | head -n 1
}

give() { # IMAGE
    touch "$1/used"
    printf '%s\n' "$1"
}

answer_if_there() { # find's tests
    local image
    image=$(newest_image "$@")
    if [[ -n $image ]]; then
        give "$image"
        exit
    fi
}

lock_cache() {
    exec 9>"$lab_cache/lock"
    if ! flock --nonblock 9; then
        say "waiting for another build"
        flock 9
    fi
    # Left by builds that were killed: nobody else builds now.
    rm -rf "$lab_cache"/building.*
}

use_old_image() {
    local image
    image=$(newest_image)
    [[ -n $image ]] || die "the mirror can't be asked for packages, and the cache has no image of these scripts"
    say "the mirror can't be asked for newer packages; using the image built on $(date -r "$image/VERSIONS" +%F)"
    give "$image"
}

modules_directory() { # RESOLVED
    printf '%s/modules/%s\n' "$lab_cache" "$(cat "$lab_home/modules.sh" "$1/kernel" | digest)"
}

build_modules() { # RESOLVED DEBS
    local modules
    modules=$(modules_directory "$1")
    if [[ -d $modules ]]; then return; fi
    "$lab_home/modules.sh" "$2" "$1/kernel" "$building/modules"
    mv -T "$building/modules" "$modules"
}

write_versions() { # RESOLVED
    printf 'built %s\nscripts %s\n\n' "$(date -u +%FT%TZ)" "$scripts"
    local list
    for list in kernel guest tools; do
        printf '[%s]\n' "$list"
        cat "$1/$list"
        printf '\n'
    done
}

build_image() { # RESOLVED IMAGE
    local debs
    need_tools
    step "downloading packages"
    debs=$("$lab_home/packages.sh" fetch "$1")
    build_modules "$1" "$debs"
    mkdir "$building/image"
    step "unpacking QEMU"
    "$lab_home/tools.sh" "$debs" "$1/tools" "$building/image/tools"
    step "making the root file system"
    "$lab_home/rootfs.sh" "$debs" "$1" "$(modules_directory "$1")" "$building/image"
    write_versions "$1" >"$building/image/VERSIONS"
    mv -T "$building/image" "$2"
    step "built: $(grep -m 1 '^linux-image' "$1/kernel"), $(grep -m 1 '^zfs-dkms' "$1/kernel")"
}

# Packages move on, and what nobody has used for a month would stay for ever.
prune() {
    local stamp
    while read -r stamp; do rm -rf "${stamp%/used}"; done < <(find "$lab_cache/images" -mindepth 2 -maxdepth 2 -name used -mtime +30)
    find "$lab_cache/modules" -mindepth 1 -maxdepth 1 -mtime +90 -exec rm -rf {} +
}

main() {
    local resolved image status=0
    building=$(mktemp -d "$lab_cache/building.XXXXXX")
    trap 'rm -rf "$building"' EXIT
    resolved=$building/resolved
    mkdir "$resolved"
    need_platform
    step "asking the mirror for the newest versions"
    "$lab_home/packages.sh" resolve "$resolved" || status=$?
    case $status in
        0) ;;
        3)
            use_old_image
            return
            ;;
        *) exit "$status" ;;
    esac
    image=$lab_cache/images/$scripts-$(cat "$resolved"/{kernel,guest,tools} | digest)
    if [[ -d $image ]]; then
        step "the cached image is the newest"
        touch "$image" # asked now
    else
        build_image "$resolved" "$image"
        prune
    fi
    give "$image"
}

LAB_BEGAN=$(date +%s)
export LAB_BEGAN
scripts=$(scripts_digest)
mkdir -p "$lab_cache"/{images,modules}

answer() {
    case $1 in
        '') answer_if_there -newermt "$current_for" ;;
        --any) answer_if_there ;;
        --fresh) ;;
        *) wrong_usage "build does not take $1" ;;
    esac
}
answer "${1:-}"
lock_cache
if [[ ${1:-} != --fresh ]]; then answer "${1:-}"; fi # another build may have made it while this one waited
main
