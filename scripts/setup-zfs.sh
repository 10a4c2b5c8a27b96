#!/usr/bin/env bash
# A dataset and its NFS export on a ZFS server, as docs/filesystem.md recommends them for a share. Run as root on the server;
# needs nothing else of zoutbox there.
#
#   setup-zfs.sh POOL/DATASET --clients ADDRESS[/BITS][,...] [OPTION...]
#
#   --clients LIST      who may mount it: IPv4 addresses and networks, such as 10.0.0.0/24,10.0.1.7
#   --mountpoint DIR    where the server has it; else what the dataset has or inherits
#   --quota SIZE        its refquota, such as 500M or 2T; else it stays as it is
#   --owner UID:GID     who owns its directory, in numbers: whom zoutbox runs as on the clients. Else it stays as it is
#   --dry-run           prints the commands that it would run, and runs none
#   --check             tells what differs, and changes nothing
#
# Sets sync=standard, atime=off, compression=lz4, xattr=sa, and the export by the property sharenfs: sync, no_subtree_check,
# root_squash. Prints each command that it runs. Run again, it runs only what still differs.
#
# What was decided otherwise is not changed but refused: an existing dataset with sync=disabled, readonly=on, an export with
# async, another mountpoint, or a directory with files that belong to somebody else. Refused as well is what would take other
# exports away: zfs runs `exportfs -ra`, which forgets what stands in no file.
#
# Exit codes: 0 all is as it should be; 1 a command failed, or --check found something to change; 2 refused; 64 wrong usage.
set -euo pipefail

readonly export_options=sync,no_subtree_check,root_squash
readonly address='[0-9]{1,3}(\.[0-9]{1,3}){3}(/[0-9]{1,2})?'

dataset='' clients='' mountpoint='' quota='' owner='' mode=run
changes=0

say() { printf '%s\n' "$*"; }
die() { printf 'setup-zfs.sh: %s\n' "$*" >&2; exit 1; }
refuse() { printf 'setup-zfs.sh: refused: %s\n' "$*" >&2; exit 2; }
wrong_usage() { printf 'setup-zfs.sh: %s (--help tells how)\n' "$*" >&2; exit 64; }
help() { sed -n '2,/^[^#]/s/^# \{0,1\}//p' "$0"; }

# -------------------------------------------------------------------------------------------------------------- arguments

read_arguments() {
    while (($# > 0)); do
        case $1 in
            --help | -h) help; exit 0 ;;
            --dry-run | --check)
                [[ $mode == run ]] || wrong_usage "--dry-run and --check exclude each other"
                mode=${1#--}
                ;;
            --clients | --mountpoint | --quota | --owner)
                (($# > 1)) || wrong_usage "$1 needs a value"
                printf -v "${1#--}" '%s' "$2"
                shift
                ;;
            -*) wrong_usage "no such option: $1" ;;
            *)
                [[ -z $dataset ]] || wrong_usage "one dataset, not $dataset and $1"
                dataset=$1
                ;;
        esac
        shift
    done
    check_arguments
}

check_arguments() {
    [[ $dataset =~ ^[A-Za-z0-9][A-Za-z0-9_.:-]*(/[A-Za-z0-9][A-Za-z0-9_.:-]*)+$ ]] ||
        wrong_usage "a dataset below a pool is needed, such as tank/outbox, not '$dataset'"
    [[ $clients =~ ^$address(,$address)*$ ]] || wrong_usage "--clients: IPv4 addresses or networks, not '$clients'"
    [[ -z $mountpoint || $mountpoint =~ ^(/[A-Za-z0-9_.-]+)+$ ]] || wrong_usage "--mountpoint: a path, not '$mountpoint'"
    [[ -z $quota || $quota =~ ^[1-9][0-9]*[KMGTP]?$ ]] || wrong_usage "--quota: such as 500M or 2T, not '$quota'"
    [[ -z $owner || $owner =~ ^[0-9]+:[0-9]+$ ]] || wrong_usage "--owner: UID:GID in numbers, not '$owner'"
}

check_server() {
    local command
    for command in zfs exportfs; do
        command -v "$command" >/dev/null || die "$command is missing: this has to run on the ZFS server, with its NFS server"
    done
    [[ $mode != run || $EUID == 0 ]] || die "needs root"
}

