package ai.vera.mobile

import java.io.Closeable
import kotlinx.coroutines.flow.Flow
import kotlinx.coroutines.flow.filterIsInstance
import kotlinx.coroutines.flow.first

/**
 * Plans looks and renders them. Any number of coroutines may call: plans queue, one at a time;
 * renders do not wait for plans.
 *
 * Cancelling a coroutine returns at once; the work that it left behind stops within one token. Calls
 * after [close] throw [VeraException.Closed]. Errors are [VeraException].
 */
public interface Retoucher : Closeable {
    /** Memory given back, heat: for the whole life of the retoucher, told to each collector. */
    public val notices: Flow<Notice>

    /**
     * Plans the look of [photo] and renders it. Cold: each collection is a plan of its own. The
     * same photo, task, bundle and options give the same look.
     */
    public fun retouch(
        photo: Photo,
        task: Task = Task.Auto,
        options: PlanOptions = PlanOptions()
    ): Flow<RetouchEvent>

    /**
     * [photo] with the look, without the model: milliseconds. A new photo of the same size, format,
     * colour space and metadata; alpha is kept.
     */
    public suspend fun render(
        look: Look,
        photo: Photo,
        strengths: Strengths = look.strengths
    ): Photo

    /** A saved look, ready to render and to save as `.cube`. FileError where it is none. */
    public suspend fun lookFromJson(text: String): Look

    /** Gives the memory of the model back, after a running plan has ended. */
    public suspend fun unload()

    /** Frees everything. Running calls end with [VeraException.Closed]; a second call does nothing. */
    override fun close()
}

/** The look alone, without a rendered photo. */
public suspend fun Retoucher.plan(
    photo: Photo,
    task: Task = Task.Auto,
    options: PlanOptions = PlanOptions()
): Look = retouch(photo, task, options).filterIsInstance<RetouchEvent.LookReady>().first().look
