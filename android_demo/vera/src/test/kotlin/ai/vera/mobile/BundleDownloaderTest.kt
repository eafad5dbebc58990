package ai.vera.mobile

import com.sun.net.httpserver.HttpExchange
import com.sun.net.httpserver.HttpServer
import java.io.File
import java.net.InetSocketAddress
import java.util.concurrent.CountDownLatch
import java.util.concurrent.Executors
import java.util.concurrent.TimeUnit
import kotlin.random.Random
import kotlin.test.AfterTest
import kotlin.test.Test
import kotlin.test.assertContentEquals
import kotlin.test.assertEquals
import kotlin.test.assertFailsWith
import kotlin.test.assertFalse
import kotlin.test.assertTrue
import kotlinx.coroutines.CompletableDeferred
import kotlinx.coroutines.Dispatchers
import kotlinx.coroutines.cancelAndJoin
import kotlinx.coroutines.launch
import kotlinx.coroutines.runBlocking
import org.json.JSONObject
import org.junit.jupiter.api.io.TempDir

/** Against a server on this machine that breaks connections, lies and redirects. */
internal class BundleDownloaderTest {
    @TempDir
    lateinit var folder: File

    private val files = mutableMapOf<String, ByteArray>()
    private val asked = mutableListOf<Pair<String, String?>>()

    /** Bytes of a path that are sent before the connection breaks, once. */
    private val breaks = mutableMapOf<String, Int>()
    private val redirects = mutableMapOf<String, String>()
    private var ranges = true
    private val gate = CountDownLatch(1)
    private val server =
        HttpServer.create(InetSocketAddress("127.0.0.1", 0), 0).apply {
            executor = Executors.newCachedThreadPool()
            createContext("/", ::answer)
            start()
        }
    private val root = "http://127.0.0.1:${server.address.port}"
    private val target by lazy { File(folder, "vera.bundle") }

    @AfterTest
    fun stop() {
        gate.countDown()
        server.stop(0)
    }

    private fun answer(exchange: HttpExchange) {
        val path = exchange.requestURI.path
        val range = exchange.requestHeaders.getFirst("Range")
        synchronized(asked) { asked += path to range }
        val (to, body) = redirects[path] to files[path]
        when {
            to != null -> {
                exchange.responseHeaders.add("Location", to)
                exchange.sendResponseHeaders(302, -1)
                exchange.close()
            }

            body == null -> exchange.sendResponseHeaders(404, -1).also { exchange.close() }

            else -> send(exchange, path, body, range)
        }
    }

    private fun send(
        exchange: HttpExchange,
        path: String,
        body: ByteArray,
        range: String?
    ) {
        val from = range?.takeIf { ranges }?.removePrefix("bytes=")?.removeSuffix("-")?.toInt()
        val part = body.copyOfRange(from ?: 0, body.size)
        if (from != null) {
            exchange.responseHeaders.add(
                "Content-Range",
                "bytes $from-${body.size - 1}/${body.size}"
            )
        }
        exchange.sendResponseHeaders(if (from == null) 200 else 206, part.size.toLong())
        val sent = breaks.remove(path)
        exchange.responseBody.write(part, 0, sent ?: part.size)
        exchange.responseBody.flush()
        if (path == "/slow/model.pte") gate.await(20, TimeUnit.SECONDS)
        exchange.close() // shorter than announced: the connection breaks
    }

    private fun publish(
        at: String = "",
        vararg names: String = arrayOf("model.pte", "parts/a b.json")
    ): String {
        val entries = JSONObject()
        for ((i, name) in names.withIndex()) {
            val body = Random(i).nextBytes(100_000 + i)
            files["$at/$name"] = body
            val entry = JSONObject().put("path", name).put("sha256", sha256(body))
            entries.put("file$i", entry.put("size_bytes", body.size))
        }
        val manifest = JSONObject().put("files", entries).toString().encodeToByteArray()
        files["$at/bundle.json"] = manifest
        return sha256(manifest)
    }

    private fun get(
        hash: String,
        at: String = "",
        maxBytes: Long = 1L shl 30,
        onProgress: (DownloadProgress) -> Unit = {}
    ): File =
        runBlocking {
            BundleDownloader(maxBytes, setOf("http"), Dispatchers.IO)
                .download("$root$at/bundle.json", hash, target, onProgress)
        }

    @Test
    fun allFilesArriveAndAreNotFetchedTwice() {
        val hash = publish()
        val progress = mutableListOf<DownloadProgress>()
        get(hash) { progress += it }
        assertContentEquals(files["/model.pte"], File(target, "model.pte").readBytes())
        assertContentEquals(files["/parts/a b.json"], File(target, "parts/a b.json").readBytes())
        assertEquals(DownloadProgress(200_001, 200_001), progress.last())
        assertEquals(progress.map { it.doneBytes }.sorted(), progress.map { it.doneBytes })
        val before = asked.size
        get(hash)
        assertEquals(before, asked.size)
    }

