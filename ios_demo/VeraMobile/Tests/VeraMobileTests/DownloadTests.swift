import XCTest

@testable import VeraMobile

/// Against the server of download_server.py on this machine, which check.sh starts.
final class DownloadTests: XCTestCase {
  private func server() throws -> URL {
    let text = try Setup.folder("VERA_TEST_SERVER").lastPathComponent
    return try XCTUnwrap(URL(string: "http://127.0.0.1:\(text)/"))
  }

  private static let local = DownloadRules { $0.host == "127.0.0.1" }

  private func manifestSum() throws -> String {
    let manifest = try Setup.bundle().appendingPathComponent("bundle.json")
    return try XCTUnwrap(try StreamHash.of(file: manifest))
  }

  private func downloader(_ path: String, to folder: URL, sum: String? = nil) throws
    -> BundleDownloader
  {
    try BundleDownloader(
      from: try server().appendingPathComponent(path), sha256: try sum ?? manifestSum(),
      to: folder, rules: Self.local)
  }

  func testFetchesAWholeBundle() async throws {
    let folder = try Setup.scratch().appendingPathComponent("nano.bundle")
    let events = try await finish(try downloader("plain", to: folder))
    XCTAssertEqual(events.last, .finished(folder))
    let bundle = try VeraBundle(folder: folder)
    let sizes = bundle.info.sizeBytes
    XCTAssertTrue(events.contains(.progress(doneBytes: sizes, totalBytes: sizes)))
    let left = try FileManager.default.contentsOfDirectory(
      atPath: folder.deletingLastPathComponent().path)
    XCTAssertEqual(left, ["nano.bundle"])
    // a second one takes the first one's place
    _ = try await finish(try downloader("plain", to: folder))
    XCTAssertNoThrow(try VeraBundle(folder: folder))
  }

  func testGoesOnWhereItStopped() async throws {
    let folder = try Setup.scratch().appendingPathComponent("nano.bundle")
    // this path breaks off each answer after 300,000 bytes
    var tries = 0
    while true {
      tries += 1
      do {
        _ = try await finish(try downloader("breaks", to: folder))
        break
      } catch let error as VeraError {
        XCTAssertEqual(error.code, .fileError, "\(error)")
        XCTAssertFalse(FileManager.default.fileExists(atPath: folder.path))
      }
      if tries > 60 { return XCTFail("the download does not go on") }
    }
    XCTAssertGreaterThan(tries, 5)
    XCTAssertNoThrow(try VeraBundle(folder: folder))
  }

  func testServerWithoutRangesBeginsAnew() async throws {
    let folder = try Setup.scratch().appendingPathComponent("nano.bundle")
    let part = folder.deletingLastPathComponent().appendingPathComponent(".nano.bundle.part")
    try FileManager.default.createDirectory(at: part, withIntermediateDirectories: true)
    try Data("not the file".utf8).write(to: part.appendingPathComponent("vision.pte"))
    _ = try await finish(try downloader("noranges", to: folder))
    XCTAssertNoThrow(try VeraBundle(folder: folder))
  }

  func testWrongPartIsFoundAndFetchedAgain() async throws {
    let folder = try Setup.scratch().appendingPathComponent("nano.bundle")
    let part = folder.deletingLastPathComponent().appendingPathComponent(".nano.bundle.part")
    try FileManager.default.createDirectory(at: part, withIntermediateDirectories: true)
    try Data("not the file".utf8).write(to: part.appendingPathComponent("vision.pte"))
    await assertThrows(.bundleError) { try await finish(try downloader("plain", to: folder)) }
    XCTAssertFalse(FileManager.default.fileExists(atPath: folder.path))
    _ = try await finish(try downloader("plain", to: folder))
    XCTAssertNoThrow(try VeraBundle(folder: folder))
  }

  func testRefusesWhatIsNotExpected() async throws {
    let folder = try Setup.scratch().appendingPathComponent("nano.bundle")
    let zeros = String(repeating: "0", count: 64)
    await assertThrows(.bundleError, "sum of the manifest") {
      try await finish(try downloader("plain", to: folder, sum: zeros))
    }
    await assertThrows(.bundleError, "changed byte") {
      try await finish(try downloader("damaged", to: folder))
    }
    await assertThrows(.bundleError, "too long") {
      try await finish(try downloader("longer", to: folder))
    }
    await assertThrows(.fileError, "404") { try await finish(try downloader("none", to: folder)) }
    await assertThrows(.fileError, "redirect") {
      try await finish(try downloader("redirects", to: folder))
    }
    XCTAssertFalse(FileManager.default.fileExists(atPath: folder.path))
  }

  func testCancelKeepsWhatIsHere() async throws {
    let folder = try Setup.scratch().appendingPathComponent("nano.bundle")
    let slow = try downloader("slow", to: folder)
    let job = Task { try await finish(slow) }
    try await Task.sleep(for: .milliseconds(400))
    let asked = ContinuousClock.now
    job.cancel()
    let result = await job.result
    XCTAssertLessThan(Benchmark.milliseconds(since: asked), 50)
    XCTAssertThrowsError(try result.get()) { XCTAssertTrue($0 is CancellationError, "\($0)") }
    _ = try await finish(try downloader("plain", to: folder))
    XCTAssertNoThrow(try VeraBundle(folder: folder))
    try await slow.discard()
  }

  func testOnlyHTTPS() throws {
    let folder = URL(fileURLWithPath: "/nowhere")
    let sum = String(repeating: "a", count: 64)
    for address in ["http://127.0.0.1/x", "ftp://a.example/x", "file:///etc"] {
      let url = try XCTUnwrap(URL(string: address))
      XCTAssertThrowsError(try BundleDownloader(from: url, sha256: sum, to: folder), address) {
        XCTAssertEqual(($0 as? VeraError)?.code, .invalidArgument)
      }
    }
    let secure = try XCTUnwrap(URL(string: "https://a.example/x"))
    XCTAssertNoThrow(try BundleDownloader(from: secure, sha256: sum, to: folder))
    XCTAssertThrowsError(try BundleDownloader(from: secure, sha256: "abc", to: folder))
  }

  func testPathsStayInside() throws {
    for path in ["../a", "/a", "a/../b", "a//b", "", "a\\b", "c:a", "a/./b", "a\0b"] {
      XCTAssertFalse(DownloadManifest.isInside(path), path)
    }
    for path in ["a", "a/b.bin", "vision.mlpackage/Data/x"] {
      XCTAssertTrue(DownloadManifest.isInside(path), path)
    }
    let text = """
      {"files": {"x": {"path": "../../x", "sha256": "", "size_bytes": 1}}}
      """
    XCTAssertThrowsError(try DownloadManifest(Data(text.utf8)))
  }
}

private func finish(_ downloader: BundleDownloader) async throws -> [BundleDownloader.Event] {
  var events: [BundleDownloader.Event] = []
  for try await event in downloader.download() { events.append(event) }
  return events
}
