@_exported import Darwin

public enum MLMultiArrayDataType: Int, Sendable { case float16, float32, double, int32 }
public enum MLComputeUnits: Int, Sendable { case cpuOnly, cpuAndGPU, all, cpuAndNeuralEngine }
public protocol MLShapedArrayScalar {}
extension Float: MLShapedArrayScalar {}
extension Int32: MLShapedArrayScalar {}

public final class MLMultiArray {
  public init(shape: [NSNumber], dataType: MLMultiArrayDataType) throws {}
  public init(
    dataPointer: UnsafeMutableRawPointer, shape: [NSNumber], dataType: MLMultiArrayDataType,
    strides: [NSNumber], deallocator: ((UnsafeMutableRawPointer) -> Void)?
  ) throws {}
  public var dataType: MLMultiArrayDataType { .float32 }
  public var shape: [NSNumber] { [] }
  public var strides: [NSNumber] { [] }
  public var count: Int { 0 }
  public func withUnsafeBytes<R>(_ body: (UnsafeRawBufferPointer) throws -> R) rethrows -> R {
    fatalError("stub")
  }
  public func withUnsafeMutableBytes<R>(
    _ body: (UnsafeMutableRawBufferPointer, [Int]) throws -> R
  ) rethrows -> R { fatalError("stub") }
  public func withUnsafeBufferPointer<S: MLShapedArrayScalar, R>(
    ofType type: S.Type, _ body: (UnsafeBufferPointer<S>) throws -> R
  ) rethrows -> R { fatalError("stub") }
}

public final class MLFeatureValue {
  public var multiArrayValue: MLMultiArray? { nil }
}
public protocol MLFeatureProvider {
  func featureValue(for featureName: String) -> MLFeatureValue?
}
public final class MLDictionaryFeatureProvider: MLFeatureProvider {
  public init(dictionary: [String: Any]) throws {}
  public func featureValue(for featureName: String) -> MLFeatureValue? { nil }
}
public final class MLMultiArrayConstraint {
  public var shape: [NSNumber] { [] }
}
public final class MLFeatureDescription {
  public var multiArrayConstraint: MLMultiArrayConstraint? { nil }
}
public final class MLModelDescription {
  public var inputDescriptionsByName: [String: MLFeatureDescription] { [:] }
  public var stateDescriptionsByName: [String: MLFeatureDescription] { [:] }
}
public final class MLModelConfiguration {
  public init() {}
  public var computeUnits: MLComputeUnits = .all
  public var functionName: String?
}
public final class MLState {}
public final class MLModel {
  public init(contentsOf url: URL, configuration: MLModelConfiguration) throws {}
  public class func compileModel(
    at modelURL: URL,
    completionHandler handler: @escaping @Sendable (Result<URL, any Error>) -> Void
  ) {}
  public var modelDescription: MLModelDescription { fatalError("stub") }
  public func makeState() -> MLState { fatalError("stub") }
  public func prediction(from input: any MLFeatureProvider) throws -> any MLFeatureProvider {
    fatalError("stub")
  }
  public func prediction(from input: any MLFeatureProvider, using state: MLState) throws
    -> any MLFeatureProvider
  { fatalError("stub") }
}
