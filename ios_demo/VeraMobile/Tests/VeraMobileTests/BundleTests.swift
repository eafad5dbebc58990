import XCTest

@testable import VeraMobile

/// A bundle that is not what its manifest says never loads.
final class BundleTests: XCTestCase {
  private func copy() throws -> URL {
    let target = try Setup.scratch().appendingPathComponent("copy.bundle")
    try FileManager.default.copyItem(at: try Setup.bundle(), to: target)
    return target
  }

  private func edit(_ bundle: URL, _ change: (String) -> String) throws {
    let manifest = bundle.appendingPathComponent("bundle.json")
    let text = String(decoding: try Data(contentsOf: manifest), as: UTF8.self)
    let changed = change(text)
    XCTAssertNotEqual(text, changed)
    try Data(changed.utf8).write(to: manifest)
  }

  func testTellsItsFacts() throws {
    var last: (Int64, Int64) = (0, 0)
    let bundle = try VeraBundle(folder: try Setup.bundle()) { last = ($0, $1) }
    XCTAssertEqual(bundle.recipe, "android-int4")
    XCTAssertEqual(bundle.backend, "xnnpack")
    XCTAssertGreaterThan(bundle.info.hiddenSize, 0)
    XCTAssertEqual(last.0, last.1)
    XCTAssertEqual(last.1, bundle.info.sizeBytes)
    XCTAssertEqual(try bundle.program("embed").method, "embed")
    XCTAssertEqual(try bundle.program("vision").file.lastPathComponent, "vision.pte")
    XCTAssertThrowsError(try bundle.program("nonsense"))
  }

  func testChangedByteIsRefused() async throws {
    let bundle = try copy()
    let file = bundle.appendingPathComponent("tokenizer.json")
    var bytes = try Data(contentsOf: file)
    bytes[bytes.count / 2] ^= 1
    try bytes.write(to: file)
    await assertThrows(.bundleError) { try VeraBundle(folder: bundle) }
    await assertThrows(.bundleError) {
      try await VeraRetoucher(bundle: bundle, planner: { _ in throw VeraError(.internalError, "") })
    }
  }

  func testMissingAndShortFilesAreRefused() async throws {
    let bundle = try copy()
    let file = bundle.appendingPathComponent("tokenizer.json")
    try Data(contentsOf: file).dropLast().write(to: file)
    await assertThrows(.bundleError, "short") { try VeraBundle(folder: bundle) }
    try FileManager.default.removeItem(at: file)
    await assertThrows(.bundleError, "missing") { try VeraBundle(folder: bundle) }
    await assertThrows(.fileError, "no folder") {
      try VeraBundle(folder: bundle.appendingPathComponent("nowhere"))
    }
  }

  func testNewerVersionIsRefused() async throws {
    let bundle = try copy()
    try edit(bundle) {
      $0.replacingOccurrences(of: "\"format_version\": 1", with: "\"format_version\": 2")
    }
    await assertThrows(.bundleVersionError) { try VeraBundle(folder: bundle) }
  }

  func testPathOutOfTheBundleIsRefused() async throws {
    let bundle = try copy()
    try edit(bundle) { $0.replacingOccurrences(of: "\"tokenizer.json\"", with: "\"../x.json\"") }
    await assertThrows(.bundleError) { try VeraBundle(folder: bundle) }
  }

  func testCancelledOpenThrows() throws {
    let cancel = CancelFlag()
    cancel.set()
    XCTAssertThrowsError(try VeraBundle(folder: try Setup.bundle(), cancel: cancel)) {
      XCTAssertTrue($0 is CancellationError, "\($0)")
    }
  }

  func testBundleWithoutARuntimeHereIsRefused() async throws {
    let folder = try Setup.bundle()
    await assertThrows(.unsupportedFormat) { try await VeraRetoucher(bundle: folder) }
  }
}
