#if canImport(CoreML)
  import CoreML

  /// The decoder with its cache: "logits" (1, V) and "hidden" (1, H) of the last token.
  protocol CoreMLDecoder: AnyObject {
    /// embeds (1, count, H) at positions start .. start + count - 1.
    func step(_ embeds: UnsafeBufferPointer<Float>, count: Int, start: Int) throws
      -> any MLFeatureProvider
  }

  /// For the GPU: the cache is a state of the program, any number of tokens in a call.
  final class StatefulDecoder: CoreMLDecoder {
    private let model: MLModel
    private let state: MLState
    private let hiddenSize: Int

    init(_ model: MLModel, info: VeraBundle.Info) {
      self.model = model
      // positions past `start` are masked: the state need not be cleared for a new plan
      state = model.makeState()
      hiddenSize = info.hiddenSize
    }

    func step(_ embeds: UnsafeBufferPointer<Float>, count: Int, start: Int) throws
      -> any MLFeatureProvider
    {
      let inputs = [
        "embeds": try CoreMLArray.view(embeds, [1, count, hiddenSize]),
        "start": try CoreMLArray.integers([Int32(start)], shape: [1]),
      ]
      return try model.prediction(
        from: MLDictionaryFeatureProvider(dictionary: inputs), using: state)
    }
  }

  /// For the Neural Engine: fixed shapes, and the cache goes in and out as tensors.
  final class CachedDecoder: CoreMLDecoder {
    private let decode: MLModel
    private let prefill: MLModel
    private let hiddenSize: Int
    /// (layers, kv heads, positions, head size) in half precision.
    private let keys: MLMultiArray
    private let values: MLMultiArray
    private let shape: [Int]

    /// Tokens of one call of `prefill`; fewer are filled up with zeros.
    private static let prefillTokens = 64

    /// - Throws: `bundleError` for a program without the inputs of a cache.
    init(decode: MLModel, prefill: MLModel, info: VeraBundle.Info) throws {
      let keys = decode.modelDescription.inputDescriptionsByName["keys"]
      guard let shape = keys?.multiArrayConstraint?.shape, shape.count == 4 else {
        throw VeraError(.bundleError, "The decoder has no cache: export the bundle again.")
      }
      self.decode = decode
      self.prefill = prefill
      self.shape = shape.map(\.intValue)
      hiddenSize = info.hiddenSize
      self.keys = try CoreMLArray.zeros(self.shape, .float16)
      values = try CoreMLArray.zeros(self.shape, .float16)
    }

    func step(_ embeds: UnsafeBufferPointer<Float>, count: Int, start: Int) throws
      -> any MLFeatureProvider
    {
      var outputs: (any MLFeatureProvider)?
      for first in stride(from: 0, to: count, by: Self.prefillTokens) {
        let part = min(Self.prefillTokens, count - first)
        let range = (first * hiddenSize)..<((first + part) * hiddenSize)
        outputs = try call(
          UnsafeBufferPointer(rebasing: embeds[range]), count: part, start: start + first)
      }
      guard let outputs else { throw VeraError(.internalError, "A step without tokens.") }
      return outputs
    }

    private func call(_ embeds: UnsafeBufferPointer<Float>, count: Int, start: Int) throws
      -> any MLFeatureProvider
    {
      var inputs = [
        "start": try CoreMLArray.integers([Int32(start)], shape: [1]), "keys": keys,
        "values": values,
      ]
      let outputs: any MLFeatureProvider
      if count == 1 {
        inputs["embeds"] = try CoreMLArray.view(embeds, [1, 1, hiddenSize])
        outputs = try decode.prediction(from: MLDictionaryFeatureProvider(dictionary: inputs))
      } else {
        let missing = Self.prefillTokens * hiddenSize - embeds.count
        let padded = Array(embeds) + [Float](repeating: 0, count: missing)
        inputs["embeds"] = try CoreMLArray.floats(
          padded, shape: [1, Self.prefillTokens, hiddenSize])
        inputs["count"] = try CoreMLArray.integers([Int32(count)], shape: [1])
        outputs = try prefill.prediction(from: MLDictionaryFeatureProvider(dictionary: inputs))
      }
      try keep(outputs, "new_keys", in: keys, count: count, start: start)
      try keep(outputs, "new_values", in: values, count: count, start: start)
      return outputs
    }

    /// Writes (layers, kv, n, D) to positions start .. start + count - 1 of the cache.
    private func keep(
      _ outputs: any MLFeatureProvider, _ name: String, in cache: MLMultiArray, count: Int,
      start: Int
    ) throws {
      let new = try CoreMLArray.named(name, in: outputs)
      let strides = new.strides.map(\.intValue)
      let headSize = shape[3]
      guard new.dataType == .float16, strides.count == 4, strides[3] == 1 else {
        throw VeraError(.bundleError, "'\(name)' is laid out in a way that is not known.")
      }
      new.withUnsafeBytes { source in
        cache.withUnsafeMutableBytes { target, cacheStrides in
          guard let from = source.baseAddress, let to = target.baseAddress else { return }
          for layer in 0..<shape[0] {
            for head in 0..<shape[1] {
              for token in 0..<count {
                let source = layer * strides[0] + head * strides[1] + token * strides[2]
                let target =
                  layer * cacheStrides[0] + head * cacheStrides[1]
                  + (start + token) * cacheStrides[2]
                // half floats of two bytes
                (to + 2 * target).copyMemory(from: from + 2 * source, byteCount: 2 * headSize)
              }
            }
          }
        }
      }
    }
  }
#endif
