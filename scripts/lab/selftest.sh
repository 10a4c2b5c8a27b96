#!/usr/bin/env bash
# The lab's own test: that what a command in the lab prints and ends with comes back, that the lab is what it claims to
# be, and that nothing stays behind. Boots about a dozen guests.
#
#   selftest.sh [GROUP...]   all groups of checks, or those

# shellcheck disable=SC2016,SC1003 # what is in single quotes is for shells in the guest
# shellcheck disable=SC2317 # functions are called by name
set -euo pipefail
# shellcheck source=scripts/lab/common.sh
. "$(dirname "${BASH_SOURCE[0]}")/common.sh"
# shellcheck source=scripts/lab/disk.sh
. "$lab_home/disk.sh"
# shellcheck source=scripts/lab/selftest/checks.sh
. "$lab_home/selftest/checks.sh"

readonly lab=$lab_home/../lab.sh
work=$(mktemp -d "${TMPDIR:-/tmp}/zoutbox-lab-test.XXXXXX")
listeners=()
# shellcheck disable=SC2317 # reached by the trap
clean_up() {
    if ((${#listeners[@]} > 0)); then kill "${listeners[@]}" 2>/dev/null || true; fi
    end_guests
    rm -rf "$work"
}
trap clean_up EXIT
mkdir "$work/tmp"
export TMPDIR=$work/tmp # where every run keeps its files, so that what stays behind is seen

# Runs the lab; output, errors and exit status are in out, err and status.
lab_run() { # WORD...
    status=0
    "$lab" "$@" >"$work/out" 2>"$work/err" || status=$?
    check_nothing_left "$*"
}

check_nothing_left() { # AFTER
    local left
    left=$(find "$TMPDIR" -mindepth 1 | head -n 3; processes_of_ours)
    if [[ -n $left ]]; then not_ok "nothing is left behind by: $1" "$left"; fi
}

processes_of_ours() {
    local directory
    for directory in /proc/[0-9]*; do
        # A process may be gone meanwhile.
        if { tr '\0' ' ' <"$directory/cmdline"; } 2>/dev/null | grep -q "qemu.*$TMPDIR"; then
            printf '%s\n' "${directory#/proc/}"
        fi
    done
}

# Their runs end with them.
end_guests() {
    local guests
    mapfile -t guests < <(processes_of_ours)
    if ((${#guests[@]} > 0)); then kill -KILL "${guests[@]}" 2>/dev/null || true; fi
}

check_status() { # NAME WANTED
    check_equal "$1" "$2" "$status"
    if ((status != $2)); then sed 's/^/      /' "$work/err"; fi
}

check_usage() {
    local words
    for words in "nonsense" "run" "run --nonsense true" "run --limit soon true" "run --keep-disk true" "run --cut-on ( true" \
        "run --env 1=2 true" "run --disk" "shell true" "build nonsense"; do
        # shellcheck disable=SC2086 # words
        lab_run $words
        check_status "wrong usage: $words" 64
    done
    printf 'mine\n' >"$work/precious"
    lab_run run --disk "$work/precious" true
    check_status "a file that is no disk of the lab is refused" 240
    check_equal "and is as it was" mine "$(cat "$work/precious")"
    lab_run run --disk "$work/none" --keep-disk true
    check_status "no disk to keep" 240
    lab_run run --add "$work/nothing" true
    check_status "nothing to add" 240
}

check_words() {
    local words=('' 'two words' "quote's" 'double "quoted"' $'line\nbreak' '$HOME `id` \' 'žluťoučký 🐎' '*' -n --limit)
    mkdir -p "$work/tree/below"
    printf '#!/bin/bash\nprintf "%%s\\0" "$MOTTO" "$PWD" "$(id -u)" "$@"\n' >"$work/tree/say words"
    chmod 755 "$work/tree/say words"
    printf 'deep\n' >"$work/tree/below/file"
    lab_run run --add "$work/tree" --add "$work/tree/below/file:/opt/a place/name" --env 'MOTTO=a "b" $c' -- \
        bash -c '"/lab/tree/say words" "$@"; cat "/opt/a place/name" /lab/tree/below/file; stat -c %a /tmp; readlink /bin' it "${words[@]}"
    check_status "a command that ends well" 0
    { printf '%s\0' 'a "b" $c' /lab 0 "${words[@]}"; printf 'deep\ndeep\n1777\nusr/bin\n'; } >"$work/wanted"
    check "words, environment and added files arrive as they are" cmp "$work/wanted" "$work/out"
    check_equal "and nothing on the standard error" "" "$(cat "$work/err")"
}

check_endings() {
    lab_run run bash -c 'head -c 5000000 /dev/zero | tr "\0" x; printf end >&2; exit 3'
    check_status "an exit status comes back" 3
    check_equal "with all of the output, errors too" "5000003 xend" "$(stat -c %s "$work/out") $(tail -c 4 "$work/out")"
    lab_run run bash -c 'sleep 1000 & setsid sleep 1000 & echo $BASHPID; kill -KILL $BASHPID'
    check_status "killed by a signal, with programs left that hold the output" 137
    lab_run run no-such-command
    check_status "no such command" 127
    lab_run run --limit 45 bash -c 'echo begun; sleep 1000'
    check_status "the limit" 242
    check_equal "with the output until then" begun "$(cat "$work/out")"
    check "and the console's last lines" grep -q 'console: lab: .*up' "$work/err"
    lab_run run bash -c 'echo begun; sleep 1; echo c >/proc/sysrq-trigger; sleep 1000'
    check_status "the guest dies" 241
    check "and the console says why" grep -q 'console: .*sysrq' "$work/err"
    create_pool_disk "$work/empty"
    lab_run run --disk "$work/empty" --keep-disk true
    check_status "a disk without a pool" 244
}

# Starts a run that would go on for long; returns when its guest has begun to boot.
start_run() { # its process id becomes `runner`
    local tries
    rm -f "$work/console"
    "$lab" run --console "$work/console" --disk "$work/shared" sleep 1000 >/dev/null 2>"$work/err" &
    runner=$!
    for ((tries = 0; tries < 300; tries++)); do
        if [[ -s $work/console ]]; then return; fi
        sleep 0.1
    done
    not_ok "a guest begins to boot" "nothing on its console in 30 s"
}

check_killed() {
    local runner
    start_run
    check "a guest that runs is seen" test -n "$(processes_of_ours)"
    status=0
    "$lab" run --disk "$work/shared" true 2>"$work/err" || status=$?
    check_status "a disk that another run uses is refused" 240
    kill -TERM "$runner"
    status=0
    wait "$runner" || status=$?
    check_status "a run that is told to end" 143
    check_nothing_left "SIGTERM"

    start_run
    kill -KILL "$runner"
    wait "$runner" 2>/dev/null || true
    sleep 1
    check_equal "a run that is killed takes its guest along" "" "$(processes_of_ours)"
    end_guests
    rm -rf "${TMPDIR:?}"/* "$work/shared"
}

# Cuts the power 300 ms after the 60th acknowledgement, and counts what the pool has afterwards.
power_cut() { # SYNC
    lab_run run --add "$lab_home/selftest/power-cut" --disk "$work/pool" --cut-on '^ACK 60$' --cut-after 300 -- /lab/power-cut "$1"
    check_status "sync=$1: the power is cut" 243
    check_equal "sync=$1: the errors are one line" 1 "$(grep -c . "$work/err" || true)"
    acknowledged=$(grep -c '^ACK' "$work/out")
    check "sync=$1: output until the cut is delivered" test "$acknowledged" -ge 60
    lab_run run --add "$lab_home/selftest/power-cut" --disk "$work/pool" --keep-disk /lab/power-cut look
    check_status "sync=$1: the pool is imported after the cut" 0
    found=$(tail -n 1 "$work/out")
}

check_power_cut() {
    local acknowledged found
    power_cut standard
    check "sync=standard: $acknowledged acknowledged, $found there" test "$found" -ge "$acknowledged"
    power_cut disabled
    check "sync=disabled loses some: $acknowledged acknowledged, $found there" test "$found" -lt "$acknowledged"
    rm -f "$work/pool"
}

check_shell() {
    # shellcheck disable=SC2016 # for the guest's shell
    status=0
    { sleep 1; printf 'lab hosts | tr "\\n" +; tty\nexit 5\n'; sleep 60; } |
        script -qec "$lab shell --limit 120" /dev/null >"$work/out" 2>&1 || status=$?
    check_status "the shell's exit status" 5
    check "and what it printed" grep -q 'alpha+beta+gamma+/dev/hvc0' "$work/out"
    check_nothing_left shell
}

listen() { # PORT WHAT: what a connection gets
    "$tools/socat" "TCP-LISTEN:$1,bind=127.0.0.1,reuseaddr,fork" "$2" &
    listeners+=($!)
}

free_port() { # LEAST
    local port
    for ((port = $1 + RANDOM % 1000; ; port++)); do
        if ! (: <>"/dev/tcp/127.0.0.1/$port") 2>/dev/null; then break; fi
    done
    printf '%s\n' "$port"
}

check_guest() {
    local broker other lines
    tools=$("$lab_home/build.sh" --any)/tools
    broker=$(free_port 21000) other=$(free_port 23000)
    listen "$broker" EXEC:cat
    listen "$other" "SYSTEM:echo reached >>'$work/reached'"
    sleep 0.5
    check "the other port can be reached from here" bash -c ": <>/dev/tcp/127.0.0.1/$other"
    rm -f "$work/reached"
    lab_run run --broker "$broker" --add "$lab_home/selftest" -- /lab/selftest/in-guest "$broker" "$other"
    grep -aE '^(ok|FAIL)  ' "$work/out" || true
    lines=$(grep -acE '^ok  ' "$work/out") || true
    passed=$((passed + lines))
    lines=$(grep -acE '^FAIL  ' "$work/out") || true
    failed=$((failed + lines))
    check_status "the checks in the guest end well" 0
    check_not "nobody came to the other port" test -e "$work/reached"
}

# The machine, the system, apt-get: each is named when it is what is missing.
check_host() {
    local fake=$work/fake
    mkdir -p "$fake" "$work/no-cache"
    printf '#!/bin/sh\necho aarch64\n' >"$fake/uname"
    chmod 755 "$fake/uname"
    status=0
    PATH=$fake:$PATH ZOUTBOX_LAB_CACHE=$work/no-cache "$lab" build >/dev/null 2>"$work/err" || status=$?
    check_status "another processor" 240
    check "is named" grep -q aarch64 "$work/err"
}

# Images of another cache, made from the packages and modules of this one.
check_build() {
    local cache=$work/cache first second one
    mkdir -p "$cache/apt"
    cp -a "$lab_cache/modules" "$cache/modules"
    cp -a "$lab_cache/apt/debs" "$cache/apt/debs"
    # In a session of its own, so that all of it can be killed at once.
    ZOUTBOX_LAB_CACHE=$cache setsid "$lab" build >/dev/null 2>"$work/err" &
    one=$!
    until grep -q 'root file system' "$work/err" || ! kill -0 "$one" 2>/dev/null; do sleep 0.1; done
    kill -KILL -- "-$one"
    wait "$one" 2>/dev/null || true
    check_equal "a build that is killed leaves no image" "" "$(ls "$cache/images")"
    ZOUTBOX_LAB_CACHE=$cache "$lab" build >"$work/first" 2>"$work/first.err" &
    one=$!
    ZOUTBOX_LAB_CACHE=$cache "$lab" build >"$work/second" 2>"$work/second.err" || true
    wait "$one" || true
    first=$(cat "$work/first") second=$(cat "$work/second")
    check "two builds at a time make an image" test -s "$first/root.cpio"
    check_equal "the same" "$first" "$second"
    check_equal "built once" 1 "$(cat "$work"/{first,second}.err | grep -c 'making the root file system' || true)"
    check_equal "nothing half-made is left" "" "$(find "$cache" -maxdepth 1 -name 'building.*')"
    second=$(ZOUTBOX_LAB_CACHE=$cache http_proxy=http://127.0.0.1:9 https_proxy=http://127.0.0.1:9 "$lab" build --fresh 2>"$work/err") || true
    check_equal "without a mirror, the cached image" "$first" "$second"
    check "and it says so" grep -q "can't be asked" "$work/err"
    rm -rf "$cache"
}

readonly groups=(usage host words endings killed shell guest power_cut build)

# One function, so that nothing of this file is read after it has begun.
main() { # [GROUP...]
    local group
    for group in "$@"; do
        [[ " ${groups[*]} " == *" $group "* ]] || wrong_usage "test: no such group of checks: $group; there are: ${groups[*]}"
    done
    if (($# == 0)); then set -- "${groups[@]}"; fi
    "$lab" build >/dev/null
    for group in "$@"; do "check_$group"; done
    printf '%d passed, %d failed\n' "$passed" "$failed"
    exit $((failed > 0))
}

main "$@"
