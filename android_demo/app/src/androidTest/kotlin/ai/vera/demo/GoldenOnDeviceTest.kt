package ai.vera.demo

import ai.vera.mobile.Look
import ai.vera.mobile.Photo
import ai.vera.mobile.PhotoColorSpace
import ai.vera.mobile.PixelFormat
import ai.vera.mobile.RetouchEvent
import ai.vera.mobile.Strengths
import ai.vera.mobile.Task
import ai.vera.mobile.VeraOptions
import ai.vera.mobile.VeraRetoucher
import android.content.Intent
import androidx.test.ext.junit.runners.AndroidJUnit4
import androidx.test.platform.app.InstrumentationRegistry
import java.io.File
import java.nio.ByteBuffer
import java.security.MessageDigest
import java.util.concurrent.TimeUnit
import kotlinx.coroutines.flow.toList
import kotlinx.coroutines.runBlocking
import org.json.JSONArray
import org.json.JSONObject
import org.junit.Assert.assertEquals
import org.junit.Assert.assertTrue
import org.junit.Test
import org.junit.runner.RunWith

/**
 * The goldens of tests/sdk/make_case.py on a device, which ExecuTorch may meet by other words and
 * last bits than Python's: what must be equal are the bytes of bake, render, JSON and .cube of the
 * look that Python planned; of the device's own plan the result says how many tokens are equal.
 *
 * Push the bundle as `bundles/vera.bundle` and the folder `case` into the app's external files first.
 * The result is replay.json there, for `vera bench import`.
 */
@RunWith(AndroidJUnit4::class)
public class GoldenOnDeviceTest {
    private val context = InstrumentationRegistry.getInstrumentation().targetContext
    private val files = checkNotNull(context.getExternalFilesDir(null))
    private val folder = File(files, "case")
    private val case = JSONObject(File(folder, "case.json").readText())
    private val golden = JSONArray()
    private val plans = JSONObject()

    @Test
    public fun goldensAndFiguresOfThisDevice(): Unit =
        runBlocking {
            val cpu = VeraOptions(cpuOnly = true)
            VeraRetoucher.open(context, BundleStore(context).folder(), cpu).use { vera ->
                for ((name, task) in listOf("auto" to Task.Auto, "style" to style())) {
                    val facts = case.getJSONObject("tasks").getJSONObject(name)
                    val events = vera.retouch(photo(), task).toList()
                    val look = events.filterIsInstance<RetouchEvent.LookReady>().single().look
                    plans.put(name, JSONObject().put("tokens_equal", tokensEqual(facts, look)))
                    assertTrue("photo", events.last() is RetouchEvent.PhotoReady)
                }
                checkRenders(vera)
            }
            val result = bench().put("golden", golden).put("plans", plans)
            File(files, "replay.json").writeText(result.toString(1))
        }

    /** The result of [BenchActivity]. */
    private fun bench(): JSONObject {
        val out = File(files, "bench.json").also { it.delete() }
        val intent = Intent(
            context,
            BenchActivity::class.java
        ).addFlags(Intent.FLAG_ACTIVITY_NEW_TASK)
        context.startActivity(intent.putExtra("out", out.name))
        val end = System.nanoTime() + TimeUnit.MINUTES.toNanos(30)
        while (!out.isFile && System.nanoTime() < end) Thread.sleep(1000)
        val result = JSONObject(out.readText())
        assertEquals(result.optString("reason"), "vera-bench", result.getString("format"))
        return result
    }

    private fun style() = Task.Style(case.getString("wish"))

    private fun tokensEqual(
        facts: JSONObject,
        look: Look
    ): Double {
        val wanted = facts.getJSONArray("tokens")
        val equal = (0 until wanted.length()).count {
            look.tokens.getOrNull(it) == wanted.getInt(it)
        }
        return equal / maxOf(wanted.length(), 1).toDouble()
    }

    private suspend fun checkRenders(vera: VeraRetoucher) {
        val facts = case.getJSONObject("tasks").getJSONObject("auto").getJSONArray("looks")
        val planned = vera.lookFromJson(File(folder, "look.json").readText())
        for (i in 0 until facts.length()) {
            val one = facts.getJSONObject(i)
            val s = List(3) { one.getJSONArray("strengths").getDouble(it).toFloat() }
            val strengths = Strengths(s[0], s[1], s[2])
            val look = planned.withStrengths(strengths)
            assertEquals(one.getString("json_sha256"), sha256(look.toJson().encodeToByteArray()))
            val cube = File(files, "look.cube").also { look.saveCube(it) }
            assertEquals(one.getString("cube_sha256"), sha256(cube.readBytes()))
            val rendered = one.getJSONObject("rendered_sha256")
            for (mix in rendered.keys()) {
                val photo = vera.render(planned, photo(), strengths.copy(overall = mix.toFloat()))
                val bytes = ByteArray(photo.sizeBytes.toInt()).also {
                    photo.pixels.duplicate().get(it)
                }
                assertEquals("mix $mix", rendered.getString(mix), sha256(bytes))
                val entry = JSONObject().put("name", "auto $s $mix").put("sha256", sha256(bytes))
                golden.put(entry.put("max_difference", 0))
            }
        }
    }

    private fun photo(): Photo {
        val facts = case.getJSONObject("photo")
        val bytes = File(folder, "photo.rgb").readBytes()
        val pixels = ByteBuffer.allocateDirect(bytes.size).put(bytes)
        pixels.rewind()
        val (width, height) = facts.getInt("width") to facts.getInt("height")
        return Photo(width, height, PixelFormat.RGB8, PhotoColorSpace.SRGB, pixels)
    }

    private fun sha256(bytes: ByteArray): String =
        MessageDigest.getInstance("SHA-256").digest(bytes).joinToString("") { "%02x".format(it) }
}
