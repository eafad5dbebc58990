package ai.vera.demo

import ai.vera.mobile.Photo
import java.nio.ByteBuffer

/** A small copy of a photo to render live on: whole pixels are picked, none are mixed. */
internal object Preview {
    const val SIDE = 1280

    fun of(
        photo: Photo,
        side: Int = SIDE
    ): Photo {
        val step = (maxOf(photo.width, photo.height) + side - 1) / side
        if (step <= 1) return photo
        val (width, height) = maxOf(photo.width / step, 1) to maxOf(photo.height / step, 1)
        val bytes = photo.format.bytesPerPixel
        val pixels = ByteBuffer.allocateDirect(width * height * bytes)
        val pixel = ByteArray(bytes)
        val source = photo.pixels.duplicate()
        for (y in 0 until height) {
            for (x in 0 until width) {
                source.position(y * step * photo.rowStrideBytes + x * step * bytes)
                source.get(pixel)
                pixels.put(pixel)
            }
        }
        pixels.rewind()
        return Photo(width, height, photo.format, photo.colorSpace, pixels)
    }
}
