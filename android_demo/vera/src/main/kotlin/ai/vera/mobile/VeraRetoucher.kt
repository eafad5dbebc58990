package ai.vera.mobile

import android.content.ComponentCallbacks2
import android.content.Context
import android.content.res.Configuration
import android.os.Build
import android.os.PowerManager
import java.io.File
import kotlinx.coroutines.Dispatchers
import kotlinx.coroutines.withContext

/** What [VeraRetoucher] may be opened with. */
public data class VeraOptions(
    /** Renders on the CPU also where there is Vulkan. */
    public val cpuOnly: Boolean = false
)

/**
 * [Retoucher] of an Android app: renders on Vulkan where a device passed its self-test, gives the
 * model's memory back when the system is short of it, and rests when the device is hot; both are
 * told in [notices].
 */
public class VeraRetoucher private constructor(
    private val context: Context,
    private val engine: Engine,
    /** Sizes and name of what was opened; closed with the retoucher. */
    public val bundle: Bundle
) : Retoucher by engine {
    private val memory = MemoryWatch(engine)
    private val heat = if (Build.VERSION.SDK_INT >= 29) HeatWatch(context, engine) else null

    /** "Vulkan: Adreno 740", or "CPU: " and why. */
    public val rendererName: String get() = engine.rendererName
    public val isGpu: Boolean get() = engine.isGpu
    public val thermal: Thermal get() = engine.thermal

    /** Whether the GPU still computes what the CPU does; null where the CPU renders. */
    public suspend fun selfTest(): Boolean? = engine.selfTest()

    override fun close() {
        context.unregisterComponentCallbacks(memory)
        heat?.stop()
        engine.close()
    }

    public companion object {
        /**
         * Opens the bundle in [folder], and checks the SHA-256 of its files. [planner] runs the
         * model; null: [ExecuTorchPlanner]. Errors as of [Bundle.open]; ModelError where the app's
         * ExecuTorch lacks what the recipe needs.
         */
        public suspend fun open(
            context: Context,
            folder: File,
            options: VeraOptions = VeraOptions(),
            planner: ((Bundle) -> Planner)? = null,
            onProgress: ((Long, Long) -> Unit)? = null
        ): VeraRetoucher =
            withContext(Dispatchers.IO) {
                val engine =
                    Engine.open(
                        folder,
                        planner ?: ::ExecuTorchPlanner,
                        { if (options.cpuOnly) PixelRenderer.cpu() else PixelRenderer.vulkan() },
                        onProgress
                    )
                VeraRetoucher(context.applicationContext, engine, engine.bundle).also {
                    it.context.registerComponentCallbacks(it.memory)
                    it.heat?.start()
                }
            }
    }
}

// RUNNING_LOW and worse, and everything from the background but a hidden window alone.
@Suppress("DEPRECATION")
private class MemoryWatch(
    private val engine: Engine
) : ComponentCallbacks2 {
    override fun onTrimMemory(level: Int) {
        val running = level in ComponentCallbacks2.TRIM_MEMORY_RUNNING_LOW until HIDDEN
        if (running || level >= ComponentCallbacks2.TRIM_MEMORY_BACKGROUND) engine.unloadSoon()
    }

    @Deprecated("of the framework")
    override fun onLowMemory(): Unit = engine.unloadSoon()

    override fun onConfigurationChanged(configuration: Configuration) {}

    private companion object {
        const val HIDDEN = ComponentCallbacks2.TRIM_MEMORY_UI_HIDDEN
    }
}

private class HeatWatch(
    context: Context,
    private val engine: Engine
) {
    private val power = context.getSystemService(Context.POWER_SERVICE) as PowerManager
    private val listener =
        PowerManager.OnThermalStatusChangedListener { status -> engine.onThermal(thermal(status)) }

    fun start() {
        engine.onThermal(thermal(power.currentThermalStatus))
        power.addThermalStatusListener(listener)
    }

    fun stop(): Unit = power.removeThermalStatusListener(listener)

    // THERMAL_STATUS_NONE is 0, ..._SHUTDOWN 6, in the order of Thermal.
    private fun thermal(status: Int): Thermal =
        Thermal.entries[status.coerceIn(0, Thermal.entries.lastIndex)]
}
