package ai.vera.mobile

import java.nio.FloatBuffer
import java.nio.LongBuffer
import kotlin.test.Test
import kotlin.test.assertEquals

internal class RestingPlannerTest {
    private var now = 0L
    private var slept = 0L

    private fun rest(
        thermal: Thermal,
        stepMs: Long,
        stopped: () -> Boolean = { false }
    ): Long {
        val planner =
            object : Planner {
                override fun encodeImage(
                    pixels: FloatBuffer,
                    tokens: FloatBuffer
                ) = error("unused")

                override fun embed(
                    ids: LongBuffer,
                    embeds: FloatBuffer
                ) = error("unused")

                override fun step(
                    embeds: FloatBuffer,
                    start: Int,
                    wanted: WantedLogits,
                    logits: FloatBuffer?,
                    hidden: FloatBuffer
                ) {
                    now += stepMs * 1_000_000
                }

                override fun head(
                    hidden: FloatBuffer,
                    latents: FloatBuffer
                ) = error("unused")

                override fun close() {}
            }
        val buffer = FloatBuffer.allocate(1)
        RestingPlanner(planner, { thermal }, stopped, { now }, { slept += it })
            .step(buffer, 0, WantedLogits.NONE, null, buffer)
        return slept
    }

    @Test
    fun aCoolDeviceDoesNotRest() = assertEquals(0, rest(Thermal.MODERATE, 20))

    @Test
    fun aHotOneRestsAsLongAsItWorked() = assertEquals(20, rest(Thermal.SEVERE, 20))

    @Test
    fun aVeryHotOneThreeTimesAsLong() = assertEquals(60, rest(Thermal.CRITICAL, 20))

    @Test
    fun noRestIsLongerThan100Milliseconds() = assertEquals(100, rest(Thermal.SHUTDOWN, 900))

    @Test
    fun aCancelledPlanStopsResting() = assertEquals(10, rest(Thermal.SEVERE, 90) { slept >= 10 })

    @Test
    fun rendersUseOneThreadWhenHot() {
        assertEquals(0, RestingPlanner.threads(Thermal.MODERATE))
        assertEquals(1, RestingPlanner.threads(Thermal.SEVERE))
    }
}
