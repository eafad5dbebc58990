#!/bin/sh
# Makes Google Highway and nlohmann/json available to CMake: what is installed, else the system's
# packages where that needs no password, else nothing: CMake then downloads the pinned releases.
set -eu

installed() { # header
  for folder in /usr/include /usr/local/include /opt/homebrew/include "${CPATH:-}"; do
    if [ -n "$folder" ] && [ -f "$folder/$1" ]; then return 0; fi
  done
  return 1
}

missing=""
installed hwy/highway.h || missing="$missing libhwy-dev"
installed nlohmann/json.hpp || missing="$missing nlohmann-json3-dev"
if [ -z "$missing" ]; then exit 0; fi
if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
  # shellcheck disable=SC2086
  apt-get install -y -q $missing >&2 && exit 0
  # shellcheck disable=SC2086
  apt-get update -q >&2 && apt-get install -y -q $missing >&2 && exit 0
fi
echo "Not installed (Debian, Ubuntu):$missing (Homebrew: highway, nlohmann-json); CMake downloads it." >&2
