#!/usr/bin/env bash
# Boots the guest, has it run one command, brings back output and exit status. The options are those of `lab.sh run`; the
# first word is `run` or `shell`.
#
# What carries what:
#   to the guest      a tar archive as its second disk: the guest's scripts, the command's words, the files to add
#   output            a port of the guest that QEMU writes to a file, which is shown as it grows. A file never makes the
#                     guest wait, and it is whole when QEMU has ended
#   how it went       another port, one line (see guest/main); with the number of bytes that the output must have
#   kernel's talk     the serial console, to a file of its own
# Every end is the end of QEMU: the guest powers off, dies, or is killed for its limit or by the cut.
set -euo pipefail
# shellcheck source=scripts/lab/common.sh
. "$(dirname "${BASH_SOURCE[0]}")/common.sh"
# shellcheck source=scripts/lab/disk.sh
. "$lab_home/disk.sh"
# shellcheck source=scripts/lab/payload.sh
. "$lab_home/payload.sh"
# shellcheck source=scripts/lab/machine.sh
. "$lab_home/machine.sh"

readonly console_lines=40

mode=$1
shift
disk='' keep_disk=no broker='' limit='' memory=3072 console='' cut_on='' cut_after=0
added=() environment=() command=()

# ---------------------------------------------------------------------------------------------------------- the words

number() { # OPTION VALUE
    [[ $2 =~ ^[1-9][0-9]{0,8}$ || $2 == 0 ]] || wrong_usage "$1 takes a number, not '$2'"
}

read_words() {
    while (($# > 0)); do
        case $1 in
            --add | --disk | --broker | --limit | --memory | --env | --console | --cut-on | --cut-after)
                (($# > 1)) || wrong_usage "$1 wants a value"
                ;;
        esac
        case $1 in
            --add) added+=("$2") ;;
            --disk) disk=$2 ;;
            --keep-disk)
                keep_disk=yes
                shift
                continue
                ;;
            --broker) number "$@" && broker=$2 ;;
            --limit) number "$@" && limit=$2 ;;
            --memory) number "$@" && memory=$2 ;;
            --env)
                [[ $2 =~ ^[A-Za-z_][A-Za-z0-9_]*= ]] || wrong_usage "--env takes NAME=VALUE, not '$2'"
                environment+=("$2")
                ;;
            --console) console=$2 ;;
            --cut-on) cut_on=$2 ;;
            --cut-after) number "$@" && cut_after=$2 ;;
            --)
                shift
                break
                ;;
            -*) wrong_usage "no such option: $1" ;;
            *) break ;;
        esac
        shift 2
    done
    command=("$@")
}

