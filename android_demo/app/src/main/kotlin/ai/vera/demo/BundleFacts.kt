package ai.vera.demo

import java.io.File
import java.security.MessageDigest
import org.json.JSONObject

/** What runs a bundle's programs, and "bundle" and "files" of a benchmark result, from a bundle's folder. */
internal object BundleFacts {
    /** "cpu", "gpu" or "npu": what runs the programs of a recipe. */
    fun unitOf(recipe: String): String =
        when {
            "vulkan" in recipe -> "gpu"
            listOf("qualcomm", "qnn", "mediatek", "exynos").any { it in recipe } -> "npu"
            else -> "cpu"
        }

    fun read(
        folder: File,
        date: String
    ): JSONObject {
        val manifest = File(folder, "bundle.json").readBytes()
        val json = JSONObject(manifest.decodeToString())
        val sizes = JSONObject()
        var total = 0L
        val files = json.getJSONObject("files")
        for (name in files.keys()) {
            val file = files.getJSONObject(name)
            sizes.put(file.getString("path"), file.getLong("size_bytes"))
            total += file.getLong("size_bytes")
        }
        val hash =
            MessageDigest.getInstance("SHA-256").digest(manifest).joinToString("") {
                "%02x".format(it)
            }
        val commit = json.opt("commit") ?: JSONObject.NULL
        val recipe = json.getString("recipe")
        val bundle =
            JSONObject().put("name", json.getString("name")).put("recipe", recipe)
                .put("size_bytes", total).put("sha256", hash).put("commit", commit)
        return JSONObject().put(
            "date",
            date
        ).put("commit", JSONObject.NULL).put("unit", unitOf(recipe))
            .put("bundle", bundle).put("files", sizes)
    }
}
