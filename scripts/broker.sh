#!/usr/bin/env bash
# A private RabbitMQ node: one recipe for the demo and for the tests.
#
#   broker.sh install               the server, unless it is there; starts no service
#   broker.sh start DIR [AMQP_PORT] start (or start again) the node of DIR; prints its AMQP URL
#   broker.sh join DIR OTHER        start a new node in DIR, in the cluster of the node of OTHER, which runs; prints its AMQP URL
#   broker.sh kill DIR              SIGKILL, as a crash would
#   broker.sh stop DIR              orderly end, of its epmd too; right after `kill` and on a dead node as well
#   broker.sh ctl DIR ARGS...       rabbitmqctl against that node
#   broker.sh url DIR               its AMQP URL, running or not
#   broker.sh pid DIR               the process id of its Erlang VM; fails when it does not run
#
# Private means: all files below DIR, every port on 127.0.0.1, a node name, cookie and epmd of its own, and no setting
# taken from /etc/rabbitmq or from the caller's environment. It can run beside any other RabbitMQ, as root or not.
# Ports are kept in DIR: a node that starts again has its old ports and its old data. The nodes of a cluster share the epmd of
# the one that they joined: it is stopped last.
#
# ZOUTBOX_BROKER chooses the server: nothing is the one that the host's distribution has; 4 is a current one, that of Debian 13,
# in a tree of its own that is made by debootstrap (40 s, 370 MB) and kept in ${XDG_CACHE_HOME:-~/.cache}/zoutbox-broker. A node
# of it runs in that tree by chroot, in a mount namespace of its own, so that no mount is ever left behind.
#
# Read at each start, if there: DIR/extra.conf (appended to rabbitmq.conf) and DIR/enabled_plugins.
# ZOUTBOX_RABBITMQ_BIN names the directory of another RabbitMQ's rabbitmq-server and rabbitmqctl; not with ZOUTBOX_BROKER.
#
# What it costs: a start takes about 5 s; `ctl` boots an Erlang VM for each call, about 1 s; the others only read /proc.
set -euo pipefail

readonly boot_seconds=300
readonly stop_seconds=60
readonly policy=/usr/sbin/policy-rc.d
readonly suite=trixie
readonly packages=rabbitmq-server,procps
readonly cache=${XDG_CACHE_HOME:-${HOME:-/root}/.cache}/zoutbox-broker
readonly inside=/node # where a tree shows a node's DIR

say() { printf 'broker.sh: %s\n' "$*" >&2; }
die() { say "$@"; exit 1; }

usage() {
    sed -n '/^#   broker.sh/s/^# *//p' "$0" >&2
    exit 2
}

