import Foundation

/// What the system asks of work in progress: to wait while the app is in the background, to go
/// slower while the device is hot. Set from any thread, read by the threads that work.
final class WorkConditions: @unchecked Sendable {
  private let condition = NSCondition()
  private var active = true
  private var level = ThermalLevel.nominal

  /// Rest before each token. At `serious` about a third of the time of a token at 0.5B on a phone
  /// (some 15 ms), at `critical` thrice of it.
  static func restSeconds(at level: ThermalLevel) -> Double {
    switch level {
    case .nominal, .fair: 0
    case .serious: 0.005
    case .critical: 0.045
    }
  }

  /// Threads for bakes and renders; 0: one for each core.
  static func threads(at level: ThermalLevel, cores: Int) -> Int {
    switch level {
    case .nominal, .fair: 0
    case .serious: max(1, cores / 2)
    case .critical: 1
    }
  }

  var thermal: ThermalLevel {
    get { condition.withLock { level } }
    set { condition.withLock { level = newValue } }
  }

  var isActive: Bool {
    get { condition.withLock { active } }
    set {
      condition.withLock {
        active = newValue
        condition.broadcast()
      }
    }
  }

  var threads: Int {
    Self.threads(at: thermal, cores: ProcessInfo.processInfo.activeProcessorCount)
  }

  /// Sleeps on the calling thread as long as the warmth asks for.
  func rest() {
    let seconds = Self.restSeconds(at: thermal)
    if seconds > 0 { Thread.sleep(forTimeInterval: seconds) }
  }

  /// Returns at once in the foreground, else when the app comes back; CancellationError within 10 ms
  /// after `cancel` is set.
  func waitUntilActive(cancel: CancelFlag?) throws {
    condition.lock()
    defer { condition.unlock() }
    while !active {
      try cancel?.check()
      _ = condition.wait(until: Date(timeIntervalSinceNow: 0.01))
    }
  }
}
