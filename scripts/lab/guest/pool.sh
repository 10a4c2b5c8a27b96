# shellcheck shell=bash
# shellcheck disable=SC2154 # the names in common.sh
# The pool on the first disk and the dataset that is shared.

load_zfs() {
    # The guest's memory is for the hosts, not for the server's cache.
    modprobe zfs zfs_arc_max=$((512 << 20))
}

# compression: the default. atime: a read must not be a write. xattr=sa: no hidden directories for attributes. sync: what
# everything rests on. The record size stays the default.
pool_create() {
    zpool create -f -o ashift=12 -o cachefile=none -O atime=off -O compression=lz4 -O xattr=sa -O mountpoint=none \
        "$pool" /dev/vda1
    zfs create -o "mountpoint=$dataset_path" -o sync=standard "$dataset"
}

# Forced: after a power cut, nobody has exported it.
pool_attach() { zpool import -f -d /dev -o cachefile=none "$pool"; }

pool_export() {
    zpool list -H "$pool" >/dev/null 2>&1 || die "the pool is exported already"
    if server_runs; then
        : >"$lab_state/server-ran"
        server_stop
    fi
    # The kernel's table of exports holds the dataset. No client sees it gone, since no server answers.
    exportfs -ua
    exportfs -f
    zpool export "$pool"
}

pool_import() {
    if zpool list -H "$pool" >/dev/null 2>&1; then die "the pool is imported already"; fi
    pool_attach
    if [[ -e $lab_state/server-ran ]]; then
        rm "$lab_state/server-ran"
        server_start
    fi
}
