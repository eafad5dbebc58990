import CVera
import Foundation

/// The C library's retoucher with the bundle and the planner that it uses. Every call may block.
///
/// Handles live as long as this object, and each call holds it: there is no use after free.
final class Engine: @unchecked Sendable {
  let bundle: VeraBundle
  let bridge: PlannerBridge
  /// Plans and what must come between them, one after the other.
  let plans = DispatchQueue(label: "vera.plans", qos: .userInitiated)
  /// Bakes, renders and files, side by side.
  let others = DispatchQueue(label: "vera.render", qos: .userInitiated, attributes: .concurrent)
  private let handle: OpaquePointer
  private let lock = NSLock()
  private var lastBake: (key: BakeKey, look: BakedLook)?

  private struct BakeKey: Equatable {
    let plan: ObjectIdentifier
    let strengths: Strengths
    let size: Int
  }

  init(bundle: VeraBundle, planner: any Planner, conditions: WorkConditions) throws {
    self.bundle = bundle
    bridge = PlannerBridge(planner, info: bundle.info, conditions: conditions)
    var made: OpaquePointer?
    var table = bridge.table
    try checked { vera_retoucher_create(bundle.handle, &table, &made, $0) }
    guard let made else {
      throw VeraError(.internalError, "The retoucher was not made: please report this.")
    }
    handle = made
  }

  deinit { vera_retoucher_destroy(handle) }

  /// What a plan tells while it runs, on the thread that plans.
  struct PlanEvents {
    var onStage: (Stage, Double) -> Void = { _, _ in }
    var onText: (String) -> Void = { _ in }
    var onLook: (PlanResult) -> Void = { _ in }
  }

  /// Runs on `plans` only.
  func plan(
    _ photo: Photo?, _ task: RetouchTask, _ options: RetouchOptions, cancel: CancelFlag,
    events: PlanEvents
  ) throws -> PlanResult {
    bridge.cancel = cancel
    defer { bridge.cancel = nil }
    let box = EventBox(events)
    defer { withExtendedLifetime(box) {} }
    var settings = Self.settings(options, cancel: cancel, box: box)
    var result: OpaquePointer?
    try task.withCTask { task in
      func plan(_ frame: UnsafePointer<vera_frame>?) throws {
        let space = (photo?.colorSpace ?? .sRGB).rawValue
        try checked { vera_plan(handle, frame, space, task, &settings, &result, $0) }
      }
      if let photo { try photo.withFrame { try plan($0) } } else { try plan(nil) }
    }
    guard let result else {
      throw VeraError(.internalError, "The plan has no result: please report this.")
    }
    return PlanResult(result)
  }

  /// Curves and LUT of a look. The last one is kept: other mixes of the same look render at once.
  func bake(_ look: Look, size: Int, cancel: CancelFlag) throws -> BakedLook {
    let key = BakeKey(
      plan: ObjectIdentifier(look.plan), strengths: look.strengths, size: size)
    if let kept = lock.withLock({ lastBake }), kept.key == key { return kept.look }
    guard (17...65).contains(size) else {
      throw VeraError(
        .invalidArgument, "LUT size \(size) not allowed: use 17..65; 33 suits photos.")
    }
    let knots = Int(VERA_CURVE_KNOTS)
    var curves = [Float](repeating: 0, count: 3 * knots)
    var lut = [Float](repeating: 0, count: 3 * size * size * size)
    try checked {
      vera_bake_look(
        handle, look.plan.handle, look.strengths.values, Int32(size),
        Int32(bridge.conditions.threads), cancel.pointer, &curves, &lut, $0)
    }
    let baked = try BakedLook(curves: curves, lut: lut, curveSize: knots, lutSize: size)
    lock.withLock { lastBake = (key, baked) }
    return baked
  }

  func saveCube(_ look: Look, to url: URL, size: Int, strength: Float) throws {
    guard url.isFileURL else {
      throw VeraError(.invalidArgument, "\(url.scheme ?? "") is no file: give a file URL.")
    }
    try checked {
      vera_save_cube(
        handle, look.plan.handle, look.strengths.values, strength, Int32(size), url.path, $0)
    }
  }

  /// Gives the programs' memory back, after a running plan.
  func unload() throws {
    lock.withLock { lastBake = nil }
    try check(vera_retoucher_unload(handle))
  }

  private static func settings(
    _ options: RetouchOptions, cancel: CancelFlag, box: EventBox
  ) -> vera_plan_options {
    var settings = vera_plan_options()
    settings.struct_size = MemoryLayout<vera_plan_options>.size
    settings.temperature = options.temperature ?? -1
    settings.top_p = options.topP ?? -1
    settings.max_tokens = options.maxTokens.map { Int32(clamping: $0) } ?? -1
    settings.instant = options.instant ? 1 : 0
    settings.seed = options.seed
    settings.cancel = UnsafePointer(cancel.pointer)
    settings.user = Unmanaged.passUnretained(box).toOpaque()
    settings.on_stage = { user, stage, done in
      guard let stage = Stage(rawValue: stage) else { return }
      EventBox.of(user)?.events.onStage(stage, Double(done))
    }
    settings.on_text = { user, piece in
      guard let piece else { return }
      EventBox.of(user)?.events.onText(String(cString: piece))
    }
    settings.on_look = { user, result in
      // borrowed: a copy outlives the plan
      guard let result, let copy = vera_plan_result_copy(result) else { return }
      EventBox.of(user)?.events.onLook(PlanResult(copy))
    }
    return settings
  }
}

private final class EventBox {
  let events: Engine.PlanEvents
  init(_ events: Engine.PlanEvents) { self.events = events }

  static func of(_ user: UnsafeMutableRawPointer?) -> EventBox? {
    user.map { Unmanaged<EventBox>.fromOpaque($0).takeUnretainedValue() }
  }
}
