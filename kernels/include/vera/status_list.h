/* The one list of status codes, shared by C, Python, Swift and Kotlin.
 *
 * Define VERA_STATUS(NAME, code, text) and include this file; the macro is undefined afterwards.
 * Codes are part of the ABI: append, never renumber. vera_mobile/errors.py holds the same codes.
 */
/* No include guard: the file is made to be included once per table built from it. */
VERA_STATUS(OK, 0, "success")
VERA_STATUS(INVALID_ARGUMENT, 1, "an argument is outside of what is allowed")
VERA_STATUS(OUT_OF_MEMORY, 2, "not enough memory for the work")
VERA_STATUS(CANCELLED, 3, "the caller asked to stop")
VERA_STATUS(FILE_ERROR, 4, "a file is missing, unreadable, truncated or cannot be written")
VERA_STATUS(BUNDLE_ERROR, 5, "the bundle is damaged")
VERA_STATUS(BUNDLE_VERSION_ERROR, 6, "the bundle was written by a newer release")
VERA_STATUS(UNSUPPORTED_FORMAT, 7, "the file is of a kind that is not handled")
VERA_STATUS(MODEL_ERROR, 8, "a checkpoint or a model's answer is unusable")
VERA_STATUS(INTERNAL_ERROR, 9, "a bug in the library; please report it")
#undef VERA_STATUS
