#!/usr/bin/env bash
# Write the lock files anew from the .in files (needs the registry): dev/lock.sh [--upgrade]
#
# Versions that a lock file already holds stay, unless an .in file rules them out or --upgrade is given.
set -eu
cd "$(dirname "${BASH_SOURCE[0]}")/.."

# uv resolves for all Python versions at once, which pip cannot. It lives outside the environments.
tools=.build/lock
if [ ! -x $tools/bin/uv ]; then
    "$(dev/find_python.sh)" -m venv --clear $tools
    $tools/bin/python -m pip install --quiet --disable-pip-version-check uv==0.13.9
fi

for name in requirements requirements-numpy2 requirements-rtx14 requirements-stubs; do
    options=()
    # Its dependency is TensorRT itself, which no registry has.
    [ $name != requirements-stubs ] || options+=(--no-deps)
    part=.build/$name.lock.part
    [ ! -f dev/$name.lock ] || cp dev/$name.lock "$part"
    $tools/bin/uv pip compile --quiet --universal --python-version 3.10 --generate-hashes --no-annotate --no-header \
        --no-emit-index-url --no-emit-find-links "${options[@]}" "$@" --output-file "$part" dev/$name.in >/dev/null
    {
        echo "# Written by \`make lock\` from $name.in; do not edit. Every package at one version, with the hashes of its files."
        grep -v '^#' "$part"
    } >dev/$name.lock
    rm "$part"
    echo "dev/$name.lock: $(grep -c '==' dev/$name.lock) pins"
done
