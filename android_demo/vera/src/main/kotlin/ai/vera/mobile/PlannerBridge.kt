package ai.vera.mobile

import java.nio.ByteBuffer
import java.nio.ByteOrder
import java.nio.FloatBuffer

/** A [Planner] as JNI calls it: direct buffers in, a status out, the exception kept. */
internal class PlannerBridge(
    private val planner: Planner
) {
    @Volatile private var failure: Throwable? = null

    /** Capabilities, read by JNI when the retoucher is made. */
    fun readsReferences(): Boolean = planner.readsReferences

    fun bakes(): Boolean = planner.bakes

    /** Of the last status other than 0; read by JNI on the same thread. */
    fun message(): ByteArray = failure?.message.orEmpty().utf8()

    /** The exception behind a failed plan, once. */
    fun takeFailure(): Throwable? = failure.also { failure = null }

    fun encodeImage(
        pixels: ByteBuffer,
        tokens: ByteBuffer
    ): Int = status { planner.encodeImage(floats(pixels), floats(tokens)) }

    fun embed(
        ids: ByteBuffer,
        embeds: ByteBuffer
    ): Int =
        status {
            planner.embed(ids.order(ByteOrder.nativeOrder()).asLongBuffer(), floats(embeds))
        }

    fun step(
        embeds: ByteBuffer,
        start: Int,
        wanted: Int,
        logits: ByteBuffer?,
        hidden: ByteBuffer
    ): Int =
        status {
            val kind = WantedLogits.entries[wanted]
            planner.step(floats(embeds), start, kind, logits?.let(::floats), floats(hidden))
        }

    fun head(
        hidden: ByteBuffer,
        latents: ByteBuffer
    ): Int = status { planner.head(floats(hidden), floats(latents)) }

    fun encodeReference(
        before: ByteBuffer,
        after: ByteBuffer,
        latents: ByteBuffer
    ): Int = status { planner.encodeReference(floats(before), floats(after), floats(latents)) }

    fun bake(
        colours: ByteBuffer,
        latents: ByteBuffer,
        out: ByteBuffer
    ): Int = status { planner.bake(floats(colours), floats(latents), floats(out)) }

    fun release(stage: Int) {
        status { planner.release(Stage.entries.getOrNull(stage)) }
    }

    private fun floats(buffer: ByteBuffer): FloatBuffer =
        buffer.order(ByteOrder.nativeOrder()).asFloatBuffer()

    // An exception must not cross into C, an Error such as OutOfMemoryError neither.
    @Suppress("TooGenericExceptionCaught")
    private inline fun status(work: () -> Unit): Int =
        try {
            work()
            0
        } catch (error: VeraException) {
            failure = error
            error.code
        } catch (error: OutOfMemoryError) {
            failure = error
            2
        } catch (error: Throwable) {
            failure = error
            8
        }
}
