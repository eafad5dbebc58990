import ExecuTorch
import Foundation
import VeraMobile

/// Runs a bundle of ExecuTorch programs on the CPU: recipes `android-int4-xnnpack` and `host-fp32`.
///
/// Recipes whose vision or decoder is in libvera's own kernels (`android-int4`, `android-int8`) need
/// operators that the published ExecuTorch frameworks do not have; they are refused.
///
///     let vera = try await VeraRetoucher(bundle: url, planner: { try ExecuTorchPlanner($0) })
public final class ExecuTorchPlanner: Planner, @unchecked Sendable {
  public let unit = ComputeUnit.cpu
  private let bundle: VeraBundle
  private let info: VeraBundle.Info
  private var modules: [String: Module] = [:]

  /// Points of one call of the program that bakes, which has a fixed size.
  private static let bakePoints = 4096

  /// - Throws: `unsupportedFormat` for a bundle of another backend or with operators of libvera.
  public init(_ bundle: VeraBundle) throws {
    let (_, method) = try bundle.program("embed")
    guard bundle.backend == "xnnpack", method == "forward" else {
      throw VeraError(
        .unsupportedFormat,
        "Bundle \(bundle.name) (\(bundle.recipe)) needs operators that ExecuTorch's frameworks do not "
          + "have: export it with android-int4-xnnpack, or an ios recipe for Core ML.")
    }
    self.bundle = bundle
    info = bundle.info
  }

  public func encodeImage(
    _ pixels: UnsafeBufferPointer<Float>, tokens: UnsafeMutableBufferPointer<Float>
  ) throws {
    let side = info.imageSize
    let outputs = try run("vision", [Tensor<Float>(Array(pixels), shape: [1, 3, side, side])])
    try copy(outputs, 0, to: tokens)
  }

  public func embed(
    _ ids: UnsafeBufferPointer<Int64>, embeds: UnsafeMutableBufferPointer<Float>
  ) throws {
    let outputs = try run("embed", [Tensor<Int64>(Array(ids), shape: [1, ids.count])])
    try copy(outputs, 0, to: embeds)
  }

  public func step(
    _ embeds: UnsafeBufferPointer<Float>, start: Int, wanted: WantedLogits,
    logits: UnsafeMutableBufferPointer<Float>?, hidden: UnsafeMutableBufferPointer<Float>
  ) throws {
    let count = embeds.count / info.hiddenSize
    let outputs = try run(
      "decoder",
      [
        Tensor<Float>(Array(embeds), shape: [1, count, info.hiddenSize]),
        Tensor<Int64>([Int64(start)], shape: [1]),
      ])
    if let logits { try copy(outputs, 0, to: logits) }
    try copy(outputs, 1, to: hidden)
  }

  public func head(
    _ hidden: UnsafeBufferPointer<Float>, latents: UnsafeMutableBufferPointer<Float>
  ) throws {
    let outputs = try run("head", [Tensor<Float>(Array(hidden), shape: [1, 3, info.hiddenSize])])
    try copy(outputs, 0, to: latents)
  }

  public func encodeReference(
    before: UnsafeBufferPointer<Float>, after: UnsafeBufferPointer<Float>,
    latents: UnsafeMutableBufferPointer<Float>
  ) throws {
    let shape = [1, 3, info.referenceSize, info.referenceSize]
    let outputs = try run(
      "reference",
      [Tensor<Float>(Array(before), shape: shape), Tensor<Float>(Array(after), shape: shape)])
    try copy(outputs, 0, to: latents)
  }

  public func bake(
    _ colours: UnsafeBufferPointer<Float>, latents: UnsafeBufferPointer<Float>,
    out: UnsafeMutableBufferPointer<Float>
  ) throws {
    let look = Tensor<Float>(Array(latents), shape: [1, 3, info.latentSize])
    for first in stride(from: 0, to: colours.count, by: 3 * Self.bakePoints) {
      let end = min(colours.count, first + 3 * Self.bakePoints)
      var points = Array(colours[first..<end])
      points += [Float](repeating: 0, count: 3 * Self.bakePoints - points.count)
      let outputs = try run("bake", [Tensor<Float>(points, shape: [Self.bakePoints, 3]), look])
      let values = try tensor(outputs, 0).scalars()
      for index in first..<end { out[index] = values[index - first] }
    }
  }

  public func release(_ stage: Stage?) {
    switch stage {
    case nil: modules = [:]
    case .vision: modules["vision"] = nil
    case .head: modules["head"] = nil
    case .reference: modules["reference"] = nil
    case .prepare, .prefill, .decode, .bake, .render: break
    }
  }

  private func run(_ program: String, _ inputs: [any ValueConvertible]) throws -> [Value] {
    let (file, method) = try bundle.program(program)
    let module = modules[program] ?? Module(filePath: file.path, loadMode: .mmap)
    modules[program] = module
    do {
      return try module.execute(method, inputs)
    } catch {
      throw VeraError(
        .bundleError,
        "Program '\(program)' failed (\(error.localizedDescription)): run `vera verify` on the bundle."
      )
    }
  }

  private func tensor(_ outputs: [Value], _ index: Int) throws -> Tensor<Float> {
    guard outputs.indices.contains(index), let found: Tensor<Float> = outputs[index].tensor() else {
      throw VeraError(.bundleError, "A program lacks output \(index): export the bundle again.")
    }
    return found
  }

  private func copy(
    _ outputs: [Value], _ index: Int, to target: UnsafeMutableBufferPointer<Float>
  ) throws {
    let found = try tensor(outputs, index)
    guard found.count == target.count else {
      throw VeraError(
        .bundleError,
        "Output \(index) has \(found.count) values, \(target.count) are needed: export the bundle again."
      )
    }
    found.withUnsafeBytes { source in
      for place in target.indices { target[place] = source[place] }
    }
  }
}
