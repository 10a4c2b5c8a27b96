#!/usr/bin/env bash
# The lab suite: the real programs on the lab's hosts. `scripts/test.sh lab` runs it.
#
#   scripts/lab/suite.sh [TEST OPTION...]            options as of `cargo test -- --help`: a filter, --list, ...
#   scripts/lab/suite.sh power                       only the power cuts
#   scripts/lab/suite.sh measure [appends|polling|visibility]   no tests: the figures of docs/filesystem.md, as tables
#
# Builds the image (unless it is cached) and the programs, starts a private broker on this host, and boots guests: one for the promises that
# disturb nobody and one beside it for those that stop the server or cut off hosts, since both mostly wait; and two for each power cut.
# With options one guest for the tests that they choose, and no power cut.
# shellcheck disable=SC2317 # clean_up is called by the trap
set -euo pipefail

here=$(dirname "$(realpath "$0")")
# shellcheck source=scripts/faults.sh
. "${here%/*}/faults.sh"
readonly here scripts=${here%/*} suite_seconds=2700 power_seconds=900
cd "$scripts/.."

alone=
work=$(mktemp -d "${TMPDIR:-/var/tmp}/zoutbox-lab-suite.XXXXXXXX")
clean_up() {
    local status=$?
    if [[ -n $alone ]]; then
        kill "$alone" 2>/dev/null || true
        wait "$alone" || true
    fi
    if [[ -d $work/broker ]]; then "$scripts/broker.sh" stop "$work/broker" || true; fi
    rm -rf "$work"
    exit "$status"
}
trap clean_up EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

say() { printf '\n-- %s\n\n' "$*"; }

# For tests as all other tests are built, so that nothing is compiled twice; for figures with all optimisation.
build() { # [--release]
    cargo build "$@" --locked --workspace --bins --examples
    local target
    target=$(cargo metadata --no-deps --format-version 1 --locked | sed -n 's/.*"target_directory":"\([^"]*\)".*/\1/p')
    [[ ${1:-} == --release ]] && target+=/release || target+=/debug
    mkdir -p "$work/lab/workspace-tests"
    cp "$target"/{zoutbox,zoutbox-relay,zoutbox-lab,examples/check_consumer} "$work/lab/"
    strip "$work"/lab/*zoutbox* "$work/lab/check_consumer"
    if (($# == 0)); then workspace_tests; fi
    additions=(--add scripts/setup-zfs.sh)
    if [[ -n ${ZOUTBOX_FAULTS:-} ]]; then additions+=(--env ZOUTBOX_FAULTS=-); fi
    local program
    for program in "$work"/lab/*; do additions+=(--add "$program"); done
}

# The tests of the crates that touch the share, as cargo built them, by name; but for those over a simulated disk only, which take minutes
# on an emulated processor and say nothing about this share.
workspace_tests() {
    local path
    # Of the whole workspace: for a part of it cargo would choose other features, and compile again.
    cargo test --no-run --locked --workspace --message-format=json |
        grep -E '"package_id":"[^"]*/zoutbox-(storage|writer|reader)#' |
        sed -n 's/.*"test":true.*"executable":"\([^"]*\)".*/\1/p' >"$work/programs"
    while read -r path; do
        case $(basename "${path%-*}") in model | payload_crash | payload_sweep) continue ;; esac
        cp "$path" "$work/lab/workspace-tests/$(basename "${path%-*}")"
        strip "$work/lab/workspace-tests/$(basename "${path%-*}")"
    done <"$work/programs"
    [[ -n $(ls "$work/lab/workspace-tests") ]] || { printf 'suite.sh: cargo built no tests\n' >&2; exit 1; }
}

start_broker() {
    mkdir "$work/broker"
    "$scripts/broker.sh" install
    url=$("$scripts/broker.sh" start "$work/broker")
}

# What was injected in the guest is told in its output: its files end with it.
promises() {
    "$scripts/lab.sh" run "${additions[@]}" --broker "${url##*:}" --limit "$suite_seconds" -- /lab/zoutbox-lab suite "$@" |
        take_injected
}

# In the background; its output is shown when it has ended.
start_alone() {
    exec "$scripts/lab.sh" run "${additions[@]}" --broker "${url##*:}" --limit "$suite_seconds" -- /lab/zoutbox-lab suite alone
}

join_alone() {
    local status=0
    say "what stops the server or cuts off hosts, one after the other, in a guest of its own"
    wait "$alone" || status=$?
    alone=
    take_injected <"$work/alone"
    return "$status"
}

measure() {
    "$scripts/lab.sh" run "${additions[@]}" --limit "$suite_seconds" -- /lab/zoutbox-lab measure "$@"
}

# The guest is killed while it appends; then it boots again with the same pool.
power_cut() { # NAME SYNC EXPECTED
    local status=0
    say "a power cut in the middle of acknowledged appends, sync=$2"
    "$scripts/lab.sh" run "${additions[@]}" --env ZOUTBOX_LAB_SYNC="$2" --disk "$work/$1.disk" --limit "$power_seconds" \
        --cut-on '^ACK orders/1/600$' --cut-after "$((RANDOM % 900 + 100))" -- /lab/zoutbox-lab power append \
        >"$work/$1.printed" || status=$?
    ((status == 243)) || { tail -n 5 "$work/$1.printed"; printf 'suite.sh: no power cut: status %d\n' "$status" >&2; return 1; }
    printf 'the last it said: %s\n' "$(tail -n 1 "$work/$1.printed")"
    "$scripts/lab.sh" run "${additions[@]}" --add "$work/$1.printed:/lab/printed" --disk "$work/$1.disk" --keep-disk \
        --limit "$power_seconds" -- /lab/zoutbox-lab power check /lab/printed "$3" | take_injected
    rm -f "$work/$1.disk"
}

"$scripts/lab.sh" build >/dev/null
if [[ ${1:-} == measure ]]; then
    build --release
    measure "${@:2}"
    exit
fi
build
failed=0
if (($# == 0)); then
    start_broker
    start_alone >"$work/alone" 2>&1 &
    alone=$!
    promises side || failed=1
elif [[ $1 != power ]]; then
    start_broker
    promises "$@" || failed=1
fi
if [[ ${1:-power} == power ]]; then
    power_cut kept standard all || failed=1
    power_cut ignored disabled some || failed=1
fi
if [[ -n $alone ]]; then join_alone || failed=1; fi
exit "$failed"
