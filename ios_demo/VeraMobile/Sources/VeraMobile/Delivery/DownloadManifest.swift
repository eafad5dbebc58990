import Foundation

/// The part of bundle.json that a download needs: each file's path, size and SHA-256.
struct DownloadManifest: Sendable, Equatable {
  struct File: Sendable, Equatable, Decodable {
    let path: String
    let sha256: String
    let size_bytes: Int64  // swift-format-ignore: AlwaysUseLowerCamelCase
  }

  /// In the order of their paths.
  let files: [File]

  static let name = "bundle.json"
  /// As the C library and Python read.
  static let maxBytes: Int64 = 16 << 20

  var totalBytes: Int64 { files.reduce(0) { $0 + $1.size_bytes } }

  /// - Throws: `bundleError` for what is no manifest, and for paths that lead out of the folder.
  init(_ data: Data) throws {
    struct Record: Decodable { let files: [String: File] }
    let record: Record
    do {
      record = try JSONDecoder().decode(Record.self, from: data)
    } catch {
      throw VeraError(.bundleError, "bundle.json is no manifest of a bundle: export it again.")
    }
    files = record.files.values.sorted { $0.path < $1.path }
    var total: Int64 = 0
    for file in files {
      guard Self.isInside(file.path), file.path != Self.name else {
        throw VeraError(
          .bundleError,
          "bundle.json has the path '\(file.path)': a relative path inside the bundle is needed. "
            + "Do not use this bundle.")
      }
      let (sum, overflow) = total.addingReportingOverflow(file.size_bytes)
      guard file.size_bytes >= 0, !overflow else {
        throw VeraError(
          .bundleError, "bundle.json has the size \(file.size_bytes): export it again.")
      }
      total = sum
    }
  }

  static func isInside(_ path: String) -> Bool {
    let parts = path.split(separator: "/", omittingEmptySubsequences: false)
    let strange = path.contains { "\\:\0".contains($0) }
    return !path.isEmpty && !strange && parts.allSatisfy { !["", ".", ".."].contains($0) }
  }
}
