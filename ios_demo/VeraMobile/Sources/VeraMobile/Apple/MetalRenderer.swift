#if canImport(Metal)
  import CVera
  import Foundation
  import Metal

  /// Renders on the GPU with the generated Metal source: within one code of 8 bits of the CPU's
  /// result. Pixels are read and written where they lie.
  public final class MetalRenderer: Renderer, @unchecked Sendable {
    private let device: any MTLDevice
    private let queue: any MTLCommandQueue
    private let pipelines: [PixelFormat: any MTLComputePipelineState]
    private let conditions: WorkConditions

    private static let entryPoints: [PixelFormat: String] = [
      .rgba8: "renderRgba8", .bgra8: "renderRgba8", .rgbaF16: "renderRgbaF16",
      .rgbaF32: "renderRgbaF32",
    ]
    /// A dispatch takes some milliseconds at most: cancel is seen between two of them.
    private static let tilePixels = 1 << 20

    /// The system's GPU.
    ///
    /// - Throws: `unsupportedFormat` where there is none or it does not take the source.
    public convenience init() throws { try self.init(WorkConditions()) }

    init(_ conditions: WorkConditions) throws {
      guard let device = MTLCreateSystemDefaultDevice(), let queue = device.makeCommandQueue()
      else {
        throw VeraError(.unsupportedFormat, "This device has no GPU for Metal: render on the CPU.")
      }
      self.device = device
      self.queue = queue
      self.conditions = conditions
      do {
        pipelines = try Self.makePipelines(device)
      } catch {
        throw VeraError(
          .unsupportedFormat,
          "The GPU does not take the render source (\(error.localizedDescription)): render on the "
            + "CPU.")
      }
    }

    public var name: String { device.name }
    public var usesGPU: Bool { true }
    public func takes(_ format: PixelFormat) -> Bool { pipelines[format] != nil }

    public func render(
      _ request: RenderRequest, onProgress: ((Int64, Int64) -> Void)? = nil
    ) throws -> Photo {
      let photo = request.photo
      guard let pipeline = pipelines[photo.format] else {
        throw VeraError(
          .unsupportedFormat, "The GPU does not take \(photo.format): render on the CPU.")
      }
      let result = try photo.emptyCopy()
      let look = try pack(request)
      let source = try shared(photo.storage)
      let target = try shared(result.storage)
      let rows = max(1, Self.tilePixels / photo.width)
      for first in stride(from: 0, to: photo.height, by: rows) {
        try request.cancel.check()
        try conditions.waitUntilActive(cancel: request.cancel)
        let count = min(rows, photo.height - first)
        let tile = Tile(photo: photo, firstRow: first, rows: count)
        try run(pipeline, look, tile, source: source, target: target)
        onProgress?(Int64((first + count) * photo.width), Int64(photo.width * photo.height))
      }
      return result
    }

    private struct Tile {
      let photo: Photo
      let firstRow: Int
      let rows: Int
      var offset: Int { firstRow * photo.rowStrideBytes }
    }

    /// What the shader reads of a look.
    private struct PackedLook {
      let curves: any MTLBuffer
      let nodes: any MTLBuffer
      let outputCurves: any MTLBuffer
      let parameters: vera_shader_render_params
    }

    private static func makePipelines(
      _ device: any MTLDevice
    ) throws -> [PixelFormat: any MTLComputePipelineState] {
      let options = MTLCompileOptions()
      // the order of sums is part of the result
      options.mathMode = .safe
      let text = String(decoding: PackageResources.render_metal, as: UTF8.self)
      let library = try device.makeLibrary(source: text, options: options)
      return try entryPoints.compactMapValues { name in
        guard let function = library.makeFunction(name: name) else { return nil }
        return try device.makeComputePipelineState(function: function)
      }
    }

    private func pack(_ request: RenderRequest) throws -> PackedLook {
      try request.look.withCLook { look in
        let precision = vera_gpu_precision(VERA_GPU_PRECISION_FLOAT)
        var sizes = vera_shader_render_sizes()
        try request.check(vera_shader_render_size(look, precision, &sizes))
        let curves = try buffer(sizes.curves_bytes)
        let nodes = try buffer(sizes.nodes_bytes)
        let outputCurves = try buffer(sizes.output_curves_bytes)
        var options = request.cOptions()
        var parameters = vera_shader_render_params()
        try request.check(
          vera_shader_pack_render(
            look, &options, request.photo.format.rawValue, precision, curves.contents(),
            nodes.contents(), outputCurves.contents(), &parameters))
        return PackedLook(
          curves: curves, nodes: nodes, outputCurves: outputCurves, parameters: parameters)
      }
    }

    private func run(
      _ pipeline: any MTLComputePipelineState, _ look: PackedLook, _ tile: Tile,
      source: any MTLBuffer, target: any MTLBuffer
    ) throws {
      guard let commands = queue.makeCommandBuffer(),
        let encoder = commands.makeComputeCommandEncoder()
      else { throw VeraError(.outOfMemory, "The GPU has no room for work: render on the CPU.") }
      var parameters = look.parameters
      parameters.width = UInt32(tile.photo.width)
      parameters.height = UInt32(tile.rows)
      encoder.setComputePipelineState(pipeline)
      encoder.setBytes(&parameters, length: MemoryLayout.size(ofValue: parameters), index: 0)
      encoder.setBuffer(look.curves, offset: 0, index: 1)
      encoder.setBuffer(look.nodes, offset: 0, index: 2)
      encoder.setBuffer(look.outputCurves, offset: 0, index: 3)
      encoder.setBuffer(source, offset: tile.offset, index: 4)
      encoder.setBuffer(target, offset: tile.offset, index: 5)
      let group = MTLSize(width: 16, height: 8, depth: 1)
      let groups = MTLSize(
        width: (tile.photo.width + 15) / 16, height: (tile.rows + 7) / 8, depth: 1)
      encoder.dispatchThreadgroups(groups, threadsPerThreadgroup: group)
      encoder.endEncoding()
      commands.commit()
      commands.waitUntilCompleted()
      if let error = commands.error {
        throw VeraError(
          .internalError,
          "The GPU stopped (\(error.localizedDescription)): try again, or render on the CPU.")
      }
    }

    private func buffer(_ byteCount: Int) throws -> any MTLBuffer {
      guard let made = device.makeBuffer(length: byteCount, options: .storageModeShared) else {
        throw VeraError(.outOfMemory, "The GPU has no \(byteCount) bytes: render on the CPU.")
      }
      return made
    }

    /// The photo's own pages, without a copy.
    private func shared(_ storage: PixelStorage) throws -> any MTLBuffer {
      let made = device.makeBuffer(
        bytesNoCopy: storage.pointer, length: storage.mappedBytes, options: .storageModeShared,
        deallocator: nil)
      guard let made else {
        throw VeraError(
          .outOfMemory, "The GPU cannot take \(storage.byteCount) bytes: render on the CPU.")
      }
      return made
    }
  }
#endif
