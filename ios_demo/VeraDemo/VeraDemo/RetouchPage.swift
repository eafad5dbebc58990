import PhotosUI
import SwiftUI
import VeraMobile

/// Photo, task, words, strengths, results.
struct RetouchPage: View {
  @Bindable var model: DemoModel
  @State private var picked: PhotosPickerItem?
  @State private var shared: URL?
  @State private var problem = ""

  var body: some View {
    NavigationStack {
      Form {
        Section { photo }
        Section("Task") { TaskChoice(model: model) }
        Section { buttons }
        if !model.words.isEmpty { Section("Plan") { Text(model.words) } }
        Section("Strength") { StrengthSliders(model: model) }
        Section("Keep") { results }
        if !model.message.isEmpty { Section { Text(model.message) } }
      }
      .navigationTitle("Vera")
    }
  }

  @ViewBuilder private var photo: some View {
    if let before = model.before {
      BeforeAfter(before: before, after: model.after)
    }
    PhotosPicker("Pick a photo", selection: $picked, matching: .images)
      .onChange(of: picked) { _, item in load(item) }
  }

  @ViewBuilder private var buttons: some View {
    if let progress = model.progress { ProgressView(value: progress) }
    if model.isWorking {
      Button("Stop") { model.cancel() }
    } else {
      Button("Retouch") { model.retouch() }
        .disabled(model.before == nil || model.vera == nil)
    }
  }

  @ViewBuilder private var results: some View {
    Button("Prepare the photo") { prepare { try model.file() } }
      .disabled(model.after == nil)
    Button("Prepare the look as .cube") { prepare { try await model.cube() } }
      .disabled(model.look == nil)
    if let shared {
      ShareLink("Save or share \(shared.lastPathComponent)", item: shared)
    }
    if !problem.isEmpty { Text(problem) }
  }

  private func load(_ item: PhotosPickerItem?) {
    guard let item else { return }
    Task {
      do {
        if let data = try await item.loadTransferable(type: Data.self) { model.open(data) }
      } catch {
        problem = error.localizedDescription
      }
    }
  }

  private func prepare(_ make: @escaping () async throws -> URL) {
    Task {
      do {
        shared = try await make()
        problem = ""
      } catch {
        problem = error.localizedDescription
      }
    }
  }
}
