import Foundation

/// Plans looks for photos with the model of a bundle, and renders them.
///
/// Any number of callers may use one retoucher: plans queue, renders run side by side. Cancelling
/// the task that waits stops the work: the caller goes on at once, the model within one step.
///
///     let vera = try await VeraRetoucher(bundle: url)
///     for try await event in vera.retouch(photo, .style("airy pink")) { ... }
public actor VeraRetoucher: Retouching {
  /// The folder's facts: sizes, recipe, name.
  public nonisolated let bundle: VeraBundle
  /// What renders photos: "CPU", or a name of the GPU.
  public nonisolated let renderer: any Renderer
  let conditions = WorkConditions()
  let engine: Engine
  private let broadcaster = Broadcaster<Notice>()
  private var life = ModelLife()
  private var running: [ObjectIdentifier: CancelFlag] = [:]
  private var memoryWasLow = false
  private var observers: [any Sendable] = []

  /// Opens and checks a bundle; the model itself is loaded by the first plan, or by `prepare()`.
  ///
  /// - Parameters:
  ///   - folder: the folder that `vera export` wrote or `BundleDownloader` fetched.
  ///   - planner: what runs the model; nil: Core ML for bundles that were exported for it.
  ///   - renderer: nil: the GPU where there is one that passes a self-test, else the CPU.
  ///   - onProgress: the share of the bundle that was read and checked, 0..1.
  /// - Throws: `fileError`, `bundleError`, `bundleVersionError`, `unsupportedFormat` where no
  ///   planner takes the bundle, CancellationError.
  public init(
    bundle folder: URL, planner: PlannerFactory? = nil, renderer: (any Renderer)? = nil,
    onProgress: (@Sendable (Double) -> Void)? = nil
  ) async throws {
    let cancel = CancelFlag()
    let queue = DispatchQueue(label: "vera.open", qos: .userInitiated)
    let conditions = self.conditions
    let factory = planner ?? Self.systemPlanner
    let (opened, made) = try await blocking(on: queue, cancel: cancel) {
      let bundle = try VeraBundle(folder: folder, cancel: cancel) { done, total in
        onProgress?(total > 0 ? Double(done) / Double(total) : 1)
      }
      let planner = try factory(bundle)
      return (bundle, try Engine(bundle: bundle, planner: planner, conditions: conditions))
    }
    self.bundle = opened
    engine = made
    self.renderer = renderer ?? Self.systemRenderer(conditions)
    observers = observeSystem(self)
  }

  public var state: ModelState { life.state }

  /// What happens outside of a retouch: unloading, warmth, background. Ends with `close()`.
  public nonisolated var notices: AsyncStream<Notice> { broadcaster.stream }

  /// Plans a look and renders the photo with it.
  ///
  /// Events come in this order: `progress` any time; `text` pieces; `lookReady`; `photoReady`. With
  /// `options.instant` the look comes before its text. Ending the loop or cancelling its task
  /// stops the work; a cancelled loop ends with CancellationError.
  public nonisolated func retouch(
    _ photo: Photo, _ task: RetouchTask, options: RetouchOptions
  ) -> AsyncThrowingStream<RetouchEvent, any Error> {
    let cancel = CancelFlag()
    return AsyncThrowingStream { continuation in
      let job = Task {
        do {
          try await self.run(photo, task, options, cancel: cancel) { continuation.yield($0) }
          continuation.finish()
        } catch {
          continuation.finish(throwing: error)
        }
      }
      continuation.onTermination = { ending in
        guard case .cancelled = ending else { return }
        cancel.set()
        job.cancel()
        continuation.finish(throwing: CancellationError())
      }
    }
  }

  /// The look alone. photo may be nil for `.param` and `.reference`.
  public func plan(
    _ photo: Photo?, _ task: RetouchTask = .auto, options: RetouchOptions = RetouchOptions(),
    onText: (@Sendable (String) -> Void)? = nil
  ) async throws -> Look {
    try await plan(photo, task, options, cancel: CancelFlag()) { event in
      if case .text(let piece) = event { onText?(piece) }
    }
  }

  /// Renders a look, at once and without the model where the bundle has a renderer's weights.
  ///
  /// - Parameters:
  ///   - look: of any retoucher with the same model.
  ///   - photo: of any size and format.
  ///   - strengths: nil: those of the look.
  ///   - strength: mix of photo and look, 0..1.5.
  public func render(
    _ look: Look, _ photo: Photo, strengths: Strengths?, strength: Float
  ) async throws -> Photo {
    try life.checkOpen()
    return try await rendered(
      strengths.map(look.with) ?? look, photo, strength: strength, size: 33, cancel: CancelFlag()
    ) { _ in }
  }

  /// Curves and LUT of a look, for renderers of your own.
  public func bake(_ look: Look, size: Int = 33) async throws -> BakedLook {
    let engine = engine
    return try await tracked(CancelFlag()) { cancel in
      try await blocking(on: engine.others, cancel: cancel) {
        try engine.bake(look, size: size, cancel: cancel)
      }
    }
  }

  public func look(json: String) throws -> Look {
    try life.checkOpen()
    let read = try Look(json: json)
    return Look(plan: read.plan, strengths: read.strengths, baker: self)
  }

  /// Gives the model's memory back, after the plans that were asked for before.
  public func unload() async throws { try await unload(.asked) }

  /// Stops all work, waits for it and gives everything back. Later calls throw `invalidArgument`.
  public func close() async {
    if life.state == .closed { return }
    life.close()
    for flag in running.values { flag.set() }
    conditions.isActive = true
    observers = []
    let engine = engine
    await withCheckedContinuation { done in
      engine.plans.async {
        // a failed release loses nothing: the handles go with the last reference
        _ = Result { try engine.unload() }
        engine.others.async(flags: .barrier) { done.resume() }
      }
    }
    broadcaster.send(.closed)
    broadcaster.finish()
  }

  // MARK: What the system says; on Apple's systems `observeSystem` calls these.

  /// Low memory: the model is unloaded, after the plan that runs.
  public func memoryIsLow() async {
    if case .planning = life.state { memoryWasLow = true }
    // nothing to tell but to those who ask: after close there is no memory to give back
    _ = try? await unload(.lowMemory)
  }

  /// The app went to the background (false) or came back: GPU work waits meanwhile.
  public func appIsActive(_ active: Bool) {
    guard life.state != .closed, conditions.isActive != active else { return }
    conditions.isActive = active
    broadcaster.send(.paused(!active))
  }

  /// The device is warm: from `serious` on, the model rests between tokens and fewer threads render.
  public func deviceIs(_ level: ThermalLevel) {
    guard life.state != .closed, conditions.thermal != level else { return }
    conditions.thermal = level
    broadcaster.send(.thermal(level))
  }
}

