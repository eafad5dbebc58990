package ai.vera.mobile

import java.nio.FloatBuffer
import java.nio.LongBuffer
import org.pytorch.executorch.EValue
import org.pytorch.executorch.Module
import org.pytorch.executorch.Tensor

/**
 * [Planner] on the official ExecuTorch artifact. Files are mapped into memory, at first use; a file
 * with several methods (the decoder holds the table) is opened once. After the picture is encoded
 * the vision program is given back where loading it again costs milliseconds.
 *
 * ModelError where a program cannot be loaded or fails, with what ExecuTorch said.
 */
public class ExecuTorchPlanner(
    private val bundle: Bundle
) : Planner {
    private val info = bundle.info
    private val modules = HashMap<String, Module>()

    // The recipes android-int4 and android-int8 keep decoder and table in one file, in our kernels.
    private val ownDecoder = bundle.program("embed").method != FORWARD

    init {
        if (ownDecoder) VeraOperators.require(bundle.recipe)
    }

    override fun encodeImage(
        pixels: FloatBuffer,
        tokens: FloatBuffer
    ) {
        val side = info.imageSize.toLong()
        val input = Tensor.fromBlob(pixels, longArrayOf(1, 3, side, side))
        run("vision", input)[0].copyInto(tokens, "vision")
        if (ownDecoder) release(Stage.VISION)
    }

    override fun embed(
        ids: LongBuffer,
        embeds: FloatBuffer
    ) {
        val input = Tensor.fromBlob(ids, longArrayOf(1, ids.remaining().toLong()))
        run("embed", input)[0].copyInto(embeds, "embed")
    }

    override fun step(
        embeds: FloatBuffer,
        start: Int,
        wanted: WantedLogits,
        logits: FloatBuffer?,
        hidden: FloatBuffer
    ) {
        val count = embeds.remaining().toLong() / info.hiddenSize
        val inputs =
            mutableListOf(
                Tensor.fromBlob(embeds, longArrayOf(1, count, info.hiddenSize.toLong())),
                number(start.toLong())
            )
        if (ownDecoder) inputs += number(wanted.ordinal.toLong())
        val out = run("decoder", *inputs.toTypedArray())
        if (logits != null) out[0].copyInto(logits, "decoder")
        out[1].copyInto(hidden, "decoder")
    }

    override fun head(
        hidden: FloatBuffer,
        latents: FloatBuffer
    ) {
        val input = Tensor.fromBlob(hidden, longArrayOf(1, 3, info.hiddenSize.toLong()))
        run("head", input)[0].copyInto(latents, "head")
    }

    override val readsReferences: Boolean get() = info.referenceSize > 0

    override fun encodeReference(
        before: FloatBuffer,
        after: FloatBuffer,
        latents: FloatBuffer
    ) {
        val side = info.referenceSize.toLong()
        val pair = listOf(before, after).map { Tensor.fromBlob(it, longArrayOf(1, 3, side, side)) }
        run("reference", pair[0], pair[1])[0].copyInto(latents, "reference")
    }

    override fun release(stage: Stage?) {
        val names =
            when (stage) {
                null -> modules.keys.toList()
                Stage.VISION -> if (ownDecoder) listOf(path("vision")) else emptyList()
                Stage.REFERENCE -> if (readsReferences) listOf(path("reference")) else emptyList()
                else -> emptyList()
            }
        for (name in names) modules.remove(name)?.close()
    }

    override fun close(): Unit = release(null)

    private fun path(name: String): String = bundle.program(name).file.path

    private fun number(value: Long): Tensor =
        Tensor.fromBlob(longArrayOf(value), longArrayOf(1))

    private fun run(
        name: String,
        vararg inputs: Tensor
    ): List<Tensor> {
        val program = bundle.program(name)
        try {
            val module =
                modules.getOrPut(program.file.path) {
                    Module.load(program.file.path, Module.LOAD_MODE_MMAP)
                }
            val values = inputs.map { EValue.from(it) }.toTypedArray()
            return module.execute(program.method, *values).map { it.toTensor() }
        } catch (error: RuntimeException) {
            throw VeraException.ModelError(
                "Program '$name' failed (${error.message}): check the bundle with `vera verify`, " +
                    "and that the app's ExecuTorch is of the release that exported it.",
                error
            )
        }
    }

    private fun Tensor.copyInto(
        out: FloatBuffer,
        name: String
    ) {
        val wanted = out.remaining()
        if (numel() != wanted.toLong()) {
            throw VeraException.ModelError(
                "Program '$name' gave ${numel()} numbers in place of $wanted: export the bundle " +
                    "again with this release."
            )
        }
        copyDataInto(out)
    }

    private companion object {
        const val FORWARD = "forward"
    }
}

/**
 * libvera's operators in the app's ExecuTorch. They are in libvera_executorch, which is built where
 * ExecuTorch's headers were given to Gradle, and which must be loaded after ExecuTorch.
 */
internal object VeraOperators {
    private val failure: String? by lazy { load() }

    fun require(recipe: String) {
        val why = failure ?: return
        throw VeraException.ModelError(
            "Recipe $recipe needs libvera's operators, which this app lacks ($why): build with " +
                "-Pvera.executorchInclude=..., or export with --recipe android-int4-xnnpack."
        )
    }

    private fun load(): String? =
        try {
            Class.forName("org.pytorch.executorch.Module") // loads libexecutorch
            System.loadLibrary("vera_executorch")
            if (registered()) null else "ExecuTorch did not take them"
        } catch (error: LinkageError) {
            error.message ?: "libvera_executorch cannot be loaded"
        } catch (error: ClassNotFoundException) {
            "ExecuTorch is not in the app: ${error.message}"
        }

    @JvmStatic
    private external fun registered(): Boolean
}