check_words() {
    if [[ $keep_disk == yes && -z $disk ]]; then wrong_usage "--keep-disk is for a disk named by --disk"; fi
    if [[ $mode == shell ]]; then
        ((${#command[@]} == 0)) || wrong_usage "lab.sh shell takes no command"
        [[ -z $cut_on ]] || wrong_usage "lab.sh shell takes no --cut-on: nobody reads its output"
        [[ -t 0 && -t 1 ]] || wrong_usage "lab.sh shell needs a terminal"
        command=(bash --login)
        environment=("TERM=${TERM:-dumb}" 'PS1=lab:\w# ' "${environment[@]}")
    else
        ((${#command[@]} > 0)) || wrong_usage "lab.sh run needs a command"
        limit=${limit:-600}
    fi
    if [[ -n $cut_on ]]; then
        local status=0
        grep -E -- "$cut_on" </dev/null >/dev/null 2>&1 || status=$?
        ((status < 2)) || wrong_usage "--cut-on: not an extended regular expression: $cut_on"
    fi
}

# -------------------------------------------------------------------------------------------------------- the guest's life

start_qemu() {
    : >"$run/output"
    : >"$run/control"
    # It ends with this script, however that ends. The standard input of what runs in the background has to be named.
    setpriv --pdeathsig KILL -- "$image/tools/qemu" "${qemu[@]}" <&7 2>"$run/qemu.errors" &
    pid=$!
}

# Ends with success when a line matched and the time after it has passed; with failure when QEMU ended before.
watch_output() {
    # Not a pipe: its end would wait for tail, which goes on.
    grep -aEm 1 -- "$cut_on" < <(exec tail -c +1 -f "--pid=$pid" -s 0.1 "$run/output") >/dev/null || return 1
    sleep "$((cut_after / 1000)).$(printf %03d $((cut_after % 1000)))"
}

kill_guest() { # WHY
    : >"$run/$1"
    kill -KILL "$pid" 2>/dev/null || true
}

# The watchers only end; who kills is this process, which knows that QEMU's process id is still QEMU's.
await_end() {
    local limiter='' cutter='' ended status
    if [[ -n $limit ]]; then
        setpriv --pdeathsig KILL sleep "$limit" &
        limiter=$!
    fi
    if [[ -n $cut_on ]]; then
        watch_output &
        cutter=$!
    fi
    while :; do
        ended='' status=0
        # shellcheck disable=SC2086 # empty is no word
        wait -n -p ended "$pid" $limiter $cutter 2>/dev/null || status=$? # bash would tell who killed QEMU
        case $ended in
            '' | "$pid") break ;;
            "$limiter")
                limiter=
                kill_guest limit
                ;;
            "$cutter")
                cutter=
                if ((status == 0)); then kill_guest cut; fi
                ;;
        esac
    done
    if [[ -n $limiter ]]; then kill "$limiter" 2>/dev/null || true; fi
    pid=
}

boot() {
    local shower=''
    exec 7<&0
    if [[ $mode == run ]]; then exec 7</dev/null; fi
    start_qemu
    if [[ $mode == run ]]; then
        tail -c +1 -f "--pid=$pid" -s 0.1 "$run/output" &
        shower=$!
    fi
    await_end
    # It has to have shown everything. It notices by itself that QEMU has ended.
    if [[ -n $shower ]]; then wait "$shower" || true; fi
}

# ------------------------------------------------------------------------------------------------------------ how it went

keep_console() {
    if [[ $console == "$run/console" ]]; then
        mkdir -p "$lab_cache/consoles"
        # Old ones are of no use, and nobody else would remove them.
        find "$lab_cache/consoles" -type f -mtime +7 -delete
        console=$(mktemp "$lab_cache/consoles/$(date -u +%Y%m%dT%H%M%SZ).XXXXXX")
        cp "$run/console" "$console"
    fi
}

fail() { # STATUS MESSAGE
    keep_console
    if [[ -s $run/qemu.errors ]]; then sed 's/^/  qemu: /' "$run/qemu.errors" >&2; fi
    tail -n "$console_lines" "$console" 2>/dev/null | tr -d '\r' | sed 's/^/  console: /' >&2
    say "$2; the console's whole log: $console"
    exit "$1"
}

# An end that the guest told of is the command's own, even if the cut or the limit came while the guest powered off.
conclude() {
    local word status bytes arrived
    read -r word status bytes <"$run/control" || word=
    case $word in
        exit)
            arrived=$(stat -c %s "$run/output")
            if ((arrived != ${bytes:--1})); then
                fail "$exit_died" "the command's output is not whole: $arrived bytes of ${bytes:-an unknown number} arrived"
            fi
            exit "$status"
            ;;
        failed) fail "$exit_not_up" "the lab did not come up; it failed at: $status $bytes" ;;
    esac
    if [[ -e $run/cut ]]; then
        say "power cut ${cut_after} ms after a line matched: $cut_on"
        exit "$exit_cut"
    fi
    if [[ -e $run/limit ]]; then fail "$exit_limit" "the limit of $limit s was reached"; fi
    fail "$exit_died" "the guest died"
}

# shellcheck disable=SC2317 # reached by the trap
clean_up() {
    if [[ -n $pid ]]; then kill -KILL "$pid" 2>/dev/null || true; fi
    if [[ -n $terminal ]]; then stty "$terminal" || true; fi
    rm -rf "$run"
}

read_words "$@"
check_words
image=$("$lab_home/build.sh" --any) || exit
run=$(mktemp -d "${TMPDIR:-/tmp}/zoutbox-lab.XXXXXX")
pid='' terminal=''
trap clean_up EXIT
trap 'exit 130' INT
trap 'exit 143' TERM
trap 'exit 129' HUP
disk=${disk:-$run/disk} console=${console:-$run/console}
choose_pool_disk "$disk" "$keep_disk"
make_payload
machine_arguments
if [[ $mode == shell ]]; then
    terminal=$(stty -g)
    say "booting; leave the shell to end the guest"
fi
boot
conclude
