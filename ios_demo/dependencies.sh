#!/bin/sh
# Fetches the two C++ libraries that Apple machines have no package of, at pinned commits, into
# ios_demo/VeraMobile/dependencies: Google Highway 1.2.0 and nlohmann/json 3.11.3. Linux needs it not.
#   sh ios_demo/dependencies.sh          from anywhere; needs git and the network, once
set -eu
cd "$(dirname "$0")/VeraMobile"

fetch() { # name, address, commit
  folder="dependencies/$1"
  if [ "$(git -C "$folder" rev-parse HEAD 2>/dev/null)" = "$3" ] && [ -d "$folder/.git" ]; then return; fi
  rm -rf "$folder" "$folder.new"
  git init -q "$folder.new"
  git -C "$folder.new" fetch -q --depth 1 "$2" "$3"
  git -C "$folder.new" checkout -q FETCH_HEAD
  mv "$folder.new" "$folder"
}

fetch highway https://github.com/google/highway.git 457c891775a7397bdb0376bb1031e6e027af1c48
fetch json https://github.com/nlohmann/json.git 9cca280a4d0ccf0c08f47a99aa71d1b0e52f8d03
