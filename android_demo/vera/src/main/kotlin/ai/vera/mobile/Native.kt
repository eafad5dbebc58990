package ai.vera.mobile

import java.nio.ByteBuffer
import java.nio.ByteOrder

/**
 * libvera through JNI: one function each of retoucher.h, vera.h and vera_gpu.h. Handles are
 * pointers; text crosses as UTF-8 bytes. Functions throw [VeraException] made by [failure].
 */
internal object Native {
    init {
        System.loadLibrary("vera_jni")
    }

    /** Called by JNI. */
    @JvmStatic
    fun failure(
        code: Int,
        message: ByteArray
    ): VeraException = VeraException.of(code, message.decodeToString())

    /** [on] gets (done, total) in bytes. */
    @JvmStatic
    external fun bundleOpen(
        folder: ByteArray,
        cancel: ByteBuffer?,
        on: ByteProgress?
    ): Long

    @JvmStatic
    external fun bundleClose(bundle: Long)

    /** The numbers of vera_bundle_info behind struct_size, in its order. */
    @JvmStatic
    external fun bundleInfo(bundle: Long): LongArray

    @JvmStatic
    external fun bundleText(
        bundle: Long,
        key: ByteArray
    ): ByteArray?

    /** Path and method. */
    @JvmStatic
    external fun bundleProgram(
        bundle: Long,
        name: ByteArray
    ): Array<ByteArray>

    @JvmStatic
    external fun retoucherCreate(
        bundle: Long,
        planner: PlannerBridge
    ): Long

    @JvmStatic
    external fun retoucherDestroy(retoucher: Long)

    @JvmStatic
    external fun retoucherUnload(retoucher: Long)

    /** settings: instant, max_tokens, seed. draw: temperature, top_p; negative for the default. */
    @JvmStatic
    external fun plan(
        retoucher: Long,
        frame: LongArray?,
        pixels: ByteBuffer?,
        space: Int,
        kind: Int,
        wish: ByteArray?,
        sliders: FloatArray?,
        frames: Array<LongArray>?,
        pictures: Array<ByteBuffer>?,
        settings: LongArray,
        draw: FloatArray,
        cancel: ByteBuffer,
        sink: PlanSink
    ): Long

    @JvmStatic
    external fun resultDestroy(result: Long)

    @JvmStatic
    external fun resultText(result: Long): ByteArray

    @JvmStatic
    external fun resultLatents(result: Long): FloatArray

    @JvmStatic
    external fun resultTokens(result: Long): IntArray

    @JvmStatic
    external fun resultStagesMs(result: Long): DoubleArray

    @JvmStatic
    external fun resultToJson(
        result: Long,
        strengths: FloatArray
    ): ByteArray

    /** strengths (3) is filled in. */
    @JvmStatic
    external fun resultFromJson(
        json: ByteArray,
        strengths: FloatArray
    ): Long

    /** curves: 3 x 65 floats, lut: size^3 x 3. */
    @JvmStatic
    external fun bake(
        retoucher: Long,
        result: Long,
        strengths: FloatArray,
        lutSize: Int,
        threads: Int,
        cancel: ByteBuffer?,
        curves: ByteBuffer,
        lut: ByteBuffer
    )

    @JvmStatic
    external fun saveCube(
        retoucher: Long,
        result: Long,
        strengths: FloatArray,
        strength: Float,
        lutSize: Int,
        path: ByteArray
    )

    /** gpu 0: on the CPU. source and target have the same format and size. */
    @JvmStatic
    external fun render(
        gpu: Long,
        curves: ByteBuffer,
        lut: ByteBuffer,
        lutSize: Int,
        source: LongArray,
        sourcePixels: ByteBuffer,
        target: LongArray,
        targetPixels: ByteBuffer,
        strength: Float,
        threads: Int,
        extend: Boolean,
        cancel: ByteBuffer?
    )

    /** out: 3 x size x size floats. */
    @JvmStatic
    external fun preparePicture(
        frame: LongArray,
        pixels: ByteBuffer,
        space: Int,
        family: ByteArray,
        size: Int,
        out: ByteBuffer
    )

    /** device -1: the first GPU. */
    @JvmStatic
    external fun gpuOpen(device: Int): Long

    @JvmStatic
    external fun gpuName(gpu: Long): ByteArray

    @JvmStatic
    external fun gpuSelfTest(gpu: Long): Int

    @JvmStatic
    external fun gpuClose(gpu: Long)

    @JvmStatic
    external fun sliderName(index: Int): String?

    @JvmStatic
    external fun version(): String

    /** status_list.h: "NAME code text" each. */
    @JvmStatic
    external fun statusList(): Array<String>
}

/** Called by JNI on the calling thread. */
internal fun interface ByteProgress {
    fun on(
        done: Long,
        total: Long
    )
}

/** Called by JNI on the thread that plans. */
internal interface PlanSink {
    fun onStage(
        stage: Int,
        done: Float
    )

    fun onText(piece: ByteArray)

    /** [result] is borrowed during the call. */
    fun onLook(result: Long)
}

/** An int in native memory that stops the work which reads it. */
internal class CancelFlag {
    val memory: ByteBuffer = ByteBuffer.allocateDirect(4).order(ByteOrder.nativeOrder())

    fun set() {
        memory.putInt(0, 1)
    }

    val isSet: Boolean get() = memory.getInt(0) != 0
}

/**
 * A native object that is freed when it was closed and no call uses it any more. [use] after
 * [close] throws [VeraException.Closed].
 */
internal class NativeHandle(
    private val pointer: Long,
    private val what: String,
    private val destroy: (Long) -> Unit
) : AutoCloseable {
    private val lock = Any()
    private var users = 0
    private var closed = false

    fun <T> use(block: (Long) -> T): T {
        synchronized(lock) {
            if (closed) throw VeraException.Closed("This $what is closed: open it again.")
            users++
        }
        try {
            return block(pointer)
        } finally {
            release()
        }
    }

    private fun release() {
        val last = synchronized(lock) { --users == 0 && closed }
        if (last) destroy(pointer)
    }

    override fun close() {
        val last =
            synchronized(lock) {
                if (closed) return
                closed = true
                users == 0
            }
        if (last) destroy(pointer)
    }
}

/** A vera_plan_result, owned or (in [PlanSink.onLook]) borrowed. */
internal class NativeResult(
    val handle: Long,
    val strengths: FloatArray = floatArrayOf(1f, 1f, 1f),
    private val owned: Boolean = true
) : AutoCloseable {
    fun json(strengths: FloatArray): String =
        Native.resultToJson(handle, strengths).decodeToString()

    fun look(codec: LookCodec): Look {
        val times = Native.resultStagesMs(handle)
        return Look(
            text = Native.resultText(handle).decodeToString(),
            values = Native.resultLatents(handle),
            tokens = Native.resultTokens(handle).toList(),
            timingsMs = Stage.entries.associateWith { times[it.ordinal] }.filterValues { it > 0.0 },
            strengths = Strengths(),
            json = json(floatArrayOf(1f, 1f, 1f)),
            codec = codec
        )
    }

    override fun close() {
        if (owned) Native.resultDestroy(handle)
    }

    companion object {
        fun parse(json: String): NativeResult {
            val strengths = FloatArray(3)
            return NativeResult(Native.resultFromJson(json.utf8(), strengths), strengths)
        }
    }
}

internal fun String.utf8(): ByteArray = encodeToByteArray()
