import CVera
import VeraMobileTesting
import XCTest

@testable import VeraMobile

/// Types that need no model.
final class ValueTests: XCTestCase {
  private static var root: URL {
    URL(fileURLWithPath: #filePath).deletingLastPathComponent()
      .appendingPathComponent("../../../..").standardizedFileURL
  }

  func testCodesAreThoseOfTheOneList() throws {
    let list = Self.root.appendingPathComponent("kernels/include/vera/status_list.h")
    let text = String(decoding: try Data(contentsOf: list), as: UTF8.self)
    let rows = text.split(separator: "\n").filter { $0.hasPrefix("VERA_STATUS(") }
    var listed: [String: Int32] = [:]
    for row in rows {
      let parts = row.dropFirst("VERA_STATUS(".count).split(separator: ",")
      let words = parts[0].split(separator: "_").map { $0.lowercased() }
      let name = words[0] + words.dropFirst().map(\.capitalized).joined()
      listed[name] = Int32(parts[1].trimmingCharacters(in: .whitespaces))
    }
    let ours = VeraError.Code.allCases.map { ("\($0)", $0.rawValue) }
    XCTAssertEqual(
      Dictionary(uniqueKeysWithValues: ours + [("ok", Int32(0))]), listed)
  }

  func testMessagesAreCutAtACharacter() {
    var error = vera_error.empty
    error.fill(code: .modelError, message: String(repeating: "ä", count: 400))
    XCTAssertEqual(error.text, String(repeating: "ä", count: 255))
    XCTAssertEqual(error.status, 8)
  }

  func testSlidersAreNamedAndOrdered() throws {
    XCTAssertEqual(RetouchTask.sliderNames.count, 38)
    XCTAssertEqual(RetouchTask.sliderNames.first, "Exposure2012")
    let values = try RetouchTask.sliderValues(["Exposure2012": 10])
    XCTAssertEqual(values.filter { $0 != 0 }, [10])
    XCTAssertThrowsError(try RetouchTask.sliderValues(["Brightness": 1]))
  }

  func testPhotoKeepsRowsAndRefusesTooFewBytes() throws {
    let rows = Data([1, 2, 3, 0, 4, 5, 6])
    let photo = try Photo(width: 1, height: 2, format: .rgb8, pixels: rows, rowStrideBytes: 4)
    XCTAssertEqual(photo.pixels, Data([1, 2, 3, 4, 5, 6]))
    for (width, height) in [(2, 2), (0, 1), (1, 0), (65_536, 1)] {
      XCTAssertThrowsError(
        try Photo(width: width, height: height, format: .rgb8, pixels: rows)
      ) {
        XCTAssertEqual(($0 as? VeraError)?.code, .invalidArgument)
      }
    }
  }

  func testIdentityLookChangesNothingInEveryFormat() throws {
    let axis: [Float] = [0, 1]
    var lut: [Float] = []
    for blue in axis { for green in axis { for red in axis { lut += [red, green, blue] } } }
    let look = try BakedLook(curves: axis + axis + axis, lut: lut, curveSize: 2, lutSize: 2)
    for format in PixelFormat.allCases where !format.isFloat {
      let bytes = Data((0..<(16 * format.bytesPerPixel)).map { UInt8(($0 * 37) & 255) })
      let photo = try Photo(width: 4, height: 4, format: format, pixels: bytes)
      let result = try CPURenderer().render(RenderRequest(look: look, photo: photo))
      XCTAssertEqual(result.pixels, bytes, "\(format)")
    }
  }

  func testRenderRefusesStrengthsOutOfRange() throws {
    let look = try SelfTest.warmLook()
    let photo = try SelfTest.gradients(.rgba8)
    for strength: Float in [-0.1, 1.6, .nan] {
      XCTAssertThrowsError(
        try CPURenderer().render(RenderRequest(look: look, photo: photo, strength: strength))
      ) {
        XCTAssertEqual(($0 as? VeraError)?.code, .invalidArgument)
      }
    }
    XCTAssertThrowsError(try BakedLook(curves: [0], lut: [], curveSize: 2, lutSize: 2))
  }

  func testSelfTestFindsAWrongRenderer() throws {
    XCTAssertNoThrow(try SelfTest.compare(CPURenderer()))
    XCTAssertThrowsError(try SelfTest.compare(WrongRenderer())) {
      XCTAssertEqual(($0 as? VeraError)?.code, .unsupportedFormat)
    }
  }

  func testKernelGivesTheBytesOfEveryOtherMachine() throws {
    XCTAssertEqual(try SelfTest.kernelSums(), SelfTest.kernelGoldens)
  }

  func testFramesOfACameraAreConverted() throws {
    // white and black in video range, neutral chroma
    var luma: [UInt8] = [235, 16, 235, 16]
    var chroma: [UInt8] = [128, 128]
    try luma.withUnsafeMutableBytes { luma in
      try chroma.withUnsafeMutableBytes { chroma in
        var frame = vera_frame()
        frame.struct_size = MemoryLayout<vera_frame>.size
        frame.format = Int32(VERA_PIXEL_FORMAT_NV12)
        (frame.width, frame.height) = (2, 2)
        (frame.planes.0, frame.planes.1) = (luma.baseAddress, chroma.baseAddress)
        (frame.row_stride_bytes.0, frame.row_stride_bytes.1) = (2, 2)
        let photo = try Photo(converting: &frame, to: .rgba8, colorSpace: .sRGB)
        XCTAssertEqual(
          Array(photo.pixels), [255, 255, 255, 255, 0, 0, 0, 255, 255, 255, 255, 255, 0, 0, 0, 255])
      }
    }
  }

  func testUnitsFollowTheRecipe() throws {
    let programs = ["vision", "embed", "decoder", "head", "bake", "reference"]
    let int4 = try CoreMLUnits(recipe: "ios-int4")
    XCTAssertEqual(programs.map { int4[$0] }, [.npu, .cpu, .gpu, .gpu, .gpu, .npu])
    let neural = try CoreMLUnits(recipe: "ios-ane")
    XCTAssertEqual(programs.map { neural[$0] }, [.npu, .cpu, .npu, .npu, .npu, .npu])
    let all = try CoreMLUnits(recipe: "ios-int4", unit: .cpu)
    XCTAssertEqual(Set(programs.map { all[$0] }), [.cpu])
    XCTAssertThrowsError(try CoreMLUnits(recipe: "ios-int4", unit: .npu))
  }

  func testHalvesRoundTrip() {
    for value: Float in [0, 1, -0.1, 0.5, 65_504, 0.33325195, 1.0996094] {
      XCTAssertEqual(HalfFloat.value(HalfFloat.bits(value)), value, accuracy: abs(value) / 1024)
    }
    XCTAssertEqual(HalfFloat.bits(1), 0x3C00)
    XCTAssertEqual(HalfFloat.value(0x3C00), 1)
    XCTAssertEqual(HalfFloat.value(1), 0x1p-24)
  }

  func testModelLife() throws {
    var life = ModelLife()
    XCTAssertEqual(life.state, .unloaded)
    try life.planBegins()
    try life.planBegins()
    XCTAssertEqual(life.state, .planning(2))
    life.unloaded()
    XCTAssertEqual(life.state, .planning(2), "a plan that waits keeps the model")
    life.planEnded()
    life.planEnded()
    XCTAssertEqual(life.state, .loaded)
    life.unloaded()
    XCTAssertEqual(life.state, .unloaded)
    life.close()
    XCTAssertThrowsError(try life.planBegins())
    XCTAssertThrowsError(try life.checkOpen())
    life.planEnded()
    life.unloaded()
    XCTAssertEqual(life.state, .closed)
  }

  func testLookRefusesOtherText() {
    for text in ["", "{}", "{\"format\": \"vera-look\", \"version\": 2}"] {
      XCTAssertThrowsError(try Look(json: text)) {
        XCTAssertEqual(($0 as? VeraError)?.code, .fileError)
      }
    }
  }

  func testSourcesLogNothingAndOnlyTheDownloaderHasANetwork() throws {
    let folder = Self.root.appendingPathComponent("ios_demo/VeraMobile/Sources")
    let files = FileManager.default.enumerator(at: folder, includingPropertiesForKeys: nil)
    var seen = 0
    while let file = files?.nextObject() as? URL {
      guard file.pathExtension == "swift" else { continue }
      seen += 1
      let text = String(decoding: try Data(contentsOf: file), as: UTF8.self)
      for word in ["print(", "NSLog(", "os_log", "Logger(", "debugPrint(", "dump("] {
        XCTAssertFalse(text.contains(word), "\(file.lastPathComponent) has \(word)")
      }
      if !file.lastPathComponent.hasPrefix("Download") {
        XCTAssertFalse(text.contains("URLSession"), file.lastPathComponent)
        XCTAssertFalse(text.contains("import Network"), file.lastPathComponent)
      }
    }
    XCTAssertGreaterThan(seen, 20)
  }
}

private struct WrongRenderer: Renderer {
  let name = "wrong"
  let usesGPU = false
  func takes(_ format: PixelFormat) -> Bool { format == .rgba8 }
  func render(_ request: RenderRequest, onProgress: ((Int64, Int64) -> Void)?) throws -> Photo {
    request.photo
  }
}
