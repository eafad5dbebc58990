#if canImport(CoreML)
  import CoreML
  import Foundation

  /// Runs a bundle that was exported with an ios recipe on Core ML.
  ///
  /// Programs are compiled at first use and kept in the app's caches. Vision runs on the Neural Engine;
  /// where the decoder runs, its recipe says.
  public final class CoreMLPlanner: Planner, @unchecked Sendable {
    public let unit: ComputeUnit
    private let info: VeraBundle.Info
    private let store: CoreMLStore
    private var models: [String: MLModel] = [:]
    private var decoder: (any CoreMLDecoder)?

    /// Most points of one call of the program that bakes; it is exported for 35,937.
    private static let bakePoints = 32_768

    /// - Parameters:
    ///   - bundle: of an ios recipe.
    ///   - unit: nil: the units that the recipe is made for; else one for all programs.
    ///   - cache: where compiled programs are kept; nil: the app's caches.
    /// - Throws: `unsupportedFormat` for a bundle of another backend, or for a unit that does not
    ///   take it.
    public init(_ bundle: VeraBundle, unit chosen: ComputeUnit? = nil, cache: URL? = nil) throws {
      guard bundle.backend == "coreml" else {
        throw VeraError(
          .unsupportedFormat,
          "Bundle \(bundle.name) is for '\(bundle.backend)': export it with an ios recipe.")
      }
      let units = try CoreMLUnits(recipe: bundle.recipe, unit: chosen)
      info = bundle.info
      unit = units.decoder
      store = try CoreMLStore(bundle, units: units, cache: cache)
    }

    public func encodeImage(
      _ pixels: UnsafeBufferPointer<Float>, tokens: UnsafeMutableBufferPointer<Float>
    ) throws {
      let side = info.imageSize
      let outputs = try run("vision", ["pixels": CoreMLArray.view(pixels, [1, 3, side, side])])
      try CoreMLArray.copy(outputs, "image_tokens", to: tokens)
    }

    public func embed(
      _ ids: UnsafeBufferPointer<Int64>, embeds: UnsafeMutableBufferPointer<Float>
    ) throws {
      let narrow = try CoreMLArray.integers(ids.map { Int32(clamping: $0) }, shape: [1, ids.count])
      try CoreMLArray.copy(try run("embed", ["ids": narrow]), "embeds", to: embeds)
    }

    public func step(
      _ embeds: UnsafeBufferPointer<Float>, start: Int, wanted: WantedLogits,
      logits: UnsafeMutableBufferPointer<Float>?, hidden: UnsafeMutableBufferPointer<Float>
    ) throws {
      let count = embeds.count / info.hiddenSize
      guard !embeds.isEmpty, start >= 0, start + count <= info.maxLength else {
        throw VeraError(
          .invalidArgument,
          "\(count) tokens at position \(start) not allowed: use 0..\(info.maxLength - 1).")
      }
      let decoder = try self.decoder ?? makeDecoder()
      self.decoder = decoder
      let outputs = try decoder.step(embeds, count: count, start: start)
      if let logits { try CoreMLArray.copy(outputs, "logits", to: logits) }
      try CoreMLArray.copy(outputs, "hidden", to: hidden)
    }

    public func head(
      _ hidden: UnsafeBufferPointer<Float>, latents: UnsafeMutableBufferPointer<Float>
    ) throws {
      let outputs = try run(
        "head",
        [
          "hidden": CoreMLArray.view(hidden, [1, 3, info.hiddenSize]),
          "strengths": CoreMLArray.floats([1, 1, 1], shape: [3]),
        ])
      try CoreMLArray.copy(outputs, "latents", to: latents)
    }

    public func encodeReference(
      before: UnsafeBufferPointer<Float>, after: UnsafeBufferPointer<Float>,
      latents: UnsafeMutableBufferPointer<Float>
    ) throws {
      let shape = [1, 3, info.referenceSize, info.referenceSize]
      let outputs = try run(
        "reference",
        ["before": CoreMLArray.view(before, shape), "after": CoreMLArray.view(after, shape)])
      try CoreMLArray.copy(outputs, "latents", to: latents)
    }

    public func bake(
      _ colours: UnsafeBufferPointer<Float>, latents: UnsafeBufferPointer<Float>,
      out: UnsafeMutableBufferPointer<Float>
    ) throws {
      let look = try CoreMLArray.view(latents, [1, 3, info.latentSize])
      let total = colours.count / 3
      for first in stride(from: 0, to: total, by: Self.bakePoints) {
        let count = min(Self.bakePoints, total - first)
        let range = (3 * first)..<(3 * (first + count))
        let points = UnsafeBufferPointer(rebasing: colours[range])
        let outputs = try run(
          "bake", ["points": CoreMLArray.view(points, [count, 3]), "latents": look])
        try CoreMLArray.copy(
          outputs, "colours", to: UnsafeMutableBufferPointer(rebasing: out[range]))
      }
    }

    public func release(_ stage: Stage?) {
      switch stage {
      case nil:
        models = [:]
        decoder = nil
      case .vision: models["vision"] = nil
      case .head: models["head"] = nil
      case .reference: models["reference"] = nil
      case .prepare, .prefill, .decode, .bake, .render: break
      }
    }

    private func run(_ program: String, _ inputs: [String: MLMultiArray]) throws
      -> any MLFeatureProvider
    {
      let model = try models[program] ?? store.load(program)
      models[program] = model
      return try model.prediction(from: MLDictionaryFeatureProvider(dictionary: inputs))
    }

    private func makeDecoder() throws -> any CoreMLDecoder {
      let model = try store.load("decoder")
      if !model.modelDescription.stateDescriptionsByName.isEmpty {
        return StatefulDecoder(model, info: info)
      }
      return try CachedDecoder(
        decode: model, prefill: store.load("decoder", function: "prefill"), info: info)
    }
  }
#endif
