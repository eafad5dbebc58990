package ai.vera.demo

import ai.vera.mobile.VeraRetoucher
import android.app.Application
import kotlinx.coroutines.sync.Mutex
import kotlinx.coroutines.sync.withLock

/** Holds the one retoucher of the process. */
public class VeraApp : Application() {
    private val opening = Mutex()
    private var vera: VeraRetoucher? = null

    internal val store by lazy { BundleStore(this) }

    /** The retoucher, opened at first use. */
    internal suspend fun vera(): VeraRetoucher =
        opening.withLock {
            vera ?: VeraRetoucher.open(this, store.folder()).also { vera = it }
        }

    /** After another bundle came. */
    internal suspend fun reopen() {
        opening.withLock {
            vera?.close()
            vera = null
        }
    }
}
