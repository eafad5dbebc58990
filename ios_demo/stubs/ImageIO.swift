import CoreGraphics

public final class CGImageSource {}
public final class CGImageDestination {}
public class CGImageMetadata {}
public final class CGMutableImageMetadata: CGImageMetadata {}

public let kCGImageSourceShouldCache: CFString = ""
public let kCGImagePropertyOrientation: CFString = ""
public let kCGImageDestinationLossyCompressionQuality: CFString = ""
public let kCGImageAuxiliaryDataTypeHDRGainMap: CFString = ""
public let kCGImageAuxiliaryDataTypeISOGainMap: CFString = ""
public let kCGImageAuxiliaryDataInfoData: CFString = ""
public let kCGImageAuxiliaryDataInfoDataDescription: CFString = ""
public let kCGImageAuxiliaryDataInfoMetadata: CFString = ""

public func CGImageSourceCreateWithData(_ data: CFData, _ options: CFDictionary?) -> CGImageSource?
{ nil }
public func CGImageSourceGetType(_ source: CGImageSource) -> CFString? { nil }
public func CGImageSourceGetCount(_ source: CGImageSource) -> Int { 0 }
public func CGImageSourceCreateImageAtIndex(
  _ source: CGImageSource, _ index: Int, _ options: CFDictionary?
) -> CGImage? { nil }
public func CGImageSourceCopyPropertiesAtIndex(
  _ source: CGImageSource, _ index: Int, _ options: CFDictionary?
) -> CFDictionary? { nil }
public func CGImageSourceCopyMetadataAtIndex(
  _ source: CGImageSource, _ index: Int, _ options: CFDictionary?
) -> CGImageMetadata? { nil }
public func CGImageSourceCopyAuxiliaryDataInfoAtIndex(
  _ source: CGImageSource, _ index: Int, _ kind: CFString
) -> CFDictionary? { nil }
public func CGImageMetadataCreateXMPData(
  _ metadata: CGImageMetadata, _ options: CFDictionary?
) -> CFData? { nil }
public func CGImageMetadataCreateFromXMPData(_ data: CFData) -> CGImageMetadata? { nil }
public func CGImageMetadataCreateMutableCopy(_ metadata: CGImageMetadata)
  -> CGMutableImageMetadata?
{ nil }
@discardableResult
public func CGImageMetadataRemoveTagWithPath(
  _ metadata: CGMutableImageMetadata, _ parent: AnyObject?, _ path: CFString
) -> Bool { false }
public func CGImageMetadataGetTypeID() -> CFTypeID { 0 }
public func CGImageDestinationCreateWithData(
  _ data: CFMutableData, _ type: CFString, _ count: Int, _ options: CFDictionary?
) -> CGImageDestination? { nil }
public func CGImageDestinationAddImageAndMetadata(
  _ target: CGImageDestination, _ image: CGImage, _ metadata: CGImageMetadata?,
  _ options: CFDictionary?
) {}
public func CGImageDestinationAddAuxiliaryDataInfo(
  _ target: CGImageDestination, _ kind: CFString, _ info: CFDictionary
) {}
public func CGImageDestinationFinalize(_ target: CGImageDestination) -> Bool { false }
