package ai.vera.mobile

import java.io.DataInputStream
import java.io.FileInputStream
import java.io.FileOutputStream
import java.io.OutputStream
import java.nio.ByteBuffer
import java.nio.ByteOrder
import java.nio.FloatBuffer
import java.nio.LongBuffer

/**
 * The bundle's real programs in Python's ExecuTorch, behind the two named pipes of
 * tests/sdk/host_planner.py. [before] runs first in each call and may sleep or throw.
 */
internal class HostPlanner(
    private val info: BundleInfo,
    private val before: (String) -> Unit = {}
) : Planner {
    override fun encodeImage(
        pixels: FloatBuffer,
        tokens: FloatBuffer
    ) {
        before("encodeImage")
        Pipes.call(0, 0, 0, 0, listOf(bytes(pixels)), listOf(tokens))
    }

    override fun embed(
        ids: LongBuffer,
        embeds: FloatBuffer
    ) {
        before("embed")
        val raw = little(ids.remaining() * Long.SIZE_BYTES)
        val count = ids.remaining()
        raw.asLongBuffer().put(ids)
        Pipes.call(1, count, 0, 0, listOf(raw.array()), listOf(embeds))
    }

    override fun step(
        embeds: FloatBuffer,
        start: Int,
        wanted: WantedLogits,
        logits: FloatBuffer?,
        hidden: FloatBuffer
    ) {
        before("step")
        val count = embeds.remaining() / info.hiddenSize
        val out = listOfNotNull(hidden, logits)
        Pipes.call(2, count, start, wanted.ordinal, listOf(bytes(embeds)), out)
    }

    override fun head(
        hidden: FloatBuffer,
        latents: FloatBuffer
    ) {
        before("head")
        Pipes.call(3, 0, 0, 0, listOf(bytes(hidden)), listOf(latents))
    }

    override fun release(stage: Stage?) {
        Pipes.call(6, 0, stage?.ordinal ?: -1, 0, emptyList(), emptyList())
        released += stage
    }

    /** Stages that were given back; null: all of it. */
    val released = mutableListOf<Stage?>()

    override fun close() {}

    private fun bytes(values: FloatBuffer): ByteArray {
        val raw = little(values.remaining() * Float.SIZE_BYTES)
        raw.asFloatBuffer().put(values)
        return raw.array()
    }
}

private fun little(size: Int) = ByteBuffer.allocate(size).order(ByteOrder.LITTLE_ENDIAN)

/** One server for all tests of the process. */
private object Pipes {
    private val out: OutputStream
    private val input: DataInputStream

    init {
        val (requests, answers) = Setup.required("vera.planner.pipes").split(',')
        out = FileOutputStream(requests)
        input = DataInputStream(FileInputStream(answers).buffered(1 shl 20))
    }

    @Synchronized
    fun call(
        op: Int,
        count: Int,
        start: Int,
        wanted: Int,
        arrays: List<ByteArray>,
        results: List<FloatBuffer>
    ) {
        val header = little(16).putInt(op).putInt(count).putInt(start).putInt(wanted)
        out.write(arrays.fold(header.array()) { all, part -> all + part })
        out.flush()
        val (status, size) = read(8).let { it.getInt(0) to it.getInt(4) }
        if (status != 0) {
            throw VeraException.of(status, read(size).array().decodeToString())
        }
        for (result in results) {
            result.put(
                read(result.remaining() * Float.SIZE_BYTES).asFloatBuffer()
            )
        }
    }

    private fun read(size: Int): ByteBuffer {
        val raw = ByteArray(size)
        input.readFully(raw)
        return ByteBuffer.wrap(raw).order(ByteOrder.LITTLE_ENDIAN)
    }
}
