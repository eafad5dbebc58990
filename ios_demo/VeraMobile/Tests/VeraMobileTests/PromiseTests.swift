import XCTest

@testable import VeraMobile

/// What README promises of a retoucher in use: stopping, turns, closing, memory, background.
final class PromiseTests: XCTestCase {
  /// The promise on `cancel`, in milliseconds.
  private static let promised = 50.0

  /// Cancels a retouch `after` some seconds and gives the milliseconds until its loop has ended.
  private func timeToStop(_ vera: VeraRetoucher, after seconds: Double) async throws -> Double {
    let photo = try Setup.goldens().photo()
    let ended = Task { () -> ContinuousClock.Instant in
      do {
        for try await _ in vera.retouch(photo, .auto) {}
        XCTFail("the retouch ended before it was cancelled")
      } catch {
        XCTAssertTrue(error is CancellationError, "\(error)")
      }
      return .now
    }
    try await Task.sleep(for: .seconds(seconds))
    let asked = ContinuousClock.now
    ended.cancel()
    let spent = (await ended.value - asked).components
    return Double(spent.seconds) * 1000 + Double(spent.attoseconds) / 1e15
  }

  func testCancelReturnsInTimeWhereverThePlanIs() async throws {
    let box = SpyBox()
    // each call of the model takes 0.2 s: no cancel can be answered by waiting for its end
    let vera = try await Setup.retoucher { box.wrap($0, delay: 0.2) }
    var times: [Double] = []
    for delay in [0.02, 0.3, 0.5, 0.75, 1.1] {
      times.append(try await timeToStop(vera, after: delay))
    }
    XCTAssertLessThan(times.max() ?? .infinity, Self.promised, "\(times)")
    await vera.close()
  }

  func testCancelWhileWaitingInTheQueue() async throws {
    let box = SpyBox()
    let vera = try await Setup.retoucher { box.wrap($0, delay: 0.2) }
    let photo = try Setup.goldens().photo()
    let first = Task { try await vera.plan(photo, .auto) }
    while (box.spy?.calls("embed") ?? 0) == 0 { try await Task.sleep(for: .milliseconds(5)) }
    let time = try await timeToStop(vera, after: 0.05)
    XCTAssertLessThan(time, Self.promised)
    first.cancel()
    _ = await first.result
    await vera.close()
  }

  func testCancelledRenderReturnsInTime() async throws {
    let vera = try await Setup.retoucher()
    let goldens = try Setup.goldens()
    let look = try await vera.plan(try goldens.photo(), .auto)
    let large = try Benchmark.photo(megapixels: 48)
    _ = try await vera.bake(look)
    let job = Task { try await vera.render(look, large) }
    try await Task.sleep(for: .milliseconds(10))
    let asked = ContinuousClock.now
    job.cancel()
    let result = await job.result
    let spent = Benchmark.milliseconds(since: asked)
    XCTAssertThrowsError(try result.get()) { XCTAssertTrue($0 is CancellationError, "\($0)") }
    XCTAssertLessThan(spent, Self.promised)
    await vera.close()
  }

  func testCancelledPlanLeavesTheNextOneRight() async throws {
    let goldens = try Setup.goldens()
    let vera = try await Setup.retoucher()
    let photo = try goldens.photo()
    let job = Task { try await vera.plan(photo, .auto) }
    job.cancel()
    _ = await job.result
    let look = try await vera.plan(photo, .style(goldens.record.wish))
    XCTAssertEqual(look.text, goldens.record.tasks["style"]?.text)
    await vera.close()
  }

  func testTwoCallersQueue() async throws {
    let goldens = try Setup.goldens()
    let box = SpyBox()
    let vera = try await Setup.retoucher { box.wrap($0, delay: 0.001) }
    let photo = try goldens.photo()
    async let one = vera.plan(photo, .auto)
    async let two = vera.plan(photo, .style(goldens.record.wish))
    async let three = vera.plan(photo, .param(goldens.record.sliders))
    let texts = try await [one.text, two.text, three.text]
    let expected = ["auto", "style", "param"].map { goldens.record.tasks[$0]?.text }
    XCTAssertEqual(texts, expected)
    XCTAssertEqual(box.spy?.wasEnteredTwice, false)
    let state = await vera.state
    XCTAssertEqual(state, .loaded)
    await vera.close()
  }

  func testUseAfterCloseIsAnError() async throws {
    let goldens = try Setup.goldens()
    let vera = try await Setup.retoucher()
    let photo = try goldens.photo()
    let look = try await vera.plan(photo, .auto)
    await vera.close()
    await vera.close()
    let file = try Setup.scratch().appendingPathComponent("late.cube")
    await assertThrows(.invalidArgument, "plan") { try await vera.plan(photo, .auto) }
    await assertThrows(.invalidArgument, "retouch") {
      for try await _ in vera.retouch(photo) {}
    }
    await assertThrows(.invalidArgument, "render") { try await vera.render(look, photo) }
    await assertThrows(.invalidArgument, "bake") { try await vera.bake(look) }
    await assertThrows(.invalidArgument, "cube") { try await look.saveCube(to: file) }
    await assertThrows(.invalidArgument, "unload") { try await vera.unload() }
    await assertThrows(.invalidArgument, "look") { try await vera.look(json: look.json) }
    XCTAssertFalse(look.text.isEmpty, "a look outlives its retoucher")
    let state = await vera.state
    XCTAssertEqual(state, .closed)
  }