refuse_to_lose_exports() {
    local exported
    while read -r exported; do
        awk -v directory="$exported" '$1 == directory { found = 1 } END { exit !found }' \
            /etc/exports /etc/exports.d/*.exports 2>/dev/null ||
            refuse "$exported is exported, and stands neither in /etc/exports nor below /etc/exports.d: zfs runs exportfs -ra," \
                "which would take it away from its clients. Put it there first"
    done < <(exportfs -s | awk '{ print $1 }' | sort -u)
}

# ---------------------------------------------------------------------------------------------------------------- changes

# WHY COMMAND...: prints and runs it, or does what --dry-run and --check do instead.
change() {
    local why=$1
    shift
    changes=$((changes + 1))
    case $mode in
        run)
            say "+ $*"
            "$@" || die "failed: $*"
            ;;
        dry-run) say "+ $*" ;;
        check) say "differs: $why" ;;
    esac
}

get() { # PROPERTY [DATASET]
    zfs get -Hp -o value "$1" "${2:-$dataset}"
}

there() { zfs list -H -o name "$dataset" >/dev/null 2>&1; }

# ------------------------------------------------------------------------------------------------------------- the dataset

# A dataset that was made otherwise was made so by somebody, who may rely on it.
refuse_what_breaks_a_promise() {
    [[ $(get type) == filesystem ]] || refuse "$dataset is a $(get type), not a file system"
    if [[ $(get sync) == disabled ]]; then
        refuse "$dataset has sync=disabled: what zoutbox acknowledged is lost when the server crashes. zfs set sync=standard $dataset"
    fi
    if [[ $(get readonly) == on ]]; then
        refuse "$dataset has readonly=on: nothing can be appended. zfs set readonly=off $dataset"
    fi
    refuse_async "the property sharenfs of $dataset" "$(get sharenfs)"
    refuse_async "the export of $(get mountpoint), in /etc/exports or below /etc/exports.d," "$(exports_of "$(get mountpoint)")"
    if [[ -n $mountpoint && $(get mountpoint) != "$mountpoint" ]]; then
        refuse "$dataset is mounted at $(get mountpoint), not at $mountpoint: clients may have it mounted from there"
    fi
}

refuse_async() { # WHOSE OPTIONS
    if [[ $2 =~ (^|[(,[:space:]])async($|[),[:space:]]) ]]; then
        refuse "$1 says async: the server answers before anything is durable, and what zoutbox acknowledged is lost when it crashes"
    fi
}

# An inherited sharenfs would export the directory before its owner is right.
create_dataset() {
    local parent=${dataset%/*}
    local -a options=(-o sync=standard -o atime=off -o compression=lz4 -o xattr=sa -o sharenfs=off)
    zfs list -H -o name "$parent" >/dev/null 2>&1 || die "there is no $parent to make $dataset in"
    if [[ $(get readonly "$parent") == on ]]; then refuse "$parent has readonly=on, which $dataset would inherit"; fi
    if [[ -n $mountpoint ]]; then options+=(-o "mountpoint=$mountpoint"); fi
    if [[ -n $quota ]]; then options+=(-o "refquota=$quota"); fi
    directory=${mountpoint:-$(get mountpoint "$parent")/${dataset##*/}}
    [[ $directory == /* ]] || refuse "$dataset would have no mount point: give --mountpoint"
    change "there is no dataset $dataset" zfs create "${options[@]}" "$dataset"
}

# Since OpenZFS 2.3 the two are one, and told as "on" whichever was set; before, "on" was "dir".
on_means_sa() {
    [[ $(zfs version) =~ ^zfs-([0-9]+)\.([0-9]+) ]] && ((BASH_REMATCH[1] * 1000 + BASH_REMATCH[2] >= 2003))
}

adjust_dataset() {
    local wanted name has bytes
    for wanted in sync=standard atime=off compression=lz4 xattr=sa; do
        name=${wanted%%=*}
        has=$(get "$name")
        # sync=always is slower and as safe.
        if [[ $name=$has == "$wanted" || $name=$has == sync=always ]]; then continue; fi
        if [[ $name=$has == xattr=on ]] && on_means_sa; then continue; fi
        change "$name is $has, not ${wanted#*=}" zfs set "$wanted" "$dataset"
    done
    if [[ -n $quota ]]; then
        bytes=$(numfmt --from=iec "$quota")
        [[ $(get refquota) == "$bytes" ]] ||
            change "refquota is $(get refquota), not $bytes" zfs set "refquota=$quota" "$dataset"
    fi
    directory=$(get mountpoint)
    [[ $directory == /* ]] || refuse "$dataset has mountpoint=$directory: give it one"
    [[ $(get mounted) == yes ]] || change "it is not mounted" zfs mount "$dataset"
}

# With root_squash nobody but the owner can write.
adjust_owner() {
    local has=0:0
    if [[ -d $directory ]]; then has=$(stat -c %u:%g "$directory"); fi
    if [[ -z $owner ]]; then
        [[ $has != 0:* ]] || say "note: $directory belongs to root, and the export takes root for nobody: give it an owner by --owner UID:GID"
        return
    fi
    [[ $has != "$owner" ]] || return 0
    if [[ $has != 0:* && -n $(ls -A "$directory") ]]; then
        refuse "$directory belongs to $has and is not empty: to give it to $owner, chown -R it"
    fi
    change "$directory belongs to $has, not to $owner" chown "$owner" "$directory"
}

# -------------------------------------------------------------------------------------------------------------- the export

# As sharenfs wants it: rw=@10.0.0.0/24:@10.0.1.7,sync,...
sharenfs() {
    local list=@${clients//,/:@}
    say "rw=$list,$export_options"
}

# What the NFS server exports of a directory, a line for each client: "DIRECTORY CLIENT(OPTIONS)".
exports_of() { # DIRECTORY
    exportfs -s | awk -v directory="$1" '$1 == directory'
}

is_exported() {
    local client found
    found=$(exports_of "$directory")
    for client in ${clients//,/ }; do
        awk -v client="$client(" 'index($2, client) == 1' <<<"$found" | grep -q '[(,]sync,.*no_subtree_check.*[,]root_squash' ||
            return 1
    done
}

adjust_export() {
    local wanted now=off
    wanted=$(sharenfs)
    if there; then now=$(get sharenfs); fi
    if [[ $now != "$wanted" ]]; then
        change "sharenfs is $now, not $wanted" zfs set "sharenfs=$wanted" "$dataset"
    elif ! is_exported; then
        change "the NFS server does not export $directory as sharenfs says" zfs share "$dataset"
    fi
    [[ $mode == run ]] || return 0
    is_exported || die "the NFS server does not export $directory to $clients with $export_options; exportfs -s says: $(exports_of "$directory")"
}

# ---------------------------------------------------------------------------------------------------------------- the end

server_runs() { [[ -r /proc/fs/nfsd/threads ]] && (($(cat /proc/fs/nfsd/threads) > 0)); }

what_is_next() {
    local user=${owner%%:*}
    server_runs || say "note: the NFS server does not run. On most systems: systemctl enable --now nfs-server"
    cat <<NEXT

On each client, as root:
  mkdir -p /mnt/outbox
  mount -t nfs -o vers=4.2,hard,proto=tcp $(uname -n):$directory /mnt/outbox
or for good, in /etc/fstab:
  $(uname -n):$directory /mnt/outbox nfs vers=4.2,hard,proto=tcp,_netdev 0 0
Once, on one of them, as ${user:+uid }${user:-the owner of $directory}:
  zoutbox init /mnt/outbox
Then on each, as the same:
  zoutbox doctor --root /mnt/outbox
NEXT
}

read_arguments "$@"
check_server
refuse_to_lose_exports
if there; then
    refuse_what_breaks_a_promise
    adjust_dataset
else
    create_dataset
fi
adjust_owner
adjust_export
case $mode in
    check)
        ((changes == 0)) || { say "$changes to change"; exit 1; }
        say "$dataset is as it should be"
        ;;
    dry-run) say "$changes commands, none of them run" ;;
    run)
        if ((changes == 0)); then say "$dataset is as it should be: nothing changed"; fi
        what_is_next
        ;;
esac
