package ai.vera.mobile

/** The eight orientations of Exif; [swaps] for those that turn by a quarter. */
internal object Orientation {
    const val UPRIGHT = 1

    fun swaps(orientation: Int): Boolean = orientation in 5..8

    /**
     * An upright copy of [photo], whose pixels are stored as `orientation` (1..8) says. Others
     * count as upright, which is what the standard says of unknown values.
     */
    fun apply(
        photo: Photo,
        orientation: Int
    ): Photo {
        if (orientation !in 2..8) return photo
        val (w, h) = photo.width to photo.height
        val (width, height) = if (swaps(orientation)) h to w else w to h
        val bytes = photo.format.bytesPerPixel
        val out = Photo.direct(width.toLong() * height * bytes)
        val source = photo.pixels.duplicate()
        val row = ByteArray(w * bytes)
        val mirrored = ByteArray(w * bytes)
        for (y in 0 until h) {
            source.position(y * photo.rowStrideBytes)
            source.get(row)
            if (!swaps(orientation)) {
                val flipX = orientation == 2 || orientation == 3
                val line = if (flipX) reverse(row, mirrored, bytes) else row
                out.position((if (orientation == 2) y else h - 1 - y) * width * bytes)
                out.put(line)
            } else {
                // column of the result: rows of the source from the left (5, 8) or the right
                val x = if (orientation == 5 || orientation == 8) y else h - 1 - y
                for (i in 0 until w) {
                    val line = if (orientation == 5 || orientation == 6) i else w - 1 - i
                    out.position((line * width + x) * bytes)
                    out.put(row, i * bytes, bytes)
                }
            }
        }
        out.rewind()
        val (format, space) = photo.format to photo.colorSpace
        return Photo(width, height, format, space, out, metadata = photo.metadata)
    }

    private fun reverse(
        row: ByteArray,
        out: ByteArray,
        bytes: Int
    ): ByteArray {
        for (i in row.indices step bytes) {
            row.copyInto(out, row.size - bytes - i, i, i + bytes)
        }
        return out
    }
}

/** The application segments of a JPEG: read before decoding, put back after encoding. */
internal object JpegSegments {
    private const val APP1 = 0xE1
    private const val START_OF_SCAN = 0xDA
    private const val MAX_SEGMENT = 65533
    private val EXIF = byteArrayOf(0x45, 0x78, 0x69, 0x66, 0, 0)
    private val XMP = "http://ns.adobe.com/xap/1.0/".encodeToByteArray() + byteArrayOf(0)

    class Found(
        val orientation: Int,
        val metadata: PhotoMetadata
    )

    /** Exif and XMP of [jpeg]; nothing for other files, and for what is damaged. */
    fun read(jpeg: ByteArray): Found {
        val kept = mutableListOf<ByteArray>()
        var orientation = Orientation.UPRIGHT
        for ((begin, end) in app1(jpeg)) {
            val segment = jpeg.copyOfRange(begin, end)
            if (segment.startsWith(EXIF)) {
                val at = Tiff(segment, EXIF.size).orientationOffset()
                if (at != null) {
                    orientation = at.value
                    at.write(segment, Orientation.UPRIGHT)
                }
                kept += segment
            } else if (segment.startsWith(XMP)) {
                kept += segment
            }
        }
        return Found(orientation, PhotoMetadata(kept))
    }

    /** [jpeg] with the segments behind its first marker, and behind JFIF, which must be first. */
    fun insert(
        jpeg: ByteArray,
        metadata: PhotoMetadata
    ): ByteArray {
        if (jpeg.size < 4 || unsigned(jpeg, 0) != 0xFF || unsigned(jpeg, 1) != 0xD8) {
            throw VeraException.InvalidArgument("Metadata can only be written into a JPEG.")
        }
        var at = 2
        if (unsigned(jpeg, 2) == 0xFF && unsigned(jpeg, 3) == 0xE0 && jpeg.size > 6) {
            at = minOf(4 + (unsigned(jpeg, 4) shl 8) + unsigned(jpeg, 5), jpeg.size)
        }
        var out = jpeg.copyOfRange(0, at)
        for (segment in metadata.segments.filter { it.size <= MAX_SEGMENT }) {
            val size = segment.size + 2
            out += byteArrayOf(-1, APP1.toByte(), (size shr 8).toByte(), size.toByte()) + segment
        }
        return out + jpeg.copyOfRange(at, jpeg.size)
    }

    private fun app1(jpeg: ByteArray): Sequence<Pair<Int, Int>> =
        sequence {
            if (jpeg.size < 4 || unsigned(jpeg, 0) != 0xFF ||
                unsigned(jpeg, 1) != 0xD8
            ) {
                return@sequence
            }
            var at = 2
            while (at + 4 <= jpeg.size && unsigned(jpeg, at) == 0xFF) {
                val marker = unsigned(jpeg, at + 1)
                if (marker == START_OF_SCAN) break
                val end = at + 2 + (unsigned(jpeg, at + 2) shl 8) + unsigned(jpeg, at + 3)
                if (end > jpeg.size || end < at + 4) break
                if (marker == APP1) yield(at + 4 to end)
                at = end
            }
        }

    private fun unsigned(
        bytes: ByteArray,
        at: Int
    ): Int = bytes[at].toInt() and 0xFF

    private fun ByteArray.startsWith(head: ByteArray): Boolean =
        size >= head.size && head.indices.all { this[it] == head[it] }
}

/** The first directory of a TIFF inside [bytes], from [base]; nothing outside of it is read. */
internal class Tiff(
    private val bytes: ByteArray,
    private val base: Int
) {
    class Place(
        private val at: Int,
        private val little: Boolean,
        val value: Int
    ) {
        fun write(
            bytes: ByteArray,
            value: Int
        ) {
            bytes[if (little) at else at + 1] = value.toByte()
            bytes[if (little) at + 1 else at] = 0
        }
    }

    /** Where the orientation (tag 0x0112, one SHORT) stands; null where there is none. */
    fun orientationOffset(): Place? {
        val little =
            when (text(0)) {
                "II" -> true
                "MM" -> false
                else -> return null
            }
        val directory = int(4, 4, little) ?: return null
        val count = int(directory, 2, little) ?: return null
        for (i in 0 until count) {
            val entry = directory + 2 + 12L * i
            if (int(entry, 2, little) != ORIENTATION) continue
            val isShort = int(entry + 2, 2, little) == SHORT && int(entry + 4, 4, little) == 1L
            val value = int(entry + 8, 2, little) ?: return null
            if (!isShort || value !in 1..8) return null
            return Place((base + entry + 8).toInt(), little, value.toInt())
        }
        return null
    }

    private fun text(at: Int): String? =
        if (base + at + 2 > bytes.size) null else bytes.decodeToString(base + at, base + at + 2)

    private fun int(
        at: Long,
        size: Int,
        little: Boolean
    ): Long? {
        val begin = base + at
        if (at < 0 || begin + size > bytes.size) return null
        var value = 0L
        for (i in 0 until size) {
            val byte = bytes[(begin + if (little) size - 1 - i else i).toInt()].toLong() and 0xFF
            value = (value shl 8) or byte
        }
        return value
    }

    private companion object {
        const val ORIENTATION = 0x0112L
        const val SHORT = 3L
    }
}
