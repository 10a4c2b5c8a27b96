#!/usr/bin/env bash
# A private PostgreSQL server for the tests.
#
#   postgres.sh install     the distribution's postgresql, unless it is there; makes no cluster and starts no service
#   postgres.sh start DIR   start (or start again) the server of DIR; prints the URL of its database `postgres`
#   postgres.sh kill DIR    SIGKILL to all its processes, as a crash would
#   postgres.sh stop DIR    orderly end; on a dead server as well
#   postgres.sh url DIR     that URL, running or not
#   postgres.sh pid DIR     the process id of its first process; fails when it does not run
#
# Private means: all files below DIR, a port of its own on 127.0.0.1, and no setting taken from the system's clusters or from the caller's
# environment. It can run beside any other PostgreSQL. Whoever is on this machine may connect: nothing but test data belongs there.
# PostgreSQL refuses to run as root: started by root it runs as the user postgres, who then owns DIR.
# The port is kept in DIR: a server that starts again has its old port and its old data.
#
# ZOUTBOX_POSTGRES_BIN names the directory of another PostgreSQL's initdb and pg_ctl.
set -euo pipefail

readonly start_seconds=120
readonly stop_seconds=60
readonly policy=/usr/sbin/policy-rc.d
readonly no_cluster=/etc/postgresql-common/createcluster.d/zoutbox-postgres-sh.conf

say() { printf 'postgres.sh: %s\n' "$*" >&2; }
die() { say "$@"; exit 1; }

usage() {
    sed -n '/^#   postgres.sh/s/^# *//p' "$0" >&2
    exit 2
}

# Debian keeps them off PATH, one directory a version; the newest one is taken.
postgres_bin() {
    local directory
    while read -r directory; do
        if [[ -n $directory && -x $directory/initdb && -x $directory/pg_ctl && -x $directory/postgres ]]; then
            printf '%s\n' "$directory"
            return
        fi
    done < <(
        printf '%s\n' "${ZOUTBOX_POSTGRES_BIN:-}"
        printf '%s\n' /usr/lib/postgresql/*/bin | sort -rV
        printf '%s\n' /usr/pgsql-*/bin /usr/local/pgsql/bin | sort -rV
        dirname -- "$(command -v pg_ctl || true)"
    )
    return 1
}

# ---------------------------------------------------------------------------------------------------------- install

