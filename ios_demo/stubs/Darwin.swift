@_exported import Foundation

public typealias natural_t = UInt32
public typealias integer_t = Int32
public typealias kern_return_t = Int32
public typealias mach_msg_type_number_t = UInt32
public typealias task_flavor_t = UInt32
public typealias mach_port_t = UInt32
public let TASK_VM_INFO: Int32 = 22
public let KERN_SUCCESS: Int32 = 0
public var mach_task_self_: mach_port_t { fatalError("stub") }

public struct task_vm_info_data_t {
  public var phys_footprint: UInt64 = 0
  public var ledger_phys_footprint_peak: Int64 = 0
  public init() {}
}

public func task_info(
  _ task: mach_port_t, _ flavor: task_flavor_t, _ info: UnsafeMutablePointer<integer_t>?,
  _ count: UnsafeMutablePointer<mach_msg_type_number_t>?
) -> kern_return_t { fatalError("stub") }

extension ProcessInfo {
  public enum ThermalState: Int, Sendable { case nominal, fair, serious, critical }
  public var thermalState: ThermalState { fatalError("stub") }
  public static var thermalStateDidChangeNotification: Notification.Name { fatalError("stub") }
}

public typealias CFString = String
public typealias CFData = Data
public typealias CFDictionary = [AnyHashable: Any]
public typealias CFMutableData = NSMutableData
public typealias CFTypeRef = AnyObject
public typealias CFTypeID = UInt
public typealias CFAllocator = NSObject
public typealias OSType = UInt32
public func CFGetTypeID(_ object: CFTypeRef?) -> CFTypeID { fatalError("stub") }

extension URL {
  public static var documentsDirectory: URL { fatalError("stub") }
  public func startAccessingSecurityScopedResource() -> Bool { false }
  public func stopAccessingSecurityScopedResource() {}
}
