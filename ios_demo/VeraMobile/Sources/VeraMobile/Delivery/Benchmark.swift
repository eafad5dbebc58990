import Foundation

/// Times of each stage on this device, as a file that `vera bench import` and `vera bench compare`
/// read (format vera-bench, schema 1).
public struct Benchmark: Sendable {
  /// Warm runs, 3..1000.
  public var repeats = 9
  /// Plans one after the other, for heat, 2..100; at least `repeats` + 1 are made.
  public var inARow = 10
  /// Longest text of a plan.
  public var maxTokens = 120
  /// Sizes of the photos that are rendered, in megapixels.
  public var renderMegapixels = [12, 48]

  public init() {}

  /// Runs everything; takes minutes on a phone. Nothing else should run meanwhile.
  ///
  /// - Parameters:
  ///   - vera: with nothing planned yet: the first plan is "cold".
  ///   - loadMilliseconds: what opening it took.
  ///   - commit: of the app's source, if known.
  ///   - onProgress: 0..1.
  /// - Returns: the JSON text.
  public func run(
    _ vera: VeraRetoucher, loadMilliseconds: Double, commit: String? = nil,
    onProgress: (@Sendable (Double) -> Void)? = nil
  ) async throws -> Data {
    guard (3...1000).contains(repeats), (2...100).contains(inARow) else {
      throw VeraError(
        .invalidArgument, "\(repeats) repeats, \(inARow) in a row not allowed: use 3..1000, 2..100."
      )
    }
    guard try SelfTest.kernelSums() == SelfTest.kernelGoldens else {
      throw VeraError(
        .internalError, "The kernel gives other bytes than elsewhere: please report this.")
    }
    var record = Record(vera: vera, commit: commit)
    record.add("load", cold: loadMilliseconds)
    let plans = max(repeats + 1, inARow)
    let rounds = Double(plans + renderMegapixels.count)
    let photo = try Self.photo(megapixels: 2)
    var look: Look?
    for round in 0..<plans {
      look = try await plan(vera, photo, into: &record)
      onProgress?(Double(round + 1) / rounds)
    }
    for (index, size) in renderMegapixels.enumerated() {
      if let look { try await render(vera, look, megapixels: size, into: &record) }
      onProgress?(Double(plans + 1 + index) / rounds)
    }
    return try record.json(self).data()
  }

  private func plan(
    _ vera: VeraRetoucher, _ photo: Photo, into record: inout Record
  ) async throws -> Look {
    var options = RetouchOptions()
    options.temperature = 0
    options.maxTokens = maxTokens
    let start = ContinuousClock.now
    let look = try await vera.plan(photo, .auto, options: options)
    let whole = Self.milliseconds(since: start)
    for (stage, spent) in look.stageMilliseconds { record.add("\(stage)", spent) }
    // two retouch tokens are written after the text
    let decoded = look.stageMilliseconds[.decode].map { $0 / Double(look.tokens.count + 2) }
    if let decoded { record.add("decode_per_token", decoded) }
    record.add("plan", whole)
    record.tokens = look.tokens.count
    let baking = ContinuousClock.now
    _ = try await vera.bake(look)
    record.add("bake", Self.milliseconds(since: baking))
    record.notePeak(["plan", "bake"])
    return look
  }

  private func render(
    _ vera: VeraRetoucher, _ look: Look, megapixels: Int, into record: inout Record
  ) async throws {
    let name = "render_\(megapixels)mp"
    let photo = try Self.photo(megapixels: megapixels)
    for _ in 0...repeats {
      let start = ContinuousClock.now
      _ = try await vera.render(look, photo)
      record.add(name, Self.milliseconds(since: start))
    }
    record.notePeak([name])
  }

  /// A gradient with a fixed pattern over it; 3:2.
  static func photo(megapixels: Int) throws -> Photo {
    let height = Int((Double(megapixels) * 1e6 / 1.5).squareRoot())
    let width = height * 3 / 2
    var row = [UInt8](repeating: 255, count: width * 4)
    var pixels = Data(capacity: width * height * 4)
    for y in 0..<height {
      for x in 0..<width {
        let noise = (x &* 7919 &+ y &* 104_729) & 31
        row[4 * x] = UInt8((x * 223 / width + noise) & 255)
        row[4 * x + 1] = UInt8((y * 223 / height + noise) & 255)
        row[4 * x + 2] = UInt8(((x + y) * 223 / (width + height) + noise) & 255)
      }
      pixels.append(contentsOf: row)
    }
    return try Photo(width: width, height: height, format: .rgba8, pixels: pixels)
  }

  static func milliseconds(since start: ContinuousClock.Instant) -> Double {
    let spent = (ContinuousClock.now - start).components
    return Double(spent.seconds) * 1000 + Double(spent.attoseconds) / 1e15
  }
}

