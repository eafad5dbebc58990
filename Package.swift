// swift-tools-version: 6.0
// Here at the top because SwiftPM finds packages by URL only at the root of a repository. Sources
// and documentation: ios_demo/.
import PackageDescription

let folder = "ios_demo/VeraMobile"
let apple: [Platform] = [.iOS, .macOS, .macCatalyst, .visionOS]

let package = Package(
  name: "VeraMobile",
  platforms: [.iOS(.v18), .macOS(.v15), .macCatalyst(.v18), .visionOS(.v2)],
  products: [
    .library(name: "VeraMobile", targets: ["VeraMobile"]),
    .library(name: "VeraMobileTesting", targets: ["VeraMobileTesting"]),
  ],
  targets: [
    .target(
      name: "CVera",
      path: "\(folder)/Sources/CVera",
      cxxSettings: [
        .headerSearchPath("../../../../kernels"),
        .headerSearchPath("../../../../kernels/include"),
        // By ios_demo/dependencies.sh. Linux has them as packages: libhwy-dev, nlohmann-json3-dev.
        .headerSearchPath("../../dependencies/highway", .when(platforms: apple)),
        .headerSearchPath("../../dependencies/json/include", .when(platforms: apple)),
      ],
      linkerSettings: [.linkedLibrary("hwy", .when(platforms: [.linux]))]),
    .target(
      name: "VeraMobile",
      dependencies: ["CVera"],
      path: "\(folder)/Sources/VeraMobile",
      resources: [.copy("PrivacyInfo.xcprivacy"), .embedInCode("render.metal")]),
    .target(
      name: "VeraMobileTesting",
      dependencies: ["VeraMobile"],
      path: "\(folder)/Sources/VeraMobileTesting"),
    .testTarget(
      name: "VeraMobileTests",
      dependencies: ["CVera", "VeraMobile", "VeraMobileTesting"],
      path: "\(folder)/Tests/VeraMobileTests", exclude: ["download_server.py"]),
  ],
  swiftLanguageModes: [.v6],
  cxxLanguageStandard: .cxx17
)
