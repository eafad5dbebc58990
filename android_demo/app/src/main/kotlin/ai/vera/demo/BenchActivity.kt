package ai.vera.demo

import ai.vera.mobile.VeraException
import ai.vera.mobile.VeraRetoucher
import android.app.Activity
import android.app.ActivityManager
import android.content.Context
import android.os.Build
import android.os.Bundle
import android.os.Debug
import android.view.WindowManager
import android.widget.TextView
import java.io.File
import java.io.IOException
import java.text.SimpleDateFormat
import java.util.Date
import java.util.Locale
import java.util.TimeZone
import kotlinx.coroutines.CoroutineScope
import kotlinx.coroutines.Dispatchers
import kotlinx.coroutines.SupervisorJob
import kotlinx.coroutines.cancel
import kotlinx.coroutines.launch
import kotlinx.coroutines.withContext
import org.json.JSONException
import org.json.JSONObject

/**
 * The cases of `vera bench run`, for `vera bench phone`:
 * `am start -n ai.vera.demo/.BenchActivity --es bundle NAME --es out FILE [--es unit cpu]
 * [--ei repeats 9] [--ei in_a_row 10]`. The bundle is bundles/NAME of this app's external files and
 * FILE is written there, whole; what cannot be measured is a refusal with its reason.
 */
public class BenchActivity : Activity() {
    private val scope = CoroutineScope(SupervisorJob() + UiDispatcher)
    private lateinit var screen: TextView

    override fun onCreate(state: Bundle?) {
        super.onCreate(state)
        window.addFlags(WindowManager.LayoutParams.FLAG_KEEP_SCREEN_ON)
        screen = TextView(this)
        setContentView(screen)
        val store = BundleStore(this)
        val bundle = plainName(intent.getStringExtra("bundle") ?: BundleStore.NAME)
        val out = plainName(intent.getStringExtra("out") ?: "bench.json")
        if (bundle == null || out == null) {
            finish()
            return
        }
        scope.launch { run(store.folder(bundle), File(store.files(), out)) }
    }

    private suspend fun run(
        bundle: File,
        out: File
    ) {
        val result =
            try {
                measure(bundle)
            } catch (error: VeraException) {
                refusal(error.message.orEmpty())
            } catch (error: JSONException) {
                refusal("bundle.json cannot be read (${error.message})")
            } catch (error: IOException) {
                refusal("bundle.json cannot be read (${error.message})")
            }
        withContext(Dispatchers.IO) { write(out, result.toString(1) + "\n") }
        finish()
    }

    private fun refusal(reason: String): JSONObject =
        JSONObject().put("format", "vera-bench-refusal").put("unit", unit()).put("reason", reason)

    private fun unit(): String = intent.getStringExtra("unit") ?: "cpu"

    private suspend fun measure(bundle: File): JSONObject {
        val facts = withContext(Dispatchers.IO) { BundleFacts.read(bundle, now()) }
        if (facts.getString("unit") != unit()) {
            return refusal("this bundle's recipe runs on the ${facts.getString("unit")}")
        }
        var latest: VeraRetoucher? = null
        val device =
            BenchDevice(
                name = "${Build.MANUFACTURER} ${Build.MODEL}",
                os = "Android ${Build.VERSION.RELEASE}",
                cores = Runtime.getRuntime().availableProcessors(),
                ramBytes = ramBytes(),
                memoryMb = { Debug.getPss() * 1024 / 1e6 },
                thermal = { latest?.thermal?.name?.lowercase() }
            )
        val runner =
            BenchRunner(
                device,
                repeats = intent.getIntExtra("repeats", 9).coerceIn(1, 1000),
                inARow = intent.getIntExtra("in_a_row", 10).coerceIn(1, 100),
                renderer = { latest?.rendererName }
            ) { VeraRetoucher.open(this, bundle).also { latest = it } }
        return runner.run(facts) { screen.text = it }
    }

    private fun ramBytes(): Long {
        val info = ActivityManager.MemoryInfo()
        (getSystemService(Context.ACTIVITY_SERVICE) as ActivityManager).getMemoryInfo(info)
        return info.totalMem
    }

    private fun now(): String {
        val format = SimpleDateFormat("yyyy-MM-dd'T'HH:mm:ss'+00:00'", Locale.ROOT)
        format.timeZone = TimeZone.getTimeZone("UTC")
        return format.format(Date())
    }

    // Other apps may start this activity: nothing outside of the folder is named.
    private fun plainName(name: String): String? =
        name.takeIf { Regex("[A-Za-z0-9][A-Za-z0-9._-]{0,99}").matches(it) }

    private fun write(
        file: File,
        text: String
    ) {
        val part = File(file.path + ".part")
        try {
            part.writeText(text)
            if (!part.renameTo(file)) throw IOException("it cannot be renamed")
        } catch (error: IOException) {
            throw VeraException.FileError("${file.name} cannot be written.", error)
        }
    }

    override fun onDestroy() {
        scope.cancel()
        super.onDestroy()
    }
}
