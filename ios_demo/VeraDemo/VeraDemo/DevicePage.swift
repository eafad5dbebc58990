import SwiftUI
import VeraMobile

/// Times, memory, warmth, the self-test and the benchmark.
struct DevicePage: View {
  let model: DemoModel

  var body: some View {
    NavigationStack {
      Form {
        Section("Last plan, ms") { times }
        Section("Memory") {
          LabeledContent("now", value: megabytes(Device.footprintBytes))
          LabeledContent("most", value: megabytes(Device.peakFootprintBytes))
          Button("Unload the model") { Task { await unload() } }
        }
        Section("Device") {
          LabeledContent("model", value: Device.model)
          LabeledContent("warmth", value: Device.thermalLevel.map { "\($0)" } ?? "not known")
          LabeledContent("renders on", value: model.vera?.renderer.name ?? "no bundle")
        }
        Section("Self-test") {
          Button("Run") { Task { await model.runSelfTest() } }
          ForEach(model.selfTest, id: \.name) { one in
            LabeledContent(one.name, value: one.passed ? one.detail : "failed: \(one.detail)")
          }
        }
        Section("Benchmark") {
          Button("Measure, write bench.json") { Task { await model.bench() } }
          if let share = model.progress { ProgressView(value: share) }
        }
      }
      .navigationTitle("Device")
    }
  }

  @ViewBuilder private var times: some View {
    let spent = model.look?.stageMilliseconds ?? [:]
    ForEach(Stage.allCases, id: \.self) { stage in
      if let value = spent[stage] { LabeledContent("\(stage)", value: "\(Int(value.rounded()))") }
    }
    if let value = model.renderMilliseconds {
      LabeledContent("render", value: "\(Int(value.rounded()))")
    }
  }

  private func megabytes(_ bytes: Int64?) -> String {
    bytes.map { "\($0 / 1_000_000) MB" } ?? "not known"
  }

  private func unload() async {
    // a closed or missing retoucher has nothing to unload
    try? await model.vera?.unload()
  }
}
