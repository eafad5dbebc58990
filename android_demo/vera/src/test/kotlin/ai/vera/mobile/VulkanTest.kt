package ai.vera.mobile

import java.nio.ByteOrder
import kotlin.math.abs
import kotlin.test.Test
import kotlin.test.assertContentEquals
import kotlin.test.assertEquals
import kotlin.test.assertFalse
import kotlin.test.assertTrue
import kotlinx.coroutines.runBlocking
import org.junit.jupiter.api.Assumptions.assumeTrue
import org.junit.jupiter.api.Tag

@Tag("native")
internal class VulkanTest {
    @Test
    fun withoutAGpuTheCpuRendersAndSaysWhy() {
        PixelRenderer.vulkan(99).use {
            assertFalse(it.isGpu)
            assertTrue(it.name.startsWith("CPU: ") && it.name.length > 5, it.name)
            assertEquals(null, it.selfTest())
        }
    }

    /** A software device, named by its place in the system's list. */
    @Test
    fun theGpuIsWithinOneCodeOfTheCpu() =
        runBlocking {
            val device = System.getProperty("vera.vulkan")
            assumeTrue(device != null, "no Vulkan device")
            val gpu = PixelRenderer.vulkan(device.toInt())
            assertTrue(gpu.isGpu, gpu.name)
            val photo = Setup.photo(67, 45) { (it * 31 / 3).toByte() }
            Setup.engine().use { onCpu ->
                val look = onCpu.plan(Setup.photo)
                val expected = bytes(onCpu.render(look, photo).pixels)
                Setup.engine(renderer = { gpu }).use { onGpu ->
                    assertEquals(true, onGpu.selfTest())
                    val found = bytes(onGpu.render(onGpu.lookFromJson(look.toJson()), photo).pixels)
                    val worst = found.indices.maxOf {
                        abs((found[it].toInt() and 255) - (expected[it].toInt() and 255))
                    }
                    assertTrue(worst <= 1, "off by $worst codes") // contract of vera_gpu.h
                    // formats that the device does not take go to the CPU: its bytes
                    val ten = Setup.photo(9, 4, PixelFormat.RGB10A2) { (it * 5).toByte() }
                    ten.pixels.order(ByteOrder.nativeOrder())
                    assertContentEquals(
                        bytes(onCpu.render(look, ten).pixels),
                        bytes(onGpu.render(look, ten).pixels)
                    )
                }
            }
        }
}
