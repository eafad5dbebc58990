package ai.vera.demo

import ai.vera.mobile.Notice
import ai.vera.mobile.PhotoFiles
import ai.vera.mobile.PlanOptions
import ai.vera.mobile.RetouchEvent
import ai.vera.mobile.Sliders
import ai.vera.mobile.Strengths
import ai.vera.mobile.VeraException
import android.app.Activity
import android.content.Intent
import android.graphics.Bitmap
import android.net.Uri
import android.os.Bundle
import android.view.View
import android.widget.AdapterView
import android.widget.ArrayAdapter
import android.widget.Button
import android.widget.CheckBox
import android.widget.EditText
import android.widget.ProgressBar
import android.widget.SeekBar
import android.widget.Spinner
import android.widget.TextView
import android.widget.Toast
import kotlinx.coroutines.CoroutineExceptionHandler
import kotlinx.coroutines.CoroutineScope
import kotlinx.coroutines.Dispatchers
import kotlinx.coroutines.Job
import kotlinx.coroutines.SupervisorJob
import kotlinx.coroutines.cancel
import kotlinx.coroutines.launch
import kotlinx.coroutines.withContext

/** Pick or take a shared photo, plan, compare, adjust, save, share. */
public class MainActivity : Activity() {
    private val failed =
        CoroutineExceptionHandler { _, error ->
            if (error is VeraException) tell(error.message.orEmpty()) else throw error
        }
    private val scope = CoroutineScope(SupervisorJob() + UiDispatcher + failed)
    private val session = Session()
    private val app get() = application as VeraApp
    private val sliders = HashMap<String, Float>()
    private var running: Job? = null
    private var shown: Bitmap? = null

    override fun onCreate(state: Bundle?) {
        super.onCreate(state)
        setContentView(R.layout.main)
        button(R.id.pick) { pick(PHOTO) }
        button(R.id.before) { pick(BEFORE) }
        button(R.id.after) { pick(AFTER) }
        button(R.id.retouch) { retouch() }
        button(R.id.cancel) { running?.cancel() }
        button(R.id.save) { export { Exports.save(this, it) } }
        button(R.id.share) { export { Exports.share(this, it) } }
        button(R.id.save_cube) { saveCube() }
        button(R.id.bundle) { startActivity(Intent(this, BundleActivity::class.java)) }
        button(R.id.figures) { startActivity(Intent(this, FiguresActivity::class.java)) }
        setUpTasks()
        setUpStrengths()
        take(intent)
        if (!app.store.isThere) tell(getString(R.string.bundle_missing)) else watch()
    }

    override fun onNewIntent(intent: Intent) {
        super.onNewIntent(intent)
        take(intent)
    }

    override fun onDestroy() {
        scope.cancel()
        super.onDestroy()
    }

    private fun take(intent: Intent) {
        if (intent.action != Intent.ACTION_SEND) return
        @Suppress("DEPRECATION")
        val uri = intent.getParcelableExtra<Uri>(Intent.EXTRA_STREAM) ?: return
        open(uri, PHOTO)
    }

    private fun pick(what: Int) {
        val wanted = Intent(Intent.ACTION_OPEN_DOCUMENT).addCategory(Intent.CATEGORY_OPENABLE)
        startActivityForResult(wanted.setType("image/*"), what)
    }

    @Deprecated("of the framework; AndroidX has another")
    override fun onActivityResult(
        request: Int,
        result: Int,
        data: Intent?
    ) {
        if (result == RESULT_OK) data?.data?.let { open(it, request) }
    }

    private fun open(
        uri: Uri,
        what: Int
    ) {
        scope.launch {
            val photo = withContext(Dispatchers.IO) { PhotoFiles.fromUri(contentResolver, uri) }
            when (what) {
                BEFORE -> session.before = photo

                AFTER -> session.after = photo

                else -> {
                    shown = session.take(photo)
                    show(null)
                }
            }
        }
    }

    private fun retouch() {
        val photo = session.photo ?: return pick(PHOTO)
        val kind = find<Spinner>(R.id.task).selectedItemPosition
        val wish = find<EditText>(R.id.wish).text.toString()
        val task = session.task(kind, wish, sliders) ?: return pick(BEFORE)
        val options = PlanOptions(instant = find<CheckBox>(R.id.instant).isChecked)
        val said = find<TextView>(R.id.said)
        said.text = ""
        running?.cancel()
        running =
            scope.launch {
                busy(true)
                try {
                    app.vera().retouch(photo, task, options).collect { on(it, said) }
                } finally {
                    busy(false)
                }
            }
    }

    private fun on(
        event: RetouchEvent,
        said: TextView
    ) {
        when (event) {
            is RetouchEvent.Progress -> {
                find<ProgressBar>(R.id.progress).progress = (event.done * 100).toInt()
            }

            is RetouchEvent.Text -> said.append(event.piece)

            is RetouchEvent.LookReady -> {
                session.look = event.look
                LastPlan.timingsMs = event.look.timingsMs
                renderLive()
            }

            is RetouchEvent.PhotoReady -> find<ProgressBar>(R.id.progress).progress = 100
        }
    }

