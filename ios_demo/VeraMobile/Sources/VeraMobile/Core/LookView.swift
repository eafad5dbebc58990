import CVera

extension BakedLook {
  /// Calls `body` with the look as the C library takes it.
  func withCLook<Result>(_ body: (UnsafePointer<vera_look>) throws -> Result) rethrows -> Result {
    try curves.withUnsafeBufferPointer { curves in
      try lut.withUnsafeBufferPointer { lut in
        var look = vera_look()
        look.struct_size = MemoryLayout<vera_look>.size
        look.curves = UnsafeRawPointer(curves.baseAddress)
        look.lut = UnsafeRawPointer(lut.baseAddress)
        look.curve_size = Int32(curveSize)
        look.lut_size = Int32(lutSize)
        return try withUnsafePointer(to: &look, body)
      }
    }
  }

  /// Leaves every colour as it is.
  static let identity: BakedLook = {
    let axis: [Float] = [0, 1]
    var lut: [Float] = []
    for blue in axis { for green in axis { for red in axis { lut += [red, green, blue] } } }
    return BakedLook(unchecked: axis + axis + axis, lut: lut, curveSize: 2, lutSize: 2)
  }()

  private init(unchecked curves: [Float], lut: [Float], curveSize: Int, lutSize: Int) {
    self.curves = curves
    self.lut = lut
    self.curveSize = curveSize
    self.lutSize = lutSize
  }
}

extension RenderRequest {
  /// What it asks for beside look and photo, as the C library takes it.
  func cOptions() -> vera_render_options {
    var options = vera_render_options()
    options.struct_size = MemoryLayout<vera_render_options>.size
    options.strength = strength
    options.threads = Int32(clamping: threads)
    options.cancel = UnsafePointer(cancel.pointer)
    return options
  }

  /// Throws what a status of the C library means for this request.
  func check(_ status: vera_status) throws {
    let refused = status == VeraError.Code.invalidArgument.rawValue
    let text = "Strength \(strength) or a value of the look is not allowed: use 0..1.5."
    try VeraMobile.check(status, message: refused ? text : "")
  }
}

extension Photo {
  /// A photo of pixels in any format of the C library, 4:2:0 with up to 10 bits included.
  ///
  /// - Parameter frame: valid during the call; at least one pixel.
  /// - Throws: `invalidArgument` for an impossible frame; `outOfMemory`.
  init(
    converting frame: UnsafePointer<vera_frame>, to format: PixelFormat,
    colorSpace: PhotoColorSpace, extras: PhotoExtras = PhotoExtras()
  ) throws {
    try self.init(
      width: Int(frame.pointee.width), height: Int(frame.pointee.height), format: format,
      colorSpace: colorSpace, extras: extras)
    // strength 0 leaves values alone: what remains is the conversion of the format
    var options = vera_render_options()
    options.struct_size = MemoryLayout<vera_render_options>.size
    let status = BakedLook.identity.withCLook { look in
      withFrame { target in vera_render_frame(look, frame, target, &options) }
    }
    try check(status)
  }
}
