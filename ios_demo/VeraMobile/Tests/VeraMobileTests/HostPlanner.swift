import Foundation
import VeraMobile
import XCTest

#if canImport(Glibc)
  import Glibc
#endif

/// Where check.sh put what the tests need.
enum Setup {
  static func folder(_ name: String) throws -> URL {
    guard let path = ProcessInfo.processInfo.environment[name] else {
      throw XCTSkip("\(name) is not set: run ios_demo/check.sh, which sets up what this test needs")
    }
    return URL(fileURLWithPath: path)
  }

  /// A bundle of vera-nano for ExecuTorch.
  static func bundle() throws -> URL { try folder("VERA_TEST_BUNDLE") }

  /// What tests/sdk/make_case.py wrote for that bundle.
  static func goldens() throws -> Case {
    let folder = try folder("VERA_TEST_CASE")
    let text = try Data(contentsOf: folder.appendingPathComponent("case.json"))
    return try Case(folder: folder, record: JSONDecoder().decode(Case.Record.self, from: text))
  }

  /// A retoucher on the real weights.
  static func retoucher(
    unit: ComputeUnit = .cpu, _ adapt: (@Sendable (any Planner) -> any Planner)? = nil
  ) async throws -> VeraRetoucher {
    let host = try HostPlanner.shared.get()
    return try await VeraRetoucher(
      bundle: bundle(),
      planner: { bundle in
        let planner = HostPlanner.Client(host, unit: unit)
        planner.info = bundle.info
        return adapt?(planner) ?? planner
      }, renderer: CPURenderer())
  }

  static func scratch() throws -> URL {
    let url = FileManager.default.temporaryDirectory
      .appendingPathComponent("vera-tests-\(UUID().uuidString)", isDirectory: true)
    try FileManager.default.createDirectory(at: url, withIntermediateDirectories: true)
    return url
  }
}

/// case.json.
struct Case {
  struct Record: Decodable {
    struct Size: Decodable {
      let width: Int
      let height: Int
    }
    struct LookFacts: Decodable {
      let strengths: [Float]
      let curves_sha256: String
      let lut_sha256: String
      let rendered_sha256: [String: String]
      let json_sha256: String
      let cube_sha256: String
    }
    struct TaskFacts: Decodable {
      let text: String
      let tokens: [Int32]
      let latents_sha256: String
      let looks: [LookFacts]
    }
    let photo: Size
    let lut_size: Int
    let wish: String
    let sliders: [String: Double]
    let tasks: [String: TaskFacts]
  }

  let folder: URL
  let record: Record

  func photo() throws -> Photo {
    let pixels = try Data(contentsOf: folder.appendingPathComponent("photo.rgb"))
    return try Photo(
      width: record.photo.width, height: record.photo.height, format: .rgb8, pixels: pixels)
  }
}

/// tests/sdk/host_planner.py at the other end of two named pipes: the bundle's real programs.
final class HostPlanner: @unchecked Sendable {
  static let shared = Result { try HostPlanner() }

  private let lock = NSLock()
  private let requests: UnsafeMutablePointer<FILE>
  private let answers: UnsafeMutablePointer<FILE>

  init() throws {
    let pipes = try Setup.folder("VERA_TEST_PIPES")
    // in the server's order: opening a pipe waits for the other end
    guard let requests = fopen(pipes.appendingPathComponent("requests").path, "wb"),
      let answers = fopen(pipes.appendingPathComponent("answers").path, "rb")
    else { throw VeraError(.fileError, "The pipes in \(pipes.path) cannot be opened.") }
    self.requests = requests
    self.answers = answers
  }

  func call(
    _ operation: Int32, count: Int = 0, start: Int = 0, wanted: Int32 = 0,
    _ inputs: [UnsafeRawBufferPointer], _ outputs: [UnsafeMutableRawBufferPointer]
  ) throws {
    try lock.withLock {
      var header = [operation, Int32(count), Int32(start), wanted]
      fwrite(&header, 4, 4, requests)
      for input in inputs { fwrite(input.baseAddress, 1, input.count, requests) }
      fflush(requests)
      var answer: [Int32] = [0, 0]
      guard fread(&answer, 4, 2, answers) == 2 else {
        throw VeraError(.internalError, "host_planner.py ended")
      }
      if answer[0] != 0 {
        var text = [UInt8](repeating: 0, count: Int(answer[1]))
        fread(&text, 1, text.count, answers)
        throw VeraError(
          VeraError.Code(rawValue: answer[0]) ?? .internalError,
          String(decoding: text, as: UTF8.self))
      }
      for output in outputs {
        guard fread(output.baseAddress, 1, output.count, answers) == output.count else {
          throw VeraError(.internalError, "host_planner.py ended within an answer")
        }
      }
    }
  }

  /// The planner of one retoucher.
  final class Client: Planner, @unchecked Sendable {
    let host: HostPlanner
    let unit: ComputeUnit
    var info: VeraBundle.Info?

    init(_ host: HostPlanner, unit: ComputeUnit) {
      self.host = host
      self.unit = unit
    }

    func encodeImage(
      _ pixels: UnsafeBufferPointer<Float>, tokens: UnsafeMutableBufferPointer<Float>
    ) throws {
      try host.call(0, [UnsafeRawBufferPointer(pixels)], [UnsafeMutableRawBufferPointer(tokens)])
    }

    func embed(_ ids: UnsafeBufferPointer<Int64>, embeds: UnsafeMutableBufferPointer<Float>) throws
    {
      try host.call(
        1, count: ids.count, [UnsafeRawBufferPointer(ids)], [UnsafeMutableRawBufferPointer(embeds)])
    }

    func step(
      _ embeds: UnsafeBufferPointer<Float>, start: Int, wanted: WantedLogits,
      logits: UnsafeMutableBufferPointer<Float>?, hidden: UnsafeMutableBufferPointer<Float>
    ) throws {
      var outputs = [UnsafeMutableRawBufferPointer(hidden)]
      if let logits { outputs.append(UnsafeMutableRawBufferPointer(logits)) }
      try host.call(
        2, count: embeds.count / hidden.count, start: start,
        wanted: logits == nil ? 0 : wanted.rawValue, [UnsafeRawBufferPointer(embeds)], outputs)
    }

    func head(
      _ hidden: UnsafeBufferPointer<Float>, latents: UnsafeMutableBufferPointer<Float>
    ) throws {
      try host.call(3, [UnsafeRawBufferPointer(hidden)], [UnsafeMutableRawBufferPointer(latents)])
    }

    func encodeReference(
      before: UnsafeBufferPointer<Float>, after: UnsafeBufferPointer<Float>,
      latents: UnsafeMutableBufferPointer<Float>
    ) throws {
      try host.call(
        4, [UnsafeRawBufferPointer(before), UnsafeRawBufferPointer(after)],
        [UnsafeMutableRawBufferPointer(latents)])
    }

    func bake(
      _ colours: UnsafeBufferPointer<Float>, latents: UnsafeBufferPointer<Float>,
      out: UnsafeMutableBufferPointer<Float>
    ) throws {
      try host.call(
        5, count: colours.count / 3,
        [UnsafeRawBufferPointer(colours), UnsafeRawBufferPointer(latents)],
        [UnsafeMutableRawBufferPointer(out)])
    }

    func release(_ stage: Stage?) {
      // nothing to report to: the server answers 0
      _ = try? host.call(6, start: stage.map { Int($0.rawValue) } ?? -1, [], [])
    }
  }
}
