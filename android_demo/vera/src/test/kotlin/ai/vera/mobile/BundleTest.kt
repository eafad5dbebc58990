package ai.vera.mobile

import java.io.File
import java.io.RandomAccessFile
import kotlin.test.Test
import kotlin.test.assertEquals
import kotlin.test.assertFailsWith
import kotlin.test.assertTrue
import org.junit.jupiter.api.Tag
import org.junit.jupiter.api.io.TempDir

@Tag("native")
internal class BundleTest {
    @TempDir
    lateinit var folder: File

    private fun copy(): File = File(folder, "copy").also { Setup.bundle.copyRecursively(it) }

    @Test
    fun theManifestIsRead() =
        Bundle.open(Setup.bundle).use {
            assertEquals(1, it.info.formatVersion)
            assertEquals("vera-nano", it.family)
            assertTrue(it.info.hiddenSize > 0 && it.info.latentSize > 0 && it.info.imageSize > 0)
            assertTrue(it.program("decoder").file.isFile)
            assertFailsWith<VeraException.InvalidArgument> { it.program("nothing") }
            Unit
        }

    @Test
    fun progressEndsAtTheSizeOfTheFiles() {
        var last = 0L to 1L
        Bundle.open(Setup.bundle) { done, all -> last = done to all }.close()
        assertEquals(last.second, last.first)
    }

    @Test
    fun aFlippedByteNeverLoads() {
        val bundle = copy()
        RandomAccessFile(File(bundle, "decoder.pte"), "rw").use {
            it.seek(it.length() / 2)
            val byte = it.read()
            it.seek(it.length() / 2)
            it.write(byte xor 1)
        }
        assertFailsWith<VeraException.BundleError> { Bundle.open(bundle) }
    }

    @Test
    fun aNewerVersionNeverLoads() {
        val bundle = copy()
        val manifest = File(bundle, "bundle.json")
        val text = manifest.readText()
        val newer = text.replace(Regex("\"format_version\": *1"), "\"format_version\": 99")
        check(newer != text)
        manifest.writeText(newer)
        assertFailsWith<VeraException.BundleVersionError> { Bundle.open(bundle) }
    }

    @Test
    fun whatIsNotThereIsAFileError() {
        assertFailsWith<VeraException.FileError> { Bundle.open(File(folder, "nothing")) }
        assertFailsWith<VeraException.FileError> {
            Engine.open(File(folder, "nothing"), { HostPlanner(it.info) }, { PixelRenderer.cpu() })
        }
    }

    @Test
    fun aListenerThatThrowsEndsTheOpening() {
        assertFailsWith<IllegalStateException> {
            Bundle.open(Setup.bundle) { _, _ -> error("the listener failed") }
        }
    }

    @Test
    fun aClosedBundleIsAnError() {
        val bundle = Bundle.open(Setup.bundle)
        bundle.close()
        assertFailsWith<VeraException.Closed> { bundle.name }
    }
}
