package ai.vera.mobile

import java.io.File
import java.util.concurrent.CountDownLatch
import java.util.concurrent.TimeUnit
import java.util.concurrent.atomic.AtomicInteger
import kotlin.test.Test
import kotlin.test.assertContentEquals
import kotlin.test.assertEquals
import kotlin.test.assertFailsWith
import kotlin.test.assertIs
import kotlin.test.assertNotEquals
import kotlin.test.assertSame
import kotlin.test.assertTrue
import kotlinx.coroutines.CompletableDeferred
import kotlinx.coroutines.CoroutineStart
import kotlinx.coroutines.Dispatchers
import kotlinx.coroutines.async
import kotlinx.coroutines.awaitAll
import kotlinx.coroutines.cancelAndJoin
import kotlinx.coroutines.flow.collect
import kotlinx.coroutines.flow.first
import kotlinx.coroutines.flow.onEach
import kotlinx.coroutines.launch
import kotlinx.coroutines.runBlocking
import kotlinx.coroutines.withTimeout
import org.junit.jupiter.api.Tag
import org.junit.jupiter.api.io.TempDir

/** What the SDK promises beside the bytes. */
@Tag("native")
internal class EngineTest {
    @TempDir
    lateinit var folder: File

    @Test
    fun cancelReturnsWithin50MillisecondsAndFreesThePlanner() =
        runBlocking(Dispatchers.Default) {
            val ended = CountDownLatch(1)
            Setup.engine().use { engine ->
                val started = CompletableDeferred<Unit>()
                val job =
                    launch {
                        engine.retouch(Setup.photo).collect {
                            if (it is RetouchEvent.Text) started.complete(Unit)
                        }
                    }
                started.await()
                val begin = System.nanoTime()
                job.cancelAndJoin()
                val returned = (System.nanoTime() - begin) / 1_000_000.0
                engine.unload() // queued behind the cancelled plan
                val freed = (System.nanoTime() - begin) / 1_000_000.0
                ended.countDown()
                println("cancel: returned after $returned ms, planner free after $freed ms")
                assertTrue(returned < LIMIT_MS, "returned after $returned ms")
                assertTrue(freed < LIMIT_MS * 4, "planner free after $freed ms")
            }
        }

    @Test
    fun cancelReturnsWithin50MillisecondsFromASlowProgram() =
        runBlocking(Dispatchers.Default) {
            val inside = CompletableDeferred<Unit>()
            val slow: (String) -> Unit = {
                if (it == "encodeImage") {
                    inside.complete(Unit)
                    Thread.sleep(400)
                }
            }
            Setup.engine({ HostPlanner(it.info, slow) }).use { engine ->
                val job = launch { engine.retouch(Setup.photo).collect() }
                inside.await()
                val begin = System.nanoTime()
                job.cancelAndJoin()
                val returned = (System.nanoTime() - begin) / 1_000_000.0
                assertTrue(returned < LIMIT_MS, "returned after $returned ms")
            }
        }

    @Test
    fun twoCallersQueueAndGetTheSameLook() =
        runBlocking(Dispatchers.Default) {
            val together = AtomicInteger()
            val most = AtomicInteger()
            val watch: (String) -> Unit = {
                most.accumulateAndGet(together.incrementAndGet(), ::maxOf)
                Thread.sleep(1)
                together.decrementAndGet()
            }
            Setup.engine({ HostPlanner(it.info, watch) }).use { engine ->
                val looks = List(2) { async { engine.plan(Setup.photo) } }.awaitAll()
                assertContentEquals(looks[0].latents, looks[1].latents)
                assertEquals(looks[0].text, looks[1].text)
                assertEquals(1, most.get(), "calls of the planner at once")
            }
        }

    @Test
    fun aRenderDoesNotWaitForAPlan() =
        runBlocking(Dispatchers.Default) {
            val gate = CountDownLatch(1)
            val inside = CompletableDeferred<Unit>()
            val steps = AtomicInteger()
            Setup.engine({ bundle ->
                HostPlanner(bundle.info) {
                    if (it == "encodeImage" && steps.incrementAndGet() == 2) {
                        inside.complete(Unit)
                        gate.await(20, TimeUnit.SECONDS)
                    }
                }
            }).use { engine ->
                val look = engine.plan(Setup.photo)
                val second = async { engine.plan(Setup.photo) }
                inside.await()
                withTimeout(15_000) { engine.render(look, Setup.photo) }
                gate.countDown()
                second.await()
            }
            Unit
        }

    @Test
    fun useAfterCloseIsAnError() =
        runBlocking<Unit> {
            val engine = Setup.engine()
            val look = engine.plan(Setup.photo)
            engine.close()
            engine.close()
            assertFailsWith<VeraException.Closed> { engine.retouch(Setup.photo).first() }
            assertFailsWith<VeraException.Closed> { engine.render(look, Setup.photo) }
            assertFailsWith<VeraException.Closed> { engine.unload() }
            assertFailsWith<VeraException.Closed> { engine.lookFromJson(look.toJson()) }
            assertFailsWith<VeraException.Closed> { look.saveCube(File(folder, "a.cube")) }
            assertFailsWith<VeraException.Closed> { engine.bundle.program("vision") }
            engine.unloadSoon()
        }

