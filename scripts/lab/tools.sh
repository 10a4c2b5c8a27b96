#!/usr/bin/env bash
# Unpacks QEMU and socat beside the image, with their libraries: the host's packages stay as they are.
#
#   tools.sh DEBS LIST OUT   OUT/qemu and OUT/socat run them
set -euo pipefail
# shellcheck source=scripts/lab/common.sh
. "$(dirname "${BASH_SOURCE[0]}")/common.sh"

readonly debs=$1 list=$2 out=$3

# The C library has to be the one of the host's loader; the others are not needed to run anything.
is_the_hosts() { # FILE
    case $1 in
        libc6_* | libc-bin_* | debconf_* | adduser_* | passwd_* | dpkg_* | tar_* | perl* | libperl* | libpam*) true ;;
        *) false ;;
    esac
}

unpack() {
    local file
    while read -r file; do
        if is_the_hosts "$file"; then continue; fi
        dpkg-deb --fsys-tarfile "$debs/$file" | tar -x --keep-directory-symlink -C "$out"
    done <"$list"
    # Firmware of other machines, and what people read.
    rm -rf "$out"/usr/share/{doc,man,locale,info,lintian}
    (cd "$out/usr/share/qemu" && rm -rf edk2* openbios* skiboot* opensbi* u-boot* hppa* palcode* s390* slof* npcm* vof*)
}

wrapper() { # NAME PROGRAM WORD...
    local name=$1 program=$2
    shift 2
    cat >"$out/$name" <<END
#!/bin/sh
here=\$(dirname "\$0")
export LD_LIBRARY_PATH="\$here/usr/lib/x86_64-linux-gnu:\$here/lib/x86_64-linux-gnu"
exec "\$here/usr/bin/$program" $* "\$@"
END
    chmod 755 "$out/$name"
}

mkdir -p "$out"
unpack
# shellcheck disable=SC2016 # expanded when the wrapper runs
wrapper qemu qemu-system-x86_64 -L '"$here/usr/share/qemu"' -L '"$here/usr/share/seabios"'
wrapper socat socat
"$out/qemu" --version >/dev/null || die "the unpacked QEMU does not run on this host"
"$out/socat" -V >/dev/null || die "the unpacked socat does not run on this host"
