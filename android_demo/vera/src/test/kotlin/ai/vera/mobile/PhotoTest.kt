package ai.vera.mobile

import java.nio.ByteBuffer
import kotlin.test.Test
import kotlin.test.assertContentEquals
import kotlin.test.assertEquals
import kotlin.test.assertFailsWith
import kotlin.test.assertSame

internal class PhotoTest {
    private fun photo(
        width: Int,
        height: Int,
        pixels: ByteBuffer,
        stride: Int = width * 4,
        format: PixelFormat = PixelFormat.RGBA8
    ) = Photo(width, height, format, PhotoColorSpace.SRGB, pixels, stride)

    @Test
    fun badPhotosAreRefused() {
        val room = ByteBuffer.allocateDirect(64)
        val bad =
            listOf<() -> Photo>(
                { photo(0, 1, room) },
                { photo(1, -1, room) },
                { photo(70000, 1, room) },
                { photo(4, 4, ByteBuffer.allocate(64)) },
                { photo(4, 4, ByteBuffer.allocateDirect(63)) },
                { photo(4, 4, room, stride = 15) },
                { photo(2, 2, room, stride = 17, format = PixelFormat.RGBA16) }
            )
        for (make in bad) assertFailsWith<VeraException.InvalidArgument> { make() }
        assertEquals(64, photo(4, 4, room).sizeBytes)
        assertEquals(60, photo(3, 4, room, stride = 16).sizeBytes)
    }

    @Test
    fun badStrengthsAndOptionsAreRefused() {
        val bad =
            listOf<() -> Any>(
                { Strengths(lighting = -0.1f) },
                { Strengths(overall = 1.6f) },
                { Strengths(globalColor = Float.NaN) },
                { PlanOptions(temperature = 2.1f) },
                { PlanOptions(topP = 0f) },
                { PlanOptions(maxTokens = 4097) },
                { PlanOptions(seed = -1) }
            )
        for (make in bad) assertFailsWith<VeraException.InvalidArgument> { make() }
    }

    /** Against the table of the Exif standard: where the first row and column of the file go. */
    @Test
    fun everyOrientationBecomesUpright() {
        // 1 2 3 / 4 5 6 as it is seen; stored as each orientation says
        val upright = listOf(listOf(1, 2, 3), listOf(4, 5, 6))
        val turned = listOf(listOf(4, 1), listOf(5, 2), listOf(6, 3))
        val stored =
            mapOf(
                1 to upright,
                2 to upright.map { it.reversed() },
                3 to upright.reversed().map { it.reversed() },
                4 to upright.reversed(),
                5 to turned.map { it.reversed() },
                6 to turned.reversed().map { it.reversed() },
                7 to turned.reversed(),
                8 to turned
            )
        for ((orientation, rows) in stored) {
            for (format in listOf(PixelFormat.RGB8, PixelFormat.RGBA8, PixelFormat.RGBAF16)) {
                val out = Orientation.apply(stored(rows, format), orientation)
                assertEquals(3 to 2, out.width to out.height, "orientation $orientation")
                val (step, stride) = format.bytesPerPixel to out.rowStrideBytes
                val at = List(6) { it / 3 * stride + it % 3 * step + step - 1 }
                val seen = at.map { out.pixels.get(it).toInt() }
                assertEquals(upright.flatten(), seen, "orientation $orientation, $format")
            }
        }
    }

    private fun stored(
        rows: List<List<Int>>,
        format: PixelFormat
    ): Photo {
        val (width, stride) = rows[0].size to rows[0].size * format.bytesPerPixel + 8
        val pixels = ByteBuffer.allocateDirect(stride * rows.size)
        for ((y, row) in rows.withIndex()) {
            for ((x, value) in row.withIndex()) {
                for (i in 0 until format.bytesPerPixel) {
                    pixels.put(y * stride + x * format.bytesPerPixel + i, value.toByte())
                }
            }
        }
        return Photo(width, rows.size, format, PhotoColorSpace.SRGB, pixels, stride)
    }

    @Test
    fun unknownOrientationsCountAsUpright() {
        val photo = photo(2, 2, ByteBuffer.allocateDirect(16))
        for (orientation in listOf(
            0,
            1,
            9,
            -1
        )) {
            assertSame(photo, Orientation.apply(photo, orientation))
        }
    }

    @Test
    fun alphaIsDividedOutWithRounding() {
        val pixels = ByteBuffer.allocateDirect(16)
        val values = listOf(100, 50, 0, 200, 7, 8, 9, 255, 3, 2, 1, 0, 90, 90, 90, 60)
        values.forEachIndexed { i, v -> pixels.put(i, v.toByte()) }
        Alpha.divide(pixels, PixelFormat.RGBA8)
        val expected = listOf(128, 64, 0, 200, 7, 8, 9, 255, 3, 2, 1, 0, 255, 255, 255, 60)
        assertContentEquals(expected, List(16) { pixels.get(it).toInt() and 255 })
        assertFailsWith<VeraException.UnsupportedFormat> {
            Alpha.divide(pixels, PixelFormat.RGBAF16)
        }
    }
}
