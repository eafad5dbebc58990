package ai.vera.mobile

/** What is asked of the model. Bad values are InvalidArgument, raised when they are planned. */
public sealed interface Task {
    /** Retouch from the photo alone. */
    public data object Auto : Task

    /** Retouch after a [wish] in words, 1..400 characters. */
    public data class Style(
        public val wish: String
    ) : Task

    /** Retouch by slider values in percent (-100..100), by [Sliders.names]; missing ones are 0. */
    public data class Param(
        public val sliders: Map<String, Float>
    ) : Task

    /**
     * Retouch as [before] was retouched into [after]: two pictures of one frame, in sRGB.
     * UnsupportedFormat where the bundle has no reference encoder.
     */
    public class Reference(
        public val before: Photo,
        public val after: Photo
    ) : Task
}

/** The 38 sliders of [Task.Param], named as in Lightroom's XMP. */
public object Sliders {
    /** "Exposure2012", "Contrast2012", ...: names in the order of the model. */
    public val names: List<String> by lazy {
        generateSequence(0) { it + 1 }.map { Native.sliderName(it) }.takeWhile { it != null }
            .filterNotNull().toList()
    }

    internal fun values(sliders: Map<String, Float>): FloatArray {
        val unknown = sliders.keys - names.toSet()
        if (unknown.isNotEmpty()) {
            throw VeraException.InvalidArgument(
                "Sliders $unknown are unknown; known are $names."
            )
        }
        return FloatArray(names.size) { sliders[names[it]] ?: 0f }
    }
}