# The scripts on PATH (in /usr/sbin) are the distribution's wrappers: they insist on root or the rabbitmq user and switch
# to that user. The ones in the package's own directory do neither.
rabbitmq_bin() {
    local directory
    for directory in "${ZOUTBOX_RABBITMQ_BIN:-}" /usr/lib/rabbitmq/bin /usr/lib/rabbitmq/lib/*/sbin /opt/rabbitmq/sbin; do
        if [[ -n $directory && -x $directory/rabbitmq-server && -x $directory/rabbitmqctl ]]; then
            printf '%s\n' "$directory"
            return
        fi
    done
    return 1
}

# ---------------------------------------------------------------------------------------------------------- install

install_server() {
    if [[ $server == 4 ]]; then install_tree; else install_rabbitmq; fi
}

# Sets: root, what a command needs in front to run as root.
become_root() { # FOR
    root=()
    if ((EUID != 0)); then
        command -v sudo >/dev/null || die "$1 needs root or sudo"
        root=(sudo)
    fi
}

install_package() { # PACKAGE
    local -a root
    become_root "installing $1"
    command -v apt-get >/dev/null || die "$1 is missing, and so is apt-get to install it with"
    local -a apt=("${root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get -q -o DPkg::Lock::Timeout=120)
    "${apt[@]}" install -y --no-install-recommends "$1" >&2 ||
        { "${apt[@]}" update >&2 && "${apt[@]}" install -y --no-install-recommends "$1" >&2; } ||
        die "apt-get could not install $1"
}

install_rabbitmq() {
    if rabbitmq_bin >/dev/null && command -v erl >/dev/null; then
        return
    fi
    local -a root
    become_root "installing rabbitmq-server"

    # Installing would start the distribution's service. policy-rc.d is Debian's way to say no; it stays only as long as
    # the installation runs, and one that is already there is somebody's decision and is left alone.
    if [[ ! -e $policy ]]; then
        trap 'remove_policy' EXIT
        printf '#!/bin/sh\n# put here by broker.sh during an installation\nexit 101\n' |
            "${root[@]}" tee "$policy" >/dev/null
        "${root[@]}" chmod 755 "$policy"
    elif ! policy_forbids_start; then
        die "$policy is there and would let the service start; install rabbitmq-server yourself"
    fi
    install_package rabbitmq-server
    rabbitmq_bin >/dev/null || die "rabbitmq-server is installed, but its scripts are not where they were expected"
}

# Named after what goes in, so that a change of the recipe makes another one.
tree() {
    printf '%s/%s-%s\n' "$cache" "$suite" "$(printf '%s\n' "$suite" "$packages" "$(uname -m)" | sha256sum | cut -c1-16)"
}

need_tree() {
    [[ -d $(tree) ]] || die "the current RabbitMQ is missing; run: ZOUTBOX_BROKER=4 $0 install"
}

install_tree() {
    local made building mirror
    local -a root
    made=$(tree)
    if [[ -d $made ]]; then return; fi
    mkdir -p "$cache/none/partial"
    exec 8>"$cache/lock"
    flock 8
    if [[ -d $made ]]; then return; fi
    PATH=$PATH:/usr/sbin command -v debootstrap >/dev/null || install_package debootstrap
    become_root "making a tree with debootstrap"
    mirror=$(mirror)
    [[ -n $mirror ]] || die "apt's sources name no mirror of this release, from which to take $suite"
    building=$cache/building
    say "making $made"
    # What it mounts goes with its namespace, whatever becomes of it.
    "${root[@]}" rm -rf --one-file-system "$building"
    if ! "${root[@]}" env PATH="$PATH:/usr/sbin:/sbin" unshare --mount --propagation private debootstrap \
        --variant=minbase --include="$packages" "$suite" "$building" "$mirror" >"$cache/log" 2>&1; then
        tail -n 20 "$cache/log" >&2
        die "debootstrap failed; all that it said is in $cache/log"
    fi
    # shellcheck disable=SC2016 # for the inner shell
    "${root[@]}" sh -euc '
        find "$1/var/cache/apt" "$1/var/lib/apt/lists" -type f -delete
        mkdir "$1$2"
        printf "127.0.0.1 localhost\n" >"$1/etc/hosts"
        mv -T "$1" "$3"
    ' sh "$building" "$inside" "$made"
}

# The mirror that the host's own apt uses: apt tells itself, however its sources are written down.
mirror() {
    local release
    release=$(sed -n 's/^VERSION_CODENAME=//p' /etc/os-release)
    apt-get -o Debug::NoLocking=1 -o "Dir::State::lists=$cache/none" --print-uris update 2>/dev/null |
        sed -nE "s#^'(.*)/dists/$release/InRelease'.*#\1#p" | head -n 1
}

policy_forbids_start() {
    local status=0
    "$policy" rabbitmq-server start >/dev/null 2>&1 || status=$?
    ((status == 101))
}

remove_policy() {
    if ((EUID == 0)); then rm -f "$policy"; else sudo rm -f "$policy"; fi
}

# ------------------------------------------------------------------------------------------- what is known about DIR

# Sets: dir, server, node, amqp_port, dist_port, epmd_port, epmd_of (the DIR whose epmd it is).
load() {
    dir=$(realpath -- "$1")
    [[ -f $dir/node.env ]] || die "no broker was ever started in $1"
    # shellcheck source=/dev/null
    source "$dir/node.env"
}

save() {
    # shellcheck disable=SC2154 # set by load or by choose
    printf '%s=%q\n' server "$server" node "$node" amqp_port "$amqp_port" dist_port "$dist_port" epmd_port "$epmd_port" \
        epmd_of "$epmd_of" >"$dir/node.env"
}

url() { printf 'amqp://guest:guest@127.0.0.1:%s\n' "$amqp_port"; }

# Two commands on one DIR at a time would trip over each other: a test that dies during `start` has its watchdog call
# `stop` at once. The descriptor must not leak into the node, which would then hold the lock for ever (see `launch`).
lock() {
    exec 9>"$1/lock"
    flock 9
}

# Anything that answers on the port, on any address.
port_taken() {
    local hexadecimal
    printf -v hexadecimal '%04X' "$1"
    grep -Eqs "^ *[0-9]+: [0-9A-F]+:$hexadecimal [0-9A-F]+:[0-9A-F]+ 0A " /proc/net/tcp /proc/net/tcp6
}

# A node that somebody else killed, not `broker.sh kill`, may still be letting go of its ports.
port_stays_taken() {
    local tick
    for ((tick = 0; tick < 40; tick++)); do
        port_taken "$1" || return 1
        sleep 0.05
    done
}

# Below the range from which the kernel takes the ports of outgoing connections (32768 and up): one of those could sit
# on our port at the moment we come back to it.
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

choose() { # AMQP_PORT|'' [OTHER]
    if [[ -n ${2:-} ]]; then
        take_from "$2"
    else
        epmd_port=$(free_port)
        epmd_of=$dir
    fi
    node=$(name_of "$dir")
    amqp_port=${1:-$(free_port)}
    dist_port=$(free_port)
    save
}

# What a new node needs of the cluster that it joins: its server, its epmd, its cookie, and whom to ask.
take_from() { # OTHER
    local own=$dir
    load "$1"
    mkdir -p "$own/home"
    cp -pf "$dir/home/.erlang.cookie" "$own/home/"
    {
        printf 'cluster_formation.peer_discovery_backend = classic_config\n'
        printf 'cluster_formation.classic_config.nodes.1 = %s\n' "$node"
        printf 'cluster_formation.classic_config.nodes.2 = %s\n' "$(name_of "$own")"
    } >"$own/cluster.conf"
    dir=$own
}

name_of() { printf 'zoutbox-%s@localhost\n' "$(printf '%s' "$1" | cksum | cut -d' ' -f1)"; }

# Process ids are used again by the kernel, so no pid is trusted for being in a file. All that belongs to a node carries
# this in its environment, from the first shell of its launch on, and its helpers inherit it.
mark() { printf 'ZOUTBOX_BROKER_DIR=%s' "$dir"; }

is_ours() { # PID_FILE
    local pid
    [[ -s $1 ]] || return 1
    read -r pid <"$1" || true
    [[ $pid =~ ^[0-9]+$ ]] || return 1
    # A zombie's environment is empty, so a zombie is not alive.
    grep -qsFzx -- "$(mark)" "/proc/$pid/environ" || return 1
    printf '%s\n' "$pid"
}

node_pid() { is_ours "$dir/node.pid"; }
epmd_pid() { is_ours "$dir/epmd.pid"; }

# A killed VM loses its environment when its first thread is gone, but keeps its ports open until the last one is. So
# the process must have gone altogether, or be a zombie without threads (under a PID 1 that does not reap).
wait_gone() { # PID SECONDS
    local tick
    local -a threads
    for ((tick = 0; tick < $2 * 20; tick++)); do
        threads=("/proc/$1/task/"*)
        if [[ ! -e /proc/$1 ]]; then return 0; fi
        if ((${#threads[@]} == 1)) && grep -qs '^State:[[:space:]]*Z' "/proc/$1/status"; then return 0; fi
        sleep 0.05
    done
    return 1
}

# -------------------------------------------------------------------------------------------------------- the recipe

# `env -i`: whatever RABBITMQ_*, ERL_* or HOME the caller has is about some other node.
# Sets: private, the arguments for `env`; and enter, what goes in front of a program to run it where the server is.
private_environment() {
    local bin=/usr/lib/rabbitmq/bin at=$dir erlang="-kernel inet_dist_use_interface {127,0,0,1}"
    enter=()
    if [[ $server == 4 ]]; then
        need_tree
        at=$inside
        enter_tree
    else
        bin=$(rabbitmq_bin) || die "rabbitmq-server is missing; run: $0 install"
    fi
    private=(-i
        HOME="$at/home"
        PATH="$bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
        LC_ALL=C.UTF-8
        "$(mark)"

        RABBITMQ_NODENAME="$node"
        RABBITMQ_MNESIA_BASE="$at/data"
        RABBITMQ_LOG_BASE="$at/log"
        RABBITMQ_LOGS=-
        RABBITMQ_PID_FILE="$at/rabbitmq.pid"

        # Each of these would fall back to /etc/rabbitmq.
        RABBITMQ_CONF_ENV_FILE=/dev/null
        RABBITMQ_CONFIG_FILE="$at/rabbitmq.conf"
        RABBITMQ_CONFIG_FILES="$at/conf.d"
        RABBITMQ_ADVANCED_CONFIG_FILE="$at/advanced.config"
        RABBITMQ_ENABLED_PLUGINS_FILE="$at/enabled_plugins"

        RABBITMQ_NODE_IP_ADDRESS=127.0.0.1
        RABBITMQ_NODE_PORT="$amqp_port"
        RABBITMQ_DIST_PORT="$dist_port"
        ERL_EPMD_PORT="$epmd_port"
        ERL_EPMD_ADDRESS=127.0.0.1
        ERL_CRASH_DUMP="$at/log/erl_crash.dump"

        # Without the interface the distribution port would listen on every address. Two schedulers, bound to no core:
        # several nodes may share a small machine with the programs under test.
        RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS="$erlang +S 2:2"
        RABBITMQ_SCHEDULER_BIND_TYPE=u

        # rabbitmqctl listens too, by default on one of eleven ports: too few for tests in parallel.
        RABBITMQ_CTL_ERL_ARGS="$erlang"
        RABBITMQ_CTL_DIST_PORT_MIN=32768
        RABBITMQ_CTL_DIST_PORT_MAX=60999

        # Makes rabbitmq-server exec the Erlang VM rather than wait for it in a shell, so that the pid recorded at the
        # launch is the VM's, and SIGTERM is an orderly shutdown.
        RUNNING_UNDER_SYSTEMD=true
    )
}

# Who is not root gets a user namespace as well, in which mounting is allowed.
enter_tree() {
    local -a user=()
    ((EUID == 0)) || user=(--map-root-user)
    # shellcheck disable=SC2016 # for the inner shell
    enter=(unshare --mount --propagation private "${user[@]}" sh -euc '
        tree=$1
        mount --bind "$2" "$tree$3"
        mount --rbind /proc "$tree/proc"
        mount --rbind /dev "$tree/dev"
        shift 3
        exec chroot "$tree" "$@"' enter "$(tree)" "$dir" "$inside")
}

write_configuration() {
    mkdir -p "$dir"/{home,data,log,conf.d}
    if [[ ! -s $dir/home/.erlang.cookie ]]; then
        (umask 077 && od -An -N16 -tx1 /dev/urandom | tr -d ' \n' >"$dir/home/.erlang.cookie")
        chmod 400 "$dir/home/.erlang.cookie" # Erlang refuses one that others could read
    fi
    printf '[].\n' >"$dir/advanced.config"
    [[ -e $dir/enabled_plugins ]] || printf '[].\n' >"$dir/enabled_plugins"
    {
        printf 'listeners.tcp.1 = 127.0.0.1:%s\n' "$amqp_port"
        printf 'log.console = true\nlog.file = false\n'
        [[ ! -e $dir/cluster.conf ]] || cat "$dir/cluster.conf"
        [[ ! -e $dir/extra.conf ]] || cat "$dir/extra.conf"
    } >"$dir/rabbitmq.conf"
}

# In a session of its own, so that it survives this script, its terminal and a Ctrl-C; with nothing of the caller's open.
launch() { # PID_FILE COMMAND...
    local file=$1
    shift
    private_environment
    # shellcheck disable=SC2016 # for the inner shell
    (cd "$dir" && exec env "${private[@]}" setsid sh -c 'echo $$ >"$0"; exec "$@"' "$file" "${enter[@]}" "$@") \
        </dev/null >>"$dir/node.log" 2>&1 9>&- &
}

# Started by ourselves and before the node, which would otherwise start one that daemonizes and whose pid nobody knows;
# and only on a port of our own, so that the node never registers with somebody else's.
start_epmd() {
    local tick
    if epmd_pid >/dev/null; then return; fi
    if [[ $epmd_of != "$dir" ]]; then
        port_taken "$epmd_port" || die "the epmd of $epmd_of does not run: start the node there first"
        return
    fi
    ! port_taken "$epmd_port" || return 1
    rm -f "$dir/epmd.pid"
    launch "$dir/epmd.pid" epmd -port "$epmd_port" -address 127.0.0.1
    for ((tick = 0; tick < 1200; tick++)); do
        if epmd_pid >/dev/null && port_taken "$epmd_port"; then return; fi
        sleep 0.05
    done
    return 1
}

# The server speaks AMQP only after every boot step and plugin is done, so its greeting says "fully booted" and costs
# nothing, where `rabbitmqctl await_startup` would boot another Erlang VM. A frame of type 1 opens its Connection.Start.
greets() {
    local first
    first=$(
        exec 2>/dev/null 3<>"/dev/tcp/127.0.0.1/$amqp_port" || exit 1
        printf 'AMQP\0\0\x09\x01' >&3
        timeout 5 head -c 1 <&3 | od -An -tx1
    ) 2>/dev/null || return 1
    [[ ${first// /} == 01 ]]
}

# 0: up. 1: failed. 2: failed because a port was taken.
boot() {
    local log_before deadline
    log_before=$(stat -c %s "$dir/node.log" 2>/dev/null || echo 0)
    if port_stays_taken "$amqp_port"; then say "port $amqp_port is taken"; return 2; fi
    if port_stays_taken "$dist_port"; then say "port $dist_port is taken"; return 2; fi
    if ! start_epmd; then say "no epmd on port $epmd_port"; return 2; fi
    rm -f "$dir/node.pid"
    launch "$dir/node.pid" rabbitmq-server
    local launched=$!
    deadline=$((SECONDS + boot_seconds))
    while ((SECONDS < deadline)); do
        # The launching process turns into the Erlang VM: when it is gone, so is the node.
        if [[ ! -e /proc/$launched ]] || ! kill -0 "$launched" 2>/dev/null; then break; fi
        # Our own node's greeting, not that of whoever won the port.
        if node_pid >/dev/null && greets && node_pid >/dev/null; then return 0; fi
        sleep 0.1
    done
    say "the node of $dir did not come up; the end of $dir/node.log:"
    tail -c +"$((log_before + 1))" "$dir/node.log" | tail -n 40 >&2
    end_node KILL || true
    if tail -c +"$((log_before + 1))" "$dir/node.log" | grep -q eaddrinuse; then return 2; fi
    return 1
}

# ------------------------------------------------------------------------------------------------------- subcommands

start() { # DIR AMQP_PORT|'' [OTHER]
    local wanted=${2:-} fresh=false tries status
    [[ $wanted =~ ^[0-9]*$ ]] || die "not a port: $wanted"
    if [[ $server == 4 ]]; then
        need_tree
    elif ! rabbitmq_bin >/dev/null || ! command -v erl >/dev/null; then
        die "rabbitmq-server is missing; run: $0 install"
    fi
    mkdir -p "$1"
    lock "$1"
    dir=$(realpath -- "$1")
    if [[ -f $dir/node.env ]]; then
        load "$1"
        if node_pid >/dev/null && [[ -z $wanted || $wanted == "$amqp_port" ]] && greets; then
            url
            return
        fi
        if node_pid >/dev/null; then die "the node of $1 runs already, and is not on port ${wanted:-$amqp_port}"; fi
        amqp_port=${wanted:-$amqp_port}
        save
    else
        fresh=true
        choose "$wanted" "${3:-}"
    fi

    # Between looking for a free port and binding it, somebody else may take it. Ports that nobody knows yet can change.
    for ((tries = 1; ; tries++)); do
        write_configuration
        status=0
        boot || status=$?
        if ((status == 0)); then break; fi
        end_epmd
        if ((status == 2)) && [[ $fresh == true ]] && ((tries < 4)); then
            choose "$wanted" "${3:-}"
        else
            exit 1
        fi
    done
    url
}

end_node() { # SIGNAL
    local pid
    pid=$(node_pid) || return 0
    kill -"$1" "$pid" 2>/dev/null || true
    wait_gone "$pid" "$stop_seconds"
}

end_epmd() {
    local pid
    if pid=$(epmd_pid); then
        kill "$pid" 2>/dev/null || true
        wait_gone "$pid" 10 || die "the epmd of $dir does not end"
    fi
    sweep
}

# What no file names: the epmd that a rabbitmqctl starts when it finds none, or a launch whose broker.sh was killed before
# it could write down the pid.
sweep() {
    local environment pid
    while read -r environment; do
        pid=${environment#/proc/}
        kill -KILL "${pid%/environ}" 2>/dev/null || true
    done < <(grep -lsFzx -- "$(mark)" /proc/[0-9]*/environ)
}

