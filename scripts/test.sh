#!/usr/bin/env bash
# Everything that has to hold before a change goes in. People and CI run the same command.
#
#   scripts/test.sh            all parts but bench
#   scripts/test.sh PART...    these parts alone, in this order
#   scripts/test.sh --help     the parts
#
# Needs cargo with rustfmt and clippy. RabbitMQ, PostgreSQL, a C compiler, git, python3 with pika and msgpack, shellcheck and faketime come
# from the distribution's packages when they are missing, by root or by sudo; whoever has them needs neither. So does debootstrap for `current`.
# For `deny` and `fuzz`, cargo-deny and cargo-fuzz are built from the crate registry and kept in ~/.cache when they are missing, and libFuzzer
# needs a nightly toolchain; without one, proptest takes its place. Reads no standard input, builds in cargo's own target directory, and deletes nothing there.
#
# The lab waits most of its time, for leases and caches to expire, so among other parts it runs beside them; what it said comes at
# its end. The first run builds its machine, which takes some minutes more.
#
# A part that hangs is ended after a time and told by name; the others still run.
#
# With ZOUTBOX_FAULTS=FILE, what was injected and what held is written there; scripts/reliability.sh makes docs/reliability.md of it.
#
# The last line is "N passed, N failed": tests of all programs together. A part that fails without a failing test, such as
# a lint, counts as one. Exit code 0 means that every part ran and none failed.
set -euo pipefail
exec </dev/null

readonly default_parts=(format scripts lint deny docs unit integration current doctests sim fuzz torture demo lab)
# The benchmarks' peers take minutes to build; they are for whoever asks for them.
readonly all_parts=("${default_parts[@]}" bench)

declare -A about=(
    [format]="cargo fmt, nothing to change"
    [scripts]="shellcheck"
    [lint]="clippy over all targets, warnings denied"
    [deny]="cargo deny: licences, bans, duplicate versions, sources; advisories where their database can be had"
    [docs]="rustdoc, warnings denied"
    [unit]="tests inside the crates"
    [integration]="tests over real programs, disks, a private RabbitMQ and a private PostgreSQL"
    [current]="the suites that need a RabbitMQ once more, over a current one (4.x), which debootstrap brings"
    [doctests]="examples in the documentation"
    [fuzz]="what comes from outside: libFuzzer, a minute a target, where it can be had; else proptest over the same functions"
    [demo]="the demo, and that it notices a lost delivery"
    [sim]="the simulation: known seeds, and a fixed number of others"
    [torture]="real programs killed at system calls and power cuts, on a FUSE file system of ours over /dev/fuse"
    [lab]="the promises on several hosts over real NFS on real ZFS, in an emulated machine that is built once"
    [bench]="builds and lints the benchmarks and their peers; only when asked for"
)

die() { printf 'test.sh: %s\n' "$*" >&2; exit 1; }

usage() {
    local part
    printf 'scripts/test.sh [PART...]\n\n'
    for part in "${all_parts[@]}"; do printf '  %-12s %s\n' "$part" "${about[$part]}"; done
}

# ------------------------------------------------------------------------------------------------- what has to be there

need_cargo() {
    command -v cargo >/dev/null || die "cargo is missing: install Rust, see https://rustup.rs"
    command -v cc >/dev/null || install_package cc gcc
}

need_component() { # NAME, the program that it brings
    cargo "$2" --version >/dev/null 2>&1 || die "$1 is missing; with rustup: rustup component add $1"
}

