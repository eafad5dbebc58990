import SwiftUI

/// Pick or share in a photo, retouch it, compare, save. Launched with `-bench <bundle>` it measures
/// that bundle of the Documents folder and writes bench.json there.
@main
struct VeraDemoApp: App {
  @State private var model = DemoModel()

  var body: some Scene {
    WindowGroup {
      RootView(model: model)
        .onOpenURL { url in model.open(url) }
        .task { await model.start(arguments: ProcessInfo.processInfo.arguments) }
    }
  }
}

struct RootView: View {
  let model: DemoModel

  var body: some View {
    TabView {
      RetouchPage(model: model).tabItem { Label("Retouch", systemImage: "wand.and.stars") }
      BundlePage(model: model).tabItem { Label("Bundle", systemImage: "shippingbox") }
      DevicePage(model: model).tabItem { Label("Device", systemImage: "gauge") }
    }
  }
}
