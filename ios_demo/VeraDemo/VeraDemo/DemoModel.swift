import Foundation
import Observation
import VeraMobile

/// What the pages show, and what their buttons do. All work is the library's.
@MainActor @Observable
final class DemoModel {
  /// What the user chose to do.
  enum Mode: String, CaseIterable, Identifiable {
    case auto = "Auto"
    case style = "Style"
    case param = "Sliders"
    case reference = "Reference"
    var id: String { rawValue }
  }

  var mode = Mode.auto
  var wish = ""
  var sliders: [String: Double] = [:]
  var referenceBefore: Photo?
  var referenceAfter: Photo?
  var strengths = Strengths()
  var mix = 1.0
  private(set) var before: Photo?
  private(set) var after: Photo?
  private(set) var look: Look?
  private(set) var words = ""
  private(set) var progress: Double?
  private(set) var message = ""
  private(set) var renderMilliseconds: Double?
  private(set) var selfTest: [SelfTest.Outcome] = []
  private(set) var bundles: [URL] = []
  private(set) var downloaded: Double?
  private(set) var vera: VeraRetoucher?
  private var loadMilliseconds = 0.0
  private var work: Task<Void, Never>?
  private var rendering: Task<Void, Never>?
  private var download: Task<Void, Never>?
  private var listening: Task<Void, Never>?

  /// In percent.
  subscript(slider name: String) -> Double {
    get { sliders[name] ?? 0 }
    set { sliders[name] = newValue }
  }

  var isWorking: Bool { work != nil }
  var documents: URL { URL.documentsDirectory }
  var bundleFolder: URL { documents.appendingPathComponent("bundles") }

  /// Opens the first bundle that is there. With `-bench <bundle>` it measures instead and ends.
  func start(arguments: [String]) async {
    if let order = BenchOrder(arguments) {
      await order.run(bundles: bundleFolder, documents: documents)
      exit(0)
    }
    findBundles()
    if let first = bundles.first { await use(first) }
  }

  func findBundles() {
    let found = try? FileManager.default.contentsOfDirectory(
      at: bundleFolder, includingPropertiesForKeys: nil)
    bundles = (found ?? []).filter { folder in
      let manifest = folder.appendingPathComponent("bundle.json")
      return FileManager.default.fileExists(atPath: manifest.path)
    }
  }

  func use(_ bundle: URL) async {
    await vera?.close()
    vera = nil
    await report {
      let start = ContinuousClock.now
      let opened = try await VeraRetoucher(
        bundle: bundle,
        onProgress: { share in
          Task { @MainActor in self.progress = share < 1 ? share : nil }
        })
      self.loadMilliseconds = (ContinuousClock.now - start) / .milliseconds(1)
      self.vera = opened
      self.listen(to: opened)
      self.message = "\(opened.bundle.name), \(opened.bundle.recipe)"
    }
    progress = nil
  }

  /// A photo that another app shares, or that was picked.
  func open(_ url: URL) {
    let isScoped = url.startAccessingSecurityScopedResource()
    defer { if isScoped { url.stopAccessingSecurityScopedResource() } }
    do {
      take(try Photo(data: Data(contentsOf: url)))
    } catch {
      message = error.localizedDescription
    }
  }

  func open(_ data: Data) {
    do {
      take(try Photo(data: data))
    } catch {
      message = error.localizedDescription
    }
  }

  private func take(_ photo: Photo) {
    cancel()
    (before, after, look, words, message) = (photo, nil, nil, "", "")
  }

  func retouch() {
    guard let vera, let photo = before, work == nil else { return }
    (words, look, after) = ("", nil, nil)
    work = Task {
      await report {
        var options = RetouchOptions()
        options.strengths = self.strengths
        options.strength = Float(self.mix)
        for try await event in vera.retouch(photo, try self.task(), options: options) {
          self.show(event)
        }
      }
      progress = nil
      work = nil
    }
  }

  func cancel() {
    work?.cancel()
    rendering?.cancel()
  }

