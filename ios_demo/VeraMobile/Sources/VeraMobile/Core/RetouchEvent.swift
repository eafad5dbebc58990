import CVera

/// The parts of a retouch, in their order.
public enum Stage: Int32, Sendable, CaseIterable {
  case prepare = 0
  case vision = 1
  case prefill = 2
  case decode = 3
  case head = 4
  case reference = 5
  case bake = 6
  case render = 7

  /// True for stages that the C library times.
  var isPlanned: Bool { rawValue < Int32(VERA_STAGE_COUNT) }
}

/// What `retouch` tells while it works. After `photoReady` the stream ends.
public enum RetouchEvent: Sendable {
  /// How far the whole retouch is: 0..1, never going back.
  case progress(stage: Stage, done: Double)
  /// The next piece of the plan in words; all pieces together are `Look.text`.
  case text(String)
  /// The look is known. With `instant` it has no text yet.
  case lookReady(Look)
  /// The photo with the look, and the finished look with all of its words.
  case photoReady(Photo, Look)
  /// The model was unloaded after its plan; the next retouch loads it again.
  case unloaded(UnloadReason)
}

/// Why the model's memory was given back.
public enum UnloadReason: Sendable, Equatable {
  /// `unload()` was called.
  case asked
  /// The system warned that memory is low.
  case lowMemory
}

/// What happens to a retoucher outside of a retouch.
public enum Notice: Sendable, Equatable {
  case unloaded(UnloadReason)
  /// The device is warm: from `serious` on the work goes on slower.
  case thermal(ThermalLevel)
  /// GPU work waits, because the app is in the background; false: it goes on.
  case paused(Bool)
  case closed
}

/// How warm the device is, as `ProcessInfo.ThermalState`.
public enum ThermalLevel: Int, Sendable, CaseIterable, Comparable {
  case nominal = 0
  case fair = 1
  case serious = 2
  case critical = 3

  public static func < (left: ThermalLevel, right: ThermalLevel) -> Bool {
    left.rawValue < right.rawValue
  }
}

/// The life of the model: `unloaded` and `loaded` alternate, `closed` is the end.
public enum ModelState: Sendable, Equatable {
  /// Programs are on disk; the next plan loads them.
  case unloaded
  /// Plans are running or waiting.
  case planning(Int)
  /// Programs are in memory, nothing runs.
  case loaded
  /// `close()` was called: nothing works any more.
  case closed
}

/// The transitions of `ModelState`, apart from any model, so that they can be tested.
package struct ModelLife: Sendable, Equatable {
  package private(set) var state = ModelState.unloaded

  package init() {}

  package mutating func planBegins() throws {
    switch state {
    case .closed: throw VeraError.closed
    case .planning(let count): state = .planning(count + 1)
    case .unloaded, .loaded: state = .planning(1)
    }
  }

  package mutating func planEnded() {
    guard case .planning(let count) = state else { return }
    state = count > 1 ? .planning(count - 1) : .loaded
  }

  /// After the programs were given back; a plan that waits will load them again.
  package mutating func unloaded() {
    if state == .loaded { state = .unloaded }
  }

  package mutating func close() { state = .closed }

  package func checkOpen() throws {
    if state == .closed { throw VeraError.closed }
  }
}
