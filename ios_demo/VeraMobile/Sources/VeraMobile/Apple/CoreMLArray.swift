#if canImport(CoreML)
  import CoreML

  /// Tensors between the C library and Core ML.
  enum CoreMLArray {
    /// The caller's memory as a tensor, without a copy; valid as long as the memory is.
    static func view(_ values: UnsafeBufferPointer<Float>, _ shape: [Int]) throws -> MLMultiArray {
      guard let base = values.baseAddress, shape.reduce(1, *) == values.count else {
        throw VeraError(
          .internalError, "\(values.count) values do not fit \(shape): please report this.")
      }
      var strides: [Int] = []
      var step = 1
      for size in shape.reversed() {
        strides.insert(step, at: 0)
        step *= size
      }
      return try MLMultiArray(
        dataPointer: UnsafeMutableRawPointer(mutating: base),
        shape: shape.map { NSNumber(value: $0) }, dataType: .float32,
        strides: strides.map { NSNumber(value: $0) }, deallocator: nil)
    }

    static func floats(_ values: [Float], shape: [Int]) throws -> MLMultiArray {
      let array = try zeros(shape, .float32)
      array.withUnsafeMutableBytes { bytes, _ in
        values.withUnsafeBytes { bytes.copyMemory(from: $0) }
      }
      return array
    }

    static func integers(_ values: [Int32], shape: [Int]) throws -> MLMultiArray {
      let array = try zeros(shape, .int32)
      array.withUnsafeMutableBytes { bytes, _ in
        values.withUnsafeBytes { bytes.copyMemory(from: $0) }
      }
      return array
    }

    static func zeros(_ shape: [Int], _ type: MLMultiArrayDataType) throws -> MLMultiArray {
      let array = try MLMultiArray(shape: shape.map { NSNumber(value: $0) }, dataType: type)
      array.withUnsafeMutableBytes { bytes, _ in
        for index in bytes.indices { bytes[index] = 0 }
      }
      return array
    }

    static func named(_ name: String, in outputs: any MLFeatureProvider) throws -> MLMultiArray {
      guard let array = outputs.featureValue(for: name)?.multiArrayValue else {
        throw VeraError(.bundleError, "A program has no output '\(name)': export the bundle again.")
      }
      return array
    }

    /// Copies a float32 output in row-major order, whatever its strides.
    static func copy(
      _ outputs: any MLFeatureProvider, _ name: String, to target: UnsafeMutableBufferPointer<Float>
    ) throws {
      let array = try named(name, in: outputs)
      guard array.dataType == .float32, array.count == target.count else {
        throw VeraError(
          .bundleError,
          "Output '\(name)' has \(array.count) values, \(target.count) in float32 are needed: export "
            + "the bundle again.")
      }
      let shape = array.shape.map(\.intValue)
      let strides = array.strides.map(\.intValue)
      array.withUnsafeBufferPointer(ofType: Float.self) { source in
        var index = [Int](repeating: 0, count: shape.count)
        let row = shape.last ?? 1
        let step = strides.last ?? 1
        for first in stride(from: 0, to: target.count, by: max(row, 1)) {
          let begin = zip(index, strides).reduce(0) { $0 + $1.0 * $1.1 }
          for column in 0..<row { target[first + column] = source[begin + column * step] }
          advance(&index, shape)
        }
      }
    }

    /// The next row: counts up all axes but the last.
    private static func advance(_ index: inout [Int], _ shape: [Int]) {
      for axis in stride(from: shape.count - 2, through: 0, by: -1) {
        index[axis] += 1
        if index[axis] < shape[axis] { return }
        index[axis] = 0
      }
    }
  }
#endif
