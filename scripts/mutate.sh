# shellcheck shell=bash
# Sourced by sim.sh and torture.sh: takes a guard out of a copy of the workspace, and puts it back. Whoever sources it has `die`.

readonly patches=crates/zoutbox-sim/mutants
readonly target=${CARGO_TARGET_DIR:-$PWD/target}

# A copy of what is in the repository, at one place, so that only what a mutant touches is compiled again.
copy_workspace() { # DIRECTORY
    local list
    command -v patch >/dev/null || die "patch is missing"
    list=$(mktemp)
    git ls-files --cached --others --exclude-standard -z -- Cargo.toml Cargo.lock .clippy.toml crates README.md fixtures docs scripts >"$list"
    mkdir -p "$1"
    rm -rf "$1/crates"
    tar --null --files-from="$list" -cf - | tar -xf - -C "$1"
    rm -f "$list"
}

patch_of() { # NAME
    [[ -e $patches/$1.patch ]] || die "no such mutant: $1"
    printf '%s\n' "$patches/$1.patch"
}

# To cargo, the copy and the workspace are the same packages: what was built of one is fresh for the other, unless a source file is newer.
# So whatever was mutated in the copy is touched in the workspace, or its next build would be the last mutant.
mutated=()
renew_mutated() {
    if ((${#mutated[@]} > 0)); then touch --no-create "${mutated[@]}"; fi
}
trap renew_mutated EXIT

take_out() { # PATCH COPY
    mapfile -t -O "${#mutated[@]}" mutated < <(sed -n 's,^+++ b/,,p' "$1")
    patch --quiet --batch --forward -p1 -d "$2" <"$1" >/dev/null || die "$1 does not apply"
}

put_back() { # PATCH COPY
    patch --quiet --batch --reverse -p1 -d "$2" <"$1" >/dev/null || die "$1 can't be taken back"
}

# The same target directory: what comes from the registry is compiled there already. What is built must not be taken for the real thing, so
# whoever calls this moves it away.
build_copy() { # COPY CARGO-OPTION...
    local copy=$1
    shift
    CARGO_TARGET_DIR=$target cargo build --quiet --locked --manifest-path "$copy/Cargo.toml" "$@" 2>"$copy/build.log" || {
        tail -n 20 "$copy/build.log"
        die "the copy in $copy does not compile"
    }
}
