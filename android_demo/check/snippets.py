"""Kotlin blocks of Markdown files as one source file, each the body of a suspending function."""

from __future__ import annotations

import re
import sys
from pathlib import Path

HEAD = """import ai.vera.mobile.*
import android.content.Context
import android.net.Uri
import java.io.File
import kotlinx.coroutines.flow.*

private fun show(piece: Any) = Unit
"""


def main() -> int:
    blocks = []
    for file in sys.argv[1:]:
        blocks += re.findall(r"^```kotlin\n(.*?)^```", Path(file).read_text("utf-8"), re.M | re.S)
    if not blocks:
        print("no Kotlin block found", file=sys.stderr)
        return 1
    print(HEAD)
    for i, block in enumerate(blocks):
        print(f"suspend fun snippet{i}(context: Context, bundleDir: File, uri: Uri) {{")
        print(block + "}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
