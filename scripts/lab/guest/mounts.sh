# shellcheck shell=bash
# shellcheck disable=SC2154 # the names in common.sh
# The hosts' NFS mounts. All hosts see the same directories: which host a mount belongs to is decided by where it was made.

mount_on() { # HOST VERSION DIR [OPTIONS]
    local options
    case $2 in
        4.2 | 4.1) options=vers=$2 ;;
        3) options=vers=3,nolock ;; # no statd in the hosts' namespaces
        *) wrong_usage "no such NFS version here: $2; there are: 4.2 4.1 3" ;;
    esac
    if mountpoint -q "$3"; then die "something is mounted on $3 already"; fi
    mkdir -p "$3"
    # nosharecache: two mounts of one host would otherwise share their counters, and with some options their caches.
    on_host "$1" mount -t nfs -o "$options,proto=tcp,hard,nosharecache${4:+,$4}" "server:$dataset_path" "$3"
}

unmount_on() { # HOST DIR
    on_host "$1" umount "$2"
}

rpc_counts() { # DIR
    awk -v directory="$1" '
        $1 == "device" { ours = $5 == directory; operations = 0; found = found || ours }
        ours && $1 == "per-op" { operations = 1; next }
        ours && operations && $2 > 0 { sub(":", "", $1); print $1, $2 }
        END { exit !found }' /proc/self/mountstats ||
        die "no NFS mount on $1"
}
