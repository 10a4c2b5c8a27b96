#!/usr/bin/env bash
# Crash torture on the real thing: real programs on a FUSE file system of ours, killed at every system call that reaches it.
#
#   scripts/torture.sh [--kills N] [--seed S] [--victim writer|relay|all]    plays histories until so many kills were made; 1000 of all
#   scripts/torture.sh --replay SEED:HISTORY [--times N]                    this one alone, with all that happens
#   scripts/torture.sh --guards [NAME...]        takes out one guard at a time, and wants a broken promise
#
# Needs /dev/fuse, and to be root (or fusermount3). Relays need RabbitMQ, which scripts/broker.sh installs.
#
# ZOUTBOX_TORTURE_BUDGET    how many kills a mutant may survive; 6000 of writers, 300 of relays
# ZOUTBOX_FAULTS            a file that gets a line of JSON for each kind of fault that was injected, if every promise was kept
#
# Exit codes: 0 every promise kept, every mutant caught; 1 not so; other codes: the script could not do its work.
set -euo pipefail
cd "$(dirname "$(realpath "$0")")/.."

die() { printf 'torture.sh: %s\n' "$*" >&2; exit 2; }
# shellcheck source=scripts/faults.sh
source scripts/faults.sh
# shellcheck source=scripts/mutate.sh
source scripts/mutate.sh

# What each mutant breaks, and whose kills show it.
readonly of_writers=(commit-without-sync segment-name-without-sync recovery-without-sync no-poisoning)
readonly of_relays=(reclaim-before-checkpoint checkpoint-not-synced checkpoint-name-not-synced stop-without-saving)
readonly build=(-p zoutbox-torture -p zoutbox-relay --bins --example take_queue)
readonly build_writer=(-p zoutbox-torture --bins)

need_fuse() {
    [[ -e /dev/fuse ]] || die "/dev/fuse is missing: the kernel needs FUSE (modprobe fuse), and a container the device"
    { : <>/dev/fuse; } 2>/dev/null || die "/dev/fuse can't be opened by this user: be root, or let it be opened"
    ((EUID == 0)) || command -v fusermount3 >/dev/null || die "mounting needs root, or fusermount3"
}

mutants=0 caught=0
survivors=()

# Moves what was built for a mutant to where nobody takes it for the real thing.
judge() { # NAME WHO KILLS
    local patch output status=0
    patch=$(patch_of "$1")
    take_out "$patch" "$copy"
    mkdir -p "$copy/bin/examples"
    if [[ $2 == writer ]]; then
        build_copy "$copy" "${build_writer[@]}"
    else
        build_copy "$copy" "${build[@]}"
        mv "$target/debug/zoutbox-relay" "$copy/bin"
        mv "$target/debug/examples/take_queue" "$copy/bin/examples"
    fi
    mv "$target/debug/zoutbox-torture" "$copy/bin"
    mutants=$((mutants + 1))
    output=$("$copy/bin/zoutbox-torture" --victim "$2" --kills "${ZOUTBOX_TORTURE_BUDGET:-$3}" --until-caught --traces "$copy/traces" 2>&1) ||
        status=$?
    # Only a broken promise counts: not a program that could not run.
    if ((status == 1)) && grep -q '^caught after ' <<<"$output"; then
        caught=$((caught + 1))
        printf '%-32s %s\n' "$1" "$(grep '^caught after ' <<<"$output" | cut -c -200)"
    else
        survivors+=("$1")
        printf '%-32s SURVIVED: %s\n' "$1" "$(head -n 1 "$patch")"
        tail -n 3 <<<"$output"
    fi
    put_back "$patch" "$copy"
}

run_guards() { # [NAME...]
    local name
    copy=$target/mutants/torture
    copy_workspace "$copy"
    local -a names=("$@")
    ((${#names[@]} > 0)) || names=("${of_writers[@]}" "${of_relays[@]}")
    for name in "${names[@]}"; do
        case " ${of_relays[*]} " in
            *" $name "*) judge "$name" relay 300 ;;
            *) judge "$name" writer 6000 ;;
        esac
    done
    if ((${#survivors[@]} > 0)); then printf 'survived: %s\n' "${survivors[*]}"; fi
    printf '%d mutants, %d caught\n' "$mutants" "$caught"
    ((mutants == caught)) || return 1
    injected torture code 'a guard is taken out' 'of the real programs, one at a time' "$mutants" "$mutants mutants, $caught caught"
}

case ${1:-} in
    --help | -h) sed -n '2,/^set /{/^#/s/^# \{0,1\}//p}' "$0"; exit 0 ;;
esac

need_fuse
case " $* " in
    *" writer "*) ;;
    *) ./scripts/broker.sh install ;;
esac
if [[ ${1:-} == --guards ]]; then
    shift
    run_guards "$@"
else
    # Of the whole workspace, so that nothing is compiled with other features than for the other tests.
    cargo build --quiet --locked --workspace --bins --examples
    exec "$target/debug/zoutbox-torture" "$@"
fi
