#!/usr/bin/env bash
# The lab: real NFS over real OpenZFS, with several hosts, in one emulated machine. docs/lab.md describes it.
set -euo pipefail
# shellcheck source=scripts/lab/common.sh
. "$(dirname "$(realpath "${BASH_SOURCE[0]}")")/lab/common.sh"

usage() {
    cat <<'END'
scripts/lab.sh build [--fresh]
    Builds the image from Debian's packages, unless it is in the cache; prints its directory. Asks the mirror at most
    once a day, with --fresh in any case, whether there are newer packages.

scripts/lab.sh run [OPTION...] [--] COMMAND [ARG...]
    Boots the guest, brings up pool, server, hosts and mounts, and runs COMMAND on the server's host, as root, in /lab,
    with /dev/null as its standard input. Its output and errors come to the standard output, as they are written. Builds
    the image if there is none yet. In the guest, `lab help` tells what commands can do to the lab.

    --add HOSTPATH[:GUESTPATH]   lays a file or directory in the guest, as /lab/NAME or as GUESTPATH; may be repeated.
                                 The last colon counts; all of it becomes root's and takes the guest's memory
    --env NAME=VALUE             in COMMAND's environment; may be repeated
    --broker PORT                127.0.0.1:PORT of this host becomes broker:5672 for every host of the lab; nothing else
                                 of this host, nor anything beyond it, can be reached from the guest
    --disk FILE                  the pool's disk, a sparse file of 4 GiB; without it, one that goes with the run. A disk of
                                 an earlier run is made new
    --keep-disk                  imports the pool that an earlier run left on --disk FILE
    --cut-on PATTERN             a power cut: when a line of the output matches this extended regular expression, the
                                 guest is killed
    --cut-after MS               so many milliseconds after that line (default 0)
    --limit SECONDS              the whole run, with the boot; default 600
    --memory MIB                 the guest's, default 3072
    --console FILE               where the kernel's and the boot's messages go; else kept only of runs that went wrong

scripts/lab.sh shell [OPTION...]
    The same guest with a prompt; leaving it ends the guest. Takes run's options but --cut-on; has no limit by default.

scripts/lab.sh test [GROUP...]
    The lab's own test, all of it or some groups of its checks: usage host words endings killed shell guest power_cut
    build. One line a check; the last is "N passed, N failed".

Exit status: COMMAND's own (128 + N if signal N killed it), or
    64   wrong usage
    240  this host can't build or start the lab
    241  the guest died
    242  the limit was reached
    243  the power was cut, as asked; all output until then was delivered
    244  the guest booted, but pool, server or a mount did not come up
Of these, lab.sh says on the standard error what happened, and 241, 242 and 244 show the console's last lines there.

Environment:
    ZOUTBOX_LAB_CACHE   where images are kept; default: zoutbox-lab in $XDG_CACHE_HOME or ~/.cache
    ZOUTBOX_LAB_ACCEL   QEMU's accelerator; default tcg,thread=multi (software), since some machines' KVM can't run the
                        image's kernel; kvm where it can
    TMPDIR              where a run keeps its files, the pool's disk among them
END
}

case ${1:-} in
    --help | -h | help) usage ;;
    build)
        (($# <= 2)) || wrong_usage "build takes --fresh and nothing else"
        [[ ${2:---fresh} == --fresh ]] || wrong_usage "build does not take $2"
        exec "$lab_home/build.sh" "${@:2}"
        ;;
    run | shell) exec "$lab_home/run.sh" "$@" ;;
    test) exec "$lab_home/selftest.sh" "${@:2}" ;;
    '') usage >&2; exit "$exit_usage" ;;
    *) wrong_usage "no such verb: $1" ;;
esac
