# shellcheck shell=bash
# shellcheck disable=SC2154 # the run's words and directories are run.sh's
# What a run lays in the guest: the guest's scripts, the command's words, and what the caller adds. Sourced by run.sh.

stage_addition() { # HOSTPATH[:GUESTPATH]
    local from=${1%:*} to=${1##*:}
    if [[ $1 != *:* ]]; then
        from=$1
        to=/lab/$(basename -- "$from")
    fi
    [[ -e $from ]] || die "--add: there is no $from"
    [[ $to == /* ]] || wrong_usage "--add: the guest's path must begin with a slash: $to"
    mkdir -p "$stage$(dirname -- "$to")"
    cp -aHT -- "$from" "$stage$to" || die "--add: can't read $from"
}

# Each is read by guest/main.
stage_settings() { # DIR
    local rows=24 columns=80 pool=create with_broker=no
    if [[ $mode == shell ]]; then read -r rows columns < <(stty size); fi
    if [[ $keep_disk == yes ]]; then pool=import; fi
    if [[ -n $broker ]]; then with_broker=yes; fi
    mkdir -p "$1"
    printf '%s\n' "$mode" >"$1/mode"
    printf '%s\n' "$pool" >"$1/pool"
    printf '%s\n' "$with_broker" >"$1/broker"
    printf '%s\n' "$rows" >"$1/rows"
    printf '%s\n' "$columns" >"$1/columns"
    zero_ended "${command[@]}" >"$1/arguments"
    zero_ended "${environment[@]}" >"$1/environment"
}

zero_ended() { # WORD...: of no words it prints nothing, where printf alone would print an empty one
    if (($# > 0)); then printf '%s\0' "$@"; fi
}

make_payload() {
    local stage=$run/stage addition
    mkdir -p "$stage/usr/lib/lab" "$stage/usr/bin" "$stage/lab"
    install -m 644 "$lab_home"/guest/*.sh "$stage/usr/lib/lab/"
    install -m 755 "$lab_home/guest/main" "$stage/usr/lib/lab/main"
    install -m 755 "$lab_home/guest/lab" "$stage/usr/bin/lab"
    for addition in "${added[@]}"; do stage_addition "$addition"; done
    stage_settings "$stage/etc/lab"
    tar -C "$stage" --owner=0 --group=0 --numeric-owner -cf "$run/payload" .
    rm -rf "$stage"
}
