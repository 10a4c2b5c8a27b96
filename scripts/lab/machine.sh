# shellcheck shell=bash
# shellcheck disable=SC2154,SC2034 # the run's words and directories are run.sh's, and so is what reads `qemu`
# The machine, as QEMU's arguments. Sourced by run.sh.

# In QEMU's option lists a comma is written twice.
q() { printf '%s' "${1//,/,,}"; }

machine_arguments() {
    local accel=${ZOUTBOX_LAB_ACCEL:-tcg,thread=multi} cpu=Nehalem
    if [[ $accel == kvm* ]]; then cpu=host; fi
    # shellcheck disable=SC2054 # the commas are QEMU's
    qemu=(
        -accel "$accel" -cpu "$cpu" -smp 2 -m "$memory" -nodefaults -display none -no-reboot
        -kernel "$image/vmlinuz" -initrd "$image/root.cpio"
        -append "console=ttyS0 panic=-1 quiet mitigations=off nokaslr"
        -serial "file:$(q "$console")"
        # What the guest was told is on its disk goes to this host's page cache, which outlives QEMU.
        -drive "file=$(q "$disk"),format=raw,if=none,id=pool,cache=unsafe,discard=unmap"
        -device virtio-blk-pci,drive=pool
        -drive "file=$(q "$run/payload"),format=raw,if=none,id=payload,readonly=on"
        -device virtio-blk-pci,drive=payload
        -device virtio-serial-pci
        -chardev "file,id=control,path=$(q "$run/control")" -device virtserialport,chardev=control,name=control
        -chardev "file,id=output,path=$(q "$run/output")" -device virtserialport,chardev=output,name=output
        -object rng-random,filename=/dev/urandom,id=entropy -device virtio-rng-pci,rng=entropy
    )
    if [[ $mode == shell ]]; then
        qemu+=(-chardev 'stdio,id=terminal,signal=off' -device 'virtconsole,chardev=terminal')
    fi
    if [[ -n $broker ]]; then
        # restrict: nothing passes to the host or further, but what is forwarded. A program for each connection, because
        # forwarding to a socket carries only one.
        local forward="'$image/tools/socat' - TCP:127.0.0.1:$broker"
        local link=user,id=link,restrict=on,net=10.9.0.0/24,host=10.9.0.254,dns=10.9.0.253
        qemu+=(-netdev "$link,guestfwd=tcp:10.9.0.200:5672-cmd:$(q "$forward")"
            -device 'virtio-net-pci,netdev=link,romfile=')
    fi
}