install_package() {
    if postgres_bin >/dev/null; then
        return
    fi
    root=()
    if ((EUID != 0)); then
        command -v sudo >/dev/null || die "postgresql is missing; installing it needs root or sudo"
        root=(sudo -n)
    fi
    command -v apt-get >/dev/null || die "postgresql is missing, and so is apt-get to install it with"

    # Installing would make a cluster and start it. Both are forbidden only as long as the installation runs; a policy that is already there
    # is somebody's decision and is left alone.
    trap 'remove_policy' EXIT
    "${root[@]}" mkdir -p "${no_cluster%/*}"
    printf '# put here by postgres.sh during an installation\ncreate_main_cluster = false\n' |
        "${root[@]}" tee "$no_cluster" >/dev/null
    if [[ ! -e $policy ]]; then
        policy_is_ours=true
        printf '#!/bin/sh\n# put here by postgres.sh during an installation\nexit 101\n' |
            "${root[@]}" tee "$policy" >/dev/null
        "${root[@]}" chmod 755 "$policy"
    fi

    local -a apt=("${root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get -q -o DPkg::Lock::Timeout=120)
    "${apt[@]}" install -y --no-install-recommends postgresql >&2 ||
        { "${apt[@]}" update >&2 && "${apt[@]}" install -y --no-install-recommends postgresql >&2; } ||
        die "apt-get could not install postgresql"
    postgres_bin >/dev/null || die "postgresql is installed, but its programs are not where they were expected"
}

remove_policy() {
    "${root[@]}" rm -f "$no_cluster"
    if [[ ${policy_is_ours:-false} == true ]]; then "${root[@]}" rm -f "$policy"; fi
}

# ------------------------------------------------------------------------------------------- what is known about DIR

# Sets: dir, port.
load() {
    dir=$(realpath -- "$1")
    [[ -s $dir/port ]] || die "no server was ever started in $1"
    read -r port <"$dir/port"
}

url() { printf 'postgres://zoutbox@127.0.0.1:%s/postgres\n' "$port"; }

# Two commands on one DIR at a time would trip over each other. The descriptor must not leak into the server, which would then hold the lock
# for ever.
lock() {
    exec 9>"$1/lock"
    flock 9
}

port_taken() {
    local hexadecimal
    printf -v hexadecimal '%04X' "$1"
    grep -Eqs "^ *[0-9]+: [0-9A-F]+:$hexadecimal [0-9A-F]+:[0-9A-F]+ 0A " /proc/net/tcp /proc/net/tcp6
}

# Below the range from which the kernel takes the ports of outgoing connections: one of those could sit on our port when we come back to it.
free_port() {
    local port tries
    for ((tries = 0; tries < 200; tries++)); do
        port=$((15000 + RANDOM % 17000))
        if ! port_taken "$port"; then
            printf '%s\n' "$port"
            return
        fi
    done
    die "no free port found"
}

# Process ids are used again by the kernel, so no file is trusted to name one. All processes of a server work in its data directory, and
# nobody else does.
processes() {
    local process place
    while read -r process place; do
        if [[ $place == "$dir/data" ]]; then printf '%s\n' "${process#/proc/}"; fi
    done < <(find /proc/[0-9]*/cwd -maxdepth 0 -printf '%h %l\n' 2>/dev/null)
}

# The one that started the others.
first_process() {
    local pid
    for pid in $(processes); do
        if [[ -s $dir/data/postmaster.pid && $(head -n 1 "$dir/data/postmaster.pid") == "$pid" ]]; then
            printf '%s\n' "$pid"
            return
        fi
    done
    return 1
}

wait_gone() { # SECONDS
    local tick
    for ((tick = 0; tick < $1 * 20; tick++)); do
        if [[ -z $(processes) ]]; then return 0; fi
        sleep 0.05
    done
    return 1
}

# -------------------------------------------------------------------------------------------------------- the recipe

# `env -i`: whatever PG* variables the caller has are about some other server.
# Sets: as, the command that others are run by.
run_as() {
    local bin
    bin=$(postgres_bin) || die "postgresql is missing; run: $0 install"
    as=(env -i PATH="$bin:/usr/local/bin:/usr/bin:/bin" LC_ALL=C.UTF-8 HOME="$dir")
    if ((EUID == 0)); then
        id postgres >/dev/null 2>&1 || die "PostgreSQL does not run as root, and there is no user postgres to run it as"
        as=(setpriv --reuid=postgres --regid=postgres --init-groups "${as[@]}")
    fi
}

make_cluster() {
    [[ -s $dir/data/PG_VERSION ]] && return
    rm -rf "$dir/data"
    "${as[@]}" initdb --pgdata="$dir/data" --username=zoutbox --auth=trust --encoding=UTF8 --locale=C --no-sync >"$dir/initdb.log" 2>&1 9>&- ||
        { cat "$dir/initdb.log" >&2; die "initdb failed in $dir"; }
}

write_configuration() {
    {
        printf "listen_addresses = '127.0.0.1'\nport = %s\nunix_socket_directories = ''\n" "$port"
        printf "shared_buffers = 16MB\nmax_connections = 50\nlog_line_prefix = '%%m [%%p] '\n"
    } >"$dir/data/postgresql.auto.conf"
    if ((EUID == 0)); then chown postgres: "$dir/data/postgresql.auto.conf"; fi
}

start() {
    local fresh=false tries
    mkdir -p "$1"
    lock "$1"
    dir=$(realpath -- "$1")
    run_as
    if [[ -s $dir/port ]]; then load "$1"; else
        fresh=true
        port=$(free_port)
    fi
    if [[ -n $(processes) ]]; then
        first_process >/dev/null || die "processes of a dead server are left in $dir"
        url
        return
    fi
    if ((EUID == 0)); then chown postgres: "$dir"; fi
    make_cluster
    # No process of this server is left, but a zombie that nobody reaps makes PostgreSQL believe its old file.
    rm -f "$dir/data/postmaster.pid"
    # Between looking for a free port and binding it, somebody else may take it. Ports that nobody knows yet can change.
    for ((tries = 1; ; tries++)); do
        printf '%s\n' "$port" >"$dir/port"
        write_configuration
        if boot; then break; fi
        say "the server of $dir did not come up; the end of $dir/server.log:"
        tail -n 20 "$dir/server.log" >&2 || true
        if [[ $fresh != true ]] || ((tries == 4)); then exit 1; fi
        port=$(free_port)
    done
    url
}

# A session of its own is what pg_ctl gives it; it waits until the server accepts connections, recovery after a crash included.
boot() {
    "${as[@]}" pg_ctl start --pgdata="$dir/data" --log="$dir/server.log" --wait --timeout="$start_seconds" </dev/null >"$dir/pg_ctl.log" 2>&1 9>&-
}

kill_server() {
    local pid
    lock "$1"
    load "$1"
    # The first one first: it would start others again.
    if pid=$(first_process); then kill -KILL "$pid" 2>/dev/null || true; fi
    for pid in $(processes); do kill -KILL "$pid" 2>/dev/null || true; done
    wait_gone 30 || die "the server of $1 survived SIGKILL"
}

stop() {
    local pid
    # Nothing was ever started: nothing to stop.
    [[ -s $1/port ]] || return 0
    lock "$1"
    load "$1"
    # SIGINT is PostgreSQL's "fast" shutdown: orderly, without waiting for clients to leave.
    if pid=$(first_process); then kill -INT "$pid" 2>/dev/null || true; fi
    wait_gone "$stop_seconds" || die "the server of $1 did not end within $stop_seconds s"
}

[[ $(uname) == Linux ]] || die "needs Linux: it finds its processes in /proc"
command=${1:-}
case $command in
    install) (($# == 1)) || usage ;;
    start | kill | stop | url | pid) (($# == 2)) || usage ;;
    *) usage ;;
esac
shift
case $command in
    install) install_package ;;
    start) start "$@" ;;
    kill) kill_server "$@" ;;
    stop) stop "$@" ;;
    url) load "$@" && url ;;
    pid) load "$@" && { first_process || die "the server of $dir does not run"; } ;;
esac
