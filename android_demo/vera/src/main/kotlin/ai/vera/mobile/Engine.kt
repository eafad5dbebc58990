package ai.vera.mobile

import java.io.File
import java.util.Collections
import java.util.concurrent.ConcurrentHashMap
import java.util.concurrent.ExecutorService
import java.util.concurrent.LinkedBlockingQueue
import java.util.concurrent.ThreadPoolExecutor
import java.util.concurrent.TimeUnit
import java.util.concurrent.atomic.AtomicBoolean
import kotlin.coroutines.resume
import kotlin.coroutines.resumeWithException
import kotlinx.coroutines.channels.BufferOverflow
import kotlinx.coroutines.channels.Channel
import kotlinx.coroutines.flow.Flow
import kotlinx.coroutines.flow.MutableSharedFlow
import kotlinx.coroutines.flow.asSharedFlow
import kotlinx.coroutines.flow.flow
import kotlinx.coroutines.suspendCancellableCoroutine

/**
 * [Retoucher] on the C core; of no platform. Plans run on one thread, in the order of asking; bakes
 * and renders on two others. Takes over [bundle], [planner] and [renderer] and closes them.
 */
internal class Engine(
    val bundle: Bundle,
    private val planner: Planner,
    private val renderer: PixelRenderer
) : Retoucher {
    @Volatile var thermal: Thermal = Thermal.NONE
        private set

    private val closed = AtomicBoolean()
    private val running = Collections.newSetFromMap(ConcurrentHashMap<CancelFlag, Boolean>())

    @Volatile private var planning: CancelFlag? = null

    private val bridge =
        PlannerBridge(RestingPlanner(planner, { thermal }, { planning?.isSet ?: true }))
    private val handle = NativeHandle(create(), "retoucher", ::destroy)
    private val codec = EngineCodec()
    private val plans = workers("vera-plan", 1)
    private val renders = workers("vera-render", 2)

    @Volatile private var baked: Pair<List<Any>, BakedLook>? = null

    private val notes =
        MutableSharedFlow<Notice>(
            extraBufferCapacity = 64,
            onBufferOverflow = BufferOverflow.DROP_OLDEST
        )
    override val notices: Flow<Notice> = notes.asSharedFlow()

    /** What renders, and why: "Vulkan: ..." or "CPU: ...". */
    val rendererName: String get() = renderer.name
    val isGpu: Boolean get() = renderer.isGpu

    private fun create(): Long {
        try {
            return bundle.withPointer { Native.retoucherCreate(it, bridge) }
        } catch (error: VeraException) {
            freeParts()
            throw error
        }
    }

    private fun destroy(pointer: Long) {
        Native.retoucherDestroy(pointer)
        freeParts()
    }

    private fun freeParts() {
        renderer.close()
        planner.close()
        bundle.close()
    }

    override fun retouch(
        photo: Photo,
        task: Task,
        options: PlanOptions
    ): Flow<RetouchEvent> =
        flow {
            val events = Channel<RetouchEvent>(Channel.UNLIMITED)
            val cancel = CancelFlag()
            submit(plans, cancel, { events.close(it) }) {
                plan(photo, task, options, cancel) { events.trySend(it) }
                events.close()
            }
            try {
                var rendered = false
                for (event in events) {
                    emit(event)
                    if (event is RetouchEvent.LookReady && !rendered) {
                        rendered = true
                        emit(RetouchEvent.PhotoReady(render(event.look, photo)))
                    }
                }
            } finally {
                cancel.set()
            }
        }

    private fun plan(
        photo: Photo,
        task: Task,
        options: PlanOptions,
        cancel: CancelFlag,
        send: (RetouchEvent) -> Unit
    ) {
        val sink = EventSink(codec, send)
        bridge.takeFailure()
        planning = cancel
        try {
            val result = handle.use { callPlan(it, photo, task, options, cancel, sink) }
            NativeResult(result).use {
                if (options.instant) send(RetouchEvent.LookReady(it.look(codec)))
            }
        } catch (error: VeraException) {
            val cause = bridge.takeFailure() ?: throw error
            if (cause is VeraException) throw cause
            throw VeraException.of(error.code, error.message.orEmpty(), cause)
        }
    }

    override suspend fun render(
        look: Look,
        photo: Photo,
        strengths: Strengths
    ): Photo =
        work(renders) { cancel ->
            handle.use {
                val threads = RestingPlanner.threads(thermal)
                val baked = bakeOn(it, look, strengths, threads, cancel)
                renderer.render(baked, photo, strengths.overall, threads, cancel)
            }
        }

    /** The last bake is kept, so that another overall strength or photo renders at once. */
    private fun bakeOn(
        pointer: Long,
        look: Look,
        strengths: Strengths,
        threads: Int,
        cancel: CancelFlag
    ): BakedLook {
        val key = listOf<Any>(look.json, strengths.groups.toList())
        baked?.let { (of, kept) -> if (of == key) return kept }
        val fresh = BakedLook.empty(LUT_SIZE)
        NativeResult.parse(look.json).use {
            Native.bake(
                pointer,
                it.handle,
                strengths.groups,
                LUT_SIZE,
                threads,
                cancel.memory,
                fresh.curves,
                fresh.lut
            )
        }
        baked = key to fresh
        return fresh
    }

    /** Curves and LUT, for tests and measurements. */
    suspend fun bake(
        look: Look,
        strengths: Strengths
    ): BakedLook = work(renders) { cancel -> handle.use { bakeOn(it, look, strengths, 0, cancel) } }

    override suspend fun lookFromJson(text: String): Look =
        work(renders) { handle.use { parseLook(text, codec) } }

    override suspend fun unload(): Unit =
        work(plans) { unloadNow(Notice.Reason.ASKED) }

    /** Whether the GPU still computes what the CPU does; null without a GPU. */
    suspend fun selfTest(): Boolean? = work(renders) { handle.use { renderer.selfTest() } }

    /** For callbacks of the system: does not wait. */
    fun unloadSoon() {
        if (!closed.get()) plans.execute { if (!closed.get()) unloadNow(Notice.Reason.LOW_MEMORY) }
    }

    fun onThermal(now: Thermal) {
        if (now == thermal) return
        thermal = now
        notes.tryEmit(Notice.ThermalChanged(now))
    }

    private fun unloadNow(reason: Notice.Reason) {
        handle.use(Native::retoucherUnload)
        baked = null
        notes.tryEmit(Notice.Unloaded(reason))
    }

    override fun close() {
        if (!closed.compareAndSet(false, true)) return
        running.forEach { it.set() }
        handle.close()
        plans.shutdown()
        renders.shutdown()
    }

    private suspend fun <T> work(
        workers: ExecutorService,
        block: (CancelFlag) -> T
    ): T =
        suspendCancellableCoroutine { waiting ->
            val cancel = CancelFlag()
            waiting.invokeOnCancellation { cancel.set() }
            submit(workers, cancel, { waiting.resumeWithException(it) }) {
                waiting.resume(block(cancel))
            }
        }

    /** Runs [block] on a worker unless it is cancelled by then; its errors go to [fail]. */
    @Suppress("TooGenericExceptionCaught")
    private fun submit(
        workers: ExecutorService,
        cancel: CancelFlag,
        fail: (Throwable) -> Unit,
        block: () -> Unit
    ) {
        running += cancel
        val task = Runnable {
            try {
                if (!cancel.isSet) block() else fail(stopped())
            } catch (error: Throwable) {
                fail(if (closed.get() && error is VeraException.Cancelled) stopped() else error)
            } finally {
                running -= cancel
            }
        }
        if (closed.get()) cancel.set()
        try {
            workers.execute(task)
        } catch (_: java.util.concurrent.RejectedExecutionException) {
            running -= cancel
            fail(stopped())
        }
    }

    private fun stopped(): VeraException =
        if (closed.get()) {
            VeraException.Closed("This retoucher is closed: open it again.")
        } else {
            VeraException.Cancelled("The work was cancelled; nothing was written.")
        }

    private inner class EngineCodec : NativeCodec() {
        override fun saveCube(
            look: Look,
            file: File,
            size: Int
        ) = handle.use { retoucher ->
            NativeResult.parse(look.json).use {
                val (groups, overall) = look.strengths.groups to look.strengths.overall
                Native.saveCube(retoucher, it.handle, groups, overall, size, file.path.utf8())
            }
        }
    }

    companion object {
        const val LUT_SIZE = 33

        /** Opens, and closes what was opened where a later part fails. */
        fun open(
            folder: File,
            planner: (Bundle) -> Planner,
            renderer: () -> PixelRenderer,
            onProgress: ((Long, Long) -> Unit)? = null
        ): Engine {
            val bundle = Bundle.open(folder, onProgress)
            val runtime =
                try {
                    planner(bundle)
                } catch (error: VeraException) {
                    bundle.close()
                    throw error
                }
            return Engine(bundle, runtime, renderer())
        }

        private fun workers(
            name: String,
            count: Int
        ): ExecutorService =
            ThreadPoolExecutor(count, count, 5, TimeUnit.SECONDS, LinkedBlockingQueue()) { work ->
                Thread(work, name).apply { isDaemon = true }
            }.apply { allowCoreThreadTimeOut(true) }
    }
}

