#!/bin/sh
# Makes Google Highway available to CMake: what is installed, else the system's package where that
# needs no password, else nothing: CMake then downloads the pinned release.
set -eu

for folder in /usr/include /usr/local/include /opt/homebrew/include "${CPATH:-}"; do
  if [ -n "$folder" ] && [ -f "$folder/hwy/highway.h" ]; then exit 0; fi
done
if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
  apt-get install -y -q libhwy-dev >&2 && exit 0
  apt-get update -q >&2 && apt-get install -y -q libhwy-dev >&2 && exit 0
fi
echo "Highway is not installed (Debian, Ubuntu: libhwy-dev; Homebrew: highway); CMake downloads it." >&2
