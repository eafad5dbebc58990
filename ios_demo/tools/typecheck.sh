#!/bin/sh
# Parses and type-checks the Apple-only files and snippets against ios_demo/stubs: typecheck.sh SCRATCH,
# from the repository's root, where Swift is.
set -eu
scratch=$1
rm -rf "$scratch" && mkdir -p "$scratch"
package=ios_demo/VeraMobile/Sources
core="-Xcc -fmodule-map-file=$package/CVera/include/module.modulemap -Xcc -I$package/CVera/include"

for file in $(find ios_demo -name '*.swift' -not -path '*/stubs/*'); do
  swiftc -frontend -parse "$file"
done
flags="-swift-version 6 -I $scratch -package-name veramobile -module-cache-path $scratch/cache"
for module in Darwin CoreGraphics ImageIO CoreVideo Metal CoreML UIKit SwiftUI PhotosUI ExecuTorch; do
  swiftc -emit-module -module-name $module $flags -suppress-warnings -parse-as-library \
    "ios_demo/stubs/$module.swift" -emit-module-path "$scratch/$module.swiftmodule"
done
# SwiftPM writes these two
cat >"$scratch/package.swift" <<'END'
enum PackageResources { static let render_metal: [UInt8] = [] }
END
swiftc -emit-module -module-name VeraMobile $flags -warnings-as-errors $core -parse-as-library \
  $(find $package/VeraMobile -name '*.swift') "$scratch/package.swift" \
  -emit-module-path "$scratch/VeraMobile.swiftmodule"
swiftc -typecheck -module-name VeraExecuTorch $flags -warnings-as-errors $core \
  $(find ios_demo/VeraExecuTorch/Sources -name '*.swift')
swiftc -typecheck -module-name VeraDemo $flags -warnings-as-errors $core -parse-as-library \
  $(find ios_demo/VeraDemo/VeraDemo -name '*.swift')
swiftc -typecheck -module-name VeraDemoTests $flags -warnings-as-errors $core -parse-as-library \
  $(find ios_demo/VeraDemo/VeraDemoTests -name '*.swift') ios_demo/stubs/XCTestAttachment.swift
# what README and documentation show compiles
for page in ios_demo/README.md $package/VeraMobile/VeraMobile.docc/VeraMobile.md README.md; do
  grep -q '^```swift$' "$page" || continue
  awk -f ios_demo/tools/snippets.awk "$page" >"$scratch/snippets.swift"
  swiftc -typecheck -module-name Snippets $flags $core -parse-as-library "$scratch/snippets.swift"
done
