import Foundation
import VeraMobile

/// Passes calls on, counts them, and can be slow: what promises about time and turns are tested with.
final class SpyPlanner: Planner, @unchecked Sendable {
  private let inner: any Planner
  private let lock = NSLock()
  private var inside = 0
  private var counts: [String: Int] = [:]
  private var overlapped = false
  /// Before each call.
  private let delay: TimeInterval

  init(_ inner: any Planner, delay: TimeInterval = 0) {
    self.inner = inner
    self.delay = delay
  }

  var unit: ComputeUnit { inner.unit }
  var wasEnteredTwice: Bool { lock.withLock { overlapped } }
  func calls(_ name: String) -> Int { lock.withLock { counts[name] ?? 0 } }

  private func noted<Result>(_ name: String, _ body: () throws -> Result) rethrows -> Result {
    lock.withLock {
      inside += 1
      overlapped = overlapped || inside > 1
      counts[name, default: 0] += 1
    }
    defer { lock.withLock { inside -= 1 } }
    if delay > 0 { Thread.sleep(forTimeInterval: delay) }
    return try body()
  }

  func encodeImage(
    _ pixels: UnsafeBufferPointer<Float>, tokens: UnsafeMutableBufferPointer<Float>
  ) throws {
    try noted("vision") { try inner.encodeImage(pixels, tokens: tokens) }
  }

  func embed(_ ids: UnsafeBufferPointer<Int64>, embeds: UnsafeMutableBufferPointer<Float>) throws {
    try noted("embed") { try inner.embed(ids, embeds: embeds) }
  }

  func step(
    _ embeds: UnsafeBufferPointer<Float>, start: Int, wanted: WantedLogits,
    logits: UnsafeMutableBufferPointer<Float>?, hidden: UnsafeMutableBufferPointer<Float>
  ) throws {
    try noted("step") {
      try inner.step(embeds, start: start, wanted: wanted, logits: logits, hidden: hidden)
    }
  }

  func head(_ hidden: UnsafeBufferPointer<Float>, latents: UnsafeMutableBufferPointer<Float>) throws
  {
    try noted("head") { try inner.head(hidden, latents: latents) }
  }

  func encodeReference(
    before: UnsafeBufferPointer<Float>, after: UnsafeBufferPointer<Float>,
    latents: UnsafeMutableBufferPointer<Float>
  ) throws {
    try noted("reference") {
      try inner.encodeReference(before: before, after: after, latents: latents)
    }
  }

  func bake(
    _ colours: UnsafeBufferPointer<Float>, latents: UnsafeBufferPointer<Float>,
    out: UnsafeMutableBufferPointer<Float>
  ) throws {
    try noted("bake") { try inner.bake(colours, latents: latents, out: out) }
  }

  func release(_ stage: Stage?) {
    noted(stage == nil ? "release all" : "release") { inner.release(stage) }
  }
}

/// Hands the spy out of the closure that makes it.
final class SpyBox: @unchecked Sendable {
  private let lock = NSLock()
  private var made: SpyPlanner?

  var spy: SpyPlanner? { lock.withLock { made } }

  func wrap(_ planner: any Planner, delay: TimeInterval = 0) -> any Planner {
    let spy = SpyPlanner(planner, delay: delay)
    lock.withLock { made = spy }
    return spy
  }
}
