@_exported import Darwin

public protocol Scalar {}
extension Float: Scalar {}
extension Int64: Scalar {}

public protocol ValueConvertible {
  func asValue() -> Value
}
public final class Value: ValueConvertible {
  public func asValue() -> Value { self }
  public func tensor<T: Scalar>() -> Tensor<T>? { nil }
}
public enum ShapeDynamism { case dynamicBound }
public final class Tensor<T: Scalar>: ValueConvertible {
  public init(
    _ scalars: [T], shape: [Int] = [], strides: [Int] = [], dimensionOrder: [Int] = [],
    shapeDynamism: ShapeDynamism = .dynamicBound
  ) { fatalError("stub") }
  public init() {}
  public var count: Int { 0 }
  public func asValue() -> Value { fatalError("stub") }
  public func scalars() -> [T] { [] }
  public func withUnsafeBytes<R>(_ body: (UnsafeBufferPointer<T>) throws -> R) rethrows -> R {
    fatalError("stub")
  }
}
public enum ModuleLoadMode { case file, mmap }
public final class Module {
  public init(filePath: String, loadMode: ModuleLoadMode) {}
  public func execute(_ method: String, _ inputs: [any ValueConvertible]) throws -> [Value] { [] }
}
