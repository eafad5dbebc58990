package ai.vera.mobile

import java.nio.ByteBuffer
import java.nio.ByteOrder

/**
 * Layout of a photo's samples, as in `vera.h`: interleaved, in the order of the name, alpha
 * straight. 8-, 10- and 16-bit samples use their whole range for 0..1.
 */
public enum class PixelFormat(
    internal val code: Int,
    public val bytesPerPixel: Int
) {
    RGB8(0, 3),
    RGBA8(1, 4),
    RGB16(2, 6),
    RGBA16(3, 8),
    RGBF32(4, 12),
    RGBAF32(5, 16),
    BGRA8(6, 4),

    /** Red in bits 0..9, green 10..19, blue 20..29, alpha 30..31: Android's RGBA_1010102. */
    RGB10A2(7, 4),
    RGBF16(8, 6),
    RGBAF16(9, 8)
    ;

    internal val isFloat: Boolean get() = this in setOf(RGBF32, RGBAF32, RGBF16, RGBAF16)
    internal val sampleBytes: Int
        get() =
            when (this) {
                RGB8, RGBA8, BGRA8 -> 1
                RGB16, RGBA16, RGBF16, RGBAF16 -> 2
                else -> 4
            }
}

/** Encoding of a photo's RGB. A look acts on the photo's own values; the plan sees sRGB. */
public enum class PhotoColorSpace(
    internal val code: Int
) {
    SRGB(0),
    DISPLAY_P3(1),
    ADOBE_RGB(2),

    /** Primaries of BT.2020 with sRGB's transfer function. */
    BT2020(3)
}

/**
 * What goes with the pixels from the file that was read to the one that is written.
 *
 * [segments] are whole APP1 segments of a JPEG (Exif, XMP) without marker and length. Their
 * orientation is 1 already: the pixels are upright.
 */
public class PhotoMetadata(
    segments: List<ByteArray> = emptyList()
) {
    public val segments: List<ByteArray> = segments.map { it.copyOf() }
}

/**
 * Upright pixels with their colour space.
 *
 * [pixels] is a direct buffer, the first pixel at index 0, row after row, [rowStrideBytes] apart;
 * read while a call runs, never changed and not copied. InvalidArgument for a size below 1, a heap
 * buffer, one that is too short, or a stride that is shorter than a row or splits a sample.
 */
public class Photo(
    public val width: Int,
    public val height: Int,
    public val format: PixelFormat,
    public val colorSpace: PhotoColorSpace,
    public val pixels: ByteBuffer,
    public val rowStrideBytes: Int = width * format.bytesPerPixel,
    public val metadata: PhotoMetadata = PhotoMetadata()
) {
    init {
        val rowBytes = width.toLong() * format.bytesPerPixel
        if (width !in 1..MAX_SIDE || height !in 1..MAX_SIDE) {
            throw VeraException.InvalidArgument(
                "Photo of $width x $height pixels not allowed: use 1..$MAX_SIDE for each side."
            )
        }
        if (rowStrideBytes < rowBytes || rowStrideBytes % format.sampleBytes != 0) {
            throw VeraException.InvalidArgument(
                "Row stride of $rowStrideBytes bytes not allowed: use at least $rowBytes, and a " +
                    "multiple of ${format.sampleBytes}, for $format."
            )
        }
        val needed = rowStrideBytes.toLong() * (height - 1) + rowBytes
        if (!pixels.isDirect || pixels.capacity() < needed) {
            throw VeraException.InvalidArgument(
                "Pixel buffer of ${pixels.capacity()} bytes (direct: ${pixels.isDirect}) not " +
                    "allowed: use ByteBuffer.allocateDirect($needed) or more."
            )
        }
    }

    /** Bytes of the pixels, padding between rows included. */
    public val sizeBytes: Long
        get() = rowStrideBytes.toLong() * (height - 1) + width.toLong() * format.bytesPerPixel

    internal fun describe(): LongArray =
        longArrayOf(
            format.code.toLong(),
            width.toLong(),
            height.toLong(),
            rowStrideBytes.toLong()
        )

    /** The same facts around new pixels without padding. */
    internal fun empty(): Photo {
        val bytes = width.toLong() * format.bytesPerPixel * height
        return Photo(width, height, format, colorSpace, direct(bytes), metadata = metadata)
    }

    internal companion object {
        const val MAX_SIDE = 65536

        fun direct(bytes: Long): ByteBuffer {
            if (bytes > Int.MAX_VALUE) {
                throw VeraException.OutOfMemory(
                    "A photo of $bytes bytes does not fit one buffer: use at most " +
                        "${Int.MAX_VALUE}; scale it down or use 8 bits a sample."
                )
            }
            try {
                return ByteBuffer.allocateDirect(bytes.toInt()).order(ByteOrder.nativeOrder())
            } catch (error: OutOfMemoryError) {
                throw VeraException.OutOfMemory("No memory for $bytes bytes of pixels.", error)
            }
        }
    }
}
