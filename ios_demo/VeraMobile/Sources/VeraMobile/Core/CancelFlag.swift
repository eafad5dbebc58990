import CVera

/// A flag that the C library reads while it works. Any thread may set it, and it stays set.
public final class CancelFlag: @unchecked Sendable {
  /// 0, or 1 after `set()`; lives as long as this object.
  let pointer: UnsafeMutablePointer<Int32>

  public init() {
    pointer = .allocate(capacity: 1)
    pointer.initialize(to: 0)
  }

  deinit { pointer.deallocate() }

  public func set() { cvera_set_flag(pointer, 1) }

  public var isSet: Bool { cvera_get_flag(pointer) != 0 }

  /// Throws CancellationError if the flag is set.
  public func check() throws {
    if isSet { throw CancellationError() }
  }
}
