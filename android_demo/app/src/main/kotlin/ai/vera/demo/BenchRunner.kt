package ai.vera.demo

import ai.vera.mobile.Look
import ai.vera.mobile.Photo
import ai.vera.mobile.PhotoColorSpace
import ai.vera.mobile.PixelFormat
import ai.vera.mobile.PlanOptions
import ai.vera.mobile.RetouchEvent
import ai.vera.mobile.Retoucher
import ai.vera.mobile.Stage
import ai.vera.mobile.Strengths
import ai.vera.mobile.Task
import java.nio.ByteBuffer
import kotlin.math.abs
import kotlin.math.cos
import kotlin.math.roundToInt
import kotlin.math.sin
import kotlin.math.sqrt
import kotlin.random.Random
import kotlinx.coroutines.flow.filterIsInstance
import kotlinx.coroutines.flow.first
import kotlinx.coroutines.flow.last
import org.json.JSONArray
import org.json.JSONObject

/** What the device says of itself; a value that cannot be had is null. */
internal class BenchDevice(
    val name: String,
    val os: String,
    val cores: Int,
    val ramBytes: Long?,
    val memoryMb: () -> Double?,
    val thermal: () -> String?
)

/**
 * The cases of `vera bench run` on a phone: opening, plans, instant looks, bakes and renders of 2, 12
 * and 48 MP; the result is a JSON object of the schema in vera_mobile/bench/results.py.
 *
 * [open] opens the bundle anew; [renderer] says what rendered. Photos are a fixed gradient with noise. Memory is looked at after
 * each round, not within it.
 */
