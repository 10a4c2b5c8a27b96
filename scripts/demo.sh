#!/usr/bin/env bash
# zoutbox on this machine, with real crashes, twice over the same records: three writers append to a share while a relay publishes to a
# RabbitMQ of our own, first the records themselves (inline), then only where they lie on the share (pointer-batch). In the middle of each
# the relay is killed with SIGKILL, then the broker. A consumer follows every message to its records, and checks every identity, the order
# and every byte. In the end it is seen how much of it went through the broker, and how much was delivered.
#
#   scripts/demo.sh [FILE]     FILE: lines to append, a record each; else the machine's package log
#
# Needs Rust. RabbitMQ comes from the distribution's packages when it is missing (by root or by sudo); no service of it is
# started, and one that runs is not touched. All else is below one temporary directory and goes with it, also on Ctrl-C.
#
# ZOUTBOX_DEMO_RECORDS   records of each of the two generated streams
# ZOUTBOX_DEMO_LOSE=1    the consumer overlooks one record each time: shows that the demo notices
#
# Exit codes: 0 everything arrived, in order, unchanged, both times; 3 something was lost, out of order or changed; 1 anything else.
set -euo pipefail

# shellcheck source=scripts/faults.sh
. "$(dirname "$(realpath "$0")")/faults.sh"

readonly records=${ZOUTBOX_DEMO_RECORDS:-100000}
readonly lose=${ZOUTBOX_DEMO_LOSE:-}
readonly append_seconds=10 # how long the writers take for their lines
readonly stall_seconds=120 # without any progress, something is broken
readonly modes=(inline pointer-batch)
readonly package_logs=(/var/log/dpkg.log /var/log/dpkg.log.1 /var/lib/dpkg/status /var/log/apt/history.log
    /var/log/dnf.rpm.log /var/log/pacman.log /lib/apk/db/installed /etc/services)

say() { printf '%s\n' "$*"; }
die() { end_line; printf 'demo.sh: %s\n' "$*" >&2; exit 1; }
fail() { end_line; printf 'demo.sh: %s\n' "$*" >&2; exit 3; }

# ------------------------------------------------------------------------------------------------------------ progress

# On a terminal one line that changes; elsewhere a line every few seconds.
line_open=false last_shown=-10
show() {
    if [[ -t 1 ]]; then
        printf '\r\033[K%s' "$*"
        line_open=true
    elif ((SECONDS - last_shown >= 3)); then
        say "$*"
        last_shown=$SECONDS
    fi
}

end_line() {
    if [[ $line_open == true ]]; then printf '\n'; fi
    line_open=false
}

announce() { end_line; say "$(printf '%3d s  ' "$((SECONDS - began))")$*"; last_shown=-10; }

# ----------------------------------------------------------------------------------------------------------- processes

declare -A pid_of=()
work=  # everything
place= # what belongs to one mode: its share, journals, logs
mode=

alive() { [[ -n ${pid_of[$1]:-} ]] && kill -0 "${pid_of[$1]}" 2>/dev/null; }

# Started by us and not waited for yet, so the pid is nobody else's.
end() { # NAME SIGNAL
    local pid=${pid_of[$1]:-}
    [[ -n $pid ]] || return 0
    unset "pid_of[$1]"
    kill -"$2" "$pid" 2>/dev/null || true
    wait "$pid" 2>/dev/null || true
}

clean_up() {
    local status=$? name
    trap '' INT TERM HUP
    end_line
    for name in "${!pid_of[@]}"; do end "$name" KILL; done
    if [[ -n $work ]]; then
        if [[ -d $work/broker ]]; then
            "$scripts/broker.sh" kill "$work/broker" 2>/dev/null || true
            "$scripts/broker.sh" stop "$work/broker" || true
        fi
        rm -rf "$work"
    fi
    exit "$status"
}

# What a program said before it ended, for whoever has to find out why.
died() { # NAME STATUS
    end_line
    printf -- '---- the end of what %s said:\n' "$1" >&2
    tail -n 20 "$place/$1.log" >&2 || true
    die "$1 ended by itself with status $2"
}

# ------------------------------------------------------------------------------------------------------------ the parts

