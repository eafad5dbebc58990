@_exported import Darwin

@MainActor public final class UIApplication {
  public nonisolated static let didReceiveMemoryWarningNotification = Notification.Name("")
  public nonisolated static let didEnterBackgroundNotification = Notification.Name("")
  public nonisolated static let willEnterForegroundNotification = Notification.Name("")
}
