package ai.vera.mobile

import java.io.Closeable
import java.nio.FloatBuffer
import java.nio.LongBuffer

/** Which logits [Planner.step] needs to compute. */
public enum class WantedLogits {
    /** The next token is known: [Planner.step] gets no buffer for logits. */
    NONE,

    /** Those of tokens that answers use; others may be -infinity. */
    ANSWER,
    ALL
}

/**
 * The model's runtime behind the core: `vera_planner` of retoucher.h. Called by one thread at a
 * time, never on the main thread.
 *
 * Buffers are direct, in native byte order, row-major, of exactly the size said, and belong to the
 * core: they must not be kept. n: 1..prefill tokens; S, T, H, V, L, E: [Bundle.info]. An exception
 * ends the plan: a [VeraException] as it is, others as [VeraException.ModelError].
 */
public interface Planner : Closeable {
    /** [pixels] (1, 3, S, S) encoded sRGB in 0..1 -> [tokens] (1, T, H). */
    public fun encodeImage(
        pixels: FloatBuffer,
        tokens: FloatBuffer
    )

    /** [ids] (1, n) -> [embeds] (1, n, H). */
    public fun embed(
        ids: LongBuffer,
        embeds: FloatBuffer
    )

    /**
     * [embeds] (1, n, H) at positions start .. start + n - 1 -> the last one's [hidden] (H) and
     * [logits] (V), which is null for NONE. start 0 begins anew; going back is allowed.
     */
    public fun step(
        embeds: FloatBuffer,
        start: Int,
        wanted: WantedLogits,
        logits: FloatBuffer?,
        hidden: FloatBuffer
    )

    /** [hidden] (1, 3, H) -> [latents] (3, L). */
    public fun head(
        hidden: FloatBuffer,
        latents: FloatBuffer
    )

    /** Whether [encodeReference] can be called. */
    public val readsReferences: Boolean get() = false

    /** Two pictures (1, 3, E, E) encoded sRGB in 0..1 -> [latents] (3, L). */
    public fun encodeReference(
        before: FloatBuffer,
        after: FloatBuffer,
        latents: FloatBuffer
    ): Unit = throw VeraException.UnsupportedFormat("This planner has no reference encoder.")

    /** Whether [bake] can be called; only bundles without the file "renderer" need it. */
    public val bakes: Boolean get() = false

    /** [colours] (n, 3) encoded RGB in 0..1 and [latents] (3, L) -> [out] (n, 3). */
    public fun bake(
        colours: FloatBuffer,
        latents: FloatBuffer,
        out: FloatBuffer
    ): Unit = throw VeraException.UnsupportedFormat("This planner does not bake.")

    /** Gives memory back that is not needed to go on: of an ended stage, or (null) of all. */
    public fun release(stage: Stage?) {}
}
