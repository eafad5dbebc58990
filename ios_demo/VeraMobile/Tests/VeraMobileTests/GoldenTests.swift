import XCTest

@testable import VeraMobile

/// Swift, the C core and the real weights give the bytes that the Python library gives.
final class GoldenTests: XCTestCase {
  func testTasksGiveTheBytesOfPython() async throws {
    let goldens = try Setup.goldens()
    let vera = try await Setup.retoucher()
    let photo = try goldens.photo()
    let tasks: [String: (RetouchTask, instant: Bool)] = [
      "auto": (.auto, false), "auto-instant": (.auto, true),
      "style": (.style(goldens.record.wish), false),
      "param": (.param(goldens.record.sliders), false),
    ]
    XCTAssertEqual(Set(tasks.keys), Set(goldens.record.tasks.keys))
    for (name, expected) in goldens.record.tasks.sorted(by: { $0.key < $1.key }) {
      guard let (task, instant) = tasks[name] else { continue }
      var options = RetouchOptions()
      options.instant = instant
      let look = try await vera.plan(photo, task, options: options)
      XCTAssertEqual(look.text, expected.text, name)
      XCTAssertEqual(look.tokens, expected.tokens, name)
      XCTAssertEqual(try sha256(look.latents), expected.latents_sha256, "\(name): latents")
      for facts in expected.looks {
        try await check(vera, look, photo, facts, goldens, name)
      }
    }
    await vera.close()
  }

  private func check(
    _ vera: VeraRetoucher, _ look: Look, _ photo: Photo, _ facts: Case.Record.LookFacts,
    _ goldens: Case, _ name: String
  ) async throws {
    let values = facts.strengths
    let look = look.with(
      Strengths(lighting: values[0], globalColor: values[1], specificColor: values[2]))
    let what = "\(name) at \(values)"
    let baked = try await vera.bake(look, size: goldens.record.lut_size)
    XCTAssertEqual(try sha256(baked.curves), facts.curves_sha256, "\(what): curves")
    XCTAssertEqual(try sha256(baked.lut), facts.lut_sha256, "\(what): LUT")
    XCTAssertEqual(try StreamHash.of(Data(look.json.utf8)), facts.json_sha256, "\(what): JSON")
    for (strength, expected) in facts.rendered_sha256 {
      let rendered = try await vera.render(
        look, photo, strengths: nil, strength: try XCTUnwrap(Float(strength)))
      XCTAssertEqual(
        try StreamHash.of(rendered.pixels), expected, "\(what): rendered at \(strength)")
    }
    let cube = try Setup.scratch().appendingPathComponent("look.cube")
    try await look.saveCube(to: cube, size: goldens.record.lut_size)
    XCTAssertEqual(
      try StreamHash.of(Data(contentsOf: cube)), facts.cube_sha256, "\(what): .cube")
  }

  func testStreamTellsTheSameLook() async throws {
    let goldens = try Setup.goldens()
    let vera = try await Setup.retoucher()
    let photo = try goldens.photo()
    let expected = try XCTUnwrap(goldens.record.tasks["style"])
    var said = ""
    var shares: [Double] = []
    var order: [String] = []
    for try await event in vera.retouch(photo, .style(goldens.record.wish)) {
      switch event {
      case .progress(_, let done): shares.append(done)
      case .text(let piece):
        said += piece
        order.append("text")
      case .lookReady(let look):
        XCTAssertEqual(look.text, expected.text)
        order.append("look")
      case .photoReady(let result, let look):
        order.append("photo")
        XCTAssertEqual(look.text, expected.text)
        XCTAssertEqual(
          try StreamHash.of(result.pixels), expected.looks[0].rendered_sha256["1.0"])
      case .unloaded: XCTFail("nothing asked for that")
      }
    }
    XCTAssertEqual(said, expected.text)
    XCTAssertEqual(Array(order.suffix(2)), ["look", "photo"])
    XCTAssertEqual(shares, shares.sorted())
    XCTAssertEqual(try XCTUnwrap(shares.last), 1, accuracy: 1e-6)
    await vera.close()
  }

  func testInstantTellsTheLookBeforeItsWords() async throws {
    let goldens = try Setup.goldens()
    let vera = try await Setup.retoucher()
    var options = RetouchOptions()
    options.instant = true
    options.renders = false
    var order: [String] = []
    for try await event in vera.retouch(try goldens.photo(), .auto, options: options) {
      if case .lookReady(let look) = event {
        XCTAssertEqual(look.text, "")
        order.append("look")
      }
      if case .text = event { order.append("text") }
    }
    XCTAssertEqual(order.first, "look")
    XCTAssertTrue(order.contains("text"))
    await vera.close()
  }

  func testLookSurvivesJSON() async throws {
    let goldens = try Setup.goldens()
    let vera = try await Setup.retoucher()
    let planned = try await vera.plan(try goldens.photo(), .param(goldens.record.sliders))
    let look = planned.with(Strengths(globalColor: 0.5, specificColor: 0.8))
    let read = try Look(json: look.json)
    XCTAssertEqual(read.strengths, look.strengths)
    XCTAssertEqual(read.latents, look.latents)
    let file = try Setup.scratch().appendingPathComponent("look.cube")
    await assertThrows(.invalidArgument) { try await read.saveCube(to: file) }
    try await vera.look(json: look.json).saveCube(to: file)
    let expected = try XCTUnwrap(goldens.record.tasks["param"]?.looks[1].cube_sha256)
    XCTAssertEqual(try StreamHash.of(Data(contentsOf: file)), expected)
    await vera.close()
  }

  func testBenchmarkFileIsComplete() async throws {
    let vera = try await Setup.retoucher()
    var benchmark = Benchmark()
    benchmark.repeats = 3
    benchmark.inARow = 2
    benchmark.renderMegapixels = [1]
    let data = try await benchmark.run(vera, loadMilliseconds: 12)
    // check.sh hands the file to vera_mobile.bench.results, which judges it
    try data.write(to: try Setup.folder("VERA_TEST_OUT").appendingPathComponent("bench.json"))
    let text = String(decoding: data, as: UTF8.self)
    for stage in ["vision", "prefill", "decode_per_token", "plan", "bake", "render_1mp"] {
      XCTAssertTrue(text.contains("\"\(stage)\""), stage)
    }
    await vera.close()
  }

  func testSelfTestPasses() async throws {
    let vera = try await Setup.retoucher()
    for outcome in await SelfTest.run(vera) { XCTAssertTrue(outcome.passed, outcome.detail) }
    await vera.close()
  }

  private func sha256(_ values: [Float]) throws -> String {
    try StreamHash.of(values.withUnsafeBytes { Data($0) })
  }
}

/// Fails unless `body` throws a VeraError of that code.
func assertThrows<Value>(
  _ code: VeraError.Code, _ what: String = "", file: StaticString = #filePath, line: UInt = #line,
  _ body: () async throws -> Value
) async {
  do {
    _ = try await body()
    XCTFail("\(what): nothing was thrown", file: file, line: line)
  } catch let error as VeraError {
    XCTAssertEqual(error.code, code, "\(what): \(error)", file: file, line: line)
    XCTAssertFalse(error.message.isEmpty, what, file: file, line: line)
  } catch {
    XCTFail("\(what): \(error) was thrown", file: file, line: line)
  }
}
