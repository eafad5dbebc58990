import CVera

/// What to do to a photo.
public enum RetouchTask: Sendable {
  /// From the photo alone.
  case auto
  /// After a wish in words, 1..400 characters.
  case style(String)
  /// By slider values in percent, -100..100, by name as in Lightroom's XMP ("Exposure2012"); missing
  /// ones are 0.
  case param([String: Double])
  /// As `before` became `after`: two pictures of one frame, in sRGB.
  case reference(before: Photo, after: Photo)

  /// The names that `param` takes, in the order of the model.
  public static var sliderNames: [String] {
    (0..<Int32(VERA_SLIDER_COUNT)).compactMap { index in
      vera_slider_name(index).map { String(cString: $0) }
    }
  }

  /// The 38 values in order. Throws `invalidArgument` for an unknown name.
  static func sliderValues(_ given: [String: Double]) throws -> [Float] {
    let names = sliderNames
    if let unknown = given.keys.sorted().first(where: { !names.contains($0) }) {
      throw VeraError(
        .invalidArgument,
        "Slider '\(unknown)' is unknown: use one of \(names.joined(separator: ", ")).")
    }
    return names.map { Float(given[$0] ?? 0) }
  }

  /// Calls `body` with the task as the C library takes it.
  func withCTask<Result>(_ body: (UnsafePointer<vera_task>) throws -> Result) throws -> Result {
    var task = vera_task()
    task.struct_size = MemoryLayout<vera_task>.size
    switch self {
    case .auto:
      task.kind = vera_task_kind(VERA_TASK_AUTO)
      return try withUnsafePointer(to: &task, body)
    case .style(let wish):
      task.kind = vera_task_kind(VERA_TASK_STYLE)
      return try wish.withCString { text in
        task.wish = text
        return try withUnsafePointer(to: &task, body)
      }
    case .param(let sliders):
      task.kind = vera_task_kind(VERA_TASK_PARAM)
      return try Self.sliderValues(sliders).withUnsafeBufferPointer { values in
        task.sliders = values.baseAddress
        return try withUnsafePointer(to: &task, body)
      }
    case .reference(let before, let after):
      task.kind = vera_task_kind(VERA_TASK_REFERENCE)
      return try before.withFrame { first in
        try after.withFrame { second in
          task.before = first
          task.after = second
          return try withUnsafePointer(to: &task, body)
        }
      }
    }
  }
}

/// How a plan is made and rendered. The defaults are those of the model's family.
public struct RetouchOptions: Sendable {
  /// 0..2; 0 is greedy; nil: as the family is used.
  public var temperature: Float?
  /// Above 0 up to 1; nil: as the family is used.
  public var topP: Float?
  /// Longest text, 0..4096 tokens; nil: as the family is used.
  public var maxTokens: Int?
  /// The look first and its words after: `lookReady` comes before `text`.
  public var instant = false
  /// The same seed gives the same look.
  public var seed: UInt64 = 0
  /// Of the look that is rendered first.
  public var strengths = Strengths()
  /// Mix of photo and look, 0..1.5.
  public var strength: Float = 1
  /// Nodes of the LUT an axis, 17..65; 33 suits photos.
  public var lutSize = 33
  /// False: the stream ends with the look and its words, without `photoReady`.
  public var renders = true

  public init() {}
}
