package ai.vera.demo

import android.content.Context
import java.io.File

/** Where bundles lie: the app's external files, so that `adb push` reaches them without root. */
internal class BundleStore(
    private val context: Context
) {
    private val settings get() = context.getSharedPreferences("bundle", Context.MODE_PRIVATE)

    var address: String
        get() = settings.getString("address", null).orEmpty()
        set(value) = settings.edit().putString("address", value).apply()

    var sha256: String
        get() = settings.getString("sha256", null).orEmpty()
        set(value) = settings.edit().putString("sha256", value).apply()

    fun files(): File = context.getExternalFilesDir(null) ?: context.filesDir

    fun folder(name: String = NAME): File = File(files(), "bundles/$name")

    val isThere: Boolean get() = File(folder(), "bundle.json").isFile

    companion object {
        const val NAME = "vera.bundle"
    }
}
