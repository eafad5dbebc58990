package android.graphics;

import android.hardware.HardwareBuffer;
import java.io.OutputStream;
import java.nio.Buffer;

public final class Bitmap {
    public enum Config { ALPHA_8, RGB_565, ARGB_4444, ARGB_8888, RGBA_F16, HARDWARE, RGBA_1010102 }

    public enum CompressFormat { JPEG, PNG, WEBP }

    public static Bitmap createBitmap(int width, int height, Config config) { return null; }

    public static Bitmap createBitmap(
            int width, int height, Config config, boolean hasAlpha, ColorSpace space) {
        return null;
    }

    public static Bitmap wrapHardwareBuffer(HardwareBuffer buffer, ColorSpace space) { return null; }

    public Bitmap copy(Config config, boolean mutable) { return null; }

    public void copyPixelsToBuffer(Buffer buffer) {}

    public void copyPixelsFromBuffer(Buffer buffer) {}

    public boolean compress(CompressFormat format, int quality, OutputStream out) { return false; }

    public void recycle() {}

    public int getWidth() { return 0; }

    public int getHeight() { return 0; }

    public int getRowBytes() { return 0; }

    public Config getConfig() { return null; }

    public ColorSpace getColorSpace() { return null; }

    public boolean hasAlpha() { return false; }

    public void setHasAlpha(boolean hasAlpha) {}

    public boolean isPremultiplied() { return false; }
}
