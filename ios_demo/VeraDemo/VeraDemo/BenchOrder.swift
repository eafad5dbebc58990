import Foundation
import VeraMobile

/// What `vera bench phone --ios` asks for in the app's arguments: `-bench <bundle>`, and where given
/// `-out <file>`, `-unit cpu|gpu|npu`, `-repeats <n>`, `-in_a_row <n>`.
struct BenchOrder {
  let bundle: String
  let out: String
  let unit: ComputeUnit?
  var benchmark = Benchmark()

  /// nil where the arguments ask for no benchmark.
  init?(_ arguments: [String]) {
    func value(_ name: String) -> String? {
      guard let place = arguments.firstIndex(of: name), arguments.indices.contains(place + 1)
      else { return nil }
      return arguments[place + 1]
    }
    guard let bundle = value("-bench") else { return nil }
    self.bundle = bundle
    out = value("-out") ?? "bench.json"
    unit = value("-unit").flatMap { ComputeUnit(rawValue: $0) }
    if let repeats = value("-repeats").flatMap({ Int($0) }) { benchmark.repeats = repeats }
    if let inARow = value("-in_a_row").flatMap({ Int($0) }) { benchmark.inARow = inARow }
  }

  /// Writes the result, or why there is none, into the Documents folder.
  func run(bundles: URL, documents: URL) async {
    var text: Data
    do {
      text = try await measure(bundles.appendingPathComponent(bundle))
    } catch {
      let refusal = ["format": "vera-bench-refusal", "reason": error.localizedDescription]
      text = (try? JSONEncoder().encode(refusal)) ?? Data()
    }
    let file = documents.appendingPathComponent(URL(fileURLWithPath: out).lastPathComponent)
    // the computer at the other end tells that the file is missing
    try? text.write(to: file, options: .atomic)
  }

  private func measure(_ folder: URL) async throws -> Data {
    let start = ContinuousClock.now
    let unit = unit
    let vera = try await VeraRetoucher(
      bundle: folder, planner: { try CoreMLPlanner($0, unit: unit) })
    let spent = (ContinuousClock.now - start) / .milliseconds(1)
    return try await benchmark.run(vera, loadMilliseconds: spent)
  }
}
