import CVera
import Foundation

/// What went wrong: what failed, the value, what is allowed, what to do.
///
/// The codes are those of Python, Kotlin and the C library. A cancelled Swift task throws
/// `CancellationError` instead.
public struct VeraError: Error, Sendable, Equatable {
  /// Kinds of failure, with the numbers of `status_list.h`.
  public enum Code: Int32, Sendable, CaseIterable {
    case invalidArgument = 1
    case outOfMemory = 2
    case cancelled = 3
    case fileError = 4
    case bundleError = 5
    case bundleVersionError = 6
    case unsupportedFormat = 7
    case modelError = 8
    case internalError = 9
  }

  public let code: Code
  /// For people. Never holds a wish, an answer or pixels.
  public let message: String

  public init(_ code: Code, _ message: String) {
    self.code = code
    self.message = message
  }

  package static let closed = VeraError(
    .invalidArgument, "This retoucher is closed: make a new one with VeraRetoucher(bundle:).")
}

extension VeraError: LocalizedError, CustomStringConvertible {
  public var errorDescription: String? { message }
  public var description: String { "\(code): \(message)" }
}

extension vera_error {
  static var empty: vera_error {
    var error = vera_error()
    error.status = 0
    return error
  }

  var text: String {
    withUnsafeBytes(of: message) { bytes in
      String(decoding: bytes.prefix { $0 != 0 }, as: UTF8.self)
    }
  }

  /// Writes what `error` says, cut to the room that there is at a whole character.
  mutating func fill(code: VeraError.Code, message text: String) {
    status = code.rawValue
    var bytes: [UInt8] = []
    for character in text {
      let encoded = Array(String(character).utf8)
      if bytes.count + encoded.count >= Int(VERA_MESSAGE_BYTES) { break }
      bytes += encoded
    }
    withUnsafeMutableBytes(of: &message) { room in
      for index in room.indices { room[index] = index < bytes.count ? bytes[index] : 0 }
    }
  }
}

/// Calls a function of the C library and throws what it reports: `CancellationError` for
/// CANCELLED, else `VeraError`.
func checked(_ call: (UnsafeMutablePointer<vera_error>?) -> vera_status) throws {
  var error = vera_error.empty
  let status = withUnsafeMutablePointer(to: &error) { call($0) }
  try check(status, message: error.text)
}

/// Throws unless `status` is OK.
func check(_ status: vera_status, message: String = "") throws {
  if status == 0 { return }
  guard let code = VeraError.Code(rawValue: status) else {
    throw VeraError(.internalError, "Status \(status) is unknown: please report this.")
  }
  if code == .cancelled { throw CancellationError() }
  throw VeraError(code, message.isEmpty ? String(cString: vera_status_text(status)) : message)
}
