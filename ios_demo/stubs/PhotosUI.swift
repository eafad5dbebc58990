import SwiftUI

public struct PHPickerFilter: Sendable { public static let images = PHPickerFilter() }
public struct PhotosPickerItem: Equatable, Hashable, Sendable {
  public func loadTransferable<T: Sendable>(type: T.Type) async throws -> T? { nil }
}
public struct PhotosPicker: Leaf {
  public init<S: StringProtocol>(
    _ title: S, selection: Binding<PhotosPickerItem?>, matching filter: PHPickerFilter?
  ) {}
}
