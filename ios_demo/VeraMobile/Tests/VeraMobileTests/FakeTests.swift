import VeraMobile
import VeraMobileTesting
import XCTest

/// An app's own test, as it would be written with the fake.
final class FakeTests: XCTestCase {
  private func photo() throws -> Photo {
    try Photo(width: 2, height: 1, format: .rgba8, pixels: Data([40, 80, 120, 7, 0, 255, 9, 255]))
  }

  func testSaysItsScriptInTheRealOrder() async throws {
    let fake: any Retouching = try FakeRetoucher()
    var said = ""
    var result: Photo?
    var order: [String] = []
    for try await event in fake.retouch(try photo(), .style("airy pink")) {
      switch event {
      case .text(let piece): said += piece
      case .lookReady(let look):
        XCTAssertEqual(look.text, said)
        order.append("look")
      case .photoReady(let made, _):
        result = made
        order.append("photo")
      case .progress, .unloaded: break
      }
    }
    XCTAssertEqual(said, "The photo is dark. Lift the shadows.")
    XCTAssertEqual(order, ["look", "photo"])
    let bytes = Array(try XCTUnwrap(result).pixels)
    XCTAssertGreaterThan(bytes[1], 80)
    XCTAssertEqual([bytes[3], bytes[4], bytes[5]], [7, 0, 255], "alpha, black, white stay")
    await fake.close()
  }

  func testStrengthsRenderAgain() async throws {
    let fake = try FakeRetoucher()
    let photo = try photo()
    let look = try Look(
      json: """
        {"format": "vera-look", "version": 1, "text": "", "lighting": 1, "global_color": 1,
        "specific_color": 1, "latent_size": 1, "latents": "AAAAAAAAAAAAAAAA"}
        """)
    let off = Strengths(lighting: 0, globalColor: 0, specificColor: 0)
    let left = try await fake.render(look, photo, strengths: off)
    XCTAssertEqual(left.pixels, photo.pixels)
    let whole = try await fake.render(look, photo)
    XCTAssertNotEqual(whole.pixels, photo.pixels)
  }

  func testFailsAndClosesAsTold() async throws {
    let failing = try FakeRetoucher(
      FakeRetoucher.Script(failure: VeraError(.modelError, "the model is tired")))
    let photo = try photo()
    await assertThrows(.modelError) { for try await _ in failing.retouch(photo) {} }
    await failing.close()
    await assertThrows(.invalidArgument) { for try await _ in failing.retouch(photo) {} }
    await assertThrows(.invalidArgument) { try await failing.unload() }
  }

  func testCancelsLikeTheRealOne() async throws {
    let fake = try FakeRetoucher(FakeRetoucher.Script(pause: .seconds(5)))
    let photo = try photo()
    let job = Task { for try await _ in fake.retouch(photo) {} }
    try await Task.sleep(for: .milliseconds(20))
    job.cancel()
    let result = await job.result
    XCTAssertThrowsError(try result.get()) { XCTAssertTrue($0 is CancellationError) }
  }

  func testNoticesAndCube() async throws {
    let fake = try FakeRetoucher()
    var notices = fake.notices.makeAsyncIterator()
    await fake.memoryIsLow()
    let told = await notices.next()
    XCTAssertEqual(told, .unloaded(.lowMemory))
    var look: Look?
    for try await event in fake.retouch(try photo()) {
      if case .lookReady(let made) = event { look = made }
    }
    let file = FileManager.default.temporaryDirectory.appendingPathComponent("\(UUID()).cube")
    try await XCTUnwrap(look).saveCube(to: file)
    let text = String(decoding: try Data(contentsOf: file), as: UTF8.self)
    XCTAssertEqual(text.split(separator: "\n").count, 1 + 17 * 17 * 17)
    let tasks = await fake.tasks
    XCTAssertEqual(tasks.count, 1)
  }
}
