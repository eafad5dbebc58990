import Foundation

#if canImport(Darwin)
  import Darwin
#endif

#if canImport(UIKit) && !os(watchOS)
  import UIKit
#endif

extension VeraRetoucher {
  /// What runs a bundle where the app names no planner.
  static var systemPlanner: PlannerFactory {
    { bundle in
      #if canImport(CoreML)
        if bundle.backend == "coreml" { return try CoreMLPlanner(bundle) }
      #endif
      throw VeraError(
        .unsupportedFormat,
        "Bundle \(bundle.name) (\(bundle.recipe)) is for '\(bundle.backend)', which this device has "
          + "no built-in runtime for: export an ios recipe, or give a planner.")
    }
  }

  /// The GPU where it computes what the CPU does, else the CPU.
  static func systemRenderer(_ conditions: WorkConditions) -> any Renderer {
    #if canImport(Metal)
      // without a GPU, or with one that fails, the CPU gives the same pictures
      if let gpu = try? MetalRenderer(conditions),
        (try? SelfTest.compare(gpu)) != nil
      {
        return gpu
      }
    #endif
    return CPURenderer()
  }
}

/// Passes on what the system says of memory, warmth and background, as long as the result is kept.
func observeSystem(_ retoucher: VeraRetoucher) -> [any Sendable] {
  var observers: [any Sendable] = []
  #if canImport(UIKit) && !os(watchOS)
    observers.append(
      Observer(UIApplication.didReceiveMemoryWarningNotification) { [weak retoucher] in
        await retoucher?.memoryIsLow()
      })
    observers.append(
      Observer(UIApplication.didEnterBackgroundNotification) { [weak retoucher] in
        await retoucher?.appIsActive(false)
      })
    observers.append(
      Observer(UIApplication.willEnterForegroundNotification) { [weak retoucher] in
        await retoucher?.appIsActive(true)
      })
  #endif
  #if canImport(Darwin)
    observers.append(
      Observer(ProcessInfo.thermalStateDidChangeNotification) { [weak retoucher] in
        await retoucher?.deviceIs(ThermalLevel.current)
      })
  #endif
  return observers
}

#if canImport(Darwin)
  extension ThermalLevel {
    /// Of this device, now.
    static var current: ThermalLevel {
      ThermalLevel(rawValue: ProcessInfo.processInfo.thermalState.rawValue) ?? .nominal
    }
  }

  /// Runs `action` at each notification, until it is released.
  private final class Observer: @unchecked Sendable {
    private let token: any NSObjectProtocol

    init(_ name: Notification.Name, _ action: @escaping @Sendable () async -> Void) {
      token = NotificationCenter.default.addObserver(forName: name, object: nil, queue: nil) { _ in
        Task { await action() }
      }
    }

    deinit { NotificationCenter.default.removeObserver(token) }
  }
#else
  extension ThermalLevel {
    /// Not known on this system.
    static var current: ThermalLevel { .nominal }
  }
#endif
