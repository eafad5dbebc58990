package ai.vera.mobile

import android.content.ContentResolver
import android.graphics.Bitmap
import android.graphics.BitmapFactory
import android.graphics.ColorSpace
import android.hardware.HardwareBuffer
import android.net.Uri
import android.os.Build
import java.io.ByteArrayOutputStream
import java.io.IOException
import java.io.InputStream
import java.io.OutputStream

/** Photos from and to Android's classes. None of these is for the main thread. */
public object PhotoFiles {
    private const val MAX_FILE_BYTES = 256 shl 20
    private const val MAX_PIXELS = 250_000_000L

    /**
     * A copy of a bitmap's pixels, in its own depth (8 bits, half floats, 10 bits) and colour space
     * (sRGB, Display P3, Adobe RGB); other spaces are converted to Display P3. Gain maps are not
     * taken along. UnsupportedFormat for a bitmap without colours (ALPHA_8), and for a translucent,
     * premultiplied one of more than 8 bits.
     */
    public fun fromBitmap(
        bitmap: Bitmap,
        metadata: PhotoMetadata = PhotoMetadata()
    ): Photo {
        val plain = readable(bitmap)
        val format = formatOf(plain)
        val pixels = Photo.direct(plain.rowBytes.toLong() * plain.height)
        plain.copyPixelsToBuffer(pixels)
        pixels.rewind()
        if (plain.hasAlpha() && plain.isPremultiplied) Alpha.divide(pixels, format)
        val (space, rowBytes) = spaceOf(plain.colorSpace) to plain.rowBytes
        if (plain !== bitmap) plain.recycle()
        return Photo(bitmap.width, bitmap.height, format, space, pixels, rowBytes, metadata)
    }

    /** Pixels of a buffer of one RGBA plane: RGBA_8888, RGBX_8888, RGBA_FP16, RGBA_1010102. */
    public fun fromHardwareBuffer(
        buffer: HardwareBuffer,
        colorSpace: PhotoColorSpace = PhotoColorSpace.SRGB
    ): Photo {
        if (Build.VERSION.SDK_INT < 29) {
            throw VeraException.UnsupportedFormat(
                "HardwareBuffer on Android ${Build.VERSION.RELEASE} not allowed: use 10 or " +
                    "later, or a Bitmap."
            )
        }
        val bitmap =
            Bitmap.wrapHardwareBuffer(buffer, ColorSpace.get(named(colorSpace)))
                ?: throw VeraException.UnsupportedFormat(
                    "HardwareBuffer of format ${buffer.format} not allowed: use an RGBA one."
                )
        return fromBitmap(bitmap)
    }

    /**
     * Decodes what [uri] names: JPEG, PNG, WebP, HEIC and AVIF where the system reads them. The
     * orientation of Exif is applied once; Exif and XMP of a JPEG are kept. FileError where it
     * cannot be read, UnsupportedFormat where it is no photo or above 250 MP.
     */
    public fun fromUri(
        resolver: ContentResolver,
        uri: Uri
    ): Photo {
        try {
            val input = resolver.openInputStream(uri) ?: throw IOException("nothing is there")
            return decode(input.use { readAll(it) })
        } catch (error: IOException) {
            throw VeraException.FileError("The photo cannot be read (${error.message}).", error)
        } catch (error: SecurityException) {
            throw VeraException.FileError("The app may not read this photo: pick it again.", error)
        }
    }

    /** [fromUri] of a file's bytes. */
    public fun decode(bytes: ByteArray): Photo {
        val bounds = BitmapFactory.Options().apply { inJustDecodeBounds = true }
        BitmapFactory.decodeByteArray(bytes, 0, bytes.size, bounds)
        if (bounds.outWidth.toLong() * bounds.outHeight > MAX_PIXELS) {
            throw VeraException.UnsupportedFormat(
                "Photo of ${bounds.outWidth} x ${bounds.outHeight} pixels not allowed: use up to " +
                    "$MAX_PIXELS pixels."
            )
        }
        val found = JpegSegments.read(bytes)
        val bitmap =
            BitmapFactory.decodeByteArray(bytes, 0, bytes.size, options(bounds))
                ?: throw VeraException.UnsupportedFormat(
                    "This file is no photo that Android reads."
                )
        try {
            return Orientation.apply(fromBitmap(bitmap, found.metadata), found.orientation)
        } finally {
            bitmap.recycle()
        }
    }

    /**
     * An opaque bitmap of the photo's own depth and colour space: its alpha is not shown. Photos of
     * 16 or 32 bits a sample are UnsupportedFormat.
     */
    public fun toBitmap(photo: Photo): Bitmap {
        val config = configOf(photo.format)
        val space = ColorSpace.get(named(photo.colorSpace))
        val bitmap = Bitmap.createBitmap(photo.width, photo.height, config, false, space)
        if (bitmap.rowBytes == photo.rowStrideBytes) {
            bitmap.copyPixelsFromBuffer(photo.pixels.duplicate().apply { rewind() })
            return bitmap
        }
        bitmap.copyPixelsFromBuffer(repacked(photo, bitmap.rowBytes))
        return bitmap
    }

    /**
     * Writes a JPEG (quality 1..100) with colour profile, Exif and XMP. The caller writes into a
     * temporary name or a pending MediaStore entry.
     */
    public fun writeJpeg(
        photo: Photo,
        out: OutputStream,
        quality: Int = 95
    ) {
        val encoded = ByteArrayOutputStream()
        val bitmap = toBitmap(photo)
        val done = bitmap.compress(Bitmap.CompressFormat.JPEG, quality, encoded)
        bitmap.recycle()
        if (!done) throw VeraException.FileError("The photo could not be encoded as JPEG.")
        try {
            out.write(JpegSegments.insert(encoded.toByteArray(), photo.metadata))
        } catch (error: IOException) {
            throw VeraException.FileError("The photo cannot be written (${error.message}).", error)
        }
    }

