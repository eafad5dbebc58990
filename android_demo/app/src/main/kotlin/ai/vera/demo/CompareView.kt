package ai.vera.demo

import android.content.Context
import android.graphics.Bitmap
import android.graphics.Canvas
import android.graphics.Color
import android.graphics.Paint
import android.graphics.RectF
import android.os.Bundle
import android.util.AttributeSet
import android.view.MotionEvent
import android.view.View
import android.view.accessibility.AccessibilityNodeInfo
import android.widget.SeekBar

/** The photo before (left of the border) and after; the border follows the finger. */
public class CompareView(
    context: Context,
    attributes: AttributeSet?
) : View(context, attributes) {
    private val paint = Paint(Paint.FILTER_BITMAP_FLAG)
    private val line =
        Paint().apply {
            color = Color.WHITE
            strokeWidth = 2 * resources.displayMetrics.density
        }
    private var before: Bitmap? = null
    private var after: Bitmap? = null
    private var border = 0.5f

    internal fun show(
        before: Bitmap?,
        after: Bitmap?
    ) {
        this.before = before
        this.after = after
        invalidate()
    }

    override fun onDraw(canvas: Canvas) {
        val shown = before ?: return
        val place = place(shown)
        canvas.drawBitmap(shown, null, place, paint)
        val result = after ?: return
        val x = place.left + place.width() * border
        canvas.save()
        canvas.clipRect(x, place.top, place.right, place.bottom)
        canvas.drawBitmap(result, null, place, paint)
        canvas.restore()
        canvas.drawLine(x, place.top, x, place.bottom, line)
    }

    private fun place(bitmap: Bitmap): RectF {
        val scale = minOf(width / bitmap.width.toFloat(), height / bitmap.height.toFloat())
        val (w, h) = bitmap.width * scale to bitmap.height * scale
        val (left, top) = (width - w) / 2 to (height - h) / 2
        return RectF(left, top, left + w, top + h)
    }

    override fun onTouchEvent(event: MotionEvent): Boolean {
        val place = place(before ?: return false)
        if (event.action == MotionEvent.ACTION_UP) performClick()
        move((event.x - place.left) / place.width())
        return true
    }

    override fun performClick(): Boolean {
        super.performClick()
        return true
    }

    private fun move(to: Float) {
        border = to.coerceIn(0f, 1f)
        invalidate()
    }

    // A slider for those who do not see the border: the screen reader moves it by a tenth.
    override fun onInitializeAccessibilityNodeInfo(info: AccessibilityNodeInfo) {
        super.onInitializeAccessibilityNodeInfo(info)
        info.className = SeekBar::class.java.name
        info.addAction(AccessibilityNodeInfo.AccessibilityAction.ACTION_SCROLL_FORWARD)
        info.addAction(AccessibilityNodeInfo.AccessibilityAction.ACTION_SCROLL_BACKWARD)
    }

    override fun performAccessibilityAction(
        action: Int,
        arguments: Bundle?
    ): Boolean {
        when (action) {
            AccessibilityNodeInfo.ACTION_SCROLL_FORWARD -> move(border + 0.1f)
            AccessibilityNodeInfo.ACTION_SCROLL_BACKWARD -> move(border - 0.1f)
            else -> return super.performAccessibilityAction(action, arguments)
        }
        return true
    }
}
