package ai.vera.mobile

import kotlin.test.Test
import kotlin.test.assertContentEquals
import kotlin.test.assertEquals
import kotlin.test.assertFailsWith
import kotlin.test.assertIs
import kotlin.test.assertTrue
import kotlinx.coroutines.CompletableDeferred
import kotlinx.coroutines.CoroutineStart
import kotlinx.coroutines.Dispatchers
import kotlinx.coroutines.async
import kotlinx.coroutines.awaitAll
import kotlinx.coroutines.cancelAndJoin
import kotlinx.coroutines.flow.collect
import kotlinx.coroutines.flow.first
import kotlinx.coroutines.flow.toList
import kotlinx.coroutines.launch
import kotlinx.coroutines.runBlocking

/** What an app's test may count on; no native library is loaded. */
internal class FakeRetoucherTest {
    private val photo = Setup.photo(4, 2) { it.toByte() }

    @Test
    fun theEventsAreThoseOfTheRealOne() =
        runBlocking<Unit> {
            val events = FakeRetoucher("A few words.").retouch(photo, Task.Style("warm")).toList()
            assertIs<RetouchEvent.Progress>(events.first())
            assertIs<RetouchEvent.PhotoReady>(events.last())
            val said = events.filterIsInstance<RetouchEvent.Text>().joinToString("") { it.piece }
            assertEquals("A few words.", said)
            val look = events.filterIsInstance<RetouchEvent.LookReady>().single().look
            assertEquals(said, look.text)
        }

    @Test
    fun anInstantPlanShowsThePhotoBeforeItsWords() =
        runBlocking<Unit> {
            val events = FakeRetoucher().retouch(
                photo,
                options = PlanOptions(instant = true)
            ).toList()
            val photoAt = events.indexOfFirst { it is RetouchEvent.PhotoReady }
            assertTrue(photoAt < events.indexOfFirst { it is RetouchEvent.Text })
            assertIs<RetouchEvent.LookReady>(events.last())
        }

    @Test
    fun renderBrightensAndKeepsAlpha() =
        runBlocking {
            val fake = FakeRetoucher()
            val out = bytes(fake.render(fake.plan(photo), photo, Strengths(overall = 0.5f)).pixels)
            val expected = bytes(photo.pixels).mapIndexed { i, b ->
                if (i % 4 ==
                    3
                ) {
                    b
                } else {
                    (b + 8).toByte()
                }
            }
            assertContentEquals(expected.toByteArray(), out)
        }

    @Test
    fun callersQueueAndTasksAreKept() =
        runBlocking {
            val fake = FakeRetoucher()
            List(3) {
                async(Dispatchers.Default) { fake.plan(photo, Task.Style("wish $it")) }
            }.awaitAll()
            assertEquals(3, fake.tasks.size)
        }

    @Test
    fun cancelEndsIt() =
        runBlocking {
            val begun = CompletableDeferred<Unit>()
            val job =
                launch(Dispatchers.Default) {
                    FakeRetoucher(wordMillis = 10_000).retouch(photo).collect {
                        begun.complete(Unit)
                    }
                }
            begun.await()
            job.cancelAndJoin()
            assertTrue(job.isCancelled)
        }

    @Test
    fun failuresNoticesAndCloseAreAsOfTheRealOne() =
        runBlocking<Unit> {
            val failing = FakeRetoucher(failure = VeraException.ModelError("broken"))
            assertFailsWith<VeraException.ModelError> { failing.plan(photo) }
            val fake = FakeRetoucher()
            val told = async(start = CoroutineStart.UNDISPATCHED) { fake.notices.first() }
            fake.tell(Notice.ThermalChanged(Thermal.SEVERE))
            assertEquals(Notice.ThermalChanged(Thermal.SEVERE), told.await())
            val look = fake.plan(photo)
            assertEquals(look.text, fake.lookFromJson(look.toJson()).text)
            assertFailsWith<VeraException.FileError> { fake.lookFromJson("{}") }
            fake.close()
            assertFailsWith<VeraException.Closed> { fake.plan(photo) }
            assertFailsWith<VeraException.Closed> { fake.render(look, photo) }
        }
}