    private fun readAll(input: InputStream): ByteArray {
        val out = ByteArrayOutputStream()
        val buffer = ByteArray(1 shl 16)
        while (true) {
            val count = input.read(buffer)
            if (count < 0) return out.toByteArray()
            out.write(buffer, 0, count)
            if (out.size() > MAX_FILE_BYTES) throw IOException("larger than $MAX_FILE_BYTES bytes")
        }
    }

    private fun options(bounds: BitmapFactory.Options) =
        BitmapFactory.Options().apply {
            inPremultiplied = false
            // Files of 10 bits decode to 8 unless asked otherwise; of 16 bits decode to half floats.
            val deep = bounds.outMimeType in setOf("image/heif", "image/heic", "image/avif")
            if (deep && Build.VERSION.SDK_INT >= 33) {
                inPreferredConfig = Bitmap.Config.RGBA_1010102
            }
        }

    private fun readable(bitmap: Bitmap): Bitmap {
        val known = setOf(Bitmap.Config.ARGB_8888, Bitmap.Config.RGBA_F16)
        val deep = Build.VERSION.SDK_INT >= 33 && bitmap.config == Bitmap.Config.RGBA_1010102
        val config = if (bitmap.config in known || deep) bitmap.config else Bitmap.Config.ARGB_8888
        if (bitmap.config == Bitmap.Config.ALPHA_8) {
            throw VeraException.UnsupportedFormat("A bitmap of ALPHA_8 has no colours to retouch.")
        }
        val plain =
            if (config == bitmap.config) {
                bitmap
            } else {
                bitmap.copy(config, false) ?: throw VeraException.OutOfMemory("No memory to copy.")
            }
        val space = plain.colorSpace
        if (space == null || nameOf(space) != null || Build.VERSION.SDK_INT < 29) return plain
        return converted(plain)
    }

    // Drawn on a canvas of the wanted space, which converts.
    private fun converted(bitmap: Bitmap): Bitmap {
        val p3 = ColorSpace.get(ColorSpace.Named.DISPLAY_P3)
        val (width, height) = bitmap.width to bitmap.height
        val out = Bitmap.createBitmap(width, height, Bitmap.Config.RGBA_F16, true, p3)
        android.graphics.Canvas(out).drawBitmap(bitmap, 0f, 0f, null)
        return out
    }

    private fun formatOf(bitmap: Bitmap): PixelFormat =
        when {
            bitmap.config == Bitmap.Config.RGBA_F16 -> PixelFormat.RGBAF16
            bitmap.config == Bitmap.Config.ARGB_8888 -> PixelFormat.RGBA8
            else -> PixelFormat.RGB10A2
        }

    private fun configOf(format: PixelFormat): Bitmap.Config =
        when (format) {
            PixelFormat.RGBA8 -> Bitmap.Config.ARGB_8888

            PixelFormat.RGBAF16 -> Bitmap.Config.RGBA_F16

            PixelFormat.RGB10A2 ->
                if (Build.VERSION.SDK_INT >= 33) {
                    Bitmap.Config.RGBA_1010102
                } else {
                    throw VeraException.UnsupportedFormat("10-bit bitmaps need Android 13.")
                }

            else ->
                throw VeraException.UnsupportedFormat(
                    "A bitmap of $format not allowed: use RGBA8, RGBAF16 or RGB10A2."
                )
        }

    private fun nameOf(space: ColorSpace): PhotoColorSpace? =
        when (space) {
            ColorSpace.get(ColorSpace.Named.SRGB) -> PhotoColorSpace.SRGB
            ColorSpace.get(ColorSpace.Named.EXTENDED_SRGB) -> PhotoColorSpace.SRGB
            ColorSpace.get(ColorSpace.Named.DISPLAY_P3) -> PhotoColorSpace.DISPLAY_P3
            ColorSpace.get(ColorSpace.Named.ADOBE_RGB) -> PhotoColorSpace.ADOBE_RGB
            else -> null
        }

    private fun spaceOf(space: ColorSpace?): PhotoColorSpace =
        space?.let { nameOf(it) } ?: PhotoColorSpace.SRGB

    private fun named(space: PhotoColorSpace): ColorSpace.Named =
        when (space) {
            PhotoColorSpace.SRGB -> ColorSpace.Named.SRGB

            PhotoColorSpace.DISPLAY_P3 -> ColorSpace.Named.DISPLAY_P3

            PhotoColorSpace.ADOBE_RGB -> ColorSpace.Named.ADOBE_RGB

            PhotoColorSpace.BT2020 ->
                throw VeraException.UnsupportedFormat(
                    "Android has no colour space of BT.2020 with sRGB's curve: use Display P3."
                )
        }

    private fun repacked(
        photo: Photo,
        rowBytes: Int
    ): java.nio.ByteBuffer {
        val out = Photo.direct(rowBytes.toLong() * photo.height)
        val row = ByteArray(photo.width * photo.format.bytesPerPixel)
        val source = photo.pixels.duplicate()
        for (y in 0 until photo.height) {
            source.position(y * photo.rowStrideBytes)
            source.get(row)
            out.position(y * rowBytes)
            out.put(row)
        }
        out.rewind()
        return out
    }
}
