package ai.vera.demo

import ai.vera.mobile.BundleDownloader
import ai.vera.mobile.Stage
import ai.vera.mobile.VeraException
import ai.vera.mobile.VeraRetoucher
import android.app.Activity
import android.os.Bundle
import android.os.Debug
import android.view.View
import android.widget.Button
import android.widget.EditText
import android.widget.ProgressBar
import android.widget.TextView
import kotlinx.coroutines.CoroutineScope
import kotlinx.coroutines.Job
import kotlinx.coroutines.SupervisorJob
import kotlinx.coroutines.cancel
import kotlinx.coroutines.launch

/** Timings of the newest plan, for [FiguresActivity]. */
internal object LastPlan {
    @Volatile var timingsMs: Map<Stage, Double> = emptyMap()
}

/** Downloads a bundle; a broken download goes on where it stopped. */
public class BundleActivity : Activity() {
    private val scope = CoroutineScope(SupervisorJob() + UiDispatcher)
    private var running: Job? = null

    override fun onCreate(state: Bundle?) {
        super.onCreate(state)
        setContentView(R.layout.bundle)
        val store = (application as VeraApp).store
        field(R.id.address).setText(store.address)
        field(R.id.sha256).setText(store.sha256)
        view(R.id.download).setOnClickListener { download() }
        view(R.id.cancel).setOnClickListener { running?.cancel() }
        if (store.isThere) say(getString(R.string.downloaded))
    }

    private fun download() {
        val app = application as VeraApp
        app.store.address = field(R.id.address).text.toString().trim()
        app.store.sha256 = field(R.id.sha256).text.toString().trim().lowercase()
        running?.cancel()
        running =
            scope.launch {
                busy(true)
                try {
                    fetch(app)
                    say(getString(R.string.downloaded))
                } catch (error: VeraException) {
                    say(error.message.orEmpty())
                } finally {
                    busy(false)
                }
            }
    }

    private suspend fun fetch(app: VeraApp) {
        val store = app.store
        BundleDownloader().download(store.address, store.sha256, store.folder()) {
            runOnUiThread { show(it.doneBytes, it.totalBytes) }
        }
        app.reopen()
    }

    private fun show(
        done: Long,
        total: Long
    ) {
        val bar = view(R.id.progress) as ProgressBar
        bar.progress = (1000 * done / maxOf(total, 1)).toInt()
        say(getString(R.string.progress, done shr 20, total shr 20))
    }

    private fun busy(now: Boolean) {
        (view(R.id.download) as Button).isEnabled = !now
        (view(R.id.cancel) as Button).isEnabled = now
    }

    private fun say(words: String) {
        (view(R.id.state) as TextView).text = words
    }

    private fun field(id: Int): EditText = view(id) as EditText

    override fun onDestroy() {
        scope.cancel()
        super.onDestroy()
    }
}

/** Timings of the last plan, memory, what renders, and the self-test of the GPU. */
public class FiguresActivity : Activity() {
    private val scope = CoroutineScope(SupervisorJob() + UiDispatcher)

    override fun onCreate(state: Bundle?) {
        super.onCreate(state)
        setContentView(R.layout.figures)
        view(R.id.self_test).setOnClickListener { show(test = true) }
        show(test = false)
    }

    private fun show(test: Boolean) {
        scope.launch {
            val words =
                try {
                    figures((application as VeraApp).vera(), test)
                } catch (error: VeraException) {
                    error.message.orEmpty()
                }
            (view(R.id.state) as TextView).text = words
        }
    }

    private suspend fun figures(
        vera: VeraRetoucher,
        test: Boolean
    ): String {
        val lines = mutableListOf<String>()
        lines += "bundle: ${vera.bundle.name}, ${vera.bundle.recipe}"
        lines += "size: ${vera.bundle.info.sizeBytes shr 20} MB"
        lines += "renders on: ${vera.rendererName}"
        lines += "thermal: ${vera.thermal}"
        lines += "memory (PSS): ${memoryMb()} MB"
        for ((stage, time) in LastPlan.timingsMs) {
            lines += "%s: %.1f ms".format(stage.name.lowercase(), time)
        }
        if (test) {
            lines +=
                "self-test: " +
                (vera.selfTest()?.let { if (it) "passed" else "FAILED" } ?: "no GPU")
        }
        return lines.joinToString("\n")
    }

    private fun verdict(passed: Boolean?): String =
        when (passed) {
            null -> "no GPU"
            true -> "passed"
            false -> "FAILED"
        }

    override fun onDestroy() {
        scope.cancel()
        super.onDestroy()
    }
}

internal fun Activity.view(id: Int): View = findViewById(id)

/** Proportional set size of this process. */
internal fun memoryMb(): Long = Debug.getPss() / 1024
