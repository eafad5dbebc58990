# Tests; sourced by check.sh.
# shellcheck shell=bash disable=SC2154

start_planner() { # the bundle's programs behind two named pipes
  rm -rf "$work/pipes" && mkdir -p "$work/pipes" && mkfifo "$work/pipes/in" "$work/pipes/out"
  "$python" "$root/tests/sdk/host_planner.py" "$work/vera.bundle" \
    --in "$work/pipes/in" --out "$work/pipes/out" >"$work/planner.log" 2>&1 &
  planner=$!
}

stop_planner() {
  kill "$planner" 2>/dev/null
  wait "$planner" 2>/dev/null
  cat "$work/planner.log"
}

properties() { # architecture
  echo "-Djava.library.path=$work/jni-$1 -Dvera.bundle=$work/vera.bundle -Dvera.case=$work/case
    -Dvera.planner.pipes=$work/pipes/in,$work/pipes/out"
}

run_junit_host() {
  local software=/usr/share/vulkan/icd.d/lvp_icd.x86_64.json status
  [ -f "$software" ] || { echo "no software Vulkan device: $software"; return 1; }
  start_planner
  # -Xcheck:jni: what breaks JNI's rules is printed, and looked for below
  # shellcheck disable=SC2046
  VK_ICD_FILENAMES=$software VK_DRIVER_FILES=$software timeout 300 java -Xcheck:jni \
    $(properties x86_64) -Dvera.vulkan=0 -Dvera.bench.out="$work/bench.json" \
    -cp "$work/vera-test.jar:$work/app-test.jar:$work/app.jar:$work/vera.jar:$(test_path)" \
    org.junit.platform.console.ConsoleLauncher --disable-banner --details=tree \
    --disable-ansi-colors --scan-class-path="$work/vera-test.jar:$work/app-test.jar" \
    --reports-dir="$work/reports/host" >"$work/junit-host.log" 2>&1
  status=$?
  stop_planner
  grep -E '✘|=>|cancel:|tests (found|failed|skipped)|WARNING in native' "$work/junit-host.log"
  ! grep -q 'WARNING in native' "$work/junit-host.log" && [ $status = 0 ]
}

# The same library built for ARM, in a JVM without its second compiler: the bytes, the bundle checks, the codes.
run_junit_arm64() {
  local java=$work/arm64/usr/lib/jvm/java-17-openjdk-arm64/bin/java status
  local libraries=$work/arm64/usr/lib/aarch64-linux-gnu:$work/arm64/lib/aarch64-linux-gnu
  start_planner
  # shellcheck disable=SC2046
  timeout 600 qemu-aarch64-static -cpu max -L "$work/arm64" -E LD_LIBRARY_PATH="$libraries" \
    "$java" -XX:TieredStopAtLevel=1 -XX:+UseSerialGC -XX:-UsePerfData $(properties arm64) \
    -cp "$work/vera-test.jar:$work/vera.jar:$(test_path)" \
    org.junit.platform.console.ConsoleLauncher --disable-banner --details=tree \
    --disable-ansi-colors --scan-class-path="$work/vera-test.jar" \
    -n '.*\.(GoldenTest|StatusTest|BundleTest)' \
    --reports-dir="$work/reports/arm64" >"$work/junit-arm64.log" 2>&1
  status=$?
  stop_planner
  grep -E '✘|=>|tests (found|failed|skipped)' "$work/junit-arm64.log"
  return $status
}

check_bench() { # by the reader of `vera bench import`
  "$python" - "$work/bench.json" <<'PY'
import sys
from vera_mobile.bench.results import load_result
result = load_result(sys.argv[1])
print(sorted(result["stages"]), result["device"])
PY
}
