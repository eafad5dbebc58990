import Foundation

/// What an app needs of a retoucher: `VeraRetoucher`, or `FakeRetoucher` (VeraMobileTesting) in the
/// app's own tests, which needs no model.
public protocol Retouching: Actor {
  /// Plans a look and renders the photo with it; see `VeraRetoucher.retouch`.
  nonisolated func retouch(
    _ photo: Photo, _ task: RetouchTask, options: RetouchOptions
  ) -> AsyncThrowingStream<RetouchEvent, any Error>

  /// Renders again without the model.
  func render(
    _ look: Look, _ photo: Photo, strengths: Strengths?, strength: Float
  ) async throws -> Photo

  /// A saved look, ready to be rendered and saved as a cube.
  func look(json: String) throws -> Look

  /// Gives the model's memory back; the next retouch loads it again.
  func unload() async throws

  /// Stops everything; afterwards each call throws.
  func close() async

  /// What happens outside of a retouch, from now on.
  nonisolated var notices: AsyncStream<Notice> { get }
}

extension Retouching {
  public nonisolated func retouch(
    _ photo: Photo, _ task: RetouchTask = .auto
  ) -> AsyncThrowingStream<RetouchEvent, any Error> {
    retouch(photo, task, options: RetouchOptions())
  }

  public func render(_ look: Look, _ photo: Photo) async throws -> Photo {
    try await render(look, photo, strengths: nil, strength: 1)
  }

  public func render(
    _ look: Look, _ photo: Photo, strengths: Strengths
  ) async throws -> Photo {
    try await render(look, photo, strengths: strengths, strength: 1)
  }
}