    @Test
    fun aBrokenConnectionGoesOnWhereItStopped() {
        val hash = publish()
        breaks["/model.pte"] = 40_000
        val error = assertFailsWith<VeraException.FileError> { get(hash) }
        assertTrue("40000 bytes are kept" in error.message.orEmpty(), error.message)
        assertFalse(target.exists())
        get(hash)
        assertTrue("/model.pte" to "bytes=40000-" in asked, "$asked")
        assertContentEquals(files["/model.pte"], File(target, "model.pte").readBytes())
        assertEquals(1, asked.count { it.first == "/bundle.json" })
    }

    @Test
    fun aServerWithoutRangesBeginsAnew() {
        val hash = publish()
        breaks["/model.pte"] = 40_000
        assertFailsWith<VeraException.FileError> { get(hash) }
        ranges = false
        get(hash)
        assertContentEquals(files["/model.pte"], File(target, "model.pte").readBytes())
    }

    @Test
    fun aWrongByteIsNeverKept() {
        val hash = publish()
        files.getValue("/model.pte")[7] = (files.getValue("/model.pte")[7] + 1).toByte()
        assertFailsWith<VeraException.BundleError> { get(hash) }
        assertFalse(target.exists())
        assertFalse(File(folder, "vera.bundle.part/model.pte").exists())
        assertFalse(File(folder, "vera.bundle.part/model.pte.begun").exists())
    }

    @Test
    fun aWrongManifestIsNeverRead() {
        publish()
        assertFailsWith<VeraException.BundleError> { get("0".repeat(64)) }
        assertFailsWith<VeraException.InvalidArgument> { get("ABC") }
    }

    @Test
    fun aLongerFileThanAnnouncedIsCutOff() {
        val hash = publish()
        files["/model.pte"] = files.getValue("/model.pte") + ByteArray(500_000)
        assertFailsWith<VeraException.BundleError> { get(hash) }
    }

    @Test
    fun theSizeLimitHolds() {
        val hash = publish()
        assertFailsWith<VeraException.BundleError> { get(hash, maxBytes = 200_000) }
        assertEquals(listOf("/bundle.json"), asked.map { it.first })
    }

    @Test
    fun namesThatLeaveTheFolderAreRefused() {
        for ((i, name) in listOf(
            "../x",
            "/x",
            "a/../../x",
            "a\\x",
            "c:x",
            "bundle.json"
        ).withIndex()) {
            val hash = publish("/$i", name)
            files["/$i/bundle.json"]?.let {
                assertFailsWith<VeraException> { get(sha256(it), "/$i") }
            }
            assertFailsWith<VeraException> { get(hash, "/$i") }
        }
        assertEquals(emptyList(), folder.listFiles().orEmpty().map { it.name } - "vera.bundle.part")
    }

    @Test
    fun onlyHttps() {
        val hash = publish()
        val downloader = BundleDownloader()
        for (url in listOf("$root/bundle.json", "file:///etc/passwd", "ftp://a/b", "no address")) {
            assertFailsWith<VeraException.InvalidArgument> {
                runBlocking { downloader.download(url, hash, target) }
            }
        }
        assertEquals(0, asked.size)
    }

    @Test
    fun redirectsAreFollowedButNotToAnotherScheme() {
        val hash = publish("/real")
        for (name in listOf("bundle.json", "model.pte", "parts/a b.json")) {
            redirects["/moved/$name"] = "/real/" + name.replace(" ", "%20")
        }
        get(hash, "/moved")
        assertTrue(target.isDirectory)
        target.deleteRecursively()
        redirects["/moved/bundle.json"] = "ftp://127.0.0.1/bundle.json"
        assertFailsWith<VeraException.InvalidArgument> { get(hash, "/moved") }
        redirects["/loop/bundle.json"] = "/loop/bundle.json"
        assertFailsWith<VeraException.FileError> { get(hash, "/loop") }
    }

    @Test
    fun whatIsNotThereIsAFileError() {
        assertFailsWith<VeraException.FileError> { get("0".repeat(64), "/nothing") }
    }

    @Test
    fun aCancelledDownloadStopsAndGoesOn() {
        val hash = publish("/slow")
        breaks["/slow/model.pte"] = 30_000
        runBlocking {
            val begun = CompletableDeferred<Unit>()
            val job =
                launch(Dispatchers.Default) {
                    BundleDownloader(1L shl 30, setOf("http"), Dispatchers.IO)
                        .download("$root/slow/bundle.json", hash, target) {
                            if (it.doneBytes >=
                                30_000
                            ) {
                                begun.complete(Unit)
                            }
                        }
                }
            begun.await()
            val start = System.nanoTime()
            job.cancelAndJoin() // the server still holds the connection
            val returned = (System.nanoTime() - start) / 1_000_000.0
            assertTrue(returned < 50, "returned after $returned ms")
        }
        gate.countDown()
        assertFalse(target.exists())
        get(hash, "/slow")
        assertContentEquals(files["/slow/model.pte"], File(target, "model.pte").readBytes())
    }
}
