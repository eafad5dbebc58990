import PhotosUI
import SwiftUI
import VeraMobile

/// Which of the four tasks, and what it needs.
struct TaskChoice: View {
  @Bindable var model: DemoModel

  var body: some View {
    Picker("Task", selection: $model.mode) {
      ForEach(DemoModel.Mode.allCases) { mode in Text(mode.rawValue).tag(mode) }
    }
    .pickerStyle(.segmented)
    switch model.mode {
    case .auto: Text("From the photo alone.")
    case .style: TextField("airy pink", text: $model.wish)
    case .param: sliders
    case .reference:
      ReferencePicker(title: "Before", photo: $model.referenceBefore)
      ReferencePicker(title: "After", photo: $model.referenceAfter)
    }
  }

  private var sliders: some View {
    ForEach(RetouchTask.sliderNames, id: \.self) { name in
      VStack(alignment: .leading) {
        Text("\(name) \(Int(model.sliders[name] ?? 0))")
        Slider(value: $model[slider: name], in: -100...100, step: 1)
      }
    }
  }
}

/// One picture of a pair.
struct ReferencePicker: View {
  let title: String
  @Binding var photo: Photo?
  @State private var picked: PhotosPickerItem?
  @State private var problem = ""

  var body: some View {
    PhotosPicker(photo == nil ? title : "\(title): chosen", selection: $picked, matching: .images)
      .onChange(of: picked) { _, item in load(item) }
    if !problem.isEmpty { Text(problem) }
  }

  private func load(_ item: PhotosPickerItem?) {
    guard let item else { return }
    Task {
      do {
        guard let data = try await item.loadTransferable(type: Data.self) else { return }
        photo = try Photo(data: data)
        problem = ""
      } catch {
        problem = error.localizedDescription
      }
    }
  }
}

/// The three groups and the mix; each change renders again, without the model.
struct StrengthSliders: View {
  @Bindable var model: DemoModel

  var body: some View {
    row("Lighting", $model.strengths.lighting)
    row("Global colour", $model.strengths.globalColor)
    row("Specific colour", $model.strengths.specificColor)
    VStack(alignment: .leading) {
      Text("Mix")
      Slider(value: $model.mix, in: 0...1.5)
    }
    .onChange(of: model.strengths) { _, _ in model.renderAgain() }
    .onChange(of: model.mix) { _, _ in model.renderAgain() }
  }

  private func row(_ title: String, _ value: Binding<Float>) -> some View {
    VStack(alignment: .leading) {
      Text(title)
      Slider(value: value, in: 0...1.5)
    }
  }
}