    private fun renderLive() = session.renderLive(scope, app::vera, ::show)

    private fun show(after: Bitmap?) = find<CompareView>(R.id.compare).show(shown, after)

    private fun export(how: suspend (ai.vera.mobile.Photo) -> String) {
        val (photo, look) = (session.photo ?: return) to (session.look ?: return)
        scope.launch {
            val rendered = app.vera().render(look, photo, session.strengths)
            val name = withContext(Dispatchers.IO) { how(rendered) }
            if (name.isNotEmpty()) tell(getString(R.string.saved, name))
        }
    }

    private fun saveCube() {
        val look = session.look?.withStrengths(session.strengths) ?: return
        scope.launch {
            val name = withContext(Dispatchers.IO) { Exports.saveCube(this@MainActivity, look) }
            tell(getString(R.string.saved, name))
        }
    }

    private fun watch() {
        scope.launch {
            app.vera().notices.collect {
                when (it) {
                    is Notice.Unloaded -> tell(getString(R.string.unloaded))
                    is Notice.ThermalChanged -> tell(getString(R.string.hot, it.thermal.name))
                }
            }
        }
    }

    private fun setUpTasks() {
        val labels =
            listOf(
                R.string.task_auto,
                R.string.task_style,
                R.string.task_param,
                R.string.task_reference
            ).map(::getString)
        fill(R.id.task, labels) { kind ->
            visible(R.id.wish, kind == 1)
            visible(R.id.params, kind == 2)
            visible(R.id.pair, kind == 3)
        }
        fill(R.id.slider, Sliders.names) { showSlider() }
        onSeek(R.id.slider_value) {
            val name = find<Spinner>(R.id.slider).selectedItem as String
            sliders[name] = it - 100f
            showSlider()
        }
    }

    private fun showSlider() {
        val name = find<Spinner>(R.id.slider).selectedItem as String
        val value = (sliders[name] ?: 0f).toInt()
        find<SeekBar>(R.id.slider_value).progress = value + 100
        find<TextView>(R.id.slider_label).text = getString(R.string.slider_value, name, value)
    }

    private fun setUpStrengths() {
        val rows =
            listOf(
                Triple(R.id.lighting, R.id.lighting_label, R.string.lighting),
                Triple(R.id.global_color, R.id.global_color_label, R.string.global_color),
                Triple(R.id.specific_color, R.id.specific_color_label, R.string.specific_color),
                Triple(R.id.overall, R.id.overall_label, R.string.overall)
            )
        for ((bar, label, words) in rows) {
            find<TextView>(label).text = getString(words, 100)
            onSeek(bar) {
                find<TextView>(label).text = getString(words, it)
                find<SeekBar>(bar).contentDescription = getString(words, it)
                session.strengths = strengths()
                renderLive()
            }
        }
    }

    private fun strengths(): Strengths {
        fun value(id: Int) = find<SeekBar>(id).progress / 100f
        return Strengths(
            value(R.id.lighting),
            value(R.id.global_color),
            value(R.id.specific_color),
            value(R.id.overall)
        )
    }

    private fun busy(now: Boolean) {
        find<Button>(R.id.retouch).isEnabled = !now
        find<Button>(R.id.cancel).isEnabled = now
    }

    private fun tell(words: String) = Toast.makeText(this, words, Toast.LENGTH_LONG).show()

    private fun visible(
        id: Int,
        visible: Boolean
    ) {
        find<View>(id).visibility = if (visible) View.VISIBLE else View.GONE
    }

    private fun fill(
        id: Int,
        labels: List<String>,
        on: (Int) -> Unit
    ) {
        val spinner = find<Spinner>(id)
        spinner.adapter = ArrayAdapter(this, android.R.layout.simple_spinner_dropdown_item, labels)
        spinner.onItemSelectedListener =
            object : AdapterView.OnItemSelectedListener {
                override fun onItemSelected(
                    parent: AdapterView<*>,
                    view: View?,
                    position: Int,
                    row: Long
                ) = on(position)

                override fun onNothingSelected(parent: AdapterView<*>) = Unit
            }
    }

    private fun onSeek(
        id: Int,
        on: (Int) -> Unit
    ) {
        find<SeekBar>(id).setOnSeekBarChangeListener(
            object : SeekBar.OnSeekBarChangeListener {
                override fun onProgressChanged(
                    bar: SeekBar,
                    value: Int,
                    fromUser: Boolean
                ) {
                    if (fromUser) on(value)
                }

                override fun onStartTrackingTouch(bar: SeekBar) = Unit

                override fun onStopTrackingTouch(bar: SeekBar) = Unit
            }
        )
    }

    private fun button(
        id: Int,
        on: () -> Unit
    ) = find<Button>(id).setOnClickListener { on() }

    @Suppress("UNCHECKED_CAST")
    private fun <T : View> find(id: Int): T = view(id) as T

    private companion object {
        const val PHOTO = 1
        const val BEFORE = 2
        const val AFTER = 3
    }
}
