# shellcheck shell=bash
# What the host must be and have to build the image. Sourced by build.sh, after common.sh.

need_platform() {
    local machine
    machine=$(uname -m)
    [[ $machine == x86_64 ]] || die "the lab's image is built on x86_64 only; this is $machine"
    local ID='' VERSION_CODENAME=''
    # shellcheck source=/dev/null
    if [[ -r /etc/os-release ]]; then . /etc/os-release; fi
    [[ $ID == debian && $VERSION_CODENAME == bookworm ]] ||
        die "the lab's image is built from Debian 12 (bookworm)'s packages; this is ${ID:-an unknown system} ${VERSION_CODENAME:-}"
    command -v apt-get >/dev/null || die "apt-get is missing; the lab's image is built from the distribution's packages"
}

need_tools() {
    PATH=$PATH:/usr/sbin:/sbin # where kmod's depmod is, which people other than root don't have in theirs
    need_command cpio cpio
    need_command depmod kmod
    need_command xz xz-utils
    need_command make make
    need_command strip binutils
    need_command gcc-12 gcc-12 # the one the kernel was built with
    need_file /usr/include/stdio.h libc6-dev
    need_file /usr/lib/x86_64-linux-gnu/libelf.so.1 libelf1 # for the kernel's objtool
}

need_command() { # COMMAND PACKAGE
    command -v "$1" >/dev/null || install_package "$2"
}

need_file() { # FILE PACKAGE
    [[ -e $1 ]] || install_package "$2"
}

install_package() { # PACKAGE
    local -a root=()
    if ((EUID != 0)); then
        command -v sudo >/dev/null || die "the package $1 is missing; installing it needs root or sudo"
        root=(sudo -n)
    fi
    local -a apt=("${root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get -q -o DPkg::Lock::Timeout=120)
    step "installing the host's missing package $1"
    "${apt[@]}" install -y --no-install-recommends "$1" >&2 ||
        { "${apt[@]}" update >&2 && "${apt[@]}" install -y --no-install-recommends "$1" >&2; } ||
        die "the package $1 is missing, and apt-get could not install it"
}
