package ai.vera.mobile

import java.io.File

/**
 * How much of each part of a look is applied, 0..1.5: 0 switches it off, 1 is as planned.
 *
 * The first three scale the groups of the look; [overall] mixes the result with the photo. Only a
 * new [overall] needs no new bake.
 */
public data class Strengths(
    public val lighting: Float = 1f,
    public val globalColor: Float = 1f,
    public val specificColor: Float = 1f,
    public val overall: Float = 1f
) {
    init {
        val all =
            mapOf(
                "lighting" to lighting,
                "globalColor" to globalColor,
                "specificColor" to specificColor,
                "overall" to overall
            )
        for ((name, value) in all) {
            if (!(value >= 0f && value <= MAX)) {
                throw VeraException.InvalidArgument(
                    "Strength $name is $value: allowed are 0..$MAX (1 is as planned)."
                )
            }
        }
    }

    internal val groups: FloatArray get() = floatArrayOf(lighting, globalColor, specificColor)

    public companion object {
        public const val MAX: Float = 1.5f
    }
}

/** Stages of a plan, timed in [Look.timingsMs]. */
public enum class Stage { PREPARE, VISION, PREFILL, DECODE, HEAD, REFERENCE, BAKE }

/**
 * A planned edit: three latents and the text. Never changes, is independent of the photo's size
 * and of the retoucher's life, and renders without the model.
 *
 * [text] is empty for the first of the two looks of an instant plan. [timingsMs] holds the stages
 * that ran.
 */
public class Look internal constructor(
    public val text: String,
    private val values: FloatArray,
    public val tokens: List<Int>,
    public val timingsMs: Map<Stage, Double>,
    public val strengths: Strengths,
    internal val json: String,
    private val codec: LookCodec
) {
    /** Lighting, global colour, specific colour: 3 x latent size values, a copy. */
    public val latents: FloatArray get() = values.copyOf()

    /** The same look with other strengths. */
    public fun withStrengths(strengths: Strengths): Look =
        Look(text, values, tokens, timingsMs, strengths, json, codec)

    /**
     * JSON of format vera-look, version 1, the bytes that Python's `Look.to_json` writes. It holds
     * the strengths of the three groups, not [Strengths.overall].
     */
    public fun toJson(): String = codec.toJson(this)

    /**
     * Writes the look as a 3-D `.cube` with its strengths; whole or not at all. size: 17..65 nodes
     * an axis. InvalidArgument for a look of [Look.fromJson], which has no renderer: use
     * [Retoucher.lookFromJson]. FileError where the file cannot be written. Takes some
     * milliseconds; not for the main thread.
     */
    public fun saveCube(
        file: File,
        size: Int = 33
    ): Unit = codec.saveCube(this, file, size)

    public companion object {
        /**
         * A look that [toJson] wrote, to be read, not to be rendered or saved as `.cube`:
         * [Retoucher.lookFromJson] gives one for that. FileError where the text is no look of
         * version 1.
         */
        public fun fromJson(text: String): Look = parseLook(text, PlainCodec)
    }
}

/** What a look needs of the library that it came from. */
internal interface LookCodec {
    fun toJson(look: Look): String

    fun saveCube(
        look: Look,
        file: File,
        size: Int
    )
}

internal open class NativeCodec : LookCodec {
    override fun toJson(look: Look): String =
        NativeResult.parse(look.json).use { it.json(look.strengths.groups) }

    override fun saveCube(
        look: Look,
        file: File,
        size: Int
    ): Unit =
        throw VeraException.InvalidArgument(
            "This look has no renderer: get it from Retoucher.lookFromJson."
        )
}

private object PlainCodec : NativeCodec()

internal fun parseLook(
    text: String,
    codec: LookCodec
): Look =
    NativeResult.parse(text).use { result ->
        val (lighting, globalColor, specificColor) = result.strengths.toList()
        result.look(codec).withStrengths(Strengths(lighting, globalColor, specificColor))
    }