install_package() { # COMMAND PACKAGE
    local -a root=()
    if ! command -v apt-get >/dev/null; then die "$1 is missing, and so is apt-get to install $2 with"; fi
    if ((EUID != 0)); then
        command -v sudo >/dev/null || die "$1 is missing; installing $2 needs root or sudo"
        root=(sudo -n)
    fi
    local -a apt=("${root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get -q -o DPkg::Lock::Timeout=120)
    "${apt[@]}" install -y --no-install-recommends "$2" ||
        { "${apt[@]}" update && "${apt[@]}" install -y --no-install-recommends "$2"; } ||
        die "$1 is missing, and apt-get could not install $2"
}

need_command() { # COMMAND PACKAGE
    command -v "$1" >/dev/null || install_package "$1" "$2"
}

# The tests take the first Python that has them all: the one on the path may be another than the distribution's, which has its packages.
need_python_modules() { # MODULE...
    local python module all
    all=$(IFS=, && printf '%s' "$*")
    for python in python3 /usr/bin/python3; do
        if "$python" -c "import $all" 2>/dev/null; then return; fi
    done
    for module in "$@"; do
        /usr/bin/python3 -c "import $module" 2>/dev/null || install_package "$module for /usr/bin/python3" "python3-$module"
    done
    /usr/bin/python3 -c "import $all" || die "/usr/bin/python3 can't import $all, though the packages are there"
}

# -------------------------------------------------------------------------------------------------------------- parts

part_format() {
    need_component rustfmt fmt
    cargo fmt --all --check
    # Not in the workspace, so that nobody who builds zoutbox compiles the peers.
    cargo fmt --all --check --manifest-path bench/Cargo.toml
}

part_scripts() {
    need_command shellcheck shellcheck
    shellcheck --version | sed -n 's/^version: /shellcheck /p'
    shellcheck scripts/*.sh scripts/lab/*.sh scripts/lab/guest/* scripts/lab/selftest/* .ci/run
}

part_lint() {
    need_component clippy clippy
    cargo clippy --workspace --all-targets --locked -- -D warnings
    # The tests of the consumer's crate switch all its stores on; a user has them one by one.
    cargo clippy -p zoutbox-consumer --lib --no-default-features --locked -- -D warnings
}

part_deny() {
    local tool database
    tool=$(./scripts/cargo-tool.sh cargo-deny) || die "cargo-deny is missing, and can't be built here"
    "$tool" --version
    "$tool" --locked check licenses bans sources
    # The database of advisories is a git repository beside the registries, which not every machine reaches.
    if database=$("$tool" --locked fetch db 2>&1); then
        "$tool" --locked check advisories
        printf '\n-- licences, bans, sources and advisories were checked\n'
    else
        printf '%s\n' "$database" | tail -n 3
        printf '\n-- licences, bans and sources were checked; advisories were NOT: their database is not there and can not be fetched\n'
    fi
}

part_docs() {
    RUSTDOCFLAGS="-D warnings" cargo doc --workspace --no-deps --locked
}

# --no-fail-fast: one run tells everything that is broken.
part_unit() {
    cargo_test --lib --bins
}

part_integration() {
    need_command git git
    need_command python3 python3 # runs the format's reader in another language
    need_command faketime faketime # clocks that jump
    need_python_modules pika msgpack # the consumer in another language, docs/consuming.md
    ./scripts/broker.sh install
    ./scripts/postgres.sh install
    # Tests run programs of other crates and examples too, and for `--test` cargo builds only the programs of the crate under test.
    cargo build --workspace --bins --examples --locked
    waiting_tests cargo_test --test '*'
}

part_current() {
    need_command faketime faketime
    need_python_modules pika msgpack
    ZOUTBOX_BROKER=4 ./scripts/broker.sh install
    ./scripts/postgres.sh install
    cargo build --workspace --bins --examples --locked
    # Of the whole workspace, so that nothing is compiled with other features than before.
    ZOUTBOX_BROKER=4 waiting_tests cargo_test --test end_to_end --test consumer --test broker --test python --test chaos
}

part_doctests() {
    cargo_test --doc
}

cargo_test() {
    cargo test --workspace --locked --no-fail-fast "$@"
}

# Tests of programs wait most of the time, for brokers to start and for leases to end: four at a time, however few cores there are.
waiting_tests() { # COMMAND...
    local cores
    cores=$(nproc)
    RUST_TEST_THREADS=${RUST_TEST_THREADS:-$((cores > 4 ? cores : 4))} "$@"
}

part_fuzz() {
    local missing
    if missing=$(./scripts/fuzz.sh --can); then
        ./scripts/fuzz.sh --seconds 60
        printf '\n-- libFuzzer ran; proptest did too, with the tests\n'
    else
        printf '%s\n' "$missing"
        # More of what the tests do in any case.
        ZOUTBOX_FUZZ_CASES=100000 cargo_test --test targets
        printf '\n-- proptest ran in place of libFuzzer: %s\n' "$missing"
    fi
}

part_demo() {
    local status=0
    ./scripts/demo.sh
    printf '\n-- once more, with one delivery overlooked by the consumer: this one has to fail\n\n'
    ZOUTBOX_DEMO_LOSE=1 ZOUTBOX_DEMO_RECORDS=20000 ./scripts/demo.sh || status=$?
    ((status == 3)) || die "a lost delivery made the demo exit with $status, not with 3"
    printf '\n-- it did: the demo notices a lost delivery\n'
}

part_sim() {
    ./scripts/sim.sh --known
    ./scripts/sim.sh --seeds 1000
}

part_torture() {
    ./scripts/torture.sh --kills 1000
}

part_lab() {
    ./scripts/lab/suite.sh
}

part_bench() {
    need_component clippy clippy
    cargo clippy --manifest-path bench/Cargo.toml --all-targets --locked -- -D warnings
}

# ------------------------------------------------------------------------------------------------------------ running

declare -A outcome=() took=()
failed_parts=()
passed=0 failed=0

# Adds what cargo's result lines in a part's output say. A test that is left out must not look as if it had passed.
count() { # OUTPUT STATUS
    local line part_failed=0
    local pattern='^test result: [a-zA-Z]+\. ([0-9]+) passed; ([0-9]+) failed; ([0-9]+) ignored;.* ([0-9]+) filtered out'
    while read -r line; do
        [[ $line =~ $pattern ]] || continue
        passed=$((passed + BASH_REMATCH[1]))
        part_failed=$((part_failed + BASH_REMATCH[2] + BASH_REMATCH[3] + BASH_REMATCH[4]))
        if ((BASH_REMATCH[3] + BASH_REMATCH[4] > 0)); then printf 'test.sh: not run, so not passed: %s\n' "$line"; fi
    done < <(grep -a '^test result: ' "$1")
    if (($2 != 0 && part_failed == 0)); then part_failed=1; fi
    failed=$((failed + part_failed))
    ((part_failed == 0))
}

headline() { printf '\n=== %s: %s\n\n' "$1" "${about[$1]}"; }

# How long a part may take, in minutes: at least twice what it does on two busy cores. A part that hangs is then told by name, and the
# others still run, as long as all of them together take no longer than this, too.
readonly longest=40 altogether=80
declare -A longer=([lab]=60)

# The parts that run, by name: their process groups, so that each can be ended with all that it started.
declare -A running=()
declare -A limit=()
start() { # PART
    local left=$((altogether * 60 - SECONDS))
    limit[$1]=$((${longer[$1]:-$longest} * 60))
    if ((limit[$1] > left)); then limit[$1]=$((left > 1 ? left : 1)); fi
    : >"$logs/$1"
    set -m
    timeout -k 30 "${limit[$1]}" bash "$self" --inside "$1" "$logs/$1.took" >"$logs/$1" 2>&1 &
    running[$1]=$!
    set +m
}

run() { # PART: shows what it prints as it comes
    headline "$1"
    start "$1"
    tail -n +1 -f -s 0.1 --pid "${running[$1]}" "$logs/$1" &
    local shown=$!
    end "$1"
    wait "$shown" || true
    judge "$1"
}

beside() { # PART: starts it beside the others
    printf '\n=== %s runs beside the others; its output follows at the end\n' "$1"
    start "$1"
}

join() { # PART: waits for it
    headline "$1"
    end "$1"
    cat "$logs/$1"
    judge "$1"
}

declare -A status=()
end() { # PART: waits for it
    status[$1]=0
    wait "${running[$1]}" || status[$1]=$?
    unset "running[$1]"
}

judge() { # PART
    took[$1]=$(cat "$logs/$1.took" 2>/dev/null) || took[$1]=${limit[$1]}
    # What timeout exits with: 137 when the part had to be killed.
    if ((status[$1] == 124 || status[$1] == 137)); then
        printf '\ntest.sh: %s was ended after %d s: it hung, or takes longer than a part, or all of them, may\n' "$1" "${limit[$1]}"
    fi
    if count "$logs/$1" "${status[$1]}"; then outcome[$1]=passed; else
        outcome[$1]=FAILED
        failed_parts+=("$1")
    fi
}

clean_up() {
    local group
    for group in "${running[@]}"; do
        kill -- "-$group" 2>/dev/null || true
        wait "$group" || true
    done
    rm -rf "$logs"
}

report() {
    local part
    printf '\n=== how long each part took\n\n'
    for part in "$@"; do
        printf '%-12s %6s  %s\n' "$part" "$((took[$part] / 60)):$(printf %02d $((took[$part] % 60)))" "${outcome[$part]}"
    done
    printf '%-12s %6s\n\n' together "$((SECONDS / 60)):$(printf %02d $((SECONDS % 60)))"
    if ((${#failed_parts[@]} > 0)); then printf 'failed: %s\n' "${failed_parts[*]}"; fi
    printf '%d passed, %d failed\n' "$passed" "$failed"
    ((failed == 0))
}

self=$(realpath "$0")
# shellcheck source=scripts/faults.sh
. "${self%/*}/faults.sh"
cd "$(dirname "$self")/.."

case ${1:-} in
    --help | -h) usage; exit 0 ;;
    --inside) # PART FILE: one part, and how many seconds it took
        readonly time_of=$3
        trap 'printf "%d\n" "$SECONDS" >"$time_of"' EXIT
        "part_$2"
        exit 0
        ;;
esac

parts=("$@")
(($# > 0)) || parts=("${default_parts[@]}")
for part in "${parts[@]}"; do
    [[ -n ${about[$part]:-} ]] || { usage >&2; die "no such part: $part"; }
done

need_cargo
logs=$(mktemp -d)
trap clean_up EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

if (($# == 0)); then beside lab; fi
for part in "${parts[@]}"; do
    if [[ -n ${running[$part]:-} ]]; then join "$part"; else run "$part"; fi
done
report "${parts[@]}"
