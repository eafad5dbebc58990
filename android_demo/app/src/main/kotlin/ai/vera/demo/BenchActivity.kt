package ai.vera.demo

import ai.vera.mobile.VeraException
import ai.vera.mobile.VeraOptions
import ai.vera.mobile.VeraRetoucher
import android.app.Activity
import android.app.ActivityManager
import android.content.Context
import android.os.Build
import android.os.Bundle
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
import org.json.JSONObject

/**
 * The cases of `vera bench run`, for `vera bench phone`:
 * `am start -n ai.vera.demo/.BenchActivity --es bundle NAME --es out FILE [--es unit cpu]`.
 * Both names are of this app's external files; an error is written to FILE.error.
 */
public class BenchActivity : Activity() {
    private val scope = CoroutineScope(SupervisorJob() + UiDispatcher)
    private lateinit var screen: TextView

    override fun onCreate(state: Bundle?) {
        super.onCreate(state)
        window.addFlags(WindowManager.LayoutParams.FLAG_KEEP_SCREEN_ON)
        screen = TextView(this)
        setContentView(screen)
        val files = BundleStore(this).files()
        val bundle = plainName(intent.getStringExtra("bundle") ?: BundleStore.NAME)
        val out = plainName(intent.getStringExtra("out") ?: "bench.json")
        val cpuOnly = intent.getStringExtra("unit") == "cpu"
        if (bundle == null || out == null) {
            finish()
            return
        }
        scope.launch { run(File(files, bundle), File(files, out), cpuOnly) }
    }

    private suspend fun run(
        bundle: File,
        out: File,
        cpuOnly: Boolean
    ) {
        val failure = File(out.path + ".error")
        try {
            val result = measure(bundle, cpuOnly)
            withContext(Dispatchers.IO) {
                failure.delete()
                write(out, result.toString(1) + "\n")
            }
            screen.text = getString(R.string.saved, out.path)
        } catch (error: VeraException) {
            withContext(Dispatchers.IO) { write(failure, "${error.code} ${error.message}\n") }
            screen.text = error.message
        }
        finish()
    }

    private suspend fun measure(
        bundle: File,
        cpuOnly: Boolean
    ): JSONObject {
        var latest: VeraRetoucher? = null
        val device =
            BenchDevice(
                name = "${Build.MANUFACTURER} ${Build.MODEL}",
                os = "Android ${Build.VERSION.RELEASE}",
                cores = Runtime.getRuntime().availableProcessors(),
                ramBytes = ramBytes(),
                memoryMb = { memoryMb().toDouble() },
                thermal = { latest?.thermal?.name?.lowercase() }
            )
        val options = VeraOptions(cpuOnly = cpuOnly)
        val probe = VeraRetoucher.open(this, bundle, options)
        val unit = if (probe.isGpu) "gpu" else "cpu" // of the render; the model is on the CPU
        probe.close()
        val facts = withContext(Dispatchers.IO) { BundleFacts.read(bundle, unit, now()) }
        val runner =
            BenchRunner(device) {
                VeraRetoucher.open(this, bundle, options).also { latest = it }
            }
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
