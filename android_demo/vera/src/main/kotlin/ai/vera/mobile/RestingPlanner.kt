package ai.vera.mobile

import java.nio.FloatBuffer

/**
 * Rests between the steps of a hot device: as long as the step took at SEVERE, three times as long
 * above; at most 100 ms, in slices of 5, so that a cancelled plan goes on to its end at once.
 */
internal class RestingPlanner(
    private val planner: Planner,
    private val thermal: () -> Thermal,
    private val stopped: () -> Boolean,
    private val nanoTime: () -> Long = System::nanoTime,
    private val sleep: (Long) -> Unit = Thread::sleep
) : Planner by planner {
    override fun step(
        embeds: FloatBuffer,
        start: Int,
        wanted: WantedLogits,
        logits: FloatBuffer?,
        hidden: FloatBuffer
    ) {
        val begin = nanoTime()
        planner.step(embeds, start, wanted, logits, hidden)
        val share = share(thermal())
        if (share == 0) return
        var left = minOf(share * (nanoTime() - begin) / NANOS_PER_MS, MAX_REST_MS)
        while (left > 0 && !stopped()) {
            val slice = minOf(left, SLICE_MS)
            sleep(slice)
            left -= slice
        }
    }

    companion object {
        private const val NANOS_PER_MS = 1_000_000L
        private const val MAX_REST_MS = 100L
        private const val SLICE_MS = 5L

        private fun share(thermal: Thermal): Int =
            when {
                thermal < Thermal.SEVERE -> 0
                thermal == Thermal.SEVERE -> 1
                else -> 3
            }

        /** Threads of a render: 0 for one a core. */
        fun threads(thermal: Thermal): Int = if (thermal < Thermal.SEVERE) 0 else 1
    }
}
