package ai.vera.mobile

import java.io.File
import java.nio.ByteBuffer
import java.nio.ByteOrder
import kotlin.test.Test
import kotlin.test.assertEquals
import kotlin.test.assertTrue
import kotlinx.coroutines.flow.toList
import kotlinx.coroutines.runBlocking
import org.json.JSONArray
import org.json.JSONObject
import org.junit.jupiter.api.Tag
import org.junit.jupiter.api.io.TempDir

/** The whole line on the nano bundle gives the bytes of the Python library. */
@Tag("native")
internal class GoldenTest {
    @TempDir
    lateinit var folder: File

    @Test
    fun autoGivesPythonsBytes() = check("auto", Task.Auto)

    @Test
    fun styleGivesPythonsBytes() = check("style", Task.Style(Setup.case.getString("wish")))

    @Test
    fun paramGivesPythonsBytes() {
        val sliders = Setup.case.getJSONObject("sliders")
        val values = sliders.keys().asSequence().associateWith { sliders.getDouble(it).toFloat() }
        check("param", Task.Param(values))
    }

    @Test
    fun instantGivesPythonsBytes() =
        check("auto-instant", Task.Auto, PlanOptions(instant = true))

    @Test
    fun thePictureThatTheModelSeesIsPythons() {
        val facts = Setup.case.getJSONObject("prepared")
        val side = facts.getInt("size")
        val out = Photo.direct(3L * side * side * Float.SIZE_BYTES)
        val photo = Setup.photo
        Native.preparePicture(photo.describe(), photo.pixels, 0, "vera-nano".utf8(), side, out)
        assertEquals(facts.getString("sha256"), sha256(bytes(out)))
    }

    private fun check(
        name: String,
        task: Task,
        options: PlanOptions = PlanOptions()
    ) = runBlocking {
        val facts = Setup.case.getJSONObject("tasks").getJSONObject(name)
        Setup.engine().use { engine ->
            val events = engine.retouch(Setup.photo, task, options).toList()
            val look = events.filterIsInstance<RetouchEvent.LookReady>().last().look
            val said = events.filterIsInstance<RetouchEvent.Text>().joinToString("") { it.piece }
            assertEquals(facts.getString("text"), look.text)
            assertEquals(look.text, said)
            assertEquals(ints(facts.getJSONArray("tokens")), look.tokens)
            assertEquals(facts.getString("latents_sha256"), sha256(littleEndian(look.latents)))
            val photo = events.filterIsInstance<RetouchEvent.PhotoReady>().single().photo
            val looks = facts.getJSONArray("looks")
            val whole = looks.getJSONObject(0).getJSONObject("rendered_sha256")
            assertEquals(whole.getString("1.0"), sha256(bytes(photo.pixels)))
            checkOrder(events, options.instant)
            for (i in 0 until looks.length()) checkLook(engine, look, looks.getJSONObject(i))
        }
    }

    private fun checkOrder(
        events: List<RetouchEvent>,
        instant: Boolean
    ) {
        val firstLook = events.indexOfFirst { it is RetouchEvent.LookReady }
        val firstText = events.indexOfFirst { it is RetouchEvent.Text }
        assertEquals(instant, firstLook < firstText)
        val shares = events.filterIsInstance<RetouchEvent.Progress>().map { it.done }
        assertTrue(shares.isNotEmpty() && shares == shares.sorted(), "progress $shares")
        assertTrue(shares.all { it in 0f..1f }, "progress $shares")
    }

    private suspend fun checkLook(
        engine: Engine,
        look: Look,
        facts: JSONObject
    ) {
        val (lighting, globalColor, specificColor) =
            facts.getJSONArray("strengths").let { s -> List(3) { s.getDouble(it).toFloat() } }
        val strengths = Strengths(lighting, globalColor, specificColor)
        val part = look.withStrengths(strengths)
        val baked = engine.bake(look, strengths)
        assertEquals(facts.getString("curves_sha256"), sha256(bytes(baked.curves)), "curves")
        assertEquals(facts.getString("lut_sha256"), sha256(bytes(baked.lut)), "LUT")
        assertEquals(facts.getString("json_sha256"), sha256(part.toJson().utf8()), "JSON")
        val cube = File(folder, "look.cube").also { part.saveCube(it) }
        assertEquals(facts.getString("cube_sha256"), sha256(cube.readBytes()), "cube")
        val rendered = facts.getJSONObject("rendered_sha256")
        for (mix in rendered.keys()) {
            val mixed = strengths.copy(overall = mix.toFloat())
            val photo = engine.render(look, Setup.photo, mixed)
            assertEquals(rendered.getString(mix), sha256(bytes(photo.pixels)), "mix $mix")
        }
    }

    private fun ints(values: JSONArray): List<Int> = List(values.length()) { values.getInt(it) }

    private fun littleEndian(values: FloatArray): ByteArray {
        val raw = ByteBuffer.allocate(values.size * Float.SIZE_BYTES).order(ByteOrder.LITTLE_ENDIAN)
        raw.asFloatBuffer().put(values)
        return raw.array()
    }
}
