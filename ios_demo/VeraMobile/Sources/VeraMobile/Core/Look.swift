import CVera
import Foundation

/// How much of each group of a look is used, 0..1.5; 1 is as planned.
public struct Strengths: Sendable, Equatable {
  public var lighting: Float
  public var globalColor: Float
  public var specificColor: Float

  public init(lighting: Float = 1, globalColor: Float = 1, specificColor: Float = 1) {
    self.lighting = lighting
    self.globalColor = globalColor
    self.specificColor = specificColor
  }

  var values: [Float] { [lighting, globalColor, specificColor] }
}

/// Curves and LUT that a renderer reads.
public struct BakedLook: Sendable, Equatable {
  /// (3, curveSize): input curve per channel over [0, 1].
  public let curves: [Float]
  /// (lutSize^3, 3), red fastest: encoded RGB in [0, 1].
  public let lut: [Float]
  public let curveSize: Int
  public let lutSize: Int

  /// - Throws: `invalidArgument` where the counts do not fit the sizes.
  public init(curves: [Float], lut: [Float], curveSize: Int, lutSize: Int) throws {
    guard
      (2...4096).contains(curveSize), (2...129).contains(lutSize),
      curves.count == 3 * curveSize, lut.count == 3 * lutSize * lutSize * lutSize
    else {
      throw VeraError(
        .invalidArgument,
        "\(curves.count) curve values and \(lut.count) LUT values do not fit \(curveSize) and "
          + "\(lutSize): use 3 x curve size (2..4096) and 3 x LUT size cubed (2..129).")
    }
    self.curves = curves
    self.lut = lut
    self.curveSize = curveSize
    self.lutSize = lutSize
  }
}

/// A planned edit: latents, words, and a strength per group. Independent of the photo and its size.
public struct Look: Sendable {
  /// How much of each group is used when the look is rendered or saved.
  public var strengths: Strengths
  package let plan: PlanResult
  /// Bakes for `saveCube`; nil for a look that was read from JSON without a retoucher.
  let baker: (any LookBaker)?

  package init(plan: PlanResult, strengths: Strengths, baker: (any LookBaker)?) {
    self.plan = plan
    self.strengths = strengths
    self.baker = baker
  }

  /// A look that `json` gave, also in Python or Kotlin. `render` of any retoucher takes it; to save
  /// it as a cube, read it with `look(json:)` of a retoucher.
  ///
  /// - Throws: `fileError` when the text is no look of version 1.
  public init(json: String) throws {
    var handle: OpaquePointer?
    var values: [Float] = [1, 1, 1]
    try checked { vera_plan_result_from_json(json, &handle, &values, $0) }
    guard let handle else {
      throw VeraError(.internalError, "The look was not read: please report this.")
    }
    plan = PlanResult(handle)
    strengths = Strengths(lighting: values[0], globalColor: values[1], specificColor: values[2])
    baker = nil
  }

  /// The plan in words; empty where there are none (a reference, or `instant` before its text).
  public var text: String { plan.text }

  /// (3, latent size): lighting, global colour, specific colour.
  public var latents: [Float] { plan.latents }

  /// Ids of the text's tokens.
  public var tokens: [Int32] { plan.tokens }

  /// Milliseconds by stage of the plan; stages that did not run are missing.
  public var stageMilliseconds: [Stage: Double] { plan.stageMilliseconds }

  /// The look as JSON text, byte for byte what the Python library writes.
  ///
  /// - Throws: `invalidArgument` for strengths outside of 0..1.5.
  public var json: String {
    get throws { try plan.json(strengths) }
  }

  /// The same look with other strengths: no second plan is needed.
  public func with(_ strengths: Strengths) -> Look {
    var copy = self
    copy.strengths = strengths
    return copy
  }

  /// Writes the look as a 3-D `.cube` for other programs, whole or not at all.
  ///
  /// - Parameters:
  ///   - url: of the file; one that is there is replaced.
  ///   - strength: mix with leaving colours alone, 0..1.5.
  ///   - size: nodes an axis, 17..65.
  /// - Throws: `invalidArgument` (also after the retoucher was closed), `fileError`.
  public func saveCube(to url: URL, size: Int = 33, strength: Float = 1) async throws {
    guard let baker else {
      throw VeraError(
        .invalidArgument,
        "This look has no retoucher to bake it: get it from look(json:) of a VeraRetoucher.")
    }
    try await baker.saveCube(self, to: url, size: size, strength: strength)
  }
}

/// What `Look.saveCube` needs of a retoucher.
package protocol LookBaker: Sendable {
  func saveCube(_ look: Look, to url: URL, size: Int, strength: Float) async throws
}

/// A plan of the C library. Never changes.
package final class PlanResult: @unchecked Sendable {
  let handle: OpaquePointer

  /// Takes over `handle`.
  init(_ handle: OpaquePointer) { self.handle = handle }

  deinit { vera_plan_result_destroy(handle) }

  var text: String { String(cString: vera_plan_result_text(handle)) }

  var latents: [Float] {
    var size: Int32 = 0
    guard let values = vera_plan_result_latents(handle, &size) else { return [] }
    return Array(UnsafeBufferPointer(start: values, count: 3 * Int(size)))
  }

  var tokens: [Int32] {
    var count: Int32 = 0
    guard let values = vera_plan_result_tokens(handle, &count) else { return [] }
    return Array(UnsafeBufferPointer(start: values, count: Int(count)))
  }

  var stageMilliseconds: [Stage: Double] {
    var times: [Stage: Double] = [:]
    for stage in Stage.allCases where stage.isPlanned {
      let spent = vera_plan_result_stage_ms(handle, stage.rawValue)
      if spent > 0 { times[stage] = spent }
    }
    return times
  }

  func json(_ strengths: Strengths) throws -> String {
    var needed = 0
    // refused, but tells the size
    _ = vera_plan_result_to_json(handle, strengths.values, nil, 0, &needed)
    var buffer = [CChar](repeating: 0, count: max(needed, 1))
    let status = vera_plan_result_to_json(
      handle, strengths.values, &buffer, buffer.count, &needed)
    let allowed = "Strengths \(strengths.values) not allowed: use 0..1.5 (1 is as planned)."
    try check(status, message: status == Int32(VERA_STATUS_INVALID_ARGUMENT) ? allowed : "")
    return buffer.withUnsafeBytes { String(decoding: $0.prefix { $0 != 0 }, as: UTF8.self) }
  }
}
