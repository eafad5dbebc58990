#if canImport(CoreGraphics)
  import CoreGraphics
  import Foundation

  extension PhotoColorSpace {
    private static var names: [(PhotoColorSpace, CFString)] {
      [
        (.sRGB, CGColorSpace.sRGB), (.displayP3, CGColorSpace.displayP3),
        (.adobeRGB, CGColorSpace.adobeRGB1998), (.bt2020, CGColorSpace.itur_2020_sRGBGamma),
      ]
    }

    /// The space of that name; nil for any other.
    init?(_ space: CGColorSpace) {
      guard let name = space.name as String?,
        let found = Self.names.first(where: { $0.1 as String == name })
      else { return nil }
      self = found.0
    }

    func cgColorSpace() throws -> CGColorSpace {
      let name = Self.names.first { $0.0 == self }?.1
      guard let name, let space = CGColorSpace(name: name) else {
        throw VeraError(.unsupportedFormat, "This system has no colour space \(self).")
      }
      return space
    }
  }

  extension Photo {
    /// The pixels of an image, made upright. 8 bits stay 8 bits, more become 16.
    ///
    /// sRGB, Display P3, Adobe RGB and BT.2020 stay what they are; other spaces are converted to
    /// Display P3 where they are wide, else to sRGB.
    ///
    /// - Parameter orientation: as EXIF has it, 1..8.
    /// - Throws: `unsupportedFormat` for an image without colours; `outOfMemory`.
    public init(cgImage image: CGImage, orientation: Int = 1, extras: PhotoExtras = PhotoExtras())
      throws
    {
      guard (1...8).contains(orientation) else {
        throw VeraError(.invalidArgument, "Orientation \(orientation) not allowed: use 1..8.")
      }
      let own = image.colorSpace.flatMap { PhotoColorSpace($0) }
      let isWide = image.colorSpace?.isWideGamutRGB ?? false
      let space = own ?? (isWide ? .displayP3 : .sRGB)
      var kept = extras
      if own != nil { kept.iccProfile = image.colorSpace?.copyICCData() as Data? }
      let turned = orientation >= 5
      try self.init(
        width: turned ? image.height : image.width, height: turned ? image.width : image.height,
        format: image.bitsPerComponent > 8 ? .rgba16 : .rgba8, colorSpace: space, extras: kept)
      try draw(image, orientation: orientation)
    }

    /// The photo as an image; alpha is straight.
    public func cgImage() throws -> CGImage {
      let space =
        try extras.iccProfile.flatMap { CGColorSpace(iccData: $0 as CFData) }
        ?? colorSpace.cgColorSpace()
      let layout = try bitmapLayout
      guard let provider = CGDataProvider(data: pixels as CFData),
        let image = CGImage(
          width: width, height: height, bitsPerComponent: layout.bits,
          bitsPerPixel: format.bytesPerPixel * 8, bytesPerRow: rowStrideBytes, space: space,
          bitmapInfo: CGBitmapInfo(rawValue: layout.info), provider: provider, decode: nil,
          shouldInterpolate: false, intent: .defaultIntent)
      else {
        throw VeraError(
          .outOfMemory, "No memory for an image of \(width) x \(height): close others.")
      }
      return image
    }

    private var bitmapLayout: (bits: Int, info: UInt32) {
      get throws {
        let last = CGImageAlphaInfo.last.rawValue
        let none = CGImageAlphaInfo.none.rawValue
        let little16 = CGBitmapInfo.byteOrder16Little.rawValue
        let little32 = CGBitmapInfo.byteOrder32Little.rawValue
        let float = CGBitmapInfo.floatComponents.rawValue
        switch format {
        case .rgb8: return (8, none)
        case .rgba8: return (8, last)
        case .bgra8: return (8, CGImageAlphaInfo.first.rawValue | little32)
        case .rgb16: return (16, none | little16)
        case .rgba16: return (16, last | little16)
        case .rgbF16: return (16, none | little16 | float)
        case .rgbaF16: return (16, last | little16 | float)
        case .rgbF32: return (32, none | little32 | float)
        case .rgbaF32: return (32, last | little32 | float)
        case .rgb10a2:
          throw VeraError(.unsupportedFormat, "rgb10a2 is no format of CGImage: use rgba16.")
        }
      }
    }

    private func draw(_ image: CGImage, orientation: Int) throws {
      let isDeep = format == .rgba16
      let hasAlpha = ![.none, .noneSkipFirst, .noneSkipLast].contains(image.alphaInfo)
      let alpha = hasAlpha ? CGImageAlphaInfo.premultipliedLast : .noneSkipLast
      let order = isDeep ? CGBitmapInfo.byteOrder16Little.rawValue : 0
      let context = CGContext(
        data: storage.pointer, width: width, height: height, bitsPerComponent: isDeep ? 16 : 8,
        bytesPerRow: rowStrideBytes, space: try colorSpace.cgColorSpace(),
        bitmapInfo: alpha.rawValue | order)
      guard let context else {
        throw VeraError(.outOfMemory, "No memory to draw \(width) x \(height): close others.")
      }
      context.interpolationQuality = .none
      context.concatenate(
        Self.upright(orientation, width: CGFloat(width), height: CGFloat(height)))
      context.draw(image, in: CGRect(x: 0, y: 0, width: image.width, height: image.height))
      if isDeep {
        straighten(UInt16.self, hasAlpha: hasAlpha)
      } else {
        straighten(UInt8.self, hasAlpha: hasAlpha)
      }
    }

    /// What turns an image of an EXIF orientation upright, in a context of the turned size.
    private static func upright(_ orientation: Int, width: CGFloat, height: CGFloat)
      -> CGAffineTransform
    {
      switch orientation {
      case 2: CGAffineTransform(a: -1, b: 0, c: 0, d: 1, tx: width, ty: 0)
      case 3: CGAffineTransform(a: -1, b: 0, c: 0, d: -1, tx: width, ty: height)
      case 4: CGAffineTransform(a: 1, b: 0, c: 0, d: -1, tx: 0, ty: height)
      case 5: CGAffineTransform(a: 0, b: -1, c: -1, d: 0, tx: width, ty: height)
      case 6: CGAffineTransform(a: 0, b: -1, c: 1, d: 0, tx: 0, ty: height)
      case 7: CGAffineTransform(a: 0, b: 1, c: 1, d: 0, tx: 0, ty: 0)
      case 8: CGAffineTransform(a: 0, b: 1, c: -1, d: 0, tx: width, ty: 0)
      default: .identity
      }
    }

    /// Colours that a context has multiplied by alpha become straight; without alpha it becomes 1.
    private func straighten<Sample: FixedWidthInteger & UnsignedInteger>(
      _ type: Sample.Type, hasAlpha: Bool
    ) {
      let samples = storage.pointer.assumingMemoryBound(to: type)
      let one = UInt64(Sample.max)
      for pixel in 0..<(width * height) {
        let place = samples + 4 * pixel
        let alpha = UInt64(place[3])
        if !hasAlpha || alpha == one {
          place[3] = Sample.max
        } else if alpha > 0 {
          for channel in 0..<3 {
            let straight = (UInt64(place[channel]) * one + alpha / 2) / alpha
            place[channel] = Sample(min(one, straight))
          }
        }
      }
    }
  }
#endif