extension VeraRetoucher {
  private func run(
    _ photo: Photo, _ task: RetouchTask, _ options: RetouchOptions, cancel: CancelFlag,
    yield: @escaping @Sendable (RetouchEvent) -> Void
  ) async throws {
    let planShare = options.renders ? 0.9 : 1.0
    let look = try await plan(photo, task, options, cancel: cancel) { event in
      if case .progress(let stage, let done) = event {
        yield(.progress(stage: stage, done: done * planShare))
      } else {
        yield(event)
      }
    }
    if memoryWasLow {
      memoryWasLow = false
      yield(.unloaded(.lowMemory))
    }
    guard options.renders else { return }
    yield(.progress(stage: .bake, done: planShare))
    let result = try await rendered(
      look, photo, strength: options.strength, size: options.lutSize, cancel: cancel
    ) { done in
      yield(.progress(stage: .render, done: planShare + (1 - planShare) * done))
    }
    yield(.photoReady(result, look))
  }

  private func plan(
    _ photo: Photo?, _ task: RetouchTask, _ options: RetouchOptions, cancel: CancelFlag,
    yield: @escaping @Sendable (RetouchEvent) -> Void
  ) async throws -> Look {
    try life.planBegins()
    let engine = engine
    let strengths = options.strengths
    let ended: (isolated VeraRetoucher) -> Void = { $0.life.planEnded() }
    let finished = try await tracked(cancel, ended: ended) { cancel in
      try await blocking(on: engine.plans, cancel: cancel) {
        var events = Engine.PlanEvents()
        events.onStage = { yield(.progress(stage: $0, done: $1)) }
        events.onText = { yield(.text($0)) }
        events.onLook = { plan in
          yield(.lookReady(Look(plan: plan, strengths: strengths, baker: self)))
        }
        return try engine.plan(photo, task, options, cancel: cancel, events: events)
      }
    }
    return Look(plan: finished, strengths: strengths, baker: self)
  }

  private func rendered(
    _ look: Look, _ photo: Photo, strength: Float, size: Int, cancel: CancelFlag,
    onProgress: @escaping @Sendable (Double) -> Void
  ) async throws -> Photo {
    let engine = engine
    let chosen: any Renderer = renderer.takes(photo.format) ? renderer : CPURenderer()
    let conditions = conditions
    return try await tracked(cancel) { cancel in
      try await blocking(on: engine.others, cancel: cancel) {
        let baked = try engine.bake(look, size: size, cancel: cancel)
        if chosen.usesGPU { try conditions.waitUntilActive(cancel: cancel) }
        let request = RenderRequest(
          look: baked, photo: photo, strength: strength, threads: conditions.threads,
          cancel: cancel)
        return try chosen.render(request) { done, total in
          onProgress(total > 0 ? Double(done) / Double(total) : 1)
        }
      }
    }
  }

  private func unload(_ reason: UnloadReason) async throws {
    try life.checkOpen()
    let engine = engine
    try await blocking(on: engine.plans, cancel: CancelFlag()) { try engine.unload() }
    life.unloaded()
    if life.state != .closed { broadcaster.send(.unloaded(reason)) }
  }

  /// Runs `work` with a flag that `close()` sets. What `close()` stopped throws that it is closed.
  private func tracked<Result: Sendable>(
    _ cancel: CancelFlag, ended: ((isolated VeraRetoucher) -> Void)? = nil,
    _ work: (CancelFlag) async throws -> Result
  ) async throws -> Result {
    let id = ObjectIdentifier(cancel)
    do {
      try life.checkOpen()
      running[id] = cancel
      let result = try await work(cancel)
      running[id] = nil
      ended?(self)
      return result
    } catch {
      running[id] = nil
      ended?(self)
      if life.state == .closed { throw VeraError.closed }
      throw error
    }
  }
}

extension VeraRetoucher: LookBaker {
  package func saveCube(_ look: Look, to url: URL, size: Int, strength: Float) async throws {
    let engine = engine
    try await tracked(CancelFlag()) { cancel in
      try await blocking(on: engine.others, cancel: cancel) {
        try engine.saveCube(look, to: url, size: size, strength: strength)
      }
    }
  }
}
