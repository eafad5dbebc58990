package ai.vera.demo

import ai.vera.mobile.Look
import ai.vera.mobile.Photo
import ai.vera.mobile.PhotoFiles
import ai.vera.mobile.Retoucher
import ai.vera.mobile.Strengths
import ai.vera.mobile.Task
import android.graphics.Bitmap
import kotlinx.coroutines.CoroutineScope
import kotlinx.coroutines.Dispatchers
import kotlinx.coroutines.Job
import kotlinx.coroutines.launch
import kotlinx.coroutines.withContext

/** What the screen works on: the photo, its preview, the look. */
internal class Session {
    var photo: Photo? = null
        private set
    var preview: Photo? = null
        private set
    var look: Look? = null
    var strengths = Strengths()
    var before: Photo? = null
    var after: Photo? = null
    private var rendering: Job? = null

    suspend fun take(photo: Photo): Bitmap =
        withContext(Dispatchers.Default) {
            val small = Preview.of(photo)
            this@Session.photo = photo
            preview = small
            look = null
            PhotoFiles.toBitmap(small)
        }

    fun task(
        kind: Int,
        wish: String,
        sliders: Map<String, Float>
    ): Task? {
        val (one, other) = before to after
        return when (kind) {
            0 -> Task.Auto
            1 -> Task.Style(wish)
            2 -> Task.Param(sliders)
            else -> if (one == null || other == null) null else Task.Reference(one, other)
        }
    }

    /** The newest strengths win: a render that is not done yet is cancelled. */
    fun renderLive(
        scope: CoroutineScope,
        vera: suspend () -> Retoucher,
        show: (Bitmap) -> Unit
    ) {
        val (small, plan) = (preview ?: return) to (look ?: return)
        val wanted = strengths
        rendering?.cancel()
        rendering =
            scope.launch {
                val rendered = vera().render(plan, small, wanted)
                show(withContext(Dispatchers.Default) { PhotoFiles.toBitmap(rendered) })
            }
    }
}
