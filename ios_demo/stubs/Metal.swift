@_exported import Darwin

public struct MTLSize: Sendable {
  public init(width: Int, height: Int, depth: Int) {}
}
public struct MTLResourceOptions: OptionSet, Sendable {
  public let rawValue: UInt
  public init(rawValue: UInt) { self.rawValue = rawValue }
  public static let storageModeShared = MTLResourceOptions(rawValue: 1)
}
public enum MTLMathMode: Int, Sendable { case safe, relaxed, fast }
public final class MTLCompileOptions {
  public init() {}
  public var mathMode: MTLMathMode = .fast
}
public protocol MTLFunction {}
public protocol MTLLibrary {
  func makeFunction(name: String) -> (any MTLFunction)?
}
public protocol MTLComputePipelineState {}
public protocol MTLBuffer: AnyObject {
  func contents() -> UnsafeMutableRawPointer
}
public protocol MTLComputeCommandEncoder {
  func setComputePipelineState(_ state: any MTLComputePipelineState)
  func setBytes(_ bytes: UnsafeRawPointer, length: Int, index: Int)
  func setBuffer(_ buffer: (any MTLBuffer)?, offset: Int, index: Int)
  func dispatchThreadgroups(_ groups: MTLSize, threadsPerThreadgroup: MTLSize)
  func endEncoding()
}
public protocol MTLCommandBuffer {
  func makeComputeCommandEncoder() -> (any MTLComputeCommandEncoder)?
  func commit()
  func waitUntilCompleted()
  var error: (any Error)? { get }
}
public protocol MTLCommandQueue {
  func makeCommandBuffer() -> (any MTLCommandBuffer)?
}
public protocol MTLDevice {
  var name: String { get }
  func makeCommandQueue() -> (any MTLCommandQueue)?
  func makeLibrary(source: String, options: MTLCompileOptions?) throws -> any MTLLibrary
  func makeComputePipelineState(function: any MTLFunction) throws -> any MTLComputePipelineState
  func makeBuffer(length: Int, options: MTLResourceOptions) -> (any MTLBuffer)?
  func makeBuffer(
    bytesNoCopy pointer: UnsafeMutableRawPointer, length: Int, options: MTLResourceOptions,
    deallocator: ((UnsafeMutableRawPointer, Int) -> Void)?
  ) -> (any MTLBuffer)?
}
public func MTLCreateSystemDefaultDevice() -> (any MTLDevice)? { nil }
