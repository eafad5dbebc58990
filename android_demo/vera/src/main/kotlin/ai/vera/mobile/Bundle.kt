package ai.vera.mobile

import java.io.Closeable
import java.io.File

/** Sizes of a bundle's tensors; a number that does not apply is 0. */
public class BundleInfo internal constructor(
    public val formatVersion: Int,
    public val imageSize: Int,
    public val imageTokens: Int,
    public val hiddenSize: Int,
    public val vocabSize: Int,
    public val maxLength: Int,
    public val prefillTokens: Int,
    public val latentSize: Int,
    public val referenceSize: Int,
    public val fileCount: Int,
    public val sizeBytes: Long
)

/** A program of a bundle: its file, checked, and the method to call in it. */
public class BundleProgram internal constructor(
    public val file: File,
    public val method: String
)

/**
 * A folder that `vera export` wrote, opened and checked: size and SHA-256 of every file. Any number
 * of threads; calls after [close] throw [VeraException.Closed].
 */
public class Bundle private constructor(
    public val folder: File,
    pointer: Long
) : Closeable {
    private val handle = NativeHandle(pointer, "bundle", Native::bundleClose)

    public val info: BundleInfo = handle.use { readInfo(Native.bundleInfo(it)) }

    /** Name of the model, of the recipe ("android-int4"), family ("vera-nano"), whole manifest. */
    public val name: String get() = text("name")
    public val recipe: String get() = text("recipe")
    public val family: String get() = text("family")
    public val manifest: String get() = text("manifest")

    /** Release and commit that wrote it; commit is null where it is not known. */
    public val createdBy: String get() = text("created_by")
    public val commit: String? get() = text("commit").ifEmpty { null }

    /**
     * The program "vision", "embed", "decoder", "head", "reference" or "bake", or another file
     * ("tokenizer", "renderer"), hashed again if it changed on disk. InvalidArgument: not there.
     */
    public fun program(name: String): BundleProgram {
        val (path, method) = handle.use { Native.bundleProgram(it, name.utf8()) }
        return BundleProgram(File(path.decodeToString()), method.decodeToString())
    }

    override fun close(): Unit = handle.close()

    internal fun <T> withPointer(block: (Long) -> T): T = handle.use(block)

    private fun text(key: String): String =
        handle.use { Native.bundleText(it, key.utf8()) }?.decodeToString().orEmpty()

    public companion object {
        /**
         * Opens the bundle in [folder]; reads it once, so not for the main thread. [onProgress]
         * gets (done, all) in bytes. FileError: no such folder; BundleError: the first defect;
         * BundleVersionError: of a newer release.
         */
        public fun open(
            folder: File,
            onProgress: ((Long, Long) -> Unit)? = null
        ): Bundle = open(folder, null, onProgress)

        internal fun open(
            folder: File,
            cancel: CancelFlag?,
            onProgress: ((Long, Long) -> Unit)?
        ): Bundle {
            val progress = onProgress?.let { ByteProgress { done, all -> it(done, all) } }
            return Bundle(folder, Native.bundleOpen(folder.path.utf8(), cancel?.memory, progress))
        }

        private fun readInfo(values: LongArray): BundleInfo {
            val n = values.map { it.toInt() }
            return BundleInfo(
                formatVersion = n[0],
                imageSize = n[1],
                imageTokens = n[2],
                hiddenSize = n[3],
                vocabSize = n[4],
                maxLength = n[5],
                prefillTokens = n[6],
                latentSize = n[7],
                referenceSize = n[8],
                fileCount = n[9],
                sizeBytes = values[10]
            )
        }
    }
}
