package ai.vera.mobile

import java.io.ByteArrayOutputStream
import java.nio.ByteBuffer
import java.nio.ByteOrder
import kotlin.random.Random
import kotlin.test.Test
import kotlin.test.assertContentEquals
import kotlin.test.assertEquals
import kotlin.test.assertFailsWith

internal class ExifTest {
    private val xmp = "http://ns.adobe.com/xap/1.0/\u0000<x:xmpmeta/>".encodeToByteArray()

    private fun exif(
        orientation: Int,
        order: ByteOrder
    ): ByteArray {
        val tiff = ByteBuffer.allocate(8 + 2 + 2 * 12 + 4).order(order)
        tiff.put((if (order == ByteOrder.LITTLE_ENDIAN) "II" else "MM").encodeToByteArray())
        tiff.putShort(42).putInt(8).putShort(2)
        tiff.putShort(0x0110).putShort(2).putInt(1).putInt(0) // Model
        tiff.putShort(0x0112).putShort(3).putInt(1).putShort(orientation.toShort()).putShort(0)
        return "Exif\u0000\u0000".encodeToByteArray() + tiff.array()
    }

    private fun jpeg(vararg segments: ByteArray): ByteArray {
        val out = ByteArrayOutputStream()
        out.write(byteArrayOf(-1, 0xD8.toByte(), -1, 0xE0.toByte(), 0, 4, 1, 2))
        for (segment in segments) {
            val size = segment.size + 2
            out.write(
                byteArrayOf(-1, 0xE1.toByte(), (size shr 8).toByte(), size.toByte()) + segment
            )
        }
        out.write(byteArrayOf(-1, 0xDA.toByte(), 0, 2, 9, 9, -1, 0xD9.toByte()))
        return out.toByteArray()
    }

    @Test
    fun theOrientationIsReadInBothByteOrdersAndWrittenAs1() {
        for (order in listOf(ByteOrder.LITTLE_ENDIAN, ByteOrder.BIG_ENDIAN)) {
            for (value in 1..8) {
                val found = JpegSegments.read(jpeg(exif(value, order)))
                assertEquals(value, found.orientation)
                assertContentEquals(exif(1, order), found.metadata.segments.single())
            }
        }
    }

    @Test
    fun metadataGoesBehindJfifAndIsReadBackTheSame() {
        val found = JpegSegments.read(jpeg(exif(6, ByteOrder.BIG_ENDIAN), xmp))
        val written = JpegSegments.insert(jpeg(), found.metadata)
        assertContentEquals(jpeg(exif(1, ByteOrder.BIG_ENDIAN), xmp), written)
        val again = JpegSegments.read(written)
        assertEquals(1, again.orientation)
        assertEquals(2, again.metadata.segments.size)
    }

    @Test
    fun otherFilesHaveNone() {
        val other = listOf(ByteArray(0), ByteArray(3), "PNG and so on".encodeToByteArray(), jpeg())
        for (bytes in other) {
            val found = JpegSegments.read(bytes)
            assertEquals(1 to 0, found.orientation to found.metadata.segments.size)
        }
        assertFailsWith<VeraException.InvalidArgument> {
            JpegSegments.insert(ByteArray(8), PhotoMetadata())
        }
    }

    @Test
    fun damagedFilesNeverFail() {
        val whole = jpeg(exif(6, ByteOrder.LITTLE_ENDIAN), xmp)
        for (size in whole.indices) JpegSegments.read(whole.copyOf(size))
        val random = Random(1)
        repeat(20_000) {
            val broken = whole.copyOf()
            repeat(1 + random.nextInt(6)) {
                broken[random.nextInt(broken.size)] =
                    random.nextInt().toByte()
            }
            val found = JpegSegments.read(broken)
            assertEquals(true, found.orientation in 1..8)
        }
    }
}
