package android.hardware;

public final class HardwareBuffer {
    public int getFormat() { return 0; }
}
