@_exported import CoreGraphics

@MainActor @preconcurrency public protocol View {
  associatedtype Body: View
  @ViewBuilder var body: Body { get }
}
extension Never: View {
  public var body: Never { return fatalError("stub") }
}
extension Optional: View where Wrapped: View {
  public var body: Never { return fatalError("stub") }
}
/// Every view of this stub that is made of nothing.
public protocol Leaf: View where Body == Never {}
extension Leaf {
  public var body: Never { return fatalError("stub") }
}

@resultBuilder
public struct ViewBuilder {
  public static func buildPartialBlock<Content: View>(first: Content) -> Built { Built() }
  public static func buildPartialBlock<Content: View>(accumulated: Built, next: Content) -> Built {
    Built()
  }
  public static func buildIf<Content: View>(_ content: Content?) -> Content? { content }
  public static func buildEither<Content: View>(first: Content) -> Built { Built() }
  public static func buildEither<Content: View>(second: Content) -> Built { Built() }
}
public struct Built: Leaf { nonisolated init() {} }

@MainActor @preconcurrency public protocol App {
  associatedtype Body: Scene
  @SceneBuilder var body: Body { get }
  init()
}
extension App {
  public static func main() {}
}
@MainActor @preconcurrency public protocol Scene {}
@resultBuilder
public struct SceneBuilder {
  public static func buildBlock<Content: Scene>(_ content: Content) -> Content { content }
}
public struct WindowGroup: Scene {
  public init<Content: View>(@ViewBuilder content: () -> Content) {}
}

@dynamicMemberLookup @propertyWrapper
public struct Binding<Value> {
  public var wrappedValue: Value {
    get { fatalError("stub") }
    nonmutating set {}
  }
  public init(stub: Value) {}
  public var projectedValue: Binding<Value> { self }
  public subscript<Part>(dynamicMember path: WritableKeyPath<Value, Part>) -> Binding<Part> {
    fatalError("stub")
  }
}
@propertyWrapper
public struct State<Value> {
  public init(wrappedValue: Value) {}
  public var wrappedValue: Value {
    get { fatalError("stub") }
    nonmutating set {}
  }
  public var projectedValue: Binding<Value> { fatalError("stub") }
}
extension State where Value: ExpressibleByNilLiteral {
  public init() {}
}
@dynamicMemberLookup @propertyWrapper
public struct Bindable<Value> {
  public init(wrappedValue: Value) {}
  public var wrappedValue: Value { fatalError("stub") }
  public var projectedValue: Bindable<Value> { self }
  public subscript<Part>(dynamicMember path: ReferenceWritableKeyPath<Value, Part>)
    -> Binding<Part>
  { fatalError("stub") }
}

public struct Text: Leaf { public init<S: StringProtocol>(_ content: S) {} }
public struct Label: Leaf { public init(_ title: String, systemImage: String) {} }
public struct Button: Leaf {
  public init<S: StringProtocol>(_ title: S, action: @escaping @MainActor () -> Void) {}
}
public struct TabView: Leaf { public init<C: View>(@ViewBuilder content: () -> C) {} }
public struct NavigationStack: Leaf { public init<C: View>(@ViewBuilder root: () -> C) {} }
public struct Form: Leaf { public init<C: View>(@ViewBuilder content: () -> C) {} }
public struct Section: Leaf {
  public init<C: View>(@ViewBuilder content: () -> C) {}
  public init<S: StringProtocol, C: View>(_ title: S, @ViewBuilder content: () -> C) {}
}
public struct ProgressView: Leaf { public init(value: Double?) {} }
public struct ShareLink: Leaf { public init<S: StringProtocol>(_ title: S, item: URL) {} }
public struct Picker<Selection: Hashable>: Leaf {
  public init<C: View>(
    _ title: String, selection: Binding<Selection>, @ViewBuilder content: () -> C
  ) {}
}
public struct ForEach: Leaf {
  public init<D: RandomAccessCollection, C: View>(
    _ data: D, @ViewBuilder content: @escaping (D.Element) -> C
  ) where D.Element: Identifiable {}
  public init<D: RandomAccessCollection, ID: Hashable, C: View>(
    _ data: D, id: KeyPath<D.Element, ID>, @ViewBuilder content: @escaping (D.Element) -> C
  ) {}
}
public struct TextField: Leaf { public init(_ title: String, text: Binding<String>) {} }
public struct Slider: Leaf {
  public init<V: BinaryFloatingPoint>(
    value: Binding<V>, in bounds: ClosedRange<V>, step: V.Stride = 1
  ) where V.Stride: BinaryFloatingPoint {}
}
public struct LabeledContent: Leaf {
  public init<S: StringProtocol>(_ title: String, value: S) {}
}
public struct HorizontalAlignment: Sendable { public static let leading = HorizontalAlignment() }
public struct Alignment: Sendable {
  public static let leading = Alignment()
  public static let center = Alignment()
}
public struct VStack: Leaf {
  public init<C: View>(alignment: HorizontalAlignment, @ViewBuilder content: () -> C) {}
}
public struct ZStack: Leaf {
  public init<C: View>(alignment: Alignment, @ViewBuilder content: () -> C) {}
}
public struct GeometryProxy { public var size: CGSize { .zero } }
public struct GeometryReader: Leaf {
  public init<C: View>(@ViewBuilder content: @escaping (GeometryProxy) -> C) {}
}
public struct Rectangle: Leaf { public init() {} }
public struct Image: Leaf {
  public init(decorative image: CGImage, scale: CGFloat) {}
  public func resizable() -> Image { self }
}
public struct DragGesture {
  public struct Value { public var location: CGPoint { .zero } }
  public init(minimumDistance: CGFloat) {}
  public func onChanged(_ action: @escaping (Value) -> Void) -> DragGesture { self }
}
public enum ContentMode { case fit, fill }
public struct SegmentedPickerStyle: Sendable {
  public static let segmented = SegmentedPickerStyle()
}

extension View {
  public func tabItem<C: View>(@ViewBuilder _ label: () -> C) -> some View { Built() }
  public func onOpenURL(perform action: @escaping (URL) -> Void) -> some View { Built() }
  public func task(_ action: @escaping @MainActor @Sendable () async -> Void) -> some View {
    Built()
  }
  public func navigationTitle(_ title: String) -> some View { Built() }
  public func disabled(_ disabled: Bool) -> some View { Built() }
  public func tag<V: Hashable>(_ tag: V) -> some View { Built() }
  public func pickerStyle(_ style: SegmentedPickerStyle) -> some View { Built() }
  public func onChange<V: Equatable>(of value: V, _ action: @escaping (V, V) -> Void) -> some View {
    Built()
  }
  public func mask<C: View>(alignment: Alignment, @ViewBuilder _ mask: () -> C) -> some View {
    Built()
  }
  public func frame(width: CGFloat?) -> some View { Built() }
  public func offset(x: CGFloat) -> some View { Built() }
  public func gesture(_ gesture: DragGesture) -> some View { Built() }
  public func aspectRatio(_ ratio: CGFloat?, contentMode: ContentMode) -> some View { Built() }
  public func accessibilityLabel(_ label: String) -> some View { Built() }
  public func scaledToFit() -> some View { Built() }
}
