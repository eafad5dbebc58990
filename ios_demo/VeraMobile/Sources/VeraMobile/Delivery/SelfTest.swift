import Foundation

/// Small checks that an app can run on a user's device.
public enum SelfTest {
  /// One check and what came of it.
  public struct Outcome: Sendable, Equatable, Codable {
    public let name: String
    public let passed: Bool
    /// A figure, or why it failed.
    public let detail: String
  }

  static let formats: [PixelFormat] = [.rgba8, .bgra8, .rgbaF16, .rgbaF32]

  /// Renders a picture of gradients in each format that `renderer` takes, and on the CPU.
  ///
  /// - Throws: `unsupportedFormat` where they differ by more than one code of 8 bits, or 1e-3 in
  ///   half and 1e-5 in float.
  public static func compare(_ renderer: any Renderer) throws {
    for format in formats where renderer.takes(format) {
      let photo = try gradients(format)
      let request = RenderRequest(look: try warmLook(), photo: photo, strength: 0.8)
      let expected = try CPURenderer().render(request)
      let found = try renderer.render(request, onProgress: nil)
      let difference = largestDifference(expected, found)
      let allowed = allowedDifference(format)
      guard difference <= allowed else {
        throw VeraError(
          .unsupportedFormat,
          "\(renderer.name) differs from the CPU by \(difference) in \(format), \(allowed) is "
            + "allowed: render on the CPU.")
      }
    }
  }

  /// SHA-256 of what the CPU makes of the picture of gradients, by format.
  public static func kernelSums() throws -> [String: String] {
    var sums: [String: String] = [:]
    for format in formats {
      let request = RenderRequest(look: try warmLook(), photo: try gradients(format))
      sums["\(format)"] = try StreamHash.of(try CPURenderer().render(request).pixels)
    }
    return sums
  }

  /// What `kernelSums` gives on every machine: one order of sums, no fused multiply-add.
  public static let kernelGoldens = [
    "rgba8": "f57e15a50a35d500b7104fd5f14d39e5f864c540116568e4095949bbfb208d26",
    "bgra8": "67b29a86e032b67b3b4fa1389f165c6c77c12120dc07cca7b332fa8f3dd4bdab",
    "rgbaF16": "44d596d70a43ce3b62babc588b62e94e2d0c57f234e16b4a0230f8a397f596e5",
    "rgbaF32": "50a8742cfa116248d8225b937f7278698a8263131a491a2b09ca28aff5adaa3a",
  ]

  /// Of the renderer in use, and of a short plan with the bundle's model.
  public static func run(_ vera: VeraRetoucher) async -> [Outcome] {
    var outcomes = [
      await outcome("render: \(vera.renderer.name)") {
        try compare(vera.renderer)
        return "as on the CPU"
      },
      await outcome("kernel") {
        guard try kernelSums() == kernelGoldens else {
          throw VeraError(
            .internalError, "The kernel gives other bytes than elsewhere: please report this.")
        }
        return "the bytes of every other machine"
      },
    ]
    outcomes.append(
      await outcome("plan and render") {
        let photo = try gradients(.rgba8)
        var options = RetouchOptions()
        options.maxTokens = 16
        let look = try await vera.plan(photo, .auto, options: options)
        _ = try await vera.render(look, photo)
        let spent = look.stageMilliseconds.values.reduce(0, +)
        return "\(look.tokens.count) tokens, \(Int(spent)) ms"
      })
    return outcomes
  }

  private static func outcome(
    _ name: String, _ body: () async throws -> String
  ) async -> Outcome {
    do {
      return Outcome(name: name, passed: true, detail: try await body())
    } catch {
      return Outcome(name: name, passed: false, detail: error.localizedDescription)
    }
  }

  /// One code of 8 bits; half and float as the GPU code is held to elsewhere.
  private static func allowedDifference(_ format: PixelFormat) -> Float {
    switch format {
    case .rgbaF16: 1e-3
    case .rgbaF32: 1e-5
    default: 1.0 / 255 + 1e-6
    }
  }

  static let width = 67
  static let height = 33

  /// Values from -0.1 to 1.1 in float formats, all codes in 8 bits.
  static func gradients(_ format: PixelFormat) throws -> Photo {
    var pixels = Data()
    for y in 0..<height {
      for x in 0..<width {
        let red = Float(x) / Float(width - 1)
        let green = Float(y) / Float(height - 1)
        append([red, green, 0.5 * (red + 1 - green), 1], format, to: &pixels)
      }
    }
    return try Photo(width: width, height: height, format: format, pixels: pixels)
  }

  private static func append(_ colour: [Float], _ format: PixelFormat, to data: inout Data) {
    for value in colour {
      switch format {
      case .rgbaF32: withUnsafeBytes(of: value * 1.2 - 0.1) { data.append(contentsOf: $0) }
      case .rgbaF16:
        withUnsafeBytes(of: HalfFloat.bits(value * 1.2 - 0.1)) { data.append(contentsOf: $0) }
      default: data.append(UInt8((value * 255).rounded()))
      }
    }
  }

  /// Warmer, with more contrast.
  static func warmLook() throws -> BakedLook {
    let size = 17
    let last = Float(size - 1)
    var lut: [Float] = []
    for blue in 0..<size {
      for green in 0..<size {
        for red in 0..<size {
          let rgb = [Float(red) / last, Float(green) / last, Float(blue) / last]
          let bent = rgb.map { $0 * $0 * (3 - 2 * $0) }
          lut += [min(1, bent[0] + 0.05), bent[1], bent[2] * 0.9]
        }
      }
    }
    let curve = (0..<33).map { Float($0) / 32 }
    return try BakedLook(curves: curve + curve + curve, lut: lut, curveSize: 33, lutSize: size)
  }

  private static func largestDifference(_ one: Photo, _ other: Photo) -> Float {
    zip(values(one), values(other)).reduce(0) { max($0, abs($1.0 - $1.1)) }
  }

  private static func values(_ photo: Photo) -> [Float] {
    photo.pixels.withUnsafeBytes { bytes in
      switch photo.format {
      case .rgbaF32: Array(bytes.bindMemory(to: Float.self))
      case .rgbaF16: bytes.bindMemory(to: UInt16.self).map(HalfFloat.value)
      default: bytes.map { Float($0) / 255 }
      }
    }
  }
}

/// IEEE half precision as bits: Swift's Float16 is missing on some Macs.
enum HalfFloat {
  /// The nearest half of a finite value of magnitude 2^-14 to 65504; smaller ones become 0.
  static func bits(_ value: Float) -> UInt16 {
    let raw = value.bitPattern
    let sign = UInt16(raw >> 16) & 0x8000
    let exponent = Int((raw >> 23) & 0xFF) - 112
    if exponent <= 0 { return sign }
    let mantissa = raw & 0x7F_FFFF
    let rounded = (UInt32(exponent) << 10 | mantissa >> 13) + ((mantissa >> 12) & 1)
    return sign | UInt16(min(rounded, 0x7BFF))
  }

  static func value(_ bits: UInt16) -> Float {
    let sign: Float = bits & 0x8000 == 0 ? 1 : -1
    let exponent = Int(bits >> 10) & 0x1F
    let mantissa = Float(bits & 0x3FF) / 1024
    if exponent == 0 { return sign * mantissa * 0x1p-14 }
    if exponent == 31 { return mantissa == 0 ? sign * .infinity : .nan }
    return sign * (1 + mantissa) * Float(sign: .plus, exponent: exponent - 15, significand: 1)
  }
}
