import CVera
import Foundation

/// SHA-256 of bytes in any portions.
struct StreamHash {
  private let handle: OpaquePointer

  init() throws {
    guard let made = cvera_hash_create() else {
      throw VeraError(.outOfMemory, "No memory for a checksum: close other apps.")
    }
    handle = made
  }

  func update(_ data: Data) {
    data.withUnsafeBytes { bytes in
      if let base = bytes.baseAddress { cvera_hash_update(handle, base, bytes.count) }
    }
  }

  /// 64 lower-case digits. Must be called once, and last: it gives the memory back.
  func finish() -> String {
    var digits = [CChar](repeating: 0, count: 65)
    cvera_hash_finish(handle, &digits)
    return digits.withUnsafeBytes { String(decoding: $0.prefix { $0 != 0 }, as: UTF8.self) }
  }

  static func of(_ data: Data) throws -> String {
    let hash = try StreamHash()
    hash.update(data)
    return hash.finish()
  }

  /// Of a file, read in portions of 1 MiB. nil where it cannot be read.
  static func of(file: URL) throws -> String? {
    guard let reader = FileHandle(forReadingAtPath: file.path) else { return nil }
    let hash = try StreamHash()
    var failed = false
    do {
      while let part = try reader.read(upToCount: 1 << 20), !part.isEmpty { hash.update(part) }
    } catch {
      failed = true
    }
    let digits = hash.finish()
    return failed ? nil : digits
  }
}