choose_source() {
    local candidate
    if (($# > 0)); then
        [[ -e $1 ]] || die "no such file: $1"
        [[ -f $1 ]] || die "not a file: $1"
        [[ -r $1 ]] || die "cannot be read: $1"
        [[ -s $1 ]] || die "empty: $1"
        source_file=$1
        return
    fi
    for candidate in "${package_logs[@]}"; do
        if [[ -f $candidate && -r $candidate && -s $candidate ]]; then
            source_file=$candidate
            return
        fi
    done
    die "this machine has no package log; give a file of lines as argument"
}

build() {
    command -v cargo >/dev/null || die "cargo is missing: install Rust, see https://rustup.rs"
    say "building…"
    # As the tests build, so that nothing is compiled twice.
    (cd "$scripts/.." && cargo build --locked --workspace --bins --examples)
    local target
    target=$(cd "$scripts/.." && cargo metadata --no-deps --format-version 1 --locked |
        sed -n 's/.*"target_directory":"\([^"]*\)".*/\1/p')
    programs=$target/debug
}

start_relay() {
    "$programs/zoutbox-relay" --root "$place/share" --amqp "$url" --publish "#=$mode" \
        --exchange "demo-$mode" --declare-exchange topic --declare-queue "demo-$mode" >>"$place/relay.log" 2>&1 &
    pid_of[relay]=$!
}

start_consumer() {
    local name
    local -a arguments=(--amqp "$url" --queue "demo-$mode" --root "$place/share" --done-file "$place/done")
    for name in "${writers[@]}"; do arguments+=(--journal "$place/$name.journal"); done
    if [[ -n $lose ]]; then arguments+=(--overlook-one); fi
    "$programs/examples/check_consumer" "${arguments[@]}" >"$place/found" 2>"$place/consumer.log" &
    pid_of[consumer]=$!
}

# Hands out a file evenly over the time, in pieces that end in the middle of lines.
feed() { # FILE
    exec <"$1"
    local size piece pieces=$((append_seconds * 10)) i
    size=$(stat -c %s "$1")
    piece=$((size / pieces + 1))
    for ((i = 0; i < pieces; i++)); do
        dd bs="$piece" count=1 status=none
        sleep 0.1
    done
}

# Lines go in through one pipe and acknowledgements come out through another; each is written down beside its line, as soon
# as it is there: that is what the consumer checks against.
start_writer() { # NAME
    local input=$work/$1.lines
    mkfifo "$place/$1.in" "$place/$1.acks"
    feed "$input" >"$place/$1.in" 2>/dev/null &
    pid_of[feed-$1]=$!
    "$programs/zoutbox" append --root "$place/share" --writer "$1" --topic "$1.line" --acks \
        <"$place/$1.in" >"$place/$1.acks" 2>"$place/$1.log" &
    pid_of[$1]=$!
    paste "$place/$1.acks" "$input" >"$place/$1.journal" &
    pid_of[journal-$1]=$!
}

generate() { # KIND; mawk, gawk and busybox agree on all of this
    LC_ALL=C awk -v n="$records" -v kind="$1" 'BEGIN {
        filler = "the quick brown fox jumps over the lazy dog; Grüße, 価格; "
        while (length(filler) < 800) filler = filler filler
        for (i = 1; i <= n; i++) {
            if (kind == "orders")
                printf "{\"order\":%d,\"customer\":\"c-%04d\",\"total\":\"%d.%02d\",\"note\":\"%s\"}\n", i, \
                    i * 7919 % 9973, i % 500, i % 100, substr(filler, 1, i * 31 % 257)
            else
                printf "%d sensor-%02d temperature=%d.%d humidity=%d\n", i, i % 64, 15 + i % 17, i % 10, 30 + i % 41
        }
    }'
}

# --------------------------------------------------------------------------------------------------------------- counts

declare -A expected_of=() appended_of=() confirmed_of=()
expected=0 durable=0 confirmed=0

# From the share alone: needs neither the relay nor the broker.
count() {
    local json name d c
    # A disk that is busy is not one that is away.
    json=$("$programs/zoutbox" status --root "$place/share" --patience 60 --json) || die "zoutbox status failed"
    durable=0 confirmed=0
    # A line for each writer: its name, durable, confirmed.
    while read -r name d c; do
        confirmed_of[$name]=$c
        durable=$((durable + d))
        confirmed=$((confirmed + c))
    done < <(printf '%s\n' "${json//'{"writer":'/$'\n{"writer":'}" |
        sed -n 's/^{"writer":"\([^"]*\)","durable":\([0-9]*\),.*"confirmed":\([0-9]*\),.*/\1 \2 \3/p')
}

# From what the consumer says as it goes.
count_deliveries() {
    local n
    n=$(tail -n 5 "$place/consumer.log" 2>/dev/null | sed -n 's/^delivered \([0-9]*\),.*/\1/p' | tail -n 1)
    delivered=${n:-$delivered}
}

last_counts='' last_progress=0 note='' delivered=0 verdict=

# One look: counts, progress, and whether everybody who should live does.
look() {
    local name status
    count
    count_deliveries
    show "$(printf '%3d s  appended %7d  confirmed %7d  delivered %7d  of %d%s' \
        "$((SECONDS - began))" "$durable" "$confirmed" "$delivered" "$expected" "$note")"
    if [[ $durable/$confirmed/$delivered != "$last_counts" ]]; then
        last_counts=$durable/$confirmed/$delivered
        last_progress=$SECONDS
    elif ((SECONDS - last_progress > stall_seconds)); then
        tail -n 20 "$place/relay.log" >&2
        die "nothing has moved for $stall_seconds s"
    fi
    for name in "${!pid_of[@]}"; do
        if alive "$name"; then continue; fi
        status=0
        wait "${pid_of[$name]}" || status=$?
        unset "pid_of[$name]"
        case $name:$status in
            consumer:[01]) # it has made up its mind, or it failed and wrote down no findings
                [[ -e $place/done && -s $place/found ]] || died "$name" "$status"
                verdict=$status
                ;;
            relay:*) died "$name" "$status" ;;
            *:0) ;; # a writer, or what feeds it, has done its work
            *) died "$name" "$status" ;;
        esac
    done
    sleep 0.3
}

