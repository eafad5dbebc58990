import Foundation
import VeraMobile

/// A retoucher without a model, for the tests of an app: it says and does what its script tells.
///
/// Events come in the real order, photos are rendered for real (with the script's look), cancelling
/// and closing behave as on `VeraRetoucher`. The same script gives the same bytes each time.
public actor FakeRetoucher: Retouching {
  /// What the fake does.
  public struct Script: Sendable {
    /// Pieces of the plan in words.
    public var words: [String]
    /// Time before each piece.
    public var pause: Duration
    /// What photos are rendered with; nil: a little brighter.
    public var look: BakedLook?
    /// Thrown by each retouch after its first piece of text.
    public var failure: VeraError?

    public init(
      words: [String] = ["The photo is dark. ", "Lift the shadows."],
      pause: Duration = .milliseconds(1), look: BakedLook? = nil, failure: VeraError? = nil
    ) {
      self.words = words
      self.pause = pause
      self.look = look
      self.failure = failure
    }
  }

  private let script: Script
  private let baked: BakedLook
  private let broadcaster = Broadcaster<Notice>()
  private var life = ModelLife()
  private var running: [UUID: Task<Void, Never>] = [:]
  /// The tasks that were asked for, in order.
  public private(set) var tasks: [RetouchTask] = []

  /// - Throws: only where the script's look is impossible.
  public init(_ script: Script = Script()) throws {
    self.script = script
    baked = try script.look ?? Self.brighter()
  }

  public var state: ModelState { life.state }

  public nonisolated var notices: AsyncStream<Notice> { broadcaster.stream }

  public nonisolated func retouch(
    _ photo: Photo, _ task: RetouchTask, options: RetouchOptions
  ) -> AsyncThrowingStream<RetouchEvent, any Error> {
    AsyncThrowingStream { continuation in
      let id = UUID()
      let job = Task {
        do {
          try await self.run(photo, task, options, continuation)
          continuation.finish()
        } catch {
          continuation.finish(throwing: error)
        }
        await self.ended(id)
      }
      Task { await self.began(id, job) }
      continuation.onTermination = { ending in
        guard case .cancelled = ending else { return }
        job.cancel()
        continuation.finish(throwing: CancellationError())
      }
    }
  }

  public func render(
    _ look: Look, _ photo: Photo, strengths: Strengths?, strength: Float
  ) throws -> Photo {
    try life.checkOpen()
    return try rendered(strengths.map(look.with) ?? look, photo, strength)
  }

  public func look(json: String) throws -> Look {
    try life.checkOpen()
    let read = try Look(json: json)
    return Look(plan: read.plan, strengths: read.strengths, baker: self)
  }

  public func unload() throws {
    try life.checkOpen()
    life.unloaded()
    broadcaster.send(.unloaded(.asked))
  }

  /// Does what a system with low memory would.
  public func memoryIsLow() {
    life.unloaded()
    if life.state != .closed { broadcaster.send(.unloaded(.lowMemory)) }
  }

  public func close() async {
    if life.state == .closed { return }
    life.close()
    let jobs = running.values
    for job in jobs { job.cancel() }
    for job in jobs { await job.value }
    broadcaster.send(.closed)
    broadcaster.finish()
  }

  private func run(
    _ photo: Photo, _ task: RetouchTask, _ options: RetouchOptions,
    _ continuation: AsyncThrowingStream<RetouchEvent, any Error>.Continuation
  ) async throws {
    try life.planBegins()
    defer { life.planEnded() }
    tasks.append(task)
    continuation.yield(.progress(stage: .prepare, done: 0))
    if options.instant { continuation.yield(.lookReady(try look("", options.strengths))) }
    for (index, piece) in script.words.enumerated() {
      try await Task.sleep(for: script.pause)
      continuation.yield(.text(piece))
      if let failure = script.failure { throw failure }
      let done = 0.9 * Double(index + 1) / Double(script.words.count)
      continuation.yield(.progress(stage: .decode, done: done))
    }
    try Task.checkCancellation()
    let planned = try look(script.words.joined(), options.strengths)
    if !options.instant { continuation.yield(.lookReady(planned)) }
    guard options.renders else { return }
    let result = try rendered(planned, photo, options.strength)
    continuation.yield(.progress(stage: .render, done: 1))
    continuation.yield(.photoReady(result, planned))
  }

  private func began(_ id: UUID, _ job: Task<Void, Never>) {
    running[id] = job
    if life.state == .closed { job.cancel() }
  }

  private func ended(_ id: UUID) { running[id] = nil }

  /// A look with those words, latents of zeros.
  private func look(_ text: String, _ strengths: Strengths) throws -> Look {
    let record = LookRecord(
      text: text, lighting: strengths.lighting, global_color: strengths.globalColor,
      specific_color: strengths.specificColor)
    let read = try Look(json: String(decoding: JSONEncoder().encode(record), as: UTF8.self))
    return Look(plan: read.plan, strengths: strengths, baker: self)
  }

  /// The groups' strengths have their mean effect.
  private func rendered(_ look: Look, _ photo: Photo, _ strength: Float) throws -> Photo {
    let groups = look.strengths
    let mean = (groups.lighting + groups.globalColor + groups.specificColor) / 3
    let request = RenderRequest(
      look: baked, photo: photo, strength: min(1.5, mean) * strength, threads: 1)
    return try CPURenderer().render(request)
  }

  private static func brighter() throws -> BakedLook {
    let size = 17
    let axis = (0..<size).map { Float($0) / Float(size - 1) }
    let lifted = axis.map { $0 + 0.2 * $0 * (1 - $0) }
    var lut: [Float] = []
    for blue in lifted {
      for green in lifted {
        for red in lifted { lut += [red, green, blue] }
      }
    }
    return try BakedLook(curves: axis + axis + axis, lut: lut, curveSize: size, lutSize: size)
  }
}

extension FakeRetoucher: LookBaker {
  /// Writes the script's look as it is.
  package func saveCube(_ look: Look, to url: URL, size: Int, strength: Float) throws {
    try life.checkOpen()
    var text = "LUT_3D_SIZE \(baked.lutSize)\n"
    for node in stride(from: 0, to: baked.lut.count, by: 3) {
      text += "\(baked.lut[node]) \(baked.lut[node + 1]) \(baked.lut[node + 2])\n"
    }
    do {
      try Data(text.utf8).write(to: url, options: .atomic)
    } catch {
      throw VeraError(
        .fileError, "\(url.path) cannot be written (\(error.localizedDescription)): choose another."
      )
    }
  }
}

/// The file format's own names.
private struct LookRecord: Encodable {
  let format = "vera-look"
  let version = 1
  let text: String
  let lighting: Float
  let global_color: Float  // swift-format-ignore: AlwaysUseLowerCamelCase
  let specific_color: Float  // swift-format-ignore: AlwaysUseLowerCamelCase
  let latent_size = 1  // swift-format-ignore: AlwaysUseLowerCamelCase
  let latents = "AAAAAAAAAAAAAAAA"
}
