#if canImport(CoreVideo)
  import CVera
  import CoreVideo
  import Foundation

  extension Photo {
    /// A photo from a frame of the camera: 32BGRA, 64RGBAHalf, or 4:2:0 with 8 or 10 bits in video or
    /// full range. 10 bits become 16.
    ///
    /// - Throws: `unsupportedFormat` for other formats.
    public init(pixelBuffer buffer: CVPixelBuffer, colorSpace: PhotoColorSpace = .sRGB) throws {
      let layout = try Self.layout(of: buffer)
      guard CVPixelBufferLockBaseAddress(buffer, .readOnly) == kCVReturnSuccess else {
        throw VeraError(.fileError, "The frame cannot be read: copy it first.")
      }
      defer { CVPixelBufferUnlockBaseAddress(buffer, .readOnly) }
      var frame = vera_frame()
      frame.struct_size = MemoryLayout<vera_frame>.size
      frame.format = layout.source
      frame.yuv_range = layout.range
      frame.yuv_matrix = Self.matrix(of: buffer)
      frame.width = Int64(CVPixelBufferGetWidth(buffer))
      frame.height = Int64(CVPixelBufferGetHeight(buffer))
      if CVPixelBufferIsPlanar(buffer) {
        frame.planes.0 = CVPixelBufferGetBaseAddressOfPlane(buffer, 0)
        frame.planes.1 = CVPixelBufferGetBaseAddressOfPlane(buffer, 1)
        frame.row_stride_bytes.0 = CVPixelBufferGetBytesPerRowOfPlane(buffer, 0)
        frame.row_stride_bytes.1 = CVPixelBufferGetBytesPerRowOfPlane(buffer, 1)
      } else {
        frame.planes.0 = CVPixelBufferGetBaseAddress(buffer)
        frame.row_stride_bytes.0 = CVPixelBufferGetBytesPerRow(buffer)
      }
      try self.init(converting: &frame, to: layout.result, colorSpace: colorSpace)
    }

    /// A new frame of a photo in bgra8 or rgbaF16.
    ///
    /// - Throws: `unsupportedFormat` for other formats; `outOfMemory`.
    public func pixelBuffer() throws -> CVPixelBuffer {
      let types: [PixelFormat: OSType] = [
        .bgra8: kCVPixelFormatType_32BGRA, .rgbaF16: kCVPixelFormatType_64RGBAHalf,
      ]
      guard let type = types[format] else {
        throw VeraError(
          .unsupportedFormat, "A frame of \(format) is not made: use bgra8 or rgbaF16.")
      }
      var made: CVPixelBuffer?
      let status = CVPixelBufferCreate(nil, width, height, type, nil, &made)
      guard status == kCVReturnSuccess, let made,
        CVPixelBufferLockBaseAddress(made, []) == kCVReturnSuccess
      else { throw VeraError(.outOfMemory, "No memory for a frame of \(width) x \(height).") }
      defer { CVPixelBufferUnlockBaseAddress(made, []) }
      guard let target = CVPixelBufferGetBaseAddress(made) else {
        throw VeraError(.outOfMemory, "No memory for a frame of \(width) x \(height).")
      }
      let stride = CVPixelBufferGetBytesPerRow(made)
      for y in 0..<height {
        (target + y * stride).copyMemory(
          from: storage.pointer + y * rowStrideBytes, byteCount: rowStrideBytes)
      }
      return made
    }

    private struct Layout {
      let source: Int32
      let range: Int32
      let result: PixelFormat
    }

    private static func layout(of buffer: CVPixelBuffer) throws -> Layout {
      let nv12 = Int32(VERA_PIXEL_FORMAT_NV12)
      let p010 = Int32(VERA_PIXEL_FORMAT_P010)
      let full = Int32(VERA_YUV_RANGE_FULL)
      let video = Int32(VERA_YUV_RANGE_VIDEO)
      switch CVPixelBufferGetPixelFormatType(buffer) {
      case kCVPixelFormatType_32BGRA:
        return Layout(source: PixelFormat.bgra8.rawValue, range: 0, result: .bgra8)
      case kCVPixelFormatType_64RGBAHalf:
        return Layout(source: PixelFormat.rgbaF16.rawValue, range: 0, result: .rgbaF16)
      case kCVPixelFormatType_420YpCbCr8BiPlanarFullRange:
        return Layout(source: nv12, range: full, result: .bgra8)
      case kCVPixelFormatType_420YpCbCr8BiPlanarVideoRange:
        return Layout(source: nv12, range: video, result: .bgra8)
      case kCVPixelFormatType_420YpCbCr10BiPlanarFullRange:
        return Layout(source: p010, range: full, result: .rgba16)
      case kCVPixelFormatType_420YpCbCr10BiPlanarVideoRange:
        return Layout(source: p010, range: video, result: .rgba16)
      case let other:
        throw VeraError(
          .unsupportedFormat,
          "Frames of type \(other) are not read: use 32BGRA, 64RGBAHalf or 4:2:0 in two planes.")
      }
    }

    private static func matrix(of buffer: CVPixelBuffer) -> Int32 {
      let value = CVBufferCopyAttachment(buffer, kCVImageBufferYCbCrMatrixKey, nil) as? String
      if value == kCVImageBufferYCbCrMatrix_ITU_R_601_4 as String {
        return Int32(VERA_YUV_MATRIX_BT601)
      }
      let isWide = value == kCVImageBufferYCbCrMatrix_ITU_R_2020 as String
      return Int32(isWide ? VERA_YUV_MATRIX_BT2020 : VERA_YUV_MATRIX_BT709)
    }
  }
#endif
