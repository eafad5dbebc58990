import Foundation

#if canImport(Darwin)
  import Darwin
#endif

/// Facts of this device and process for benchmark files and the app's memory page.
public enum Device {
  /// Bytes that the system counts against this process now (phys_footprint); nil: not known.
  public static var footprintBytes: Int64? { memory.now }

  /// The most that it was.
  public static var peakFootprintBytes: Int64? { memory.peak }

  /// The system's name of the model, such as "iPhone17,1".
  public static var model: String {
    var facts = utsname()
    uname(&facts)
    return withUnsafeBytes(of: facts.machine) { bytes in
      String(decoding: bytes.prefix { $0 != 0 }, as: UTF8.self)
    }
  }

  /// How warm it is; nil: not known on this system.
  public static var thermalLevel: ThermalLevel? {
    #if canImport(Darwin)
      ThermalLevel.current
    #else
      nil
    #endif
  }

  private static var memory: (now: Int64?, peak: Int64?) {
    #if canImport(Darwin)
      var info = task_vm_info_data_t()
      let size = MemoryLayout<task_vm_info_data_t>.size / MemoryLayout<natural_t>.size
      var count = mach_msg_type_number_t(size)
      let status = withUnsafeMutablePointer(to: &info) { pointer in
        pointer.withMemoryRebound(to: integer_t.self, capacity: size) {
          task_info(mach_task_self_, task_flavor_t(TASK_VM_INFO), $0, &count)
        }
      }
      guard status == KERN_SUCCESS else { return (nil, nil) }
      return (Int64(info.phys_footprint), info.ledger_phys_footprint_peak)
    #else
      return (statusLine("VmRSS:"), statusLine("VmHWM:"))
    #endif
  }

  #if !canImport(Darwin)
    private static func statusLine(_ key: String) -> Int64? {
      let text = FileManager.default.contents(atPath: "/proc/self/status")
        .map { String(decoding: $0, as: UTF8.self) }
      let line = text?.split(separator: "\n").first { $0.hasPrefix(key) }
      let kilobytes = line?.split(whereSeparator: { $0 == " " || $0 == "\t" }).dropFirst().first
      return kilobytes.flatMap { Int64($0) }.map { $0 * 1024 }
    }
  #endif
}
