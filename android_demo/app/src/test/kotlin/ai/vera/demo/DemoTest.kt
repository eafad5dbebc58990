package ai.vera.demo

import ai.vera.mobile.FakeRetoucher
import ai.vera.mobile.Photo
import ai.vera.mobile.PhotoColorSpace
import ai.vera.mobile.PixelFormat
import java.io.File
import java.nio.ByteBuffer
import kotlin.test.Test
import kotlin.test.assertEquals
import kotlin.test.assertTrue
import kotlinx.coroutines.runBlocking
import org.json.JSONObject
import org.junit.jupiter.api.io.TempDir

internal class DemoTest {
    @TempDir
    lateinit var folder: File

    private val device = BenchDevice("Maker One/2", "Android 15", 8, null, { 123.4 }, { "light" })

    /** Read by `check.sh` with vera_mobile.bench.results, which is what `vera bench import` does. */
    @Test
    fun benchWritesAResultOfTheSchema() =
        runBlocking {
            val manifest = """{"name": "n", "recipe": "r", "commit": null, "files":
                {"a": {"path": "a.pte", "size_bytes": 3}, "b": {"path": "b.pte", "size_bytes": 4}}}"""
            File(folder, "bundle.json").writeText(manifest)
            val facts = BundleFacts.read(folder, "2026-01-02T03:04:05+00:00")
            val runner =
                BenchRunner(device, repeats = 3, inARow = 5, megapixels = listOf(2)) {
                    FakeRetoucher("Two words.", wordMillis = 0)
                }
            val result = runner.run(facts)
            System.getProperty("vera.bench.out")?.let { File(it).writeText(result.toString(1)) }
            assertEquals("cpu", result.getString("unit"))
            assertEquals("gpu", BundleFacts.unitOf("android-vulkan"))
            assertEquals(7, result.getJSONObject("bundle").getLong("size_bytes"))
            val load = result.getJSONObject("stages").getJSONObject("load")
            assertEquals(3, load.getInt("n"))
            assertTrue(load.getDouble("median_ms") >= 0 && load.isNull("bytes_moved"))
            assertEquals(5, result.getJSONArray("in_a_row_ms").length())
            val render = result.getJSONObject("stages").getJSONObject("render_2mp")
            assertTrue(render.getDouble("cold_ms") > 0)
        }

    @Test
    fun figuresAreThoseOfNumpy() {
        // numpy: median 3.0, quantile .95 7.2, median absolute deviation 1.0 of 1 2 3 4 8
        val row = BenchRunner.figures(listOf(99.0, 4.0, 1.0, 8.0, 2.0, 3.0), null)
        assertEquals(99.0, row.getDouble("cold_ms"))
        assertEquals(3.0, row.getDouble("median_ms"))
        assertEquals(7.2, row.getDouble("p95_ms"))
        assertEquals(1.0, row.getDouble("mad_ms"))
        assertTrue(row.isNull("peak_mb"))
        val none: JSONObject = BenchRunner.figures(emptyList(), null)
        assertTrue(none.isNull("cold_ms") && none.isNull("median_ms"))
        assertEquals("maker-one-2", BenchRunner.slug("Maker One/2"))
        assertEquals("unknown", BenchRunner.slug("//"))
    }

    @Test
    fun thePreviewPicksWholePixels() {
        val (width, height) = 10 to 6
        val pixels = ByteBuffer.allocateDirect((width * 4 + 8) * height)
        for (y in 0 until height) {
            for (x in 0 until width) {
                pixels.putInt(
                    y * 48 + x * 4,
                    100 * y + x
                )
            }
        }
        val photo = Photo(width, height, PixelFormat.RGBA8, PhotoColorSpace.DISPLAY_P3, pixels, 48)
        val small = Preview.of(photo, 5)
        assertEquals(5 to 3, small.width to small.height)
        assertEquals(PhotoColorSpace.DISPLAY_P3, small.colorSpace)
        val seen = List(15) { small.pixels.getInt(it * 4) }
        assertEquals(List(15) { 200 * (it / 5) + 2 * (it % 5) }, seen)
        assertTrue(Preview.of(photo, 10) === photo)
    }
}
