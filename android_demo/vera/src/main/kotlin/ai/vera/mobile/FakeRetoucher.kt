package ai.vera.mobile

import java.io.File
import java.util.concurrent.atomic.AtomicBoolean
import kotlinx.coroutines.delay
import kotlinx.coroutines.flow.Flow
import kotlinx.coroutines.flow.MutableSharedFlow
import kotlinx.coroutines.flow.flow
import kotlinx.coroutines.sync.Mutex
import kotlinx.coroutines.sync.withLock

/**
 * A [Retoucher] for an app's own tests: no model, no native library. It writes [text] word by word,
 * [wordMillis] apart, and brightens 8-bit photos by 16 codes times the overall strength; other
 * formats are copied. Cancel, queueing and use after close are as of the real one; [failure] is
 * thrown in place of the look, when set.
 */
public class FakeRetoucher(
    private val text: String = "The photo is a little dark. Raise the exposure.",
    private val wordMillis: Long = 1,
    private val failure: VeraException? = null
) : Retoucher {
    private val turn = Mutex()
    private val closed = AtomicBoolean()
    private val notes = MutableSharedFlow<Notice>(extraBufferCapacity = 16)
    override val notices: Flow<Notice> = notes

    /** Plans that were begun, with their tasks: what an app's test looks at. */
    public val tasks: List<Task> get() = synchronized(asked) { asked.toList() }
    private val asked = mutableListOf<Task>()

    override fun retouch(
        photo: Photo,
        task: Task,
        options: PlanOptions
    ): Flow<RetouchEvent> =
        flow {
            turn.withLock {
                checkOpen()
                synchronized(asked) { asked += task }
                emit(RetouchEvent.Progress(Stage.PREPARE, 0f))
                if (options.instant) {
                    emit(RetouchEvent.LookReady(look("")))
                    emit(RetouchEvent.PhotoReady(render(look(""), photo)))
                }
                for (word in text.split(Regex("(?<= )"))) {
                    delay(wordMillis)
                    checkOpen()
                    emit(RetouchEvent.Text(word))
                }
                failure?.let { throw it }
                emit(RetouchEvent.LookReady(look(text)))
                if (!options.instant) emit(RetouchEvent.PhotoReady(render(look(text), photo)))
            }
        }

    override suspend fun render(
        look: Look,
        photo: Photo,
        strengths: Strengths
    ): Photo {
        checkOpen()
        val out = photo.empty()
        val (source, target) = photo.pixels.duplicate() to out.pixels
        val rowBytes = photo.width * photo.format.bytesPerPixel
        val row = ByteArray(rowBytes)
        for (y in 0 until photo.height) {
            source.position(y * photo.rowStrideBytes)
            source.get(row)
            if (photo.format.sampleBytes == 1) brighten(row, photo.format, strengths.overall)
            target.put(row)
        }
        target.rewind()
        return out
    }

    private fun brighten(
        row: ByteArray,
        format: PixelFormat,
        strength: Float
    ) {
        for (i in row.indices) {
            if (format.bytesPerPixel == 4 && i % 4 == 3) continue
            val value = (row[i].toInt() and 0xFF) + (16 * strength).toInt()
            row[i] = minOf(value, 255).toByte()
        }
    }

    /** The text must be what [Look.toJson] of a fake look wrote. */
    override suspend fun lookFromJson(text: String): Look {
        checkOpen()
        if (!text.contains(FORMAT)) {
            throw VeraException.FileError("This is not a look of version 1; save it again.")
        }
        return look(text.substringAfter("\"text\": \"").substringBefore('"'))
    }

    override suspend fun unload() {
        checkOpen()
        turn.withLock { notes.emit(Notice.Unloaded(Notice.Reason.ASKED)) }
    }

    override fun close() {
        closed.set(true)
    }

    /** Makes the fake tell a notice, as a hot or full device would. */
    public fun tell(notice: Notice) {
        notes.tryEmit(notice)
    }

    private fun checkOpen() {
        if (closed.get()) {
            throw VeraException.Closed("This retoucher is closed: open it again.")
        }
    }

    private fun look(text: String) =
        Look(
            text,
            FloatArray(6) {
                it / 8f
            },
            listOf(1, 2, 3),
            emptyMap(),
            Strengths(),
            "",
            FakeCodec
        )

    private companion object {
        const val FORMAT = "\"format\": \"vera-look\""
    }

    /** Enough of the real files to be told apart; nothing else reads them. */
    private object FakeCodec : LookCodec {
        override fun toJson(look: Look): String {
            val s = look.strengths
            return "{\n $FORMAT,\n \"version\": 1,\n \"text\": \"${look.text}\",\n" +
                " \"lighting\": ${s.lighting},\n \"global_color\": ${s.globalColor},\n" +
                " \"specific_color\": ${s.specificColor}\n}\n"
        }

        override fun saveCube(
            look: Look,
            file: File,
            size: Int
        ) {
            file.writeText("TITLE \"fake\"\nLUT_3D_SIZE 2\n" + "0 0 0\n".repeat(8))
        }
    }
}
