@_exported import Darwin

public final class CGColorSpace {
  public static let sRGB: CFString = ""
  public static let displayP3: CFString = ""
  public static let adobeRGB1998: CFString = ""
  public static let itur_2020_sRGBGamma: CFString = ""
  public init?(name: CFString) {}
  public init?(iccData: CFData) {}
  public var name: CFString? { nil }
  public var isWideGamutRGB: Bool { false }
  public func copyICCData() -> CFData? { nil }
}

public enum CGImageAlphaInfo: UInt32 {
  case none, premultipliedLast, premultipliedFirst, last, first, noneSkipLast, noneSkipFirst
}

public struct CGBitmapInfo: OptionSet, Sendable {
  public let rawValue: UInt32
  public init(rawValue: UInt32) { self.rawValue = rawValue }
  public static let byteOrder16Little = CGBitmapInfo(rawValue: 1)
  public static let byteOrder32Little = CGBitmapInfo(rawValue: 2)
  public static let floatComponents = CGBitmapInfo(rawValue: 4)
}

public enum CGColorRenderingIntent: Int32 { case defaultIntent }
public enum CGInterpolationQuality: Int32 { case `default`, none }

public final class CGDataProvider {
  public init?(data: CFData) {}
}

public final class CGImage {
  public init?(
    width: Int, height: Int, bitsPerComponent: Int, bitsPerPixel: Int, bytesPerRow: Int,
    space: CGColorSpace, bitmapInfo: CGBitmapInfo, provider: CGDataProvider,
    decode: UnsafePointer<CGFloat>?, shouldInterpolate: Bool, intent: CGColorRenderingIntent
  ) {}
  public var width: Int { 0 }
  public var height: Int { 0 }
  public var bitsPerComponent: Int { 0 }
  public var colorSpace: CGColorSpace? { nil }
  public var alphaInfo: CGImageAlphaInfo { .none }
}

public struct CGAffineTransform: Sendable {
  public init(a: CGFloat, b: CGFloat, c: CGFloat, d: CGFloat, tx: CGFloat, ty: CGFloat) {}
  public static let identity = CGAffineTransform(a: 1, b: 0, c: 0, d: 1, tx: 0, ty: 0)
}

public final class CGContext {
  public init?(
    data: UnsafeMutableRawPointer?, width: Int, height: Int, bitsPerComponent: Int,
    bytesPerRow: Int, space: CGColorSpace, bitmapInfo: UInt32
  ) {}
  public var interpolationQuality: CGInterpolationQuality = .default
  public func concatenate(_ transform: CGAffineTransform) {}
  public func draw(_ image: CGImage, in rect: CGRect) {}
}
