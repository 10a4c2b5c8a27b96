#!/usr/bin/env bash
# A program that extends cargo, in the version that is pinned here: from the path if that version is there, else built from the crate
# registry and kept in ${XDG_CACHE_HOME:-~/.cache}/zoutbox-tools. The first time takes some minutes.
#
#   cargo-tool.sh NAME    cargo-deny or cargo-fuzz; prints where the program is, and on standard error what it does
#
# Exit code 3: it is missing and can't be built here.
set -euo pipefail

say() { printf 'cargo-tool.sh: %s\n' "$*" >&2; }

cd "$(dirname "$(realpath "$0")")/.."

features=()
case ${1:-} in
    cargo-deny) version=0.20.2 features=(--no-default-features) ;;
    cargo-fuzz) version=0.13.2 ;;
    *)
        say "usage: cargo-tool.sh cargo-deny|cargo-fuzz"
        exit 2
        ;;
esac
name=$1
# Outside of the checkout, so that a fresh one does not build it again.
root=${XDG_CACHE_HOME:-${HOME:?HOME is not set, and neither is XDG_CACHE_HOME}/.cache}/zoutbox-tools/$name-$version

is_it() { [[ -x $1 ]] && [[ $("$1" --version 2>/dev/null) == "$name $version" ]]; }

for program in "$root/bin/$name" "$(command -v "$name" || true)"; do
    if is_it "$program"; then
        printf '%s\n' "$program"
        exit 0
    fi
done

say "building $name $version: it is not here"
build=$(mktemp -d)
trap 'rm -rf "$build"' EXIT
# Unoptimised: it runs for seconds, and is compiled for minutes.
if ! CARGO_PROFILE_DEV_DEBUG=0 cargo install "$name" --version "$version" --locked --debug "${features[@]}" \
    --root "$root" --target-dir "$build" >&2; then
    say "$name $version is missing, and could not be built from the crate registry"
    exit 3
fi
printf '%s\n' "$root/bin/$name"
