#!/usr/bin/env bash
# Fuzzes what comes from outside, with libFuzzer: the targets of crates/zoutbox-fuzz, which proptest tries with every test run as well.
#
#   fuzz.sh [--seconds N] [TARGET...]   each target for N seconds (60), all of them unless some are named, two at a time
#   fuzz.sh --can                       says whether that can be done here, and if not, what is missing
#
# Needs a nightly toolchain, and cargo-fuzz, which is built if it is missing. Begins with the golden files of fixtures/v1 and the seeds
# of fixtures/fuzz/TARGET; what it learns stays in target/fuzz/corpus, and what it finds in target/fuzz/found. An input that breaks
# something belongs into fixtures/fuzz/TARGET, together with its fix.
set -euo pipefail

readonly targets=(segment checkpoint pointer marker doorbell names config)

say() { printf 'fuzz.sh: %s\n' "$*"; }
die() { say "$@" >&2; exit 1; }

# shellcheck source=scripts/faults.sh
. "$(dirname "$(realpath "$0")")/faults.sh"
cd "$(dirname "$(realpath "$0")")/.."

can() {
    cargo +nightly --version >/dev/null 2>&1 || { say "a nightly toolchain is missing; with rustup: rustup toolchain install nightly" && return 1; }
    tool=$(./scripts/cargo-tool.sh cargo-fuzz) || { say "cargo-fuzz is missing" && return 1; }
}

seconds=60
chosen=()
while (($# > 0)); do
    case $1 in
        --can)
            can
            exit
            ;;
        --seconds)
            seconds=${2:?--seconds needs a number}
            shift
            ;;
        --help | -h)
            sed -n '2,/^set /{/^#/s/^# \{0,1\}//p}' "$0"
            exit 0
            ;;
        -*) die "no such option: $1" ;;
        *)
            [[ " ${targets[*]} " == *" $1 "* ]] || die "no such target: $1; there are ${targets[*]}"
            chosen+=("$1")
            ;;
    esac
    shift
done
((${#chosen[@]} > 0)) || chosen=("${targets[@]}")
[[ $seconds =~ ^[1-9][0-9]*$ ]] || die "--seconds: not a number: $seconds"
can || exit 3

work=$(realpath -m "${CARGO_TARGET_DIR:-target}/fuzz")
mkdir -p "$work"

# Without the address sanitizer: there is no code of ours that could go wrong in its sense, and memory is counted by the targets.
fuzz() { # TARGET
    local target=$1 log=$work/$1.log
    mkdir -p "$work/corpus/$target" "$work/found"
    "$program/$target" -max_total_time="$seconds" -timeout=60 -rss_limit_mb=1024 -max_len=65536 -print_final_stats=1 \
        -artifact_prefix="$work/found/$target-" "$work/corpus/$target" fixtures/v1 "fixtures/fuzz/$target" >"$log" 2>&1
}

told() { # TARGET STATUS: one line
    local log=$work/$1.log runs covered
    runs=$(sed -n 's/^stat::number_of_executed_units: *//p' "$log")
    covered=$(grep -ao 'cov: [0-9]*' "$log" | tail -n 1 || true)
    say "$1: ${runs:-?} inputs in $seconds s, ${covered:-cov: ?}: $(if (($2 == 0)); then echo held; else echo BROKEN; fi)"
    if (($2 != 0)); then
        tail -n 40 "$log"
        grep -a 'Test unit written' "$log" || true
    else
        injected "fuzz" bytes "bytes that a fuzzer makes" "libFuzzer, target $1, from the golden files on" "${runs:?no statistics of $1}" \
            "no panic, bounded memory and work, nothing taken for what it is not; $seconds s"
    fi
}

"$tool" --version
RUSTUP_TOOLCHAIN=nightly CARGO_TARGET_DIR=$work/build "$tool" fuzz build --fuzz-dir crates/zoutbox-fuzz/fuzz --sanitizer none
program=$work/build/$(rustc +nightly -vV | sed -n 's/^host: //p')/release
failed=0
for ((next = 0; next < ${#chosen[@]}; next += 2)); do
    pair=("${chosen[@]:next:2}")
    pids=()
    for target in "${pair[@]}"; do
        fuzz "$target" &
        pids+=($!)
    done
    for index in "${!pair[@]}"; do
        status=0
        wait "${pids[index]}" || status=$?
        told "${pair[index]}" "$status"
        if ((status != 0)); then failed=$((failed + 1)); fi
    done
done
say "${#chosen[@]} targets, $failed broken"
((failed == 0))
