import CVera

/// A `Planner` as the table of functions that the C library calls.
///
/// Lives as long as the retoucher that was made with `table`. Before each call of the model it waits
/// while the app is in the background, and rests while the device is hot.
final class PlannerBridge: @unchecked Sendable {
  let planner: any Planner
  let info: VeraBundle.Info
  let conditions: WorkConditions
  /// Of the plan that runs; only the thread that plans touches it.
  var cancel: CancelFlag?

  init(_ planner: any Planner, info: VeraBundle.Info, conditions: WorkConditions) {
    self.planner = planner
    self.info = info
    self.conditions = conditions
  }

  /// The table points to this object and does not keep it.
  var table: vera_planner {
    var table = vera_planner()
    table.struct_size = MemoryLayout<vera_planner>.size
    table.context = Unmanaged.passUnretained(self).toOpaque()
    table.encode_image = { context, pixels, tokens, error in
      run(context, error) { try $0.encodeImage(pixels, tokens) }
    }
    table.embed = { context, ids, count, embeds, error in
      run(context, error) { try $0.embed(ids, count, embeds) }
    }
    table.step = { context, embeds, count, start, wanted, logits, hidden, error in
      run(context, error) { try $0.step(embeds, count, start, wanted, logits, hidden) }
    }
    table.head = { context, hidden, latents, error in
      run(context, error) { try $0.head(hidden, latents) }
    }
    table.encode_reference = { context, before, after, latents, error in
      run(context, error) { try $0.encodeReference(before, after, latents) }
    }
    table.bake = { context, colours, count, latents, out, error in
      run(context, error) { try $0.bake(colours, count, latents, out) }
    }
    table.release = { context, stage in
      guard let context else { return }
      let bridge = Unmanaged<PlannerBridge>.fromOpaque(context).takeUnretainedValue()
      bridge.planner.release(stage < 0 ? nil : Stage(rawValue: stage))
    }
    return table
  }

  fileprivate func ready() throws {
    if planner.unit == .gpu { try conditions.waitUntilActive(cancel: cancel) }
  }

  private func encodeImage(
    _ pixels: UnsafePointer<Float>?, _ tokens: UnsafeMutablePointer<Float>?
  ) throws {
    let size = 3 * info.imageSize * info.imageSize
    try planner.encodeImage(
      UnsafeBufferPointer(start: pixels, count: size),
      tokens: UnsafeMutableBufferPointer(
        start: tokens, count: info.imageTokens * info.hiddenSize))
  }

  private func embed(
    _ ids: UnsafePointer<Int64>?, _ count: Int32, _ embeds: UnsafeMutablePointer<Float>?
  ) throws {
    try planner.embed(
      UnsafeBufferPointer(start: ids, count: Int(count)),
      embeds: UnsafeMutableBufferPointer(start: embeds, count: Int(count) * info.hiddenSize))
  }

  private func step(
    _ embeds: UnsafePointer<Float>?, _ count: Int32, _ start: Int32, _ wanted: Int32,
    _ logits: UnsafeMutablePointer<Float>?, _ hidden: UnsafeMutablePointer<Float>?
  ) throws {
    conditions.rest()
    try planner.step(
      UnsafeBufferPointer(start: embeds, count: Int(count) * info.hiddenSize),
      start: Int(start), wanted: WantedLogits(rawValue: wanted) ?? .all,
      logits: logits.map { UnsafeMutableBufferPointer(start: $0, count: info.vocabularySize) },
      hidden: UnsafeMutableBufferPointer(start: hidden, count: info.hiddenSize))
  }

  private func head(
    _ hidden: UnsafePointer<Float>?, _ latents: UnsafeMutablePointer<Float>?
  ) throws {
    try planner.head(
      UnsafeBufferPointer(start: hidden, count: 3 * info.hiddenSize),
      latents: UnsafeMutableBufferPointer(start: latents, count: 3 * info.latentSize))
  }

  private func encodeReference(
    _ before: UnsafePointer<Float>?, _ after: UnsafePointer<Float>?,
    _ latents: UnsafeMutablePointer<Float>?
  ) throws {
    let size = 3 * info.referenceSize * info.referenceSize
    try planner.encodeReference(
      before: UnsafeBufferPointer(start: before, count: size),
      after: UnsafeBufferPointer(start: after, count: size),
      latents: UnsafeMutableBufferPointer(start: latents, count: 3 * info.latentSize))
  }

  private func bake(
    _ colours: UnsafePointer<Float>?, _ count: Int64, _ latents: UnsafePointer<Float>?,
    _ out: UnsafeMutablePointer<Float>?
  ) throws {
    try planner.bake(
      UnsafeBufferPointer(start: colours, count: 3 * Int(count)),
      latents: UnsafeBufferPointer(start: latents, count: 3 * info.latentSize),
      out: UnsafeMutableBufferPointer(start: out, count: 3 * Int(count)))
  }
}

/// One call of the model: what it throws becomes a status and a text.
private func run(
  _ context: UnsafeMutableRawPointer?, _ error: UnsafeMutablePointer<vera_error>?,
  _ body: (PlannerBridge) throws -> Void
) -> vera_status {
  guard let context else { return VeraError.Code.internalError.rawValue }
  let bridge = Unmanaged<PlannerBridge>.fromOpaque(context).takeUnretainedValue()
  do {
    try bridge.ready()
    try body(bridge)
    return 0
  } catch let failure as VeraError {
    error?.pointee.fill(code: failure.code, message: failure.message)
    return failure.code.rawValue
  } catch is CancellationError {
    return VeraError.Code.cancelled.rawValue
  } catch let failure {
    // of the runtime, which was given numbers only: no photo and no wish can be in it
    let message =
      "The model's runtime failed (\(failure)): load the bundle again or export it anew."
    error?.pointee.fill(code: .modelError, message: message)
    return VeraError.Code.modelError.rawValue
  }
}