watch_until_confirmed() { # RECORDS
    while ((confirmed < $1)); do look; done
}

watch_for() { # SECONDS
    local until=$((SECONDS + $1))
    while ((SECONDS < until)); do look; done
}

# A kill counts only in the middle: something was confirmed, and not everything.
in_the_middle() { # WHO
    count
    ((confirmed > 0)) || die "$1 was killed before anything was confirmed: the kill shows nothing"
    ((confirmed < expected)) || die "$1 was killed after everything was confirmed: the kill shows nothing"
}

# ---------------------------------------------------------------------------------------------------------------- kills

crash_relay() {
    local pid=${pid_of[relay]} status=0 before appended_before
    alive relay || died relay "?"
    unset "pid_of[relay]"
    kill -KILL "$pid"
    { wait "$pid" || status=$?; } 2>/dev/null # or bash says "Killed"
    ((status == 137)) || die "the relay ended with status $status, not by SIGKILL"
    [[ ! -e /proc/$pid ]] || die "the relay (pid $pid) survived SIGKILL"
    in_the_middle "the relay"
    announce "kill -9 of the relay (pid $pid): $durable appended, $confirmed confirmed"
    before=$confirmed appended_before=$durable note="  (no relay)"
    watch_for 3
    ((confirmed == before)) || die "records were confirmed without a relay"
    note=
    start_relay
    announce "started the relay again (pid ${pid_of[relay]}); $((durable - appended_before)) appended meanwhile"
}

crash_broker() {
    local pid
    pid=$("$scripts/broker.sh" pid "$work/broker")
    "$scripts/broker.sh" kill "$work/broker"
    if "$scripts/broker.sh" pid "$work/broker" 2>/dev/null; then die "the broker (pid $pid) survived SIGKILL"; fi
    in_the_middle "the broker"
    announce "kill -9 of the broker (pid $pid): $durable appended, $confirmed confirmed"
    note="  (no broker)"
    watch_for 3
    "$scripts/broker.sh" start "$work/broker" >/dev/null 2>"$place/broker-start.log" &
    pid_of[broker-start]=$!
    while [[ -n ${pid_of[broker-start]:-} ]]; do look; done
    note=
    announce "started the broker again (pid $("$scripts/broker.sh" pid "$work/broker"))"
}

