import Foundation

/// The result of `work`, which runs on `queue` and may block there.
///
/// When the calling task is cancelled, `cancel` is set and CancellationError is thrown at once; the
/// work then ends by itself, and what comes after it on a serial queue waits for that.
func blocking<Result: Sendable>(
  on queue: DispatchQueue, cancel: CancelFlag,
  _ work: @escaping @Sendable () throws -> Result
) async throws -> Result {
  let answer = OneAnswer<Result>()
  return try await withTaskCancellationHandler {
    try await withCheckedThrowingContinuation { continuation in
      answer.wait(continuation)
      queue.async {
        answer.give(
          Swift.Result {
            try cancel.check()
            return try work()
          })
      }
    }
  } onCancel: {
    cancel.set()
    answer.give(.failure(CancellationError()))
  }
}

/// Resumes a continuation with the first answer; later ones are dropped.
private final class OneAnswer<Value: Sendable>: @unchecked Sendable {
  private let lock = NSLock()
  private var continuation: CheckedContinuation<Value, any Error>?
  private var early: Result<Value, any Error>?
  private var answered = false

  func wait(_ waiting: CheckedContinuation<Value, any Error>) {
    let given: Result<Value, any Error>? = lock.withLock {
      if early == nil { continuation = waiting }
      return early
    }
    if let given { waiting.resume(with: given) }
  }

  func give(_ result: Result<Value, any Error>) {
    let waiting: CheckedContinuation<Value, any Error>? = lock.withLock {
      if answered { return nil }
      answered = true
      if continuation == nil { early = result }
      return continuation
    }
    waiting?.resume(with: result)
  }
}
