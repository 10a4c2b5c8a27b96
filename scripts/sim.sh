#!/usr/bin/env bash
# The simulation: real cores over a simulated disk, clock, broker and processes; one seed decides everything.
#
#   scripts/sim.sh [--seeds N] [--first SEED]     some seeds, on all cores; 1000 from seed 1
#   scripts/sim.sh --minutes N [--first SEED]     as many as fit, with progress and seeds/s
#   scripts/sim.sh --seed S [--trace]             this one alone; with all that happens
#   scripts/sim.sh --known                        the seeds in fixtures/seeds/: each broke a promise once
#   scripts/sim.sh --mutants [NAME...]            takes out one guard at a time, and wants a checker to notice
#
# ZOUTBOX_SIM_BUDGET    how many seeds a mutant may survive; 20000
# ZOUTBOX_SIM_PROFILE   debug or release; debug, but release with --minutes
#
# Exit codes: 0 every promise kept, every mutant caught; 1 not so; other codes: the script could not do its work.
set -euo pipefail
# shellcheck source=scripts/faults.sh
. "$(dirname "$(realpath "$0")")/faults.sh"
cd "$(dirname "$(realpath "$0")")/.."

readonly budget=${ZOUTBOX_SIM_BUDGET:-20000}

die() { printf 'sim.sh: %s\n' "$*" >&2; exit 2; }
# shellcheck source=scripts/mutate.sh
source scripts/mutate.sh

# Whoever wants millions of seeds sets release; for some hundred it takes longer to compile it.
readonly profile=${ZOUTBOX_SIM_PROFILE:-debug}
build() {
    local -a options=(--quiet --locked --workspace --bins --examples)
    if [[ $profile == release ]]; then options=(--quiet --locked --release -p zoutbox-sim); fi
    cargo build "${options[@]}"
}

known() {
    local file seed count=0
    for file in fixtures/seeds/*.seed; do
        [[ -e $file ]] || break
        read -r seed _ <"$file"
        "$target/$profile/zoutbox-sim" --seed "$seed" || die "$file breaks a promise again"
        count=$((count + 1))
    done
    ((count > 0)) || die "there are no seeds in fixtures/seeds"
    printf '%d known seeds, every promise kept\n' "$count"
}

# ------------------------------------------------------------------------------------------------------------- mutants

mutants=0 caught=0 slowest=0
survivors=()

judge() { # NAME WHAT PROGRAM [OPTION...]
    local name=$1 what=$2 output seeds status=0
    shift 2
    mutants=$((mutants + 1))
    output=$("$@" --seeds "$budget" --until-caught 2>&1) || status=$?
    # Only a broken promise counts: not a program that could not run.
    if ((status == 1)) && grep -q '^caught after ' <<<"$output"; then
        caught=$((caught + 1))
        seeds=$(sed -n 's/^caught after \([0-9]*\) seeds.*/\1/p' <<<"$output")
        if ((seeds > slowest)); then slowest=$seeds; fi
        printf '%-32s %s\n' "$name" "$(grep '^caught after ' <<<"$output" | cut -c -160)"
    else
        survivors+=("$name")
        printf '%-32s SURVIVED %d seeds: %s\n' "$name" "$budget" "$what"
        tail -n 3 <<<"$output"
    fi
}

judge_patch() { # NAME
    local patch
    patch=$(patch_of "$1")
    take_out "$patch" "$copy"
    build_copy "$copy" -p zoutbox-sim
    mv "$target/debug/zoutbox-sim" "$copy/mutant"
    judge "$1" "$(head -n 1 "$patch")" "$copy/mutant"
    put_back "$patch" "$copy"
}

run_mutants() { # [NAME...]
    local name
    copy=$target/mutants/workspace
    copy_workspace "$copy"
    cargo build --quiet --locked -p zoutbox-sim
    cp "$target/debug/zoutbox-sim" "$copy/real"
    local -a names=("$@")
    ((${#names[@]} > 0)) || names=(world:file-sync world:directory-sync world:locks world:lock-loss world:confirms world:inbox)
    if (($# == 0)); then
        for name in "$patches"/*.patch; do names+=("$(basename "$name" .patch)"); done
    fi
    for name in "${names[@]}"; do
        case $name in
            world:*) judge "$name" "the world without it" "$copy/real" --break "${name#world:}" ;;
            *) judge_patch "$name" ;;
        esac
    done
    if ((${#survivors[@]} > 0)); then printf 'survived: %s\n' "${survivors[*]}"; fi
    printf '%d mutants, %d caught\n' "$mutants" "$caught"
    ((mutants == caught)) || return 1
    # Some of them alone say little of all of them.
    (($# > 0)) || injected "mutants" code "a guard is taken out" "a patch of crates/zoutbox-sim/mutants, or one of the simulated world itself; then seeds until a checker notices, at most $budget" \
        "$mutants" "each caught by a checker, the last one after $slowest seeds"
}

case ${1:-} in
    --help | -h) sed -n '2,/^set /{/^#/s/^# \{0,1\}//p}' "$0"; exit 0 ;;
    --mutants) shift; run_mutants "$@" ;;
    --known) build; known ;;
    --minutes)
        [[ -n ${ZOUTBOX_SIM_PROFILE:-} ]] || ZOUTBOX_SIM_PROFILE=release exec scripts/sim.sh "$@"
        build
        exec "$target/$profile/zoutbox-sim" "$@"
        ;;
    *) build; exec "$target/$profile/zoutbox-sim" "$@" ;;
esac
