package ai.vera.mobile

import java.nio.ByteBuffer

/** Curves and LUT of a look with the strengths of its groups; the mix comes with the render. */
internal class BakedLook(
    val curves: ByteBuffer,
    val lut: ByteBuffer,
    val lutSize: Int
) {
    companion object {
        const val KNOTS = 65

        fun empty(lutSize: Int): BakedLook {
            val curves = Photo.direct(3L * KNOTS * Float.SIZE_BYTES)
            val lut = Photo.direct(3L * lutSize * lutSize * lutSize * Float.SIZE_BYTES)
            return BakedLook(curves, lut, lutSize)
        }
    }
}

/**
 * Renders on Vulkan where a device passed its self-test, else on the CPU. A device that fails
 * later is given up, and the photo rendered on the CPU; [name] says what is used and why.
 */
internal class PixelRenderer private constructor(
    gpu: NativeHandle?,
    name: String
) : AutoCloseable {
    @Volatile private var gpu: NativeHandle? = gpu

    /** "Vulkan: Adreno 740" or "CPU: why". */
    @Volatile var name: String = name
        private set

    val isGpu: Boolean get() = gpu != null

    fun render(
        baked: BakedLook,
        source: Photo,
        strength: Float,
        threads: Int,
        cancel: CancelFlag
    ): Photo {
        val target = source.empty()
        val device = gpu
        if (device != null && source.format in GPU_FORMATS) {
            try {
                device.use { render(it, baked, source, target, strength, threads, cancel) }
                return target
            } catch (error: VeraException.InternalError) {
                giveUp(device, error)
            } catch (error: VeraException.OutOfMemory) {
                giveUp(device, error)
            }
        }
        render(0, baked, source, target, strength, threads, cancel)
        return target
    }

    /** Runs the device's self-test again; null: there is no device. */
    fun selfTest(): Boolean? = gpu?.use { Native.gpuSelfTest(it) == 0 }

    private fun giveUp(
        device: NativeHandle,
        error: VeraException
    ) {
        name = "CPU: Vulkan failed (${error.message})"
        gpu = null
        device.close()
    }

    private fun render(
        pointer: Long,
        baked: BakedLook,
        source: Photo,
        target: Photo,
        strength: Float,
        threads: Int,
        cancel: CancelFlag
    ) = Native.render(
        pointer,
        baked.curves,
        baked.lut,
        baked.lutSize,
        source.describe(),
        source.pixels,
        target.describe(),
        target.pixels,
        strength,
        threads,
        source.format.isFloat,
        cancel.memory
    )

    override fun close() {
        gpu?.close()
        gpu = null
    }

    companion object {
        private val GPU_FORMATS =
            setOf(PixelFormat.RGBA8, PixelFormat.BGRA8, PixelFormat.RGBAF16, PixelFormat.RGBAF32)

        fun cpu(reason: String = "asked for"): PixelRenderer = PixelRenderer(null, "CPU: $reason")

        /** device -1: the first GPU. */
        fun vulkan(device: Int = -1): PixelRenderer =
            try {
                val gpu = NativeHandle(Native.gpuOpen(device), "Vulkan device", Native::gpuClose)
                PixelRenderer(gpu, "Vulkan: " + gpu.use { Native.gpuName(it).decodeToString() })
            } catch (error: VeraException) {
                cpu(error.message.orEmpty())
            }
    }
}