# ----------------------------------------------------------------------------------------------------------------- main

prepare() {
    local name
    mkdir "$work/broker"
    cp -- "$source_file" "$work/lines.lines"
    generate orders >"$work/orders.lines"
    generate telemetry >"$work/telemetry.lines"
    for name in "${writers[@]}"; do
        expected_of[$name]=$(grep -ac '' "$work/$name.lines")
        expected=$((expected + expected_of[$name]))
    done
}

# Every line has its acknowledgement beside it, and the journal has every line.
check_journals() {
    local name
    for name in "${writers[@]}"; do
        appended_of[$name]=$(grep -ac "^$name/[0-9]*/[0-9]*"$'\t' "$place/$name.journal" || true)
        ((appended_of[$name] == expected_of[$name])) ||
            fail "$name: ${expected_of[$name]} lines went in, but ${appended_of[$name]} were acknowledged"
    done
}

found() { # WRITER KEY: what the consumer found
    local value
    value=$(sed -n '/^{"writer":"'"$1"'",/s/.*,"'"$2"'":\([0-9]*\)[,}].*/\1/p' "$place/found")
    [[ -n $value ]] || die "the consumer says nothing about $2 of $1: $(<"$place/found")"
    printf '%s\n' "$value"
}

row() { printf '%-12s %10s %10s %10s %11s %6s %13s %8s %8s\n' "$@"; }

declare -A delivered_of=() messages_of=() payload_bytes_of=() broker_bytes_of=()

# Sound is that all that was appended was confirmed and delivered, and nothing else.
table() {
    local name key i value
    local -a values total=(0 0 0 0 0 0 0 0)
    delivered_of[$mode]=0 messages_of[$mode]=0 payload_bytes_of[$mode]=0 broker_bytes_of[$mode]=0
    row '' appended confirmed delivered duplicates lost 'out of order' changed unknown
    for name in "${writers[@]}"; do
        values=("${appended_of[$name]}" "${confirmed_of[$name]}")
        for key in delivered duplicates lost out_of_order corrupt unexpected; do
            value=$(found "$name" "$key")
            values+=("$value")
        done
        for i in "${!values[@]}"; do total[i]=$((total[i] + values[i])); done
        row "$name" "${values[@]}"
        messages_of[$mode]=$((messages_of[$mode] + $(found "$name" messages)))
        payload_bytes_of[$mode]=$((payload_bytes_of[$mode] + $(found "$name" payload_bytes)))
        broker_bytes_of[$mode]=$((broker_bytes_of[$mode] + $(found "$name" broker_bytes)))
    done
    row together "${total[@]}"
    delivered_of[$mode]=${total[2]}
    if ((verdict == 0 && total[0] == total[1] && total[0] == total[2] && total[4] + total[5] + total[6] + total[7] == 0)); then
        return
    fi
    unsound+=("$mode")
}

running() { # PREFIX
    local name
    for name in "${!pid_of[@]}"; do
        if [[ $name == "$1"* ]]; then return 0; fi
    done
    return 1
}

finish() {
    while running journal-; do look; done
    check_journals
    touch "$place/done"
    note="  (the consumer reads on)"
    while running consumer; do look; done
    note=
    count
    end relay TERM
    end_line
    say ''
    table
    say ''
}

run_mode() { # MODE
    local name
    mode=$1 place=$work/$1
    appended_of=() confirmed_of=() durable=0 confirmed=0 delivered=0 verdict='' last_counts=''
    start_relay
    start_consumer
    for name in "${writers[@]}"; do
        start_writer "$name"
    done
    announce "$mode: started the relay (pid ${pid_of[relay]}), and a consumer that checks (pid ${pid_of[consumer]})"

    last_progress=$SECONDS
    watch_until_confirmed $((expected / 5))
    crash_relay
    watch_until_confirmed $((expected / 2))
    crash_broker
    watch_until_confirmed "$expected"
    announce "everything is confirmed"
    finish
}

