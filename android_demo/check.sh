#!/usr/bin/env bash
# Checks the Android library and its demo where there is no Android: no Gradle plugin, no NDK, no phone.
#   bash android_demo/check.sh [--update-api | --fetch]        from the repository root
# Compiles with -Werror against android.jar and the real ExecuTorch classes, runs JUnit on the JVM of
# this machine and (emulated) of 64-bit ARM against the real JNI library and a bundle's real programs,
# lints, compares the public API, and assembles a signed APK. Everything that it needs but Debian's
# packages is fetched into build/android, by --fetch alone. VERA_TEST_BUNDLE names a bundle of
# vera-nano (android-int4) to use. A step that cannot run is a failure. Results:
# build/android/junit.xml.
# shellcheck disable=SC2034 # the parts that are sourced use these
set -u
bundle=${VERA_TEST_BUNDLE:+$(realpath "$VERA_TEST_BUNDLE")}
cd "$(dirname "$0")/.." || exit
root=$PWD
work=$root/build/android
demo=$root/android_demo
python=$root/.venv/bin/python
cmake=$root/.venv/bin/cmake
jobs=${JOBS:-2}
update_api=${1:-}
mkdir -p "$work/reports"
rm -rf "$work/reports" "$work/steps.tsv" "$work/junit.xml"
mkdir -p "$work/reports"
. "$root/tests/steps.sh"
. "$demo/check/tools.sh"
. "$demo/check/compile.sh"
. "$demo/check/run.sh"
. "$demo/check/apk.sh"

if [ "$update_api" = --fetch ]; then
  fetch_tools
  exit
fi

main() {
  step "tools" fetch_tools || return 1
  step "bundle and golden case" make_bundle
  step "libvera_jni for this machine" build_jni x86_64
  step "libvera_jni for 64-bit ARM" build_jni arm64
  step "shared libraries are laid out for pages of 16 KB" check_pages
  step "ExecuTorch's Android library takes libvera's operators" check_operators
  step "stubs name members that Android has" check_stubs
  step ":vera compiles, all warnings are errors" compile_vera || return 1
  step ":app compiles, all warnings are errors" compile_app
  step "androidTest is Kotlin" compile_android_test
  step "tests compile" compile_tests || return 1
  step "README's Kotlin compiles" compile_readme
  step "public API is as committed" check_api
  step "ktlint" lint
  step "JUnit on this machine's JVM" run_junit_host
  step "JUnit on an emulated ARM64 JVM" run_junit_arm64
  step "bench.json is read by vera bench" check_bench
  step "APK assembled, signed, verified and read back" check_apk
}

main
"$python" "$demo/check/junit.py" "$work"
