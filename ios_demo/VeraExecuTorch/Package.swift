// swift-tools-version: 6.0
// A package of its own: who uses Core ML alone need not fetch ExecuTorch.
import PackageDescription

let package = Package(
  name: "VeraExecuTorch",
  platforms: [.iOS(.v18), .macOS(.v15)],
  products: [.library(name: "VeraExecuTorch", targets: ["VeraExecuTorch"])],
  dependencies: [
    .package(name: "VeraMobile", path: "../.."),
    // ExecuTorch is published as branches, one for each release
    .package(url: "https://github.com/pytorch/executorch.git", branch: "swiftpm-1.4.1"),
  ],
  targets: [
    .target(
      name: "VeraExecuTorch",
      dependencies: [
        .product(name: "VeraMobile", package: "VeraMobile"),
        .product(name: "executorch", package: "executorch"),
        .product(name: "backend_xnnpack", package: "executorch"),
        .product(name: "kernels_llm", package: "executorch"),
        .product(name: "kernels_optimized", package: "executorch"),
        .product(name: "kernels_quantized", package: "executorch"),
      ])
  ],
  swiftLanguageModes: [.v6]
)
