# shellcheck shell=bash
# shellcheck disable=SC2154 # the names in common.sh
# The hosts: each a network namespace with one link to the server's bridge, and a UTS namespace, because a server tells
# NFSv4.1 clients apart by their host names: two of one name would be one client and steal each other's state.

is_host() { [[ " ${hosts[*]} " == *" $1 "* ]]; }
need_host() { is_host "$1" || wrong_usage "no such host: $1; there are: ${hosts[*]}"; }

bridge_up() {
    ip link set lo up
    ip link add br0 type bridge
    ip addr add "$server_address/24" dev br0
    ip link set br0 up
    # There when the run asked for a broker: the link to the real host, closed to everything else by QEMU.
    if modprobe virtio_net && [[ -e /sys/class/net/eth0 ]]; then ip link set eth0 master br0 up; fi
}

host_up() { # HOST ADDRESS
    mkdir -p /run/netns "$lab_state/uts"
    : >"/run/netns/$1"
    : >"$lab_state/uts/$1"
    unshare "--net=/run/netns/$1" "--uts=$lab_state/uts/$1" hostname "$1"
    ip link add "v-$1" type veth peer name eth0 netns "$1"
    ip link set "v-$1" master br0 up
    ip -n "$1" link set lo up
    ip -n "$1" addr add "$2/24" dev eth0
    ip -n "$1" link set eth0 up
}

hosts_up() {
    local number=2 host
    for host in "${hosts[@]}"; do
        host_up "$host" "10.9.0.$number"
        number=$((number + 1))
    done
}

write_hosts_file() { # WITH-BROKER
    local number=2 host
    printf '127.0.0.1 localhost\n%s server\n' "$server_address"
    for host in "${hosts[@]}"; do
        printf '10.9.0.%d %s\n' "$number" "$host"
        number=$((number + 1))
    done
    if [[ $1 == yes ]]; then printf '%s broker\n' "$broker_address"; fi
}

# Replaces this process, so that signals and the exit status are the command's own.
on_host() { # HOST COMMAND...
    local host=$1
    shift
    exec nsenter "--net=/run/netns/$host" "--uts=$lab_state/uts/$host" -- "$@"
}
