import CVera
import Foundation

/// What a renderer is asked for.
public struct RenderRequest: Sendable {
  public let look: BakedLook
  public let photo: Photo
  /// Mix of photo and look, 0..1.5.
  public let strength: Float
  /// 0: one for each core. The result does not depend on it.
  public let threads: Int
  public let cancel: CancelFlag

  public init(
    look: BakedLook, photo: Photo, strength: Float = 1, threads: Int = 0,
    cancel: CancelFlag = CancelFlag()
  ) {
    self.look = look
    self.photo = photo
    self.strength = strength
    self.threads = threads
    self.cancel = cancel
  }
}

/// Applies a baked look to pixels: curves, LUT (tetrahedral), mix. Alpha is kept.
public protocol Renderer: Sendable {
  /// For people and benchmark files, such as "CPU".
  var name: String { get }

  /// True where work must not run while the app is in the background.
  var usesGPU: Bool { get }

  /// True for formats that `render` takes; others go to the CPU.
  func takes(_ format: PixelFormat) -> Bool

  /// The photo with the look, in its own format. Blocks; may be called from any thread.
  ///
  /// - Parameters:
  ///   - request: look, photo and how they are mixed.
  ///   - onProgress: pixels done and in all, on the calling thread.
  /// - Throws: `VeraError`; CancellationError within 20 ms after `cancel` was set.
  func render(_ request: RenderRequest, onProgress: ((Int64, Int64) -> Void)?) throws -> Photo
}

/// The kernel of the C library: the same bytes on every device and in Python and Kotlin.
public struct CPURenderer: Renderer {
  public init() {}

  public var name: String { "CPU" }
  public var usesGPU: Bool { false }
  public func takes(_ format: PixelFormat) -> Bool { true }

  public func render(
    _ request: RenderRequest, onProgress: ((Int64, Int64) -> Void)? = nil
  ) throws -> Photo {
    let result = try request.photo.emptyCopy()
    let status: vera_status = request.look.withCLook { look in
      request.photo.withFrame { source in
        result.withFrame { target in
          withProgress(onProgress) { progress, user in
            var options = request.cOptions()
            options.progress = progress
            options.user = user
            return vera_render_frame(look, source, target, &options)
          }
        }
      }
    }
    try request.check(status)
    return result
  }
}
