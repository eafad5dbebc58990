package ai.vera.demo

import android.content.ContentProvider
import android.content.ContentValues
import android.content.Context
import android.database.Cursor
import android.database.MatrixCursor
import android.net.Uri
import android.os.ParcelFileDescriptor
import android.provider.OpenableColumns
import java.io.File
import java.io.FileNotFoundException

/** Lets the app that a photo is shared with read that one file of the cache. */
public class SharedFiles : ContentProvider() {
    override fun onCreate(): Boolean = true

    override fun openFile(
        uri: Uri,
        mode: String
    ): ParcelFileDescriptor {
        if (mode != "r") throw FileNotFoundException("only for reading")
        return ParcelFileDescriptor.open(file(uri), ParcelFileDescriptor.MODE_READ_ONLY)
    }

    override fun getType(uri: Uri): String = "image/jpeg"

    override fun query(
        uri: Uri,
        projection: Array<String>?,
        selection: String?,
        arguments: Array<String>?,
        order: String?
    ): Cursor {
        val found = file(uri)
        val cursor = MatrixCursor(arrayOf(OpenableColumns.DISPLAY_NAME, OpenableColumns.SIZE))
        cursor.addRow(arrayOf<Any>(found.name, found.length()))
        return cursor
    }

    private fun file(uri: Uri): File {
        val name = uri.lastPathSegment.orEmpty()
        val file = File(folder(checkNotNull(context)), name)
        if (name.isEmpty() || '/' in name || name.startsWith(".") || !file.isFile) {
            throw FileNotFoundException("not shared")
        }
        return file
    }

    override fun insert(
        uri: Uri,
        values: ContentValues?
    ): Uri? = null

    override fun delete(
        uri: Uri,
        selection: String?,
        arguments: Array<String>?
    ): Int = 0

    override fun update(
        uri: Uri,
        values: ContentValues?,
        selection: String?,
        arguments: Array<String>?
    ): Int = 0

    internal companion object {
        fun folder(context: Context): File = File(context.cacheDir, "shared").apply { mkdirs() }

        fun uri(name: String): Uri =
            Uri.Builder().scheme("content").authority("ai.vera.demo.files").appendPath(name).build()
    }
}
