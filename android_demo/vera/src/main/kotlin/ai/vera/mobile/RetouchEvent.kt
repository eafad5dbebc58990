package ai.vera.mobile

/** What [Retoucher.retouch] tells, in this order but for instant plans, whose text comes last. */
public sealed interface RetouchEvent {
    /** A stage of the plan begins; [done] is the share of the whole plan, 0..1. */
    public data class Progress(
        public val stage: Stage,
        public val done: Float
    ) : RetouchEvent

    /** The next piece of the text; all pieces together are [Look.text]. */
    public data class Text(
        public val piece: String
    ) : RetouchEvent

    /** The look is planned. */
    public class LookReady(
        public val look: Look
    ) : RetouchEvent

    /** The photo with the look, of the source's size, format and colour space. */
    public class PhotoReady(
        public val photo: Photo
    ) : RetouchEvent
}

/** Heat of the device, in the words of `PowerManager`. */
public enum class Thermal { NONE, LIGHT, MODERATE, SEVERE, CRITICAL, EMERGENCY, SHUTDOWN }

/** What happens to a retoucher between and beside its calls. */
public sealed interface Notice {
    /** The memory of the programs was given back; the next plan loads them anew. */
    public data class Unloaded(
        public val reason: Reason
    ) : Notice

    /** Why programs were unloaded. */
    public enum class Reason { LOW_MEMORY, ASKED }

    /** The heat changed. From SEVERE plans pause between tokens and renders use one thread. */
    public data class ThermalChanged(
        public val thermal: Thermal
    ) : Notice
}

/**
 * How a plan draws its tokens; null is the way that the model's family is used.
 *
 * [temperature] 0..2 (0: greedy), [topP] above 0 up to 1, [maxTokens] 0..4096, [seed] from 0.
 * [instant]: the look first, its words after.
 */
public data class PlanOptions(
    public val instant: Boolean = false,
    public val temperature: Float? = null,
    public val topP: Float? = null,
    public val maxTokens: Int? = null,
    public val seed: Long = 0
) {
    init {
        val bad =
            when {
                temperature != null && !(temperature >= 0f && temperature <= 2f) ->
                    "Temperature $temperature not allowed: use 0..2; 0 is greedy."

                topP != null && !(topP > 0f && topP <= 1f) ->
                    "topP $topP not allowed: use above 0 up to 1."

                maxTokens != null && maxTokens !in 0..4096 ->
                    "maxTokens $maxTokens not allowed: use 0..4096."

                seed < 0 -> "Seed $seed not allowed: use 0 or more."

                else -> null
            }
        if (bad != null) throw VeraException.InvalidArgument(bad)
    }
}
