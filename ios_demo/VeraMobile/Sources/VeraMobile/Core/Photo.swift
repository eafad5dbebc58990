import CVera
import Foundation

/// How the samples of a photo lie in memory; 16-bit values use their whole range for [0, 1].
public enum PixelFormat: Int32, Sendable, CaseIterable {
  case rgb8 = 0
  case rgba8 = 1
  case rgb16 = 2
  case rgba16 = 3
  case rgbF32 = 4
  case rgbaF32 = 5
  case bgra8 = 6
  /// 32 bits: red in bits 0..9, green 10..19, blue 20..29, alpha 30..31.
  case rgb10a2 = 7
  case rgbF16 = 8
  case rgbaF16 = 9

  public var bytesPerPixel: Int {
    switch self {
    case .rgb8: 3
    case .rgba8, .bgra8, .rgb10a2: 4
    case .rgb16, .rgbF16: 6
    case .rgba16, .rgbaF16: 8
    case .rgbF32: 12
    case .rgbaF32: 16
    }
  }

  public var isFloat: Bool {
    switch self {
    case .rgbF32, .rgbaF32, .rgbF16, .rgbaF16: true
    default: false
    }
  }
}

/// Colour space of a photo's encoded RGB. The look acts on these values as they are; the model sees
/// them converted to sRGB.
public enum PhotoColorSpace: Int32, Sendable, CaseIterable {
  case sRGB = 0
  case displayP3 = 1
  case adobeRGB = 2
  /// BT.2020 primaries with sRGB's transfer function.
  case bt2020 = 3
}

/// Upright pixels with their colour space and what else the file held. A value: nothing changes
/// the pixels of a photo that exists.
public struct Photo: Sendable {
  public let width: Int
  public let height: Int
  public let format: PixelFormat
  public let colorSpace: PhotoColorSpace
  public let rowStrideBytes: Int
  /// Profile, metadata and gain map, kept for the results.
  public var extras: PhotoExtras
  let storage: PixelStorage

  /// Copies `pixels`: rows of `rowStrideBytes` (nil: without gaps), of which the last may be short.
  ///
  /// - Throws: `invalidArgument` for a size below 1 or too few bytes; `outOfMemory`.
  public init(
    width: Int, height: Int, format: PixelFormat, pixels: Data,
    colorSpace: PhotoColorSpace = .sRGB, rowStrideBytes: Int? = nil,
    extras: PhotoExtras = PhotoExtras()
  ) throws {
    let row = width * format.bytesPerPixel
    let stride = rowStrideBytes ?? row
    try Self.checkSize(width: width, height: height)
    guard stride >= row, pixels.count >= stride * (height - 1) + row else {
      throw VeraError(
        .invalidArgument,
        "\(pixels.count) bytes with \(stride) a row are too few for \(width) x \(height) "
          + "\(format): give at least \(row) a row and all rows.")
    }
    try self.init(
      width: width, height: height, format: format, colorSpace: colorSpace, extras: extras)
    let target = storage.pointer
    let ownStride = self.rowStrideBytes
    pixels.withUnsafeBytes { source in
      guard let base = source.baseAddress else { return }
      for y in 0..<height {
        (target + y * ownStride).copyMemory(from: base + y * stride, byteCount: row)
      }
    }
  }

  /// A photo of zeros without gaps between rows, for code that fills it before anybody else sees it.
  init(
    width: Int, height: Int, format: PixelFormat, colorSpace: PhotoColorSpace, extras: PhotoExtras
  ) throws {
    try Self.checkSize(width: width, height: height)
    rowStrideBytes = width * format.bytesPerPixel
    storage = try PixelStorage(byteCount: rowStrideBytes * height)
    self.width = width
    self.height = height
    self.format = format
    self.colorSpace = colorSpace
    self.extras = extras
  }

  /// The same size, colour space and extras, with pixels of zeros in `format`.
  func emptyCopy(format: PixelFormat? = nil) throws -> Photo {
    try Photo(
      width: width, height: height, format: format ?? self.format, colorSpace: colorSpace,
      extras: extras)
  }

  /// Rows without gaps.
  public var pixels: Data { Data(bytes: storage.pointer, count: storage.byteCount) }

  func withFrame<Result>(_ body: (UnsafePointer<vera_frame>) throws -> Result) rethrows -> Result {
    var frame = vera_frame()
    frame.struct_size = MemoryLayout<vera_frame>.size
    frame.format = format.rawValue
    frame.width = Int64(width)
    frame.height = Int64(height)
    frame.planes.0 = storage.pointer
    frame.row_stride_bytes.0 = rowStrideBytes
    return try withExtendedLifetime(storage) { try withUnsafePointer(to: &frame, body) }
  }

  private static let maxSide = 65_535

  private static func checkSize(width: Int, height: Int) throws {
    guard (1...maxSide).contains(width), (1...maxSide).contains(height) else {
      throw VeraError(
        .invalidArgument, "Size \(width) x \(height) not allowed: use 1..\(maxSide) pixels a side.")
    }
  }
}

/// What a photo's file holds beside its pixels, as bytes, so that the result keeps it.
public struct PhotoExtras: Sendable, Equatable {
  /// The ICC profile, if it is not one of `PhotoColorSpace` alone.
  public var iccProfile: Data?
  /// EXIF, IPTC and XMP as one XMP packet, orientation already applied.
  public var metadata: Data?
  public var gainMap: GainMap?
  /// Uniform type of the file, such as "public.heic".
  public var fileType: String?

  public init(
    iccProfile: Data? = nil, metadata: Data? = nil, gainMap: GainMap? = nil,
    fileType: String? = nil
  ) {
    self.iccProfile = iccProfile
    self.metadata = metadata
    self.gainMap = gainMap
    self.fileType = fileType
  }
}

/// What becomes of the HDR gain map of a photo. A look changes the standard picture; the map, which
/// says how much brighter each place of it may shine on an HDR screen, stays as it was.
public enum GainMapPolicy: Sendable, CaseIterable {
  /// The result has the photo's own map: HDR screens go on showing highlights brighter, from the
  /// new colours. Right for small changes of exposure.
  case keep
  /// The result has no map and looks the same on every screen.
  case drop
}

/// A gain map as the file holds it.
public struct GainMap: Sendable, Equatable {
  /// Which of the system's kinds of auxiliary data it is.
  public let kind: String
  public let pixels: Data
  /// A property list.
  public let description: Data
  public let metadata: Data?
}

/// Memory of a photo's pixels: whole pages of zeros, so that a GPU can read and write it where it
/// lies. Written only before the photo is given to anybody.
final class PixelStorage: @unchecked Sendable {
  let pointer: UnsafeMutableRawPointer
  /// Of the pixels; the memory goes on to the end of its last page.
  let byteCount: Int
  let mappedBytes: Int

  init(byteCount: Int) throws {
    let page = Int(sysconf(Int32(_SC_PAGESIZE)))
    mappedBytes = max(1, (byteCount + page - 1) / page) * page
    let memory = mmap(
      nil, mappedBytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0)
    guard let memory, memory != MAP_FAILED else {
      throw VeraError(
        .outOfMemory, "\(byteCount) bytes for a photo are not to be had: close others.")
    }
    pointer = memory
    self.byteCount = byteCount
  }

  deinit { munmap(pointer, mappedBytes) }
}
