package ai.vera.mobile

import java.io.File
import java.io.FileOutputStream
import java.io.IOException
import java.io.InputStream
import java.net.HttpURLConnection
import java.net.URI
import java.net.URISyntaxException
import java.net.URL
import java.security.MessageDigest
import java.util.concurrent.atomic.AtomicReference
import java.util.concurrent.locks.ReentrantLock
import kotlin.concurrent.withLock
import kotlinx.coroutines.CoroutineDispatcher
import kotlinx.coroutines.Dispatchers
import kotlinx.coroutines.asExecutor
import kotlinx.coroutines.suspendCancellableCoroutine
import kotlinx.coroutines.withContext
import org.json.JSONException
import org.json.JSONObject

/** How far a download is; [totalBytes] is 0 until the manifest is there. */
public data class DownloadProgress(
    public val doneBytes: Long,
    public val totalBytes: Long
)

/**
 * Fetches a bundle that lies on a web server as the folder that `vera export` wrote. The only part
 * of the library that opens the network, and only when called.
 *
 * https only, also after a redirect. What is there already is kept: a broken download goes on where
 * it stopped (Range), and a file that is whole is not fetched again. Nothing unchecked is ever seen
 * under the target's name.
 */
public class BundleDownloader internal constructor(
    private val maxBytes: Long,
    private val schemes: Set<String>,
    private val dispatcher: CoroutineDispatcher
) {
    /** maxBytes: of all files together. */
    public constructor(maxBytes: Long = 2L shl 30) : this(maxBytes, setOf("https"), Dispatchers.IO)

    /**
     * The bundle at [url] (the address of its bundle.json), in [target]; returned at once where it
     * is there with this hash. [sha256] is that of bundle.json, known to the app; the hashes of all
     * other files stand in it.
     *
     * InvalidArgument: no https, a malformed hash. FileError: the server or the network failed (call
     * again to go on), or the disk. BundleError: a hash or size is wrong, a name leaves the folder,
     * or the files are larger than allowed; the wrong file is removed.
     */
    public suspend fun download(
        url: String,
        sha256: String,
        target: File,
        onProgress: (DownloadProgress) -> Unit = {}
    ): File =
        withContext(dispatcher) {
            val address = checked(url)
            if (!Regex("[0-9a-f]{64}").matches(sha256)) {
                throw VeraException.InvalidArgument(
                    "SHA-256 of ${sha256.length} characters not allowed: use 64 hexadecimal " +
                        "digits in lower case, those of bundle.json."
                )
            }
            if (File(target, MANIFEST).isFile && hash(File(target, MANIFEST)) == sha256) {
                return@withContext target
            }
            val part = File(target.parentFile, target.name + ".part")
            if (!part.isDirectory && !part.mkdirs()) throw unwritable(part)
            val manifest = File(part, MANIFEST)
            fetch(address, manifest, Wanted(sha256, null, MANIFEST_MAX_BYTES)) {}
            fetchFiles(address, part, entries(manifest), onProgress)
            if (target.exists() && !target.deleteRecursively()) throw unwritable(target)
            if (!part.renameTo(target)) throw unwritable(target)
            target
        }

    private suspend fun fetchFiles(
        address: URL,
        part: File,
        entries: List<Entry>,
        onProgress: (DownloadProgress) -> Unit
    ) {
        val total = entries.sumOf { it.sizeBytes }
        var before = 0L
        for (entry in entries) {
            val from = address.toURI().resolve(encode(entry.path)).toURL()
            val to = File(part, entry.path)
            val wanted = Wanted(entry.sha256, entry.sizeBytes, entry.sizeBytes)
            fetch(from, to, wanted) { onProgress(DownloadProgress(before + it, total)) }
            before += entry.sizeBytes
            onProgress(DownloadProgress(before, total))
        }
    }

    private class Entry(
        val path: String,
        val sha256: String,
        val sizeBytes: Long
    )

    private class Wanted(
        val sha256: String,
        val sizeBytes: Long?,
        val mostBytes: Long
    )

    private fun entries(manifest: File): List<Entry> {
        try {
            val files = JSONObject(manifest.readText()).getJSONObject("files")
            val all =
                files.keys().asSequence().map { files.getJSONObject(it) }.map {
                    Entry(it.getString("path"), it.getString("sha256"), it.getLong("size_bytes"))
                }.toList()
            for (entry in all) checkName(entry.path)
            val total = all.sumOf { it.sizeBytes }
            if (all.any { it.sizeBytes < 0 } || total > maxBytes) {
                throw VeraException.BundleError(
                    "The bundle holds $total bytes: at most $maxBytes are allowed; give " +
                        "BundleDownloader another maxBytes."
                )
            }
            return all
        } catch (error: JSONException) {
            throw VeraException.BundleError("$MANIFEST is malformed: export it again.", error)
        }
    }

    private fun checkName(path: String) {
        val parts = path.split('/')
        val bad = parts.any { it.isEmpty() || it == "." || it == ".." }
        if (bad || '\\' in path || ':' in path || path == MANIFEST) {
            throw VeraException.BundleError("File name '$path' in $MANIFEST leaves the folder.")
        }
    }

    /** [to], whole and checked; what was fetched before is in a file beside it. */
    private suspend fun fetch(
        from: URL,
        to: File,
        wanted: Wanted,
        onBytes: (Long) -> Unit
    ) {
        if (to.isFile && hash(to) == wanted.sha256) return
        val parent = requireNotNull(to.parentFile)
        if (!parent.isDirectory && !parent.mkdirs()) throw unwritable(parent)
        val begun = File(parent, to.name + ".begun")
        try {
            transfer(from, begun, wanted, onBytes)
        } catch (error: IOException) {
            throw VeraException.FileError(
                "${to.name} could not be fetched (${error.message}): ${begun.length()} bytes are " +
                    "kept; call again to go on.",
                error
            )
        }
        val size = begun.length()
        if (hash(begun) != wanted.sha256 || wanted.sizeBytes?.let { it != size } == true) {
            begun.delete()
            throw VeraException.BundleError(
                "${to.name} is not the file that was expected ($size bytes, another SHA-256): it " +
                    "was removed; is the address that of this bundle?"
            )
        }
        if (!begun.renameTo(to)) throw unwritable(to)
    }

    /**
     * Blocking reads are left behind when the coroutine is cancelled: their connection is closed,
     * and [transfers] keeps a new one from the file until they have ended.
     */
    private suspend fun transfer(
        from: URL,
        begun: File,
        wanted: Wanted,
        onBytes: (Long) -> Unit
    ) {
        val link = AtomicReference<HttpURLConnection>()
        suspendCancellableCoroutine { waiting ->
            val executor = dispatcher.asExecutor()
            waiting.invokeOnCancellation { executor.execute { link.get()?.disconnect() } }
            executor.execute {
                val result =
                    runCatching {
                        transfers.withLock {
                            receive(from, begun, wanted, link) { done ->
                                if (!waiting.isActive) throw IOException("cancelled")
                                onBytes(done)
                            }
                        }
                    }
                waiting.resumeWith(result)
            }
        }
    }

    private fun receive(
        from: URL,
        begun: File,
        wanted: Wanted,
        link: AtomicReference<HttpURLConnection>,
        onBytes: (Long) -> Unit
    ) {
        val have = begun.length().takeIf { wanted.sizeBytes == null || it <= wanted.sizeBytes } ?: 0
        if (have > 0 && have == wanted.sizeBytes) return
        onBytes(have)
        val connection = connect(from, have).also { link.set(it) }
        try {
            val goesOn = connection.responseCode == HttpURLConnection.HTTP_PARTIAL
            var done = if (goesOn) have else 0L
            FileOutputStream(begun, goesOn).use { out ->
                connection.inputStream.use { input ->
                    input.chunks { buffer, count ->
                        done += count
                        if (done > wanted.mostBytes) throw tooLarge(begun, wanted)
                        out.write(buffer, 0, count)
                        onBytes(done)
                    }
                }
            }
            if (wanted.sizeBytes != null && done < wanted.sizeBytes) {
                throw IOException("the connection ended after $done bytes")
            }
        } finally {
            connection.disconnect()
        }
    }

    private fun connect(
        from: URL,
        have: Long
    ): HttpURLConnection {
        var url = from
        repeat(MAX_REDIRECTS) {
            val connection = url.openConnection() as HttpURLConnection
            connection.instanceFollowRedirects = false
            connection.connectTimeout = TIMEOUT_MS
            connection.readTimeout = TIMEOUT_MS
            connection.setRequestProperty("Accept-Encoding", "identity")
            if (have > 0) connection.setRequestProperty("Range", "bytes=$have-")
            val code = connection.responseCode
            if (code in REDIRECTS) {
                val next = connection.getHeaderField("Location") ?: throw IOException("no Location")
                connection.disconnect()
                url = checked(url.toURI().resolve(next).toString())
                return@repeat
            }
            val fits = code == HttpURLConnection.HTTP_OK || code == HttpURLConnection.HTTP_PARTIAL
            if (code == HttpURLConnection.HTTP_PARTIAL && !continues(connection, have)) {
                throw IOException("the server sent another range than was asked for")
            }
            if (!fits) throw IOException("the server answered $code")
            return connection
        }
        throw IOException("more than $MAX_REDIRECTS redirects")
    }

    private fun continues(
        connection: HttpURLConnection,
        have: Long
    ): Boolean =
        connection.getHeaderField("Content-Range")?.startsWith("bytes $have-") == true

    private fun checked(url: String): URL {
        val scheme =
            try {
                URI(url).scheme?.lowercase()
            } catch (error: URISyntaxException) {
                throw VeraException.InvalidArgument("The address is malformed.", error)
            }
        if (scheme !in schemes) {
            throw VeraException.InvalidArgument(
                "Address with scheme '$scheme' not allowed: use https."
            )
        }
        return URI(url).toURL()
    }

    private fun tooLarge(
        begun: File,
        wanted: Wanted
    ): VeraException {
        begun.delete()
        return VeraException.BundleError(
            "${begun.name.removeSuffix(
                ".begun"
            )} is larger than ${wanted.mostBytes} bytes: it was " +
                "removed; is the address that of this bundle?"
        )
    }

    private fun encode(path: String): String =
        path.split('/').joinToString("/") { URI(null, null, "/$it", null).rawPath.drop(1) }

    private fun unwritable(file: File): VeraException =
        VeraException.FileError("${file.name} cannot be written: is there room, and a right to?")

    private fun hash(file: File): String {
        val digest = MessageDigest.getInstance("SHA-256")
        file.inputStream().use { it.chunks { buffer, count -> digest.update(buffer, 0, count) } }
        return digest.digest().joinToString("") { "%02x".format(it) }
    }

    private inline fun InputStream.chunks(on: (ByteArray, Int) -> Unit) {
        val buffer = ByteArray(CHUNK_BYTES)
        while (true) {
            val count = read(buffer)
            if (count < 0) return
            on(buffer, count)
        }
    }

    private companion object {
        const val MANIFEST = "bundle.json"
        const val MANIFEST_MAX_BYTES = 16L shl 20
        const val CHUNK_BYTES = 1 shl 16
        const val MAX_REDIRECTS = 5
        const val TIMEOUT_MS = 30_000
        val REDIRECTS = setOf(301, 302, 303, 307, 308)
        val transfers = ReentrantLock()
    }
}
