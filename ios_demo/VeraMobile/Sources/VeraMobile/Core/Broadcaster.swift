import Foundation

/// Gives each value to every stream that is open.
public final class Broadcaster<Value: Sendable>: @unchecked Sendable {
  private let lock = NSLock()
  private var open: [UUID: AsyncStream<Value>.Continuation] = [:]
  private var isFinished = false

  public init() {}

  /// What is sent from now on. A slow reader gets the newest 64 values.
  public var stream: AsyncStream<Value> {
    AsyncStream(bufferingPolicy: .bufferingNewest(64)) { continuation in
      let id = UUID()
      let late = lock.withLock {
        if !isFinished { open[id] = continuation }
        return isFinished
      }
      if late { continuation.finish() }
      continuation.onTermination = { [weak self] _ in self?.remove(id) }
    }
  }

  public func send(_ value: Value) {
    for one in lock.withLock({ Array(open.values) }) { one.yield(value) }
  }

  /// Ends all streams.
  public func finish() {
    let all = lock.withLock {
      isFinished = true
      defer { open = [:] }
      return Array(open.values)
    }
    for one in all { one.finish() }
  }

  private func remove(_ id: UUID) {
    _ = lock.withLock { open.removeValue(forKey: id) }
  }
}