internal class BenchRunner(
    private val device: BenchDevice,
    private val repeats: Int = 9,
    private val inARow: Int = 10,
    private val maxTokens: Int = 120,
    private val megapixels: List<Int> = listOf(2, 12, 48),
    private val renderer: () -> String? = { null },
    private val nanoTime: () -> Long = System::nanoTime,
    private val open: suspend () -> Retoucher
) {
    private val times = LinkedHashMap<String, MutableList<Double>>()
    private val peaks = HashMap<String, Double>()

    /** facts: the "bundle", "files", "unit", "date" and "commit" of the result. */
    suspend fun run(
        facts: JSONObject,
        onStep: (String) -> Unit = {}
    ): JSONObject {
        val before = device.memoryMb() to device.thermal()
        val retoucher = opened(onStep)
        try {
            val look = plans(retoucher, onStep)
            instantLooks(retoucher)
            bakes(retoucher, look)
            for (size in megapixels) {
                onStep("render $size MP")
                renders(retoucher, look, size)
            }
            return result(facts, before, look)
        } finally {
            retoucher.close()
        }
    }

    private suspend fun opened(onStep: (String) -> Unit): Retoucher {
        var last: Retoucher? = null
        repeat(repeats + 1) {
            last?.close()
            onStep("load ${it + 1}")
            last = time("load") { open() }
        }
        return checkNotNull(last)
    }

    private suspend fun plans(
        retoucher: Retoucher,
        onStep: (String) -> Unit
    ): Look {
        val photo = picture(2)
        var look: Look? = null
        repeat(maxOf(repeats + 1, inARow)) {
            onStep("plan ${it + 1}")
            look = plan(retoucher, photo, options())
            val spent = checkNotNull(look).timingsMs
            for (stage in PLAN_STAGES) note(stage.name.lowercase(), spent[stage] ?: 0.0)
            val tokens = checkNotNull(look).tokens.size + FORCED
            note("decode_per_token", (spent[Stage.DECODE] ?: 0.0) / tokens)
            note("plan", PLAN_STAGES.sumOf { stage -> spent[stage] ?: 0.0 })
        }
        return checkNotNull(look)
    }

    private suspend fun instantLooks(retoucher: Retoucher) {
        val photo = picture(2)
        repeat(repeats + 1) {
            val options = options().copy(instant = true, maxTokens = 0)
            val spent = plan(retoucher, photo, options).timingsMs
            note("instant_look", spent.values.sum())
        }
    }

    private fun options() = PlanOptions(temperature = 0f, maxTokens = maxTokens)

    private suspend fun plan(
        retoucher: Retoucher,
        photo: Photo,
        options: PlanOptions
    ): Look =
        retoucher.retouch(photo, Task.Auto, options).filterIsInstance<RetouchEvent.LookReady>()
            .run { if (options.instant) last() else first() }
            .look

    /** A render of a few pixels with strengths that were not baked yet is a bake. */
    private suspend fun bakes(
        retoucher: Retoucher,
        look: Look
    ) {
        val dot = picture(0)
        repeat(repeats + 1) {
            val strengths = Strengths(lighting = 0.5f + it / 64f)
            time("bake") { retoucher.render(look, dot, strengths) }
        }
    }

    private suspend fun renders(
        retoucher: Retoucher,
        look: Look,
        size: Int
    ) {
        val photo = picture(size)
        val strengths = Strengths()
        retoucher.render(look, picture(0), strengths) // baked before
        repeat(repeats + 1) {
            time("render_${size}mp") { retoucher.render(look, photo, strengths) }
        }
    }

    private suspend fun <T> time(
        stage: String,
        work: suspend () -> T
    ): T {
        val begin = nanoTime()
        val result = work()
        note(stage, (nanoTime() - begin) / NANOS_PER_MS)
        return result
    }

    private fun note(
        stage: String,
        milliseconds: Double
    ) {
        times.getOrPut(stage) { mutableListOf() } += milliseconds
        device.memoryMb()?.let { peaks[stage] = maxOf(it, peaks[stage] ?: 0.0) }
    }

    private fun result(
        facts: JSONObject,
        before: Pair<Double?, String?>,
        look: Look
    ): JSONObject {
        val stages = JSONObject()
        for ((stage, values) in times) stages.put(stage, figures(values, peaks[stage]))
        val out = JSONObject()
        out.put("format", "vera-bench").put("schema", 1).put("kind", "phone")
        for (key in facts.keys()) out.put(key, facts.get(key))
        return out.put("device", describe())
            .put("thermal", thermal(before.second))
            .put("settings", settings())
            .put("prompt_tokens", JSONObject.NULL)
            .put("tokens", look.tokens.size)
            .put("stages", stages)
            .put(
                "memory",
                pair("before_load_mb", before.first, "peak_mb", peaks.values.maxOrNull())
            )
            .put("in_a_row_ms", JSONArray(times["plan"].orEmpty().map(::rounded)))
    }

    private fun describe(): JSONObject =
        JSONObject().put("id", slug(device.name)).put("name", device.name).put("os", device.os)
            .put("cores", device.cores).put("ram_bytes", device.ramBytes ?: JSONObject.NULL)

    private fun thermal(before: String?): JSONObject =
        JSONObject().put("state", pair("before", before, "after", device.thermal()))
            .put("celsius", pair("before", null, "after", null))

    private fun settings(): JSONObject =
        JSONObject().put("task", "auto").put("repeats", repeats).put("in_a_row", inARow)
            .put(
                "threads",
                0
            ).put(
                "renderer",
                renderer() ?: JSONObject.NULL
            ).put("max_tokens", maxTokens).put("photo_megapixels", 2)

    companion object {
        private const val NANOS_PER_MS = 1_000_000.0
        private const val FORCED = 2
        private val PLAN_STAGES =
            listOf(Stage.PREPARE, Stage.VISION, Stage.PREFILL, Stage.DECODE, Stage.HEAD)

        fun slug(name: String): String =
            name.lowercase().replace(Regex("[^a-z0-9]+"), "-").trim('-').take(60).ifEmpty {
                "unknown"
            }

        /** cold_ms is the first run, the rest sums up the others; nothing is 0 that was not taken. */
        fun figures(
            values: List<Double>,
            peakMb: Double?
        ): JSONObject {
            val warm = values.drop(1)
            val middle = quantile(warm, 0.5)
            val spread = middle?.let { m -> quantile(warm.map { abs(it - m) }, 0.5) }
            return JSONObject().put(
                "cold_ms",
                values.firstOrNull()?.let(::rounded) ?: JSONObject.NULL
            )
                .put("median_ms", middle?.let(::rounded) ?: JSONObject.NULL)
                .put("p95_ms", quantile(warm, 0.95)?.let(::rounded) ?: JSONObject.NULL)
                .put("mad_ms", spread?.let(::rounded) ?: JSONObject.NULL)
                .put("n", warm.size)
                .put("peak_mb", peakMb?.let(::rounded) ?: JSONObject.NULL)
                .put("bytes_moved", JSONObject.NULL)
                .put("multiply_adds", JSONObject.NULL)
        }

        /** Linear between the two nearest, as NumPy does it. */
        fun quantile(
            values: List<Double>,
            share: Double
        ): Double? {
            if (values.isEmpty()) return null
            val sorted = values.sorted()
            val at = share * (sorted.size - 1)
            val low = at.toInt()
            val high = minOf(low + 1, sorted.lastIndex)
            return sorted[low] + (at - low) * (sorted[high] - sorted[low])
        }

        /** 4:3 gradients with noise, RGBA8; 0: 8 x 6 pixels. */
        fun picture(megapixels: Int): Photo {
            val height = if (megapixels == 0) 6 else sqrt(megapixels * 1e6 * 3 / 4).roundToInt()
            val width = if (megapixels == 0) 8 else (megapixels * 1e6 / height).roundToInt()
            val pixels = ByteBuffer.allocateDirect(width * height * 4)
            val random = Random(0)
            val across = List(3) { c -> DoubleArray(width) { sin(it / (90.0 + 40 * c) + c) } }
            val row = ByteArray(width * 4)
            for (y in 0 until height) {
                for (x in 0 until width) {
                    val noise = random.nextInt(12)
                    for (c in 0 until 3) {
                        val wave = across[c][x] + cos(y / (130.0 - 20 * c))
                        row[4 * x + c] = (wave * 50 + 110 + noise).toInt().coerceIn(0, 255).toByte()
                    }
                    row[4 * x + 3] = -1
                }
                pixels.put(row)
            }
            pixels.rewind()
            return Photo(width, height, PixelFormat.RGBA8, PhotoColorSpace.SRGB, pixels)
        }

        private fun rounded(value: Double): Double = Math.round(value * 1000) / 1000.0

        private fun pair(
            first: String,
            one: Any?,
            second: String,
            other: Any?
        ): JSONObject =
            JSONObject().put(first, one ?: JSONObject.NULL).put(second, other ?: JSONObject.NULL)
    }
}
