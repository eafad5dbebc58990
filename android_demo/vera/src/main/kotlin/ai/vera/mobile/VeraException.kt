package ai.vera.mobile

/**
 * Base of all errors meant for users. [code] is that of `kernels/include/vera/status_list.h`, the
 * same in C, Python and Swift. [message] says what failed, the value seen, what is allowed and what
 * to do; it never holds a wish, an answer or pixels.
 */
public sealed class VeraException(
    public val code: Int,
    message: String,
    cause: Throwable? = null
) : Exception(message, cause) {
    /** A value given by the caller is outside of what is allowed. */
    public open class InvalidArgument(
        message: String,
        cause: Throwable? = null
    ) : VeraException(1, message, cause)

    /** The object was closed before the call. */
    public class Closed(
        message: String
    ) : InvalidArgument(message)

    /** The work does not fit the memory that is left. */
    public class OutOfMemory(
        message: String,
        cause: Throwable? = null
    ) : VeraException(2, message, cause)

    /** The caller asked to stop; nothing was written. */
    public class Cancelled(
        message: String,
        cause: Throwable? = null
    ) : VeraException(3, message, cause)

    /** A file is missing, unreadable, truncated or cannot be written. */
    public class FileError(
        message: String,
        cause: Throwable? = null
    ) : VeraException(4, message, cause)

    /** A bundle is damaged: changed byte, missing file, escaping path, malformed manifest. */
    public class BundleError(
        message: String,
        cause: Throwable? = null
    ) : VeraException(5, message, cause)

    /** A bundle was written by a newer release than this one can read. */
    public class BundleVersionError(
        message: String,
        cause: Throwable? = null
    ) : VeraException(6, message, cause)

    /** A file is whole but of a kind that is not handled. */
    public class UnsupportedFormat(
        message: String,
        cause: Throwable? = null
    ) : VeraException(7, message, cause)

    /** The model, its runtime or its answer is unusable. */
    public class ModelError(
        message: String,
        cause: Throwable? = null
    ) : VeraException(8, message, cause)

    /** A bug of ours; please report it. */
    public class InternalError(
        message: String,
        cause: Throwable? = null
    ) : VeraException(9, message, cause)

    internal companion object {
        fun of(
            code: Int,
            message: String,
            cause: Throwable? = null
        ): VeraException =
            when (code) {
                1 -> InvalidArgument(message, cause)
                2 -> OutOfMemory(message, cause)
                3 -> Cancelled(message, cause)
                4 -> FileError(message, cause)
                5 -> BundleError(message, cause)
                6 -> BundleVersionError(message, cause)
                7 -> UnsupportedFormat(message, cause)
                8 -> ModelError(message, cause)
                9 -> InternalError(message, cause)
                else -> InternalError("Status $code is unknown to this release: $message", cause)
            }
    }
}
