#if canImport(CoreML)
  import CoreML
  import Foundation

  /// Compiles the bundle's packages, keeps what came of it in the app's caches, and loads it.
  final class CoreMLStore: @unchecked Sendable {
    private let bundle: VeraBundle
    private let units: CoreMLUnits
    private let folder: URL

    init(_ bundle: VeraBundle, units: CoreMLUnits, cache: URL?) throws {
      self.bundle = bundle
      self.units = units
      let caches =
        cache ?? FileManager.default.urls(for: .cachesDirectory, in: .userDomainMask).first
      guard let caches else {
        throw VeraError(.fileError, "This app has no folder for caches: name one.")
      }
      // another bundle or system never meets these files
      let system = ProcessInfo.processInfo.operatingSystemVersion
      let release = "\(system.majorVersion).\(system.minorVersion).\(system.patchVersion)"
      let manifest = try StreamHash.of(Data((bundle.text("manifest") ?? "").utf8))
      folder = caches.appendingPathComponent("VeraMobile/\(manifest)-\(release)", isDirectory: true)
    }

    /// - Parameter function: of a program with several.
    func load(_ program: String, function: String? = nil) throws -> MLModel {
      let configuration = MLModelConfiguration()
      switch units[program] {
      case .cpu: configuration.computeUnits = .cpuOnly
      case .gpu: configuration.computeUnits = .cpuAndGPU
      case .npu: configuration.computeUnits = .cpuAndNeuralEngine
      }
      configuration.functionName = function
      let compiled = try compiled(program)
      do {
        return try MLModel(contentsOf: compiled, configuration: configuration)
      } catch {
        throw VeraError(
          .bundleError,
          "Program '\(program)' cannot be loaded (\(error.localizedDescription)): export it again "
            + "with this release.")
      }
    }

    private func compiled(_ program: String) throws -> URL {
      let target = folder.appendingPathComponent("\(program).mlmodelc", isDirectory: true)
      // also when it is compiled already: a bundle that was changed must not run
      let package = try package(program)
      if FileManager.default.fileExists(atPath: target.path) { return target }
      let made = try compile(package, program)
      do {
        try FileManager.default.createDirectory(at: folder, withIntermediateDirectories: true)
        try FileManager.default.moveItem(at: made, to: target)
      } catch {
        throw VeraError(
          .fileError,
          "Compiled programs cannot be kept (\(error.localizedDescription)): free some space.")
      }
      return target
    }

    /// The .mlpackage that holds the program's file.
    private func package(_ program: String) throws -> URL {
      var url = try bundle.program(program).file
      while url.pathExtension != "mlpackage" {
        let parent = url.deletingLastPathComponent()
        guard parent.path.count < url.path.count else {
          throw VeraError(
            .bundleError, "Program '\(program)' is no Core ML package: export an ios recipe.")
        }
        url = parent
      }
      return url
    }

    private func compile(_ package: URL, _ program: String) throws -> URL {
      let done = DispatchSemaphore(value: 0)
      let outcome = Outcome()
      MLModel.compileModel(at: package) { result in
        outcome.result = result
        done.signal()
      }
      done.wait()
      do {
        guard let result = outcome.result else {
          throw VeraError(.internalError, "Core ML compiled nothing: please report this.")
        }
        return try result.get()
      } catch {
        throw VeraError(
          .bundleError,
          "Program '\(program)' cannot be compiled (\(error.localizedDescription)): export it again."
        )
      }
    }

    /// Written before the semaphore is signalled, read after.
    private final class Outcome: @unchecked Sendable {
      var result: Result<URL, any Error>?
    }
  }
#endif