# Shares and queues for all modes. The broker is started anew once they are declared: one that is killed soon after a quorum queue's declaration
# may leave it without a leader for good (seen with RabbitMQ 3.10.8).
prepare_modes() {
    for mode in "${modes[@]}"; do
        place=$work/$mode
        mkdir "$place"
        "$programs/zoutbox" init "$place/share" >/dev/null
        "$programs/zoutbox-relay" --root "$place/share" --amqp "$url" --publish "#=$mode" --exchange "demo-$mode" \
            --declare-exchange topic --declare-queue "demo-$mode" --once >"$place/relay.log" 2>&1 || died relay "$?"
    done
    "$scripts/broker.sh" stop "$work/broker"
    "$scripts/broker.sh" start "$work/broker" >/dev/null
}

# What each mode made of the same records.
compare() {
    say "The same records both times: what was delivered, and what the broker carried for it, duplicates and headers included."
    say ''
    for mode in "${modes[@]}"; do
        printf '%s %s %s %s %s\n' "$mode" "${delivered_of[$mode]}" "${messages_of[$mode]}" \
            "${payload_bytes_of[$mode]}" "${broker_bytes_of[$mode]}"
    done | LC_ALL=C awk '
        BEGIN { printf "%-14s %10s %10s %16s %22s %26s\n", "", "records", "messages", "delivered", "through the broker", "for each byte delivered" }
        {
            printf "%-14s %10d %10d %13.2f MB %19.2f MB %20.4f bytes\n", $1, $2, $3, $4 / 1e6, $5 / 1e6, $5 / $4
            carried[NR] = $5
        }
        END { printf "\npointer-batch carries %.0f times less through the broker than inline.\n", carried[1] / carried[2] }'
    say ''
}

# For the bill of health: one kill of each in each mode.
tell_kills() {
    local held="${delivered_of[inline]} records of three writers delivered in each mode; none lost, out of order or changed"
    injected "demo" relay "killed (SIGKILL)" "kill -9 while three writers append; another one after 3 s" "${#modes[@]}" "$held"
    injected "demo" broker "killed (SIGKILL)" "kill -9 while three writers append; a start on the same data after 3 s" "${#modes[@]}" "$held"
}

main() {
    scripts=$(dirname "$(realpath "$0")")
    readonly writers=(lines orders telemetry)
    began=$SECONDS unsound=()
    (($# <= 1)) || die "one file at most: scripts/demo.sh [FILE]"
    [[ $records =~ ^[1-9][0-9]*$ ]] || die "ZOUTBOX_DEMO_RECORDS is not a number of records: $records"
    choose_source "$@"
    "$scripts/broker.sh" install
    build

    # /tmp is memory on many machines, and nothing survives a crash less than memory.
    work=$(mktemp -d "${TMPDIR:-/var/tmp}/zoutbox-demo.XXXXXXXX")
    trap clean_up EXIT
    trap 'exit 130' INT
    trap 'exit 143' TERM
    trap 'exit 129' HUP
    prepare
    say "three writers: lines (${expected_of[lines]} from $source_file), orders and telemetry ($records each, made up)"
    say "all below $work"
    began=$SECONDS
    url=$("$scripts/broker.sh" start "$work/broker")
    prepare_modes
    announce "started a broker of our own at $url"
    say ''
    say "First each record goes through the broker."
    say ''
    run_mode inline
    say "Now the broker is only told where on the share they lie, many at a time; the consumer reads them there."
    say ''
    run_mode pointer-batch
    compare
    if [[ -n $lose ]] && ((${#unsound[@]} != ${#modes[@]})); then die "a record was overlooked each time, but noticed only here: ${unsound[*]}"; fi
    ((${#unsound[@]} == 0)) || fail "not everything arrived as it was appended: ${unsound[*]}"
    tell_kills
    say "Nothing lost, nothing out of order, nothing changed, with a relay and a broker killed on the way, both times."
    say "Duplicates are what was on its way when one of them died; each has the identity of the first copy."
}

main "$@"