extension Benchmark {
  /// Times by stage in the order they were taken; the first of each is the cold one.
  fileprivate struct Record {
    let vera: VeraRetoucher
    let commit: String?
    let thermalBefore = Device.thermalLevel
    let peakBeforeMegabytes = Self.megabytes(Device.peakFootprintBytes)
    var tokens = 0
    private var times: [String: [Double]] = [:]
    private var peaks: [String: Double] = [:]

    init(vera: VeraRetoucher, commit: String?) {
      self.vera = vera
      self.commit = commit
    }

    mutating func add(_ stage: String, _ milliseconds: Double) {
      times[stage, default: []].append(milliseconds)
    }

    mutating func add(_ stage: String, cold: Double) { times[stage] = [cold] }

    mutating func notePeak(_ stages: [String]) {
      for stage in stages { peaks[stage] = Self.megabytes(Device.peakFootprintBytes) }
    }

    static func megabytes(_ bytes: Int64?) -> Double? { bytes.map { Double($0) / 1e6 } }

    func json(_ settings: Benchmark) throws -> JSONValue {
      let manifest = vera.bundle.text("manifest") ?? "{}"
      return .object([
        "format": .string("vera-bench"), "schema": .integer(1), "kind": .string("phone"),
        "date": .string(ISO8601DateFormatter().string(from: Date())),
        "commit": .optional(commit), "device": device,
        "unit": .string(vera.engine.bridge.planner.unit.rawValue),
        "bundle": .object([
          "name": .string(vera.bundle.name), "recipe": .string(vera.bundle.recipe),
          "size_bytes": .integer(vera.bundle.info.sizeBytes),
          "sha256": .string(try StreamHash.of(Data(manifest.utf8))),
          "commit": .optional(vera.bundle.text("commit")),
        ]),
        "files": .object(
          try DownloadManifest(Data(manifest.utf8)).files.reduce(into: [:]) {
            $0[$1.path] = .integer($1.size_bytes)
          }),
        "thermal": thermal, "settings": self.settings(settings),
        "prompt_tokens": .null, "tokens": .integer(Int64(tokens)),
        "stages": .object(
          Dictionary(uniqueKeysWithValues: times.map { ($0, row($0, $1)) })),
        "memory": .object([
          "before_load_mb": .optional(peakBeforeMegabytes),
          "peak_mb": .optional(Self.megabytes(Device.peakFootprintBytes)),
        ]),
        "in_a_row_ms": .array((times["plan"] ?? []).map { .number($0) }),
        "golden": .array(
          SelfTest.kernelGoldens.sorted { $0.key < $1.key }.map { name, sum in
            .object([
              "name": .string("kernel-\(name)"), "sha256": .string(sum),
              "max_difference": .integer(0),
            ])
          }),
      ])
    }

    private var device: JSONValue {
      let model = Device.model
      let process = ProcessInfo.processInfo
      return .object([
        "id": .string(
          String(model.lowercased().map { $0.isASCII && ($0.isLetter || $0.isNumber) ? $0 : "-" })),
        "name": .string(model), "model": .string(model),
        "os": .string(process.operatingSystemVersionString),
        "cores": .integer(Int64(process.processorCount)),
        "ram_bytes": .integer(Int64(clamping: process.physicalMemory)),
      ])
    }

    private var thermal: JSONValue {
      func text(_ level: ThermalLevel?) -> JSONValue { .optional(level.map { "\($0)" }) }
      return .object([
        "state": .object(["before": text(thermalBefore), "after": text(Device.thermalLevel)]),
        "celsius": .object(["before": .null, "after": .null]),
      ])
    }

    private func settings(_ used: Benchmark) -> JSONValue {
      .object([
        "task": .string("auto"), "repeats": .integer(Int64(used.repeats)),
        "in_a_row": .integer(Int64(used.inARow)),
        "max_tokens": .integer(Int64(used.maxTokens)), "threads": .integer(0),
        "photo_megapixels": .integer(2), "renderer": .string(vera.renderer.name),
      ])
    }

    private func row(_ stage: String, _ values: [Double]) -> JSONValue {
      let warm = values.dropFirst().sorted()
      let middle = quantile(warm, 0.5)
      let away = middle.map { middle in warm.map { abs($0 - middle) }.sorted() } ?? []
      return .object([
        "cold_ms": .optional(values.first), "median_ms": .optional(middle),
        "p95_ms": .optional(quantile(warm, 0.95)), "mad_ms": .optional(quantile(away, 0.5)),
        "n": warm.isEmpty ? .null : .integer(Int64(warm.count)),
        "peak_mb": .optional(peaks[stage]),
        "bytes_moved": .null, "multiply_adds": .null,
      ])
    }

    /// Of sorted values, linear between them.
    private func quantile(_ sorted: [Double], _ share: Double) -> Double? {
      guard let last = sorted.last else { return nil }
      let place = share * Double(sorted.count - 1)
      let index = Int(place)
      if index + 1 >= sorted.count { return last }
      return sorted[index] + (place - Double(index)) * (sorted[index + 1] - sorted[index])
    }
  }
}