    @Test
    fun closeEndsARunningPlanWithAnError() =
        runBlocking(Dispatchers.Default) {
            val engine = Setup.engine()
            val failure =
                assertFailsWith<VeraException> {
                    engine.retouch(Setup.photo).onEach {
                        if (it is RetouchEvent.Text) engine.close()
                    }
                        .collect()
                }
            assertIs<VeraException.Closed>(failure)
            Unit
        }

    @Test
    fun unloadGivesEverythingBackAndTellsIt() =
        runBlocking(Dispatchers.Default) {
            lateinit var planner: HostPlanner
            Setup.engine({ HostPlanner(it.info).also { made -> planner = made } }).use { engine ->
                val before = engine.plan(Setup.photo)
                val told =
                    async(start = CoroutineStart.UNDISPATCHED) {
                        engine.notices.first { it is Notice.Unloaded }
                    }
                engine.unloadSoon()
                assertEquals(Notice.Unloaded(Notice.Reason.LOW_MEMORY), told.await())
                assertTrue(null in planner.released, "released ${planner.released}")
                assertContentEquals(before.latents, engine.plan(Setup.photo).latents)
            }
        }

    @Test
    fun heatIsToldOnceForEachChange() =
        runBlocking(Dispatchers.Default) {
            Setup.engine().use { engine ->
                val told =
                    async(start = CoroutineStart.UNDISPATCHED) { engine.notices.first() }
                engine.onThermal(Thermal.NONE)
                engine.onThermal(Thermal.SEVERE)
                assertEquals(Notice.ThermalChanged(Thermal.SEVERE), told.await())
            }
        }

    @Test
    fun aLookSurvivesJson() =
        runBlocking(Dispatchers.Default) {
            Setup.engine().use { engine ->
                val strengths = Strengths(0.5f, 1.25f, 0f)
                val look = engine.plan(Setup.photo).withStrengths(strengths)
                val again = engine.lookFromJson(look.toJson())
                assertEquals(strengths, again.strengths)
                assertEquals(look.toJson(), again.toJson())
                val (one, other) = listOf(look, again).map {
                    bytes(engine.render(it, Setup.photo).pixels)
                }
                assertContentEquals(one, other)
                val apart = Look.fromJson(look.toJson())
                assertContentEquals(look.latents, apart.latents)
                assertFailsWith<VeraException.InvalidArgument> {
                    apart.saveCube(File(folder, "a.cube"))
                }
                assertFailsWith<VeraException.FileError> { Look.fromJson("{}") }
            }
            Unit
        }

    @Test
    fun theFailureOfAPlannerIsTheCause() =
        runBlocking(Dispatchers.Default) {
            val broken = IllegalStateException("the accelerator is gone")
            val planner: (Bundle) -> Planner = { bundle ->
                HostPlanner(bundle.info) { if (it == "head") throw broken }
            }
            Setup.engine(planner).use { engine ->
                val error = assertFailsWith<VeraException.ModelError> { engine.plan(Setup.photo) }
                // coroutines may copy an exception to add the caller's trace
                assertSame(broken, generateSequence<Throwable>(error) { it.cause }.last())
                assertTrue("accelerator" in error.message.orEmpty(), error.message)
            }
        }

    @Test
    fun badTasksAreNamed() =
        runBlocking<Unit>(Dispatchers.Default) {
            Setup.engine().use { engine ->
                val bad =
                    listOf(
                        Task.Style(""),
                        Task.Style("x".repeat(401)),
                        Task.Style("a\u0000b"),
                        Task.Param(mapOf("Exposure2012" to 101f)),
                        Task.Param(mapOf("Exposure2012" to Float.NaN)),
                        Task.Param(mapOf("Brightness" to 1f))
                    )
                for (task in bad) {
                    assertFailsWith<VeraException.InvalidArgument> {
                        engine.plan(Setup.photo, task)
                    }
                }
                val pair = Task.Reference(Setup.photo, Setup.photo)
                assertFailsWith<VeraException> { engine.plan(Setup.photo, pair) }
            }
        }

    @Test
    fun alphaStaysAndEveryFormatRenders() =
        runBlocking(Dispatchers.Default) {
            Setup.engine().use { engine ->
                val look = engine.plan(Setup.photo)
                for (format in PixelFormat.entries) {
                    val photo = Setup.photo(5, 3, format) { (it * 7 % 61).toByte() }
                    val out = engine.render(look, photo)
                    assertEquals(format, out.format)
                    assertEquals(photo.sizeBytes, out.sizeBytes)
                }
                val photo = Setup.photo(5, 3) { (it * 7).toByte() }
                val out = engine.render(look, photo, Strengths(overall = 1.5f))
                assertNotEquals(bytes(photo.pixels).toList(), bytes(out.pixels).toList())
                for (i in 3 until 60 step 4) assertEquals(photo.pixels.get(i), out.pixels.get(i))
            }
        }

    private companion object {
        const val LIMIT_MS = 50.0
    }
}
