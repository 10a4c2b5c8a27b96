# shellcheck shell=bash
# shellcheck disable=SC2154 # the names in common.sh
# The kernel's NFS server, which exports the dataset.

readonly default_export=rw,sync,no_subtree_check,no_root_squash,fsid=1
readonly server_threads=8

# What is done once a boot.
server_prepare() {
    # lockd has a grace time of its own, 50 s, and it holds back NFSv4's locks too.
    modprobe lockd "nlm_grace_period=$lease_seconds"
    modprobe -a nfsd nfs nfsv3 nfsv4
    mount -t nfsd nfsd /proc/fs/nfsd
    mkdir -p /run/rpc_pipefs /run/rpcbind
    mount -t rpc_pipefs sunrpc /run/rpc_pipefs
    rpcbind -w
    rpc.statd --no-notify
    nfsdcld
    printf '%s\n' "$default_export" >"$lab_state/export"
    rpc.mountd
}

server_runs() { (($(cat /proc/fs/nfsd/threads) > 0)); }

server_export() {
    exportfs -i -o "$(cat "$lab_state/export")" "*:$dataset_path"
}

server_start() {
    if server_runs; then die "the server runs already"; fi
    server_export
    # All three only count before the threads start. With little memory the server would offer less than 1 MiB a WRITE.
    printf '%s\n' "$lease_seconds" >/proc/fs/nfsd/nfsv4leasetime
    printf '%s\n' "$lease_seconds" >/proc/fs/nfsd/nfsv4gracetime
    printf '%s\n' $((1 << 20)) >/proc/fs/nfsd/max_block_size
    rpc.nfsd "$server_threads"
}

server_stop() {
    server_runs || die "the server does not run"
    rpc.nfsd 0
}

# Later options win over earlier ones, so the caller names only what is to differ.
set_export() { # [OPTIONS]
    printf '%s\n' "$default_export${1:+,$1}" >"$lab_state/export"
    server_export
    exportfs -f
}
