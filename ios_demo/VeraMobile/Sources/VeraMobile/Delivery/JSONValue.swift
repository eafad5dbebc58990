import Foundation

/// JSON whose missing figures are null, as benchmark files have them.
enum JSONValue: Sendable, Equatable, Encodable {
  case null
  case number(Double)
  case integer(Int64)
  case string(String)
  case array([JSONValue])
  case object([String: JSONValue])

  static func optional(_ value: Double?) -> JSONValue {
    value.map { $0.isFinite ? .number($0) : .null } ?? .null
  }

  static func optional(_ value: String?) -> JSONValue { value.map { .string($0) } ?? .null }

  func encode(to encoder: any Encoder) throws {
    var container = encoder.singleValueContainer()
    switch self {
    case .null: try container.encodeNil()
    case .number(let value): try container.encode(value)
    case .integer(let value): try container.encode(value)
    case .string(let value): try container.encode(value)
    case .array(let values): try container.encode(values)
    case .object(let values): try container.encode(values)
    }
  }

  /// Keys sorted, so that equal values are equal bytes.
  func data() throws -> Data {
    let encoder = JSONEncoder()
    encoder.outputFormatting = [.sortedKeys, .prettyPrinted, .withoutEscapingSlashes]
    return try encoder.encode(self)
  }
}
