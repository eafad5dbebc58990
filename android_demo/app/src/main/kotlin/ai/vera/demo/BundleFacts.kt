package ai.vera.demo

import java.io.File
import java.security.MessageDigest
import org.json.JSONObject

/** "bundle" and "files" of a benchmark result, from a bundle's folder. */
internal object BundleFacts {
    fun read(
        folder: File,
        unit: String,
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
        val bundle =
            JSONObject().put("name", json.getString("name")).put("recipe", json.getString("recipe"))
                .put("size_bytes", total).put("sha256", hash).put("commit", commit)
        return JSONObject().put("date", date).put("commit", JSONObject.NULL).put("unit", unit)
            .put("bundle", bundle).put("files", sizes)
    }
}
