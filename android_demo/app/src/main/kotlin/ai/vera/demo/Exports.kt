package ai.vera.demo

import ai.vera.mobile.Look
import ai.vera.mobile.Photo
import ai.vera.mobile.PhotoFiles
import ai.vera.mobile.VeraException
import android.app.Activity
import android.content.ContentValues
import android.content.Intent
import android.os.Build
import android.os.Environment
import android.provider.MediaStore
import java.io.File
import java.io.IOException

/** Photos to the gallery or another app, looks to a file. None is for the main thread. */
internal object Exports {
    private const val RELATIVE_PATH = "relative_path"
    private const val IS_PENDING = "is_pending"

    /** A new entry of the gallery, which shows it when it is whole; its name. */
    fun save(
        activity: Activity,
        photo: Photo
    ): String {
        val name = "vera-${System.currentTimeMillis()}.jpg"
        if (Build.VERSION.SDK_INT < 29) {
            val folder = activity.getExternalFilesDir(Environment.DIRECTORY_PICTURES)
            return write(File(folder ?: activity.filesDir, name), photo).path
        }
        val resolver = activity.contentResolver
        val values = ContentValues()
        values.put(MediaStore.MediaColumns.DISPLAY_NAME, name)
        values.put(MediaStore.MediaColumns.MIME_TYPE, "image/jpeg")
        values.put(RELATIVE_PATH, Environment.DIRECTORY_PICTURES + "/Vera")
        values.put(IS_PENDING, 1)
        val entry =
            resolver.insert(MediaStore.Images.Media.EXTERNAL_CONTENT_URI, values)
                ?: throw VeraException.FileError("The gallery took no new photo.")
        try {
            val out = resolver.openOutputStream(entry) ?: throw IOException("it cannot be opened")
            out.use { PhotoFiles.writeJpeg(photo, it) }
            resolver.update(entry, ContentValues().apply { put(IS_PENDING, 0) }, null, null)
            return name
        } catch (error: IOException) {
            resolver.delete(entry, null, null)
            throw VeraException.FileError("The photo cannot be saved (${error.message}).", error)
        }
    }

    /** Opens the system's sheet; nothing is left but a file of the cache. */
    fun share(
        activity: Activity,
        photo: Photo
    ): String {
        val name = "vera.jpg"
        write(File(SharedFiles.folder(activity), name), photo)
        val send = Intent(Intent.ACTION_SEND).setType("image/jpeg")
        send.putExtra(Intent.EXTRA_STREAM, SharedFiles.uri(name))
        send.addFlags(Intent.FLAG_GRANT_READ_URI_PERMISSION)
        activity.startActivity(Intent.createChooser(send, activity.getString(R.string.share)))
        return ""
    }

    fun saveCube(
        activity: Activity,
        look: Look
    ): String {
        val file = File(BundleStore(activity).files(), "look-${System.currentTimeMillis()}.cube")
        look.saveCube(file)
        return file.path
    }

    private fun write(
        file: File,
        photo: Photo
    ): File {
        val part = File(file.parentFile, file.name + ".part")
        try {
            part.outputStream().use { PhotoFiles.writeJpeg(photo, it) }
            if (!part.renameTo(file)) throw IOException("it cannot be renamed")
        } catch (error: IOException) {
            part.delete()
            throw VeraException.FileError("The photo cannot be saved (${error.message}).", error)
        }
        return file
    }
}