kill_node() {
    lock "$1"
    load "$1"
    end_node KILL || die "the node of $1 survived SIGKILL"
}

stop() {
    # Nothing was ever started: nothing to stop.
    [[ -f $1/node.env ]] || return 0
    lock "$1"
    load "$1"
    if ! end_node TERM; then
        say "the node of $1 did not end within $stop_seconds s; killing it"
        end_node KILL || die "the node of $1 survived SIGKILL"
    fi
    end_epmd
}

ctl() {
    load "$1"
    shift
    # Asked for a dead node, rabbitmqctl would take its time, and leave an epmd behind.
    node_pid >/dev/null || die "the node of $dir does not run"
    private_environment
    cd "$dir"
    # A node that is busy dying may never answer.
    exec timeout -k 10 180 env "${private[@]}" "${enter[@]}" rabbitmqctl "$@"
}

[[ $(uname) == Linux ]] || die "needs Linux: it finds its processes in /proc"
server=${ZOUTBOX_BROKER:-}
[[ -z $server || $server == 4 ]] || die "ZOUTBOX_BROKER is $server: no such server; 4, or nothing"
command=${1:-}
case $command in
    install) (($# == 1)) || usage ;;
    join) (($# == 3)) || usage ;;
    start) (($# == 2 || $# == 3)) || usage ;;
    kill | stop | url | pid) (($# == 2)) || usage ;;
    ctl) (($# >= 3)) || usage ;;
    *) usage ;;
esac
shift
case $command in
    install) install_server ;;
    start) start "$@" ;;
    join) start "$1" '' "$2" ;;
    kill) kill_node "$@" ;;
    stop) stop "$@" ;;
    ctl) ctl "$@" ;;
    url) load "$@" && url ;;
    pid) load "$@" && { node_pid || die "the node of $dir does not run"; } ;;
esac
