import Foundation

#if canImport(FoundationNetworking)
  import FoundationNetworking
#endif

/// Which addresses a download may use.
struct DownloadRules: Sendable {
  /// https only; what apps get.
  static let secure = DownloadRules(allows: { $0.scheme?.lowercased() == "https" })

  let allows: @Sendable (URL) -> Bool

  func check(_ url: URL) throws {
    guard allows(url) else {
      throw VeraError(
        .invalidArgument,
        "Address \(url.scheme ?? "")://\(url.host ?? "") not allowed: use https.")
    }
  }
}

/// One file from a server into a file here, going on where an earlier try stopped.
final class DownloadTransfer: NSObject, URLSessionDataDelegate, @unchecked Sendable {
  private let target: URL
  private let expectedBytes: Int64
  private let rules: DownloadRules
  private let onBytes: @Sendable (Int64) -> Void
  private let lock = NSLock()
  private var continuation: CheckedContinuation<Void, any Error>?
  private var output: FileHandle?
  private var received: Int64 = 0
  private var failure: (any Error)?
  private var task: URLSessionDataTask?
  private var isCancelled = false

  /// - Parameters:
  ///   - expectedBytes: the most that is accepted.
  ///   - onBytes: bytes of the file that are here, earlier ones included.
  init(
    target: URL, expectedBytes: Int64, rules: DownloadRules,
    onBytes: @escaping @Sendable (Int64) -> Void
  ) {
    self.target = target
    self.expectedBytes = expectedBytes
    self.rules = rules
    self.onBytes = onBytes
  }

  /// - Throws: `fileError` for the network and the disk; CancellationError.
  func run(_ source: URL) async throws {
    try rules.check(source)
    let configuration = URLSessionConfiguration.ephemeral
    configuration.timeoutIntervalForRequest = 60
    let session = URLSession(configuration: configuration, delegate: self, delegateQueue: nil)
    defer { session.finishTasksAndInvalidate() }
    let present = Self.size(of: target)
    var request = URLRequest(url: source, cachePolicy: .reloadIgnoringLocalCacheData)
    if present > 0, present < expectedBytes {
      request.setValue("bytes=\(present)-", forHTTPHeaderField: "Range")
    }
    // sizes and ranges are those of the file
    request.setValue("identity", forHTTPHeaderField: "Accept-Encoding")
    let made = session.dataTask(with: request)
    try await withTaskCancellationHandler {
      try await withCheckedThrowingContinuation { waiting in
        let late = lock.withLock {
          continuation = waiting
          task = made
          return isCancelled
        }
        if late { finish(CancellationError()) } else { made.resume() }
      }
    } onCancel: {
      lock.withLock { isCancelled = true }
      finish(CancellationError())
    }
  }

  static func size(of file: URL) -> Int64 {
    let facts = try? FileManager.default.attributesOfItem(atPath: file.path)
    return (facts?[.size] as? NSNumber)?.int64Value ?? 0
  }

  private func finish(_ error: (any Error)?) {
    let (waiting, running) = lock.withLock {
      defer { continuation = nil }
      if continuation != nil {
        closeOutput()
      }
      return (continuation, task)
    }
    if error != nil { running?.cancel() }
    guard let waiting else { return }
    if let error { waiting.resume(throwing: error) } else { waiting.resume() }
  }

  private func closeOutput() {
    // what is not on disk is fetched again
    _ = Result { try output?.close() }
    output = nil
  }

  // MARK: URLSessionDataDelegate

  func urlSession(
    _ session: URLSession, task: URLSessionTask,
    willPerformHTTPRedirection response: HTTPURLResponse, newRequest request: URLRequest,
    completionHandler: @escaping (URLRequest?) -> Void
  ) {
    if let url = request.url, rules.allows(url) { return completionHandler(request) }
    completionHandler(nil)
    finish(
      VeraError(.fileError, "The server redirects to an address that is not https: not followed."))
  }

  func urlSession(
    _ session: URLSession, dataTask: URLSessionDataTask, didReceive response: URLResponse,
    completionHandler: @escaping (URLSession.ResponseDisposition) -> Void
  ) {
    let status = (response as? HTTPURLResponse)?.statusCode ?? 0
    do {
      try lock.withLock { try open(status) }
      completionHandler(.allow)
    } catch {
      completionHandler(.cancel)
      finish(error)
    }
  }

  /// 206 goes on where the file ends; 200 begins anew.
  private func open(_ status: Int) throws {
    guard status == 200 || status == 206 else {
      throw VeraError(
        .fileError,
        "The server answered \(status) for \(target.lastPathComponent): check the address.")
    }
    do {
      if status == 200 || !FileManager.default.fileExists(atPath: target.path) {
        try Data().write(to: target)
      }
      let file = try FileHandle(forWritingTo: target)
      received = Int64(try file.seekToEnd())
      output = file
    } catch {
      throw VeraError(.fileError, "\(target.path) cannot be written: free some space.")
    }
  }

  func urlSession(_ session: URLSession, dataTask: URLSessionDataTask, didReceive data: Data) {
    do {
      let total = try lock.withLock { try write(data) }
      onBytes(total)
    } catch {
      finish(error)
    }
  }

  private func write(_ data: Data) throws -> Int64 {
    guard let output else { return received }
    guard received + Int64(data.count) <= expectedBytes else {
      throw VeraError(
        .bundleError,
        "\(target.lastPathComponent) is larger than the \(expectedBytes) bytes that are expected: "
          + "check the address.")
    }
    do {
      try output.write(contentsOf: data)
    } catch {
      throw VeraError(.fileError, "\(target.path) cannot be written: free some space.")
    }
    received += Int64(data.count)
    return received
  }

  func urlSession(
    _ session: URLSession, task: URLSessionTask, didCompleteWithError error: (any Error)?
  ) {
    guard let error else { return finish(nil) }
    finish(
      VeraError(
        .fileError,
        "\(target.lastPathComponent) was not fetched (\(error.localizedDescription)): try again; "
          + "what is here is kept."))
  }
}
