# shellcheck shell=bash
# The disk with the pool. Sourced by run.sh, after common.sh.

readonly pool_bytes=$((4 << 30)) # sparse: it takes what is written
readonly disk_mark='zoutbox lab disk'

# One partition from 1 MiB to the end, written by hand: without udev, zpool can't label a whole disk. The mark is where a
# boot loader would be.
create_pool_disk() { # FILE
    local sectors=$((pool_bytes / 512 - 2048))
    truncate -s 0 -- "$1"
    truncate -s "$pool_bytes" -- "$1"
    write_at "$1" 0 "$disk_mark"
    # Status, CHS of the first sector, type, CHS of the last, first sector, sectors; CHS says "too large for CHS".
    write_at "$1" 446 '\x00\xfe\xff\xff\x83\xfe\xff\xff'"$(little_endian 2048)$(little_endian "$sectors")"
    write_at "$1" 510 '\x55\xaa'
}

write_at() { # FILE OFFSET ESCAPED-BYTES
    printf '%b' "$3" | dd of="$1" bs=1 seek="$2" conv=notrunc status=none
}

little_endian() { # NUMBER, four bytes as escapes
    printf '\\x%02x\\x%02x\\x%02x\\x%02x' $(($1 & 255)) $(($1 >> 8 & 255)) $(($1 >> 16 & 255)) $(($1 >> 24 & 255))
}

is_pool_disk() { # FILE
    [[ -f $1 && $(head -c ${#disk_mark} -- "$1" | tr -d '\0') == "$disk_mark" ]]
}

# A disk that is there is only replaced when it is one of ours: an option's typing error must not cost a file.
choose_pool_disk() { # FILE KEEP
    if [[ $2 == yes ]]; then
        is_pool_disk "$1" || die "--keep-disk: $1 is not a disk that an earlier run made"
        lock_pool_disk "$1"
    else
        if [[ -s $1 ]] && ! is_pool_disk "$1"; then die "--disk: $1 is there and is not a disk of the lab; give another name"; fi
        lock_pool_disk "$1"
        create_pool_disk "$1" || die "--disk: can't write $1"
    fi
}

# Two guests on one disk would ruin the pool. The descriptor stays open as long as the run; what an ended run started may
# have it for a moment longer.
lock_pool_disk() { # FILE
    exec 6>>"$1" || die "--disk: can't write $1"
    flock --wait 2 6 || die "--disk: another run uses $1"
}
