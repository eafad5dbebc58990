package ai.vera.mobile

import kotlin.test.Test
import kotlin.test.assertEquals
import kotlin.test.assertIs
import org.junit.jupiter.api.Tag

/** The codes are those of status_list.h, by name and number. */
@Tag("native")
internal class StatusTest {
    @Test
    fun theFamilyIsTheListOfC() {
        val list = Native.statusList().map { it.split(' ', limit = 3) }
        assertEquals("OK", list[0][0])
        for ((name, code) in list.drop(1)) {
            val error = VeraException.of(code.toInt(), "text")
            assertEquals(code.toInt(), error.code)
            val camel = name.split('_').joinToString("") {
                it.lowercase().replaceFirstChar(Char::uppercase)
            }
            assertEquals(camel, error.javaClass.simpleName)
        }
        val unknown = VeraException.of(list.size, "text")
        assertIs<VeraException.InternalError>(unknown, "the list has grown: add its code")
    }

    @Test
    fun theSlidersAreThoseOfTheModel() {
        assertEquals(38, Sliders.names.size)
        assertEquals("Exposure2012", Sliders.names.first())
        assertEquals(38, Sliders.names.toSet().size)
    }
}
