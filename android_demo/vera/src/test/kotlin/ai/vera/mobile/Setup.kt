package ai.vera.mobile

import java.io.File
import java.nio.ByteBuffer
import java.security.MessageDigest
import org.json.JSONObject

/** What check.sh hands to the tests. */
internal object Setup {
    fun required(name: String): String =
        checkNotNull(System.getProperty(name)) {
            "-D$name=... is missing: run android_demo/check.sh"
        }

    val bundle: File get() = File(required("vera.bundle"))
    private val caseFolder get() = File(required("vera.case"))
    val case: JSONObject by lazy { JSONObject(File(caseFolder, "case.json").readText()) }

    val photo: Photo by lazy {
        val facts = case.getJSONObject("photo")
        val raw = File(caseFolder, "photo.rgb").readBytes()
        photo(facts.getInt("width"), facts.getInt("height"), PixelFormat.RGB8) { raw[it] }
    }

    fun photo(
        width: Int,
        height: Int,
        format: PixelFormat = PixelFormat.RGBA8,
        byte: (Int) -> Byte
    ): Photo {
        val size = width * height * format.bytesPerPixel
        val pixels = Photo.direct(size.toLong())
        for (i in 0 until size) pixels.put(i, byte(i))
        return Photo(width, height, format, PhotoColorSpace.SRGB, pixels)
    }

    fun engine(
        planner: (Bundle) -> Planner = { HostPlanner(it.info) },
        renderer: () -> PixelRenderer = { PixelRenderer.cpu() }
    ): Engine = Engine.open(bundle, planner, renderer)
}

internal fun bytes(buffer: ByteBuffer): ByteArray {
    val copy = buffer.duplicate()
    copy.rewind()
    return ByteArray(copy.remaining()).also { copy.get(it) }
}

internal fun sha256(bytes: ByteArray): String =
    MessageDigest.getInstance("SHA-256").digest(bytes).joinToString("") { "%02x".format(it) }
