import Foundation
import XCTest

public final class XCTAttachment {
  public enum Lifetime { case keepAlways }
  public init(data: Data, uniformTypeIdentifier: String) {}
  public var name: String?
  public var lifetime = Lifetime.keepAlways
}

extension XCTestCase {
  public func add(_ attachment: XCTAttachment) {}
}
