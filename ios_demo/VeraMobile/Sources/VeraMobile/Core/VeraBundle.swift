import CVera
import Foundation

/// A model's folder, opened and checked: size and SHA-256 of every file agree with its manifest.
///
/// Never changes; any number of threads may use it. It holds no open file.
public final class VeraBundle: @unchecked Sendable {
  /// What the manifest says, in numbers. 0: does not apply.
  public struct Info: Sendable, Equatable {
    /// Side of the picture that the vision tower takes, in pixels.
    public let imageSize: Int
    public let imageTokens: Int
    public let hiddenSize: Int
    public let vocabularySize: Int
    /// Positions of the cache.
    public let maxLength: Int
    /// Most tokens of one step.
    public let prefillTokens: Int
    public let latentSize: Int
    /// Side of the reference encoder's pictures; 0: the bundle has none.
    public let referenceSize: Int
    public let fileCount: Int
    public let sizeBytes: Int64
  }

  public let folder: URL
  public let info: Info
  let handle: OpaquePointer

  /// Opens and checks `folder`; reads all of it once, on the calling thread.
  ///
  /// - Parameters:
  ///   - folder: that `vera export` wrote.
  ///   - cancel: stops the reading within 1 MiB.
  ///   - onProgress: bytes read and bytes in all.
  /// - Throws: `fileError`: no such folder; `bundleError`: the first defect;
  ///   `bundleVersionError`: of a newer release; CancellationError.
  public init(
    folder: URL, cancel: CancelFlag? = nil,
    onProgress: ((_ doneBytes: Int64, _ totalBytes: Int64) -> Void)? = nil
  ) throws {
    var opened: OpaquePointer?
    try withProgress(onProgress) { progress, user in
      try checked {
        vera_bundle_open(folder.path, cancel?.pointer, progress, user, &opened, $0)
      }
    }
    guard let opened else {
      throw VeraError(.internalError, "The bundle was not opened: please report this.")
    }
    self.folder = folder
    handle = opened
    info = Self.readInfo(opened)
  }

  deinit { vera_bundle_close(handle) }

  /// "name", "recipe", "created_by", "commit", "family", "backend" or "manifest" (JSON text).
  public func text(_ key: String) -> String? {
    vera_bundle_text(handle, key).map { String(cString: $0) }
  }

  public var name: String { text("name") ?? "" }
  public var recipe: String { text("recipe") ?? "" }
  /// "xnnpack", "coreml", "onnx".
  public var backend: String { text("backend") ?? "" }

  /// The file that holds a program ("vision", "embed", "decoder", "head", "reference", "bake") or
  /// another file of the manifest, checked again if it changed, and the method to call in it.
  public func program(_ name: String) throws -> (file: URL, method: String) {
    var path = [CChar](repeating: 0, count: 4096)
    var method: UnsafePointer<CChar>?
    try checked { vera_bundle_program(handle, name, &path, path.count, &method, $0) }
    let text = path.withUnsafeBytes { bytes in
      String(decoding: bytes.prefix { $0 != 0 }, as: UTF8.self)
    }
    return (URL(fileURLWithPath: text), method.map { String(cString: $0) } ?? "forward")
  }

  private static func readInfo(_ handle: OpaquePointer) -> Info {
    var info = vera_bundle_info()
    info.struct_size = MemoryLayout<vera_bundle_info>.size
    // cannot fail on a bundle that is open; zeros say that nothing is known
    _ = vera_bundle_get_info(handle, &info)
    return Info(
      imageSize: Int(info.image_size), imageTokens: Int(info.image_tokens),
      hiddenSize: Int(info.hidden_size), vocabularySize: Int(info.vocab_size),
      maxLength: Int(info.max_length), prefillTokens: Int(info.prefill_tokens),
      latentSize: Int(info.latent_size), referenceSize: Int(info.reference_size),
      fileCount: Int(info.file_count), sizeBytes: info.size_bytes)
  }
}

private final class ProgressBox {
  let call: (Int64, Int64) -> Void
  init(_ call: @escaping (Int64, Int64) -> Void) { self.call = call }
}

/// Calls `body` with `progress` as a C function and its context, both nil where it is nil.
func withProgress<Result>(
  _ progress: ((Int64, Int64) -> Void)?,
  _ body: (vera_progress?, UnsafeMutableRawPointer?) throws -> Result
) rethrows -> Result {
  guard let progress else { return try body(nil, nil) }
  return try withoutActuallyEscaping(progress) { escapable in
    let box = ProgressBox(escapable)
    defer { withExtendedLifetime(box) {} }
    let function: vera_progress = { user, done, total in
      guard let user else { return }
      Unmanaged<ProgressBox>.fromOpaque(user).takeUnretainedValue().call(done, total)
    }
    return try body(function, Unmanaged.passUnretained(box).toOpaque())
  }
}