  func testCloseStopsAPlan() async throws {
    let box = SpyBox()
    let vera = try await Setup.retoucher { box.wrap($0, delay: 0.05) }
    let photo = try Setup.goldens().photo()
    let job = Task { try await vera.plan(photo, .auto) }
    while (box.spy?.calls("embed") ?? 0) == 0 { try await Task.sleep(for: .milliseconds(5)) }
    await vera.close()
    await assertThrows(.invalidArgument) { try await job.value }
  }

  func testLowMemoryUnloadsAndSaysSo() async throws {
    let goldens = try Setup.goldens()
    let box = SpyBox()
    let vera = try await Setup.retoucher { box.wrap($0) }
    var notices = vera.notices.makeAsyncIterator()
    let photo = try goldens.photo()
    _ = try await vera.plan(photo, .auto)
    await vera.memoryIsLow()
    let told = await notices.next()
    XCTAssertEqual(told, .unloaded(.lowMemory))
    XCTAssertGreaterThanOrEqual(box.spy?.calls("release all") ?? 0, 1)
    let state = await vera.state
    XCTAssertEqual(state, .unloaded)
    let again = try await vera.plan(photo, .auto)
    XCTAssertEqual(again.text, goldens.record.tasks["auto"]?.text, "it loads again")
    await vera.close()
  }

  func testLowMemoryDuringARetouchIsAnEventOfIt() async throws {
    let box = SpyBox()
    let vera = try await Setup.retoucher { box.wrap($0, delay: 0.005) }
    var unloaded = false
    var warned = false
    var finished = false
    for try await event in vera.retouch(try Setup.goldens().photo(), .auto) {
      if case .text = event, !warned {
        warned = true
        Task { await vera.memoryIsLow() }
      }
      if case .unloaded(.lowMemory) = event { unloaded = true }
      if case .photoReady = event { finished = true }
    }
    XCTAssertTrue(unloaded)
    XCTAssertTrue(finished)
    XCTAssertGreaterThanOrEqual(box.spy?.calls("release all") ?? 0, 1)
    await vera.close()
  }

  func testGPUWorkWaitsInTheBackground() async throws {
    let box = SpyBox()
    let vera = try await Setup.retoucher(unit: .gpu) { box.wrap($0) }
    var notices = vera.notices.makeAsyncIterator()
    await vera.appIsActive(false)
    let photo = try Setup.goldens().photo()
    let waiting = Task { try await vera.plan(photo, .auto) }
    try await Task.sleep(for: .milliseconds(200))
    XCTAssertEqual(box.spy?.calls("embed"), 0)
    XCTAssertEqual(box.spy?.calls("vision"), 0)
    let asked = ContinuousClock.now
    waiting.cancel()
    _ = await waiting.result
    XCTAssertLessThan(Benchmark.milliseconds(since: asked), Self.promised)
    let later = Task { try await vera.plan(photo, .auto) }
    await vera.appIsActive(true)
    let text = try await later.value.text
    XCTAssertEqual(text, try Setup.goldens().record.tasks["auto"]?.text)
    let told = [await notices.next(), await notices.next()]
    XCTAssertEqual(told, [.paused(true), .paused(false)])
    await vera.close()
  }

  func testHeatIsToldAndSlowsDown() async throws {
    let vera = try await Setup.retoucher()
    var notices = vera.notices.makeAsyncIterator()
    await vera.deviceIs(.serious)
    await vera.deviceIs(.serious)
    await vera.deviceIs(.nominal)
    let told = [await notices.next(), await notices.next()]
    XCTAssertEqual(told, [.thermal(.serious), .thermal(.nominal)])
    await vera.close()
    let rests = ThermalLevel.allCases.map(WorkConditions.restSeconds)
    XCTAssertEqual(rests, rests.sorted())
    XCTAssertEqual(
      ThermalLevel.allCases.map { WorkConditions.threads(at: $0, cores: 6) }, [0, 0, 3, 1])
  }

  func testFailureOfThePlannerIsTold() async throws {
    let goldens = try Setup.goldens()
    let vera = try await VeraRetoucher(
      bundle: try Setup.bundle(), planner: { _ in FailingPlanner() }, renderer: CPURenderer())
    do {
      _ = try await vera.plan(try goldens.photo(), .auto)
      XCTFail("nothing was thrown")
    } catch let error as VeraError {
      XCTAssertEqual(error, VeraError(.modelError, "the runtime says no"))
    }
    await vera.close()
  }
}

private final class FailingPlanner: Planner {
  let unit = ComputeUnit.cpu
  let failure = VeraError(.modelError, "the runtime says no")

  func encodeImage(
    _ pixels: UnsafeBufferPointer<Float>, tokens: UnsafeMutableBufferPointer<Float>
  ) throws { throw failure }
  func embed(_ ids: UnsafeBufferPointer<Int64>, embeds: UnsafeMutableBufferPointer<Float>) throws {
    throw failure
  }
  func step(
    _ embeds: UnsafeBufferPointer<Float>, start: Int, wanted: WantedLogits,
    logits: UnsafeMutableBufferPointer<Float>?, hidden: UnsafeMutableBufferPointer<Float>
  ) throws { throw failure }
  func head(_ hidden: UnsafeBufferPointer<Float>, latents: UnsafeMutableBufferPointer<Float>) throws
  { throw failure }
  func encodeReference(
    before: UnsafeBufferPointer<Float>, after: UnsafeBufferPointer<Float>,
    latents: UnsafeMutableBufferPointer<Float>
  ) throws { throw failure }
  func bake(
    _ colours: UnsafeBufferPointer<Float>, latents: UnsafeBufferPointer<Float>,
    out: UnsafeMutableBufferPointer<Float>
  ) throws { throw failure }
  func release(_ stage: Stage?) {}
}