private class EventSink(
    private val codec: LookCodec,
    private val send: (RetouchEvent) -> Unit
) : PlanSink {
    override fun onStage(
        stage: Int,
        done: Float
    ) = send(RetouchEvent.Progress(Stage.entries[stage], done))

    override fun onText(piece: ByteArray) = send(RetouchEvent.Text(piece.decodeToString()))

    override fun onLook(result: Long) =
        send(RetouchEvent.LookReady(NativeResult(result, owned = false).look(codec)))
}

private fun callPlan(
    retoucher: Long,
    photo: Photo,
    task: Task,
    options: PlanOptions,
    cancel: CancelFlag,
    sink: PlanSink
): Long {
    val pair = (task as? Task.Reference)?.let { listOf(it.before, it.after) }
    val instant = if (options.instant) 1L else 0L
    return Native.plan(
        retoucher,
        photo.describe(),
        photo.pixels,
        photo.colorSpace.code,
        when (task) {
            is Task.Auto -> 0
            is Task.Style -> 1
            is Task.Param -> 2
            is Task.Reference -> 3
        },
        (task as? Task.Style)?.wish?.utf8(),
        (task as? Task.Param)?.let { Sliders.values(it.sliders) },
        pair?.map { it.describe() }?.toTypedArray(),
        pair?.map { it.pixels }?.toTypedArray(),
        longArrayOf(instant, options.maxTokens?.toLong() ?: -1L, options.seed),
        floatArrayOf(options.temperature ?: -1f, options.topP ?: -1f),
        cancel.memory,
        sink
    )
}
