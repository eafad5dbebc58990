import VeraMobile
import XCTest

/// Runs on a phone, inside the demo app: replays goldens there and measures, and writes
/// Documents/bench.json for `vera bench import`.
///
/// Needs a bundle in Documents/bundles of the app (Finder, or the app's own download). With a folder
/// Documents/case (`tests/sdk/make_case.py`, for the same bundle or another recipe of the same
/// checkpoint) the texts are compared with the checkpoint's too.
final class DeviceTests: XCTestCase {
  private func bundle() throws -> URL {
    let found = try FileManager.default.contentsOfDirectory(
      at: URL.documentsDirectory.appendingPathComponent("bundles"),
      includingPropertiesForKeys: nil)
    let first = found.first { folder in
      FileManager.default.fileExists(
        atPath: folder.appendingPathComponent("bundle.json").path)
    }
    return try XCTUnwrap(first, "Copy a bundle into Documents/bundles of the app first.")
  }

  func testKernelGivesTheBytesOfEveryOtherMachine() throws {
    XCTAssertEqual(try SelfTest.kernelSums(), SelfTest.kernelGoldens)
  }

  func testGPUComputesWhatTheCPUDoes() throws {
    let gpu = try MetalRenderer()
    try SelfTest.compare(gpu)
  }

  func testGoldensAndBenchmark() async throws {
    let start = ContinuousClock.now
    let vera = try await VeraRetoucher(bundle: try bundle())
    let loaded = (ContinuousClock.now - start) / .milliseconds(1)
    let data = try await Benchmark().run(vera, loadMilliseconds: loaded)
    try data.write(
      to: URL.documentsDirectory.appendingPathComponent("bench.json"), options: .atomic)
    let attachment = XCTAttachment(data: data, uniformTypeIdentifier: "public.json")
    attachment.name = "bench.json"
    attachment.lifetime = .keepAlways
    add(attachment)
    for outcome in await SelfTest.run(vera) { XCTAssertTrue(outcome.passed, outcome.detail) }
    try await replay(vera)
    await vera.close()
  }

  private struct Case: Decodable {
    struct Size: Decodable {
      let width: Int
      let height: Int
    }
    struct Facts: Decodable { let tokens: [Int32] }
    let photo: Size
    let wish: String
    let sliders: [String: Double]
    let tasks: [String: Facts]
  }

  /// Tokens at the start of each answer that are the checkpoint's. A quantized model may go on in
  /// other words after a while, a broken one differs from the first token on.
  private func replay(_ vera: VeraRetoucher) async throws {
    let folder = URL.documentsDirectory.appendingPathComponent("case")
    guard FileManager.default.fileExists(atPath: folder.path) else { return }
    let file = try Data(contentsOf: folder.appendingPathComponent("case.json"))
    let record = try JSONDecoder().decode(Case.self, from: file)
    let photo = try Photo(
      width: record.photo.width, height: record.photo.height, format: .rgb8,
      pixels: Data(contentsOf: folder.appendingPathComponent("photo.rgb")))
    let tasks: [String: RetouchTask] = [
      "auto": .auto, "style": .style(record.wish), "param": .param(record.sliders),
    ]
    for (name, task) in tasks {
      let expected = try XCTUnwrap(record.tasks[name]).tokens
      let found = try await vera.plan(photo, task).tokens
      let equal = zip(expected, found).prefix { $0.0 == $0.1 }.count
      XCTAssertGreaterThan(equal, 4, "\(name): \(equal) of \(expected.count) tokens are equal")
    }
  }
}
