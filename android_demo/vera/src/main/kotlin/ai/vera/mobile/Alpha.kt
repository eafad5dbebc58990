package ai.vera.mobile

import java.nio.ByteBuffer

/** libvera takes straight alpha, Android's bitmaps are mostly multiplied. */
internal object Alpha {
    /** Divides the colours of RGBA8 [pixels] by their alpha, rounding to nearest, in place. */
    fun divide(
        pixels: ByteBuffer,
        format: PixelFormat
    ) {
        if (format != PixelFormat.RGBA8) {
            throw VeraException.UnsupportedFormat(
                "A translucent, premultiplied bitmap of $format not allowed: use ARGB_8888, or " +
                    "decode with inPremultiplied = false."
            )
        }
        for (i in 0..pixels.capacity() - 4 step 4) {
            val alpha = pixels.get(i + 3).toInt() and 0xFF
            if (alpha == 255 || alpha == 0) continue
            for (j in i until i + 3) {
                val value = pixels.get(j).toInt() and 0xFF
                pixels.put(j, minOf((value * 255 + alpha / 2) / alpha, 255).toByte())
            }
        }
    }
}
