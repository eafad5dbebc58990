import CVera

/// Which logits `Planner.step` must give.
public enum WantedLogits: Int32, Sendable {
  /// The next token is known already.
  case none = 0
  /// Those of tokens that answers use; others may be minus infinity.
  case answer = 1
  case all = 2
}

/// Parts of a device that run a model.
public enum ComputeUnit: String, Sendable {
  case cpu
  case gpu
  /// The Neural Engine.
  case npu
}

/// What runs the model: Core ML, ExecuTorch, or what a test brings.
///
/// Called by one thread at a time, on background threads. Buffers belong to the caller and are
/// valid during the call. All tensors are float32, row-major; S, T, H, V, L and E are the sizes of
/// `VeraBundle.Info`. Throw `VeraError` to say what failed.
public protocol Planner: AnyObject, Sendable {
  /// What runs most of a plan. GPU work waits while the app is in the background.
  var unit: ComputeUnit { get }

  /// pixels (1, 3, S, S), encoded sRGB in [0, 1] -> tokens (1, T, H).
  func encodeImage(
    _ pixels: UnsafeBufferPointer<Float>, tokens: UnsafeMutableBufferPointer<Float>) throws

  /// ids (1, n), 1 <= n <= prefill tokens -> embeds (1, n, H).
  func embed(_ ids: UnsafeBufferPointer<Int64>, embeds: UnsafeMutableBufferPointer<Float>) throws

  /// embeds (1, n, H) at positions start .. start + n - 1 -> the last one's hidden state (H) and
  /// logits (V), which is nil where none are wanted. start 0 begins anew; going back is allowed.
  func step(
    _ embeds: UnsafeBufferPointer<Float>, start: Int, wanted: WantedLogits,
    logits: UnsafeMutableBufferPointer<Float>?, hidden: UnsafeMutableBufferPointer<Float>) throws

  /// hidden (1, 3, H) -> latents (3, L).
  func head(_ hidden: UnsafeBufferPointer<Float>, latents: UnsafeMutableBufferPointer<Float>) throws

  /// Two pictures (1, 3, E, E), encoded sRGB in [0, 1] -> latents (3, L).
  func encodeReference(
    before: UnsafeBufferPointer<Float>, after: UnsafeBufferPointer<Float>,
    latents: UnsafeMutableBufferPointer<Float>) throws

  /// colours (n, 3) in [0, 1] and latents (3, L) -> out (n, 3). Used where the bundle has no file
  /// "renderer".
  func bake(
    _ colours: UnsafeBufferPointer<Float>, latents: UnsafeBufferPointer<Float>,
    out: UnsafeMutableBufferPointer<Float>) throws

  /// Gives memory back: of a stage that has ended, or (nil) of everything. The next call loads anew.
  func release(_ stage: Stage?)
}

/// A planner for a bundle; called once, before the first plan.
public typealias PlannerFactory = @Sendable (VeraBundle) throws -> any Planner
