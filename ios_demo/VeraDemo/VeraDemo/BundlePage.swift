import SwiftUI

/// Bundles in the Documents folder, and a download that goes on where it stopped.
struct BundlePage: View {
  let model: DemoModel
  @State private var address = "https://"
  @State private var sha256 = ""

  var body: some View {
    NavigationStack {
      Form {
        Section("On this phone") {
          ForEach(model.bundles, id: \.self) { bundle in
            Button(bundle.lastPathComponent) { Task { await model.use(bundle) } }
          }
          Button("Look again") { model.findBundles() }
        }
        Section("Download") {
          TextField("https address of the bundle's folder", text: $address)
          TextField("SHA-256 of its bundle.json", text: $sha256)
          if let share = model.downloaded {
            ProgressView(value: share)
            Button("Stop; what is here is kept") { model.stopFetching() }
          } else {
            Button("Download") { model.fetch(from: address, sha256: sha256) }
          }
        }
        if !model.message.isEmpty { Section { Text(model.message) } }
      }
      .navigationTitle("Bundle")
    }
  }
}
