#!/bin/sh
# Unpacks an arm64 CPython with its headers from the packages of this machine's Debian: arm64.sh FOLDER
# The machine's own packages stay as they are; the folder is complete only at the end.
set -eu
folder=$1 part=$1.part
rm -rf "$part" && mkdir -p "$part/apt/lists/partial" "$part/apt/archives/partial" && : >"$part/apt/status"
part=$(realpath "$part")
set -- -qq -o APT::Architecture=arm64 -o APT::Architectures=arm64 -o Dir::State="$part/apt" \
    -o Dir::State::status="$part/apt/status" -o Dir::Cache="$part/apt" -o Debug::NoLocking=1
apt-get "$@" update
apt-get "$@" install -y --no-install-recommends --download-only python3 libpython3-dev libstdc++6
for package in "$part"/apt/archives/*.deb; do dpkg-deb -x "$package" "$part"; done
rm -r "$part/apt"
mkdir -p "$part/include/aarch64-linux-gnu" # Python's headers alone: those of the C library are zig's
cp -r "$part"/usr/include/python3.* "$part/include"
cp -r "$part"/usr/include/aarch64-linux-gnu/python3.* "$part/include/aarch64-linux-gnu"
mv "$part" "$folder"
