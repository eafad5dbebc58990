#if canImport(ImageIO)
  import CoreGraphics
  import Foundation
  import ImageIO

  /// Files that photos are written as.
  public enum PhotoFileType: String, Sendable, CaseIterable {
    case jpeg = "public.jpeg"
    case heic = "public.heic"
    case png = "public.png"
    case tiff = "public.tiff"
  }

  extension Photo {
    private static var gainMapKinds: [CFString] {
      [kCGImageAuxiliaryDataTypeHDRGainMap, kCGImageAuxiliaryDataTypeISOGainMap]
    }

    /// A photo from the bytes of a JPEG, HEIC, PNG or TIFF file, made upright, with its profile,
    /// metadata and gain map.
    ///
    /// - Throws: `unsupportedFormat` for other files and for animated ones; `fileError` for damaged
    ///   ones.
    public init(data: Data) throws {
      let options = [kCGImageSourceShouldCache: false] as CFDictionary
      guard let source = CGImageSourceCreateWithData(data as CFData, options),
        let type = CGImageSourceGetType(source) as String?,
        PhotoFileType(rawValue: type) != nil
      else {
        let known = PhotoFileType.allCases.map { "\($0)" }.joined(separator: ", ")
        throw VeraError(.unsupportedFormat, "This file is no photo that is read: use \(known).")
      }
      guard CGImageSourceGetCount(source) == 1 || type == PhotoFileType.heic.rawValue else {
        throw VeraError(.unsupportedFormat, "This file holds several pictures: use a still photo.")
      }
      guard let image = CGImageSourceCreateImageAtIndex(source, 0, options) else {
        throw VeraError(.fileError, "This photo is damaged: copy the file again.")
      }
      let facts = CGImageSourceCopyPropertiesAtIndex(source, 0, nil) as? [CFString: Any]
      let orientation = (facts?[kCGImagePropertyOrientation] as? NSNumber)?.intValue ?? 1
      var extras = PhotoExtras(fileType: type)
      extras.metadata = CGImageSourceCopyMetadataAtIndex(source, 0, nil)
        .flatMap { CGImageMetadataCreateXMPData($0, nil) as Data? }
      // a map would have to be turned with its photo, and then with what its description says
      if orientation == 1 { extras.gainMap = Self.gainMap(of: source) }
      try self.init(cgImage: image, orientation: orientation, extras: extras)
    }

    /// The bytes of a file with profile and metadata of the photo.
    ///
    /// - Parameters:
    ///   - quality: of JPEG and HEIC, 0..1.
    ///   - gainMap: what becomes of an HDR gain map; PNG and TIFF have none.
    /// - Throws: `unsupportedFormat` where the system cannot write the type.
    public func encoded(
      as type: PhotoFileType, quality: Double = 0.95, gainMap policy: GainMapPolicy = .keep
    ) throws -> Data {
      let data = NSMutableData()
      guard
        let target = CGImageDestinationCreateWithData(data, type.rawValue as CFString, 1, nil)
      else {
        throw VeraError(.unsupportedFormat, "This device cannot write \(type): use jpeg or png.")
      }
      let options: [CFString: Any] = [
        kCGImageDestinationLossyCompressionQuality: min(1, max(0, quality)),
        kCGImagePropertyOrientation: 1,
      ]
      CGImageDestinationAddImageAndMetadata(
        target, try cgImage(), uprightMetadata(), options as CFDictionary)
      if policy == .keep, let map = extras.gainMap, type == .jpeg || type == .heic {
        add(map, to: target)
      }
      guard CGImageDestinationFinalize(target) else {
        throw VeraError(.unsupportedFormat, "\(type) was not written: use jpeg or png.")
      }
      return Data(referencing: data)
    }

    /// The photo's metadata without its orientation, which is applied already.
    private func uprightMetadata() -> CGImageMetadata? {
      guard let packet = extras.metadata,
        let read = CGImageMetadataCreateFromXMPData(packet as CFData),
        let metadata = CGImageMetadataCreateMutableCopy(read)
      else { return nil }
      CGImageMetadataRemoveTagWithPath(metadata, nil, "tiff:Orientation" as CFString)
      return metadata
    }

    private static func gainMap(of source: CGImageSource) -> GainMap? {
      for kind in gainMapKinds {
        let info = CGImageSourceCopyAuxiliaryDataInfoAtIndex(source, 0, kind) as? [CFString: Any]
        guard let info, let pixels = info[kCGImageAuxiliaryDataInfoData] as? Data,
          let facts = info[kCGImageAuxiliaryDataInfoDataDescription] as? [String: Any],
          let description = try? PropertyListSerialization.data(
            fromPropertyList: facts, format: .binary, options: 0)
        else { continue }
        var packet: Data?
        if let value = info[kCGImageAuxiliaryDataInfoMetadata] {
          let object = value as AnyObject
          if CFGetTypeID(object) == CGImageMetadataGetTypeID() {
            let metadata = unsafeDowncast(object, to: CGImageMetadata.self)
            packet = CGImageMetadataCreateXMPData(metadata, nil) as Data?
          }
        }
        return GainMap(
          kind: kind as String, pixels: pixels, description: description, metadata: packet)
      }
      return nil
    }

    private func add(_ map: GainMap, to target: CGImageDestination) {
      let read = try? PropertyListSerialization.propertyList(
        from: map.description, options: [], format: nil)
      guard let description = read as? [String: Any] else { return }
      var info: [CFString: Any] = [
        kCGImageAuxiliaryDataInfoData: map.pixels as CFData,
        kCGImageAuxiliaryDataInfoDataDescription: description as CFDictionary,
      ]
      if let packet = map.metadata,
        let metadata = CGImageMetadataCreateFromXMPData(packet as CFData)
      {
        info[kCGImageAuxiliaryDataInfoMetadata] = metadata
      }
      CGImageDestinationAddAuxiliaryDataInfo(target, map.kind as CFString, info as CFDictionary)
    }
  }
#endif
