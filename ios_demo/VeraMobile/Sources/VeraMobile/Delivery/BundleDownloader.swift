import Foundation

/// Fetches a bundle from a server, the only thing in this library that opens a network connection.
///
/// The server holds the bundle's folder as `vera export` wrote it. Only https is used. The app knows
/// the SHA-256 of bundle.json, which names those of all other files: nothing else needs to be
/// trusted. A download that was stopped at any moment goes on where it was; the folder appears
/// when every file is whole.
public actor BundleDownloader {
  /// What a download tells.
  public enum Event: Sendable, Equatable {
    case progress(doneBytes: Int64, totalBytes: Int64)
    /// The folder, ready for `VeraRetoucher(bundle:)`.
    case finished(URL)
  }

  private let source: URL
  private let sha256: String
  private let folder: URL
  private let rules: DownloadRules
  /// Beside the folder, so that it is moved and not copied.
  private var building: URL {
    folder.deletingLastPathComponent().appendingPathComponent(
      ".\(folder.lastPathComponent).part", isDirectory: true)
  }

  /// - Parameters:
  ///   - source: https address of the bundle's folder.
  ///   - sha256: of its bundle.json, 64 hexadecimal digits (`sha256sum vera.bundle/bundle.json`).
  ///   - folder: where the bundle is to be; a bundle that is there already is replaced at the end.
  /// - Throws: `invalidArgument` for another scheme or a malformed SHA-256.
  public init(from source: URL, sha256: String, to folder: URL) throws {
    try self.init(from: source, sha256: sha256, to: folder, rules: .secure)
  }

  init(from source: URL, sha256: String, to folder: URL, rules: DownloadRules) throws {
    try rules.check(source)
    guard sha256.count == 64, sha256.allSatisfy(\.isHexDigit), folder.isFileURL else {
      throw VeraError(
        .invalidArgument,
        "SHA-256 '\(sha256.prefix(80))' or folder not allowed: use 64 hexadecimal digits and a "
          + "file URL.")
    }
    self.source = source
    self.sha256 = sha256.lowercased()
    self.folder = folder
    self.rules = rules
  }

  /// Begins or goes on. Ending the loop or cancelling its task stops; what is here is kept.
  ///
  /// - Throws: `fileError` for the network and the disk; `bundleError` where a file is not what its
  ///   SHA-256 says (it is deleted, so that the next try fetches it anew).
  public nonisolated func download() -> AsyncThrowingStream<Event, any Error> {
    AsyncThrowingStream(bufferingPolicy: .bufferingNewest(16)) { continuation in
      let job = Task {
        do {
          try await self.run { continuation.yield($0) }
          continuation.finish()
        } catch {
          continuation.finish(throwing: error)
        }
      }
      continuation.onTermination = { ending in
        guard case .cancelled = ending else { return }
        job.cancel()
        continuation.finish(throwing: CancellationError())
      }
    }
  }

  /// Deletes what a stopped download left.
  public func discard() throws {
    guard FileManager.default.fileExists(atPath: building.path) else { return }
    try onDisk(building) { try FileManager.default.removeItem(at: building) }
  }

  private func run(_ yield: @escaping @Sendable (Event) -> Void) async throws {
    try onDisk(building) {
      try FileManager.default.createDirectory(at: building, withIntermediateDirectories: true)
    }
    let manifest = try await fetchManifest()
    let total = manifest.totalBytes
    var done: Int64 = 0
    for file in manifest.files {
      let before = done
      try await fetch(file) { yield(.progress(doneBytes: before + $0, totalBytes: total)) }
      done += file.size_bytes
      yield(.progress(doneBytes: done, totalBytes: total))
    }
    // the same check as at each load: sizes, sums, version, links
    let whole = building
    try await blocking(on: DispatchQueue(label: "vera.download"), cancel: CancelFlag()) {
      _ = try VeraBundle(folder: whole)
    }
    try takePlace()
    yield(.finished(folder))
  }

  private func fetchManifest() async throws -> DownloadManifest {
    let target = building.appendingPathComponent(DownloadManifest.name)
    if try StreamHash.of(file: target) != sha256 {
      try? FileManager.default.removeItem(at: target)
      try await transfer(DownloadManifest.name, target, DownloadManifest.maxBytes) { _ in }
      try checkHash(target, sha256)
    }
    return try DownloadManifest(try onDisk(target) { try Data(contentsOf: target) })
  }

  private func fetch(
    _ file: DownloadManifest.File, _ onBytes: @escaping @Sendable (Int64) -> Void
  ) async throws {
    let target = building.appendingPathComponent(file.path)
    try onDisk(target) {
      try FileManager.default.createDirectory(
        at: target.deletingLastPathComponent(), withIntermediateDirectories: true)
    }
    let present = DownloadTransfer.size(of: target)
    if present > file.size_bytes {
      try onDisk(target) { try FileManager.default.removeItem(at: target) }
    }
    if present == file.size_bytes, try StreamHash.of(file: target) == file.sha256 { return }
    if present == file.size_bytes { try? FileManager.default.removeItem(at: target) }
    if file.size_bytes == 0 {
      try onDisk(target) { try Data().write(to: target) }
      return
    }
    try await transfer(file.path, target, file.size_bytes, onBytes)
    try checkHash(target, file.sha256)
  }

  private func transfer(
    _ path: String, _ target: URL, _ bytes: Int64, _ onBytes: @escaping @Sendable (Int64) -> Void
  ) async throws {
    let transfer = DownloadTransfer(
      target: target, expectedBytes: bytes, rules: rules, onBytes: onBytes)
    try await transfer.run(source.appendingPathComponent(path))
  }

  private func checkHash(_ file: URL, _ wanted: String) throws {
    let found = try StreamHash.of(file: file) ?? "unreadable"
    guard found == wanted.lowercased() else {
      try? FileManager.default.removeItem(at: file)
      throw VeraError(
        .bundleError,
        "\(file.lastPathComponent) has the SHA-256 \(found.prefix(16))..., \(wanted.prefix(16))... "
          + "is expected: try again, or check the address.")
    }
  }

  /// Moves the whole bundle to its place. A bundle that is there is put back if that fails.
  private func takePlace() throws {
    let files = FileManager.default
    let old = folder.deletingLastPathComponent().appendingPathComponent(
      ".\(folder.lastPathComponent).old-\(UUID().uuidString)", isDirectory: true)
    try onDisk(folder) {
      guard files.fileExists(atPath: folder.path) else {
        return try files.moveItem(at: building, to: folder)
      }
      try files.moveItem(at: folder, to: old)
      do {
        try files.moveItem(at: building, to: folder)
      } catch {
        try files.moveItem(at: old, to: folder)
        throw error
      }
      try files.removeItem(at: old)
    }
  }

  private func onDisk<Value>(_ place: URL, _ body: () throws -> Value) throws -> Value {
    do {
      return try body()
    } catch let error as VeraError {
      throw error
    } catch {
      throw VeraError(
        .fileError,
        "\(place.path) cannot be written or read (\(error.localizedDescription)): free some space.")
    }
  }
}