  private func task() throws -> RetouchTask {
    switch mode {
    case .auto: return .auto
    case .style: return .style(wish)
    case .param: return .param(sliders)
    case .reference:
      guard let referenceBefore, let referenceAfter else {
        throw VeraError(.invalidArgument, "Choose a picture before and one after its retouch.")
      }
      return .reference(before: referenceBefore, after: referenceAfter)
    }
  }

  private func show(_ event: RetouchEvent) {
    switch event {
    case .progress(_, let done): progress = done
    case .text(let piece): words += piece
    case .lookReady(let ready): look = ready
    case .photoReady(let photo, let ready): (after, look) = (photo, ready)
    case .unloaded: message = "Memory is low: the model was unloaded."
    }
  }

  /// Renders with the sliders as they are; a newer call stops an older one.
  func renderAgain() {
    guard let vera, let look, let photo = before, work == nil else { return }
    rendering?.cancel()
    let (strengths, mix) = (strengths, Float(mix))
    rendering = Task {
      await report {
        let start = ContinuousClock.now
        let result = try await vera.render(look, photo, strengths: strengths, strength: mix)
        try Task.checkCancellation()
        self.after = result
        self.renderMilliseconds = (ContinuousClock.now - start) / .milliseconds(1)
      }
    }
  }

  /// A file to be shared: the photo in its own format.
  func file() throws -> URL {
    guard let photo = after ?? before else { throw VeraError(.invalidArgument, "Pick a photo.") }
    let type = photo.extras.fileType.flatMap { PhotoFileType(rawValue: $0) } ?? .jpeg
    let url = FileManager.default.temporaryDirectory.appendingPathComponent("retouched.\(type)")
    try photo.encoded(as: type).write(to: url, options: .atomic)
    return url
  }

  /// A .cube file to be shared.
  func cube() async throws -> URL {
    guard let look else { throw VeraError(.invalidArgument, "Retouch a photo first.") }
    let url = FileManager.default.temporaryDirectory.appendingPathComponent("look.cube")
    try await look.with(strengths).saveCube(to: url, strength: Float(mix))
    return url
  }

  // MARK: Bundle and device

  func fetch(from address: String, sha256: String) {
    guard download == nil else { return }
    download = Task {
      await report {
        guard let url = URL(string: address) else {
          throw VeraError(.invalidArgument, "'\(address)' is no address.")
        }
        let folder = self.bundleFolder.appendingPathComponent(url.lastPathComponent)
        let downloader = try BundleDownloader(from: url, sha256: sha256, to: folder)
        for try await event in downloader.download() {
          switch event {
          case .progress(let done, let total):
            self.downloaded = total > 0 ? Double(done) / Double(total) : nil
          case .finished(let folder):
            self.findBundles()
            await self.use(folder)
          }
        }
      }
      downloaded = nil
      download = nil
    }
  }

  /// What is here is kept; the next `fetch` goes on.
  func stopFetching() { download?.cancel() }

  func runSelfTest() async {
    guard let vera else { return message = "Open a bundle first." }
    selfTest = await SelfTest.run(vera)
  }

  /// Writes Documents/bench.json, which `vera bench import` takes.
  func bench() async {
    guard let vera else { return }
    await report {
      let text = try await Benchmark().run(vera, loadMilliseconds: self.loadMilliseconds) { share in
        Task { @MainActor in self.progress = share }
      }
      let file = self.documents.appendingPathComponent("bench.json")
      try text.write(to: file, options: .atomic)
      self.message = "Wrote bench.json."
    }
    progress = nil
  }

  private func listen(to vera: VeraRetoucher) {
    listening?.cancel()
    listening = Task {
      for await notice in vera.notices {
        switch notice {
        case .unloaded(.lowMemory): message = "Memory is low: the model was unloaded."
        case .thermal(let level) where level >= .serious: message = "The phone is hot: slower."
        case .paused(true): message = "Waits until the app is in front."
        case .unloaded(.asked), .thermal, .paused, .closed: break
        }
      }
    }
  }

  private func report(_ body: () async throws -> Void) async {
    do {
      try await body()
    } catch is CancellationError {
      message = "Stopped."
    } catch {
      message = error.localizedDescription
    }
  }
}
