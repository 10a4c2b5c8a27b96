#!/usr/bin/env bash
# Makes the guest's kernel and root file system. No package's scripts run, nothing is started: files are unpacked, and the
# few that the scripts would have made are written here.
#
#   rootfs.sh DEBS RESOLVED MODULES OUT   OUT/vmlinuz and OUT/root.cpio
set -euo pipefail
# shellcheck source=scripts/lab/common.sh
. "$(dirname "${BASH_SOURCE[0]}")/common.sh"

readonly debs=$1 resolved=$2 zfs_modules=$3 out=$4
# The kernel's modules that the lab uses; what they depend on comes along.
readonly kernel_modules=(virtio_blk virtio_net virtio-rng veth bridge nfs nfsv3 nfsv4 nfsd)

work=$(mktemp -d "$out/rootfs.work.XXXXXX")
trap 'rm -rf "$work"' EXIT
readonly root=$work/root kernel=$work/kernel

# Needed by packages' scripts, not by what we run.
is_left_out() { # FILE
    case $1 in
        python3* | libpython3* | perl* | libperl5* | lib*-perl_* | debconf* | adduser* | ucf* | usrmerge* | dpkg_* | \
            media-types* | passwd_* | sensible-utils* | libdb5* | libgdbm*) true ;;
        *) false ;;
    esac
}

unpack_user_space() {
    local directory file
    mkdir -p "$root"/usr/{bin,sbin,lib,lib64}
    for directory in bin sbin lib lib64; do ln -s "usr/$directory" "$root/$directory"; done
    while read -r file; do
        if is_left_out "$file"; then continue; fi
        dpkg-deb --fsys-tarfile "$debs/$file" | tar -x --keep-directory-symlink -C "$root"
    done <"$resolved/guest"
    for directory in bin sbin lib lib64; do
        [[ -L $root/$directory ]] || die "a package replaced the link /$directory in the image by a directory"
    done
    rm -rf "$root"/usr/share/{doc,man,locale,info,lintian,bash-completion,zsh,zfs,bug,perl*,initramfs-tools,python3*} \
        "$root"/usr/lib/{systemd,udev,python3*} "$root"/usr/lib/x86_64-linux-gnu/{perl*,gconv} "$root/usr/include"
}

link_busybox() {
    local applet
    while read -r applet; do
        if [[ ! -e $root/usr/bin/$applet && ! -e $root/usr/sbin/$applet ]]; then
            ln -s busybox "$root/usr/bin/$applet"
        fi
    done < <("$root/usr/bin/busybox" --list)
}

write_configuration() {
    mkdir -p "$root"/{proc,sys,dev,run,tmp,mnt,lab,root,tank} "$root/etc/exports.d" \
        "$root"/var/lib/nfs/{sm,sm.bak,v4recovery,nfsdcld,rpc_pipefs}
    : >"$root/etc/exports"
    : >"$root/var/lib/nfs/etab"
    : >"$root/var/lib/nfs/rmtab"
    ln -sf /proc/self/mounts "$root/etc/mtab"
    cat >"$root/etc/passwd" <<'END'
root:x:0:0:root:/root:/bin/bash
daemon:x:1:1::/:/bin/false
_rpc:x:106:65534::/run/rpcbind:/bin/false
statd:x:107:65534::/var/lib/nfs:/bin/false
outbox:x:1000:1000::/lab:/bin/bash
nobody:x:65534:65534::/:/bin/false
END
    printf '%s\n' root:x:0: daemon:x:1: outbox:x:1000: nogroup:x:65534: >"$root/etc/group"
    printf '%s: files\n' passwd group hosts services protocols rpc >"$root/etc/nsswitch.conf"
    # The same in every image, so that a pool is imported as one's own by another image.
    printf '\x0b\x0f\x0a\x01' >"$root/etc/hostid"
    printf '6f7574626f786c616200000000000000\n' >"$root/etc/machine-id"
}

unpack_kernel() {
    local file version target path
    file=$(grep '^linux-image-' "$resolved/kernel")
    dpkg-deb -x "$debs/$file" "$kernel"
    version=$(basename "$kernel"/boot/vmlinuz-*)
    version=${version#vmlinuz-}
    cp "$kernel/boot/vmlinuz-$version" "$out/vmlinuz"

    target=$root/usr/lib/modules/$version
    mkdir -p "$target/extra"
    cp "$kernel/lib/modules/$version"/modules.{builtin,builtin.modinfo,order} "$target/"
    depmod -b "$kernel" "$version"
    # Unpacked, because decompressing in an emulated guest takes seconds.
    while read -r path; do
        file=${path#*/"$version"/}
        mkdir -p "$target/${file%/*}"
        xz -dc "$path" >"$target/${file%.xz}"
    done < <(needed_modules "$version" | sort -u)
    cp "$zfs_modules"/{spl,zfs}.ko "$target/extra/"
    depmod -b "$root" "$version"
}

needed_modules() { # VERSION
    local module
    for module in "${kernel_modules[@]}"; do
        modprobe -d "$kernel" -S "$1" --show-depends "$module" | awk '$1 == "insmod" { print $2 }'
    done
}

pack() {
    (cd "$root" && find . -print0 | LC_ALL=C sort -z | cpio --null -o -H newc --quiet -R 0:0) >"$out/root.cpio"
}

unpack_user_space
link_busybox
write_configuration
unpack_kernel
ldconfig -r "$root"
install -m 755 "$lab_home/guest/init" "$root/init"
pack
