"""`vera serve`: a page on this machine to try looks on."""

from __future__ import annotations

import argparse
import secrets
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vera_mobile.errors import InvalidArgument, ModelError

if TYPE_CHECKING:
    from vera_mobile.cli import Console
    from vera_mobile.retoucher import Retoucher

EXAMPLE = "example: vera serve --bundle vera.bundle --open"
MAX_UPLOAD_MB = 4096


def add(commands: Any) -> None:
    """Adds the parser."""
    p = commands.add_parser("serve", help="try looks on a local page", epilog=EXAMPLE)
    p.add_argument("--bundle", help="bundle folder, or a checkpoint (default: bundled nano, fp32)")
    p.add_argument("--port", type=int, default=0, help="1024..65535; 0, the default: a free one")
    p.add_argument("--max-upload-mb", type=int, default=256, metavar="MB", help="default 256")
    p.add_argument("--open", action="store_true", help="open the page in the default browser")
    p.add_argument("--json", action="store_true", help="the address as JSON on stdout")
    p.set_defaults(run=run)


def run(args: argparse.Namespace, console: Console) -> int:
    """Serves until Ctrl-C; only this machine can reach it, and only with the whole address."""
    if args.port and not 1024 <= args.port <= 65535:
        raise InvalidArgument(f"--port is {args.port}: use 1024..65535, or 0 for a free one")
    if not 1 <= args.max_upload_mb <= MAX_UPLOAD_MB:
        raise InvalidArgument(f"--max-upload-mb is {args.max_upload_mb}: use 1..{MAX_UPLOAD_MB}")
    try:
        import uvicorn

        from vera_mobile.serve.app import build_app
        from vera_mobile.serve.desk import Desk
        from vera_mobile.serve.guard import HOST, Guard
    except ImportError as error:
        raise ModelError(
            f"`vera serve` needs {error.name}: run pip install 'vera-mobile[serve]'."
        ) from error
    retoucher, about = _model(args.bundle)
    console.say("loading the model ...")
    retoucher.prepare()
    with tempfile.TemporaryDirectory(prefix="vera-serve-") as folder:
        desk = Desk(retoucher, Path(folder))
        app = build_app(desk, about=about, max_upload_bytes=args.max_upload_mb * 2**20)
        config = uvicorn.Config(app, host=HOST, port=args.port, log_config=None, access_log=False)
        listener = _listener(config)
        listener.listen()  # so that the address works as soon as it is printed
        port, token = listener.getsockname()[1], secrets.token_urlsafe(18)
        config.app = Guard(app, token=token, port=port)
        url = f"http://{HOST}:{port}/{token}/"
        console.result({"url": url}, url)
        console.say("Open this address in a browser on this machine; Ctrl-C ends it.")
        if args.open:
            import webbrowser

            webbrowser.open(url)
        uvicorn.Server(config).run(sockets=[listener])
    return 0


def _listener(config: Any) -> Any:
    try:
        return config.bind_socket()
    except SystemExit as error:  # what the library does about a port that is taken
        raise InvalidArgument(
            f"Port {config.port} is taken: choose another --port, or 0 for a free one."
        ) from error


def _model(bundle: str | None) -> tuple[Retoucher, dict[str, Any]]:
    from vera_mobile.assets import checkpoint_folder
    from vera_mobile.page import seeded_note
    from vera_mobile.retoucher import Retoucher

    folder = Path(bundle) if bundle else Path(checkpoint_folder("nano"))
    retoucher = Retoucher.load(folder)
    if (folder / "bundle.json").is_file():
        from vera_mobile.bundle import Bundle, describe

        info = describe(Bundle.open(folder))
        form = f"{info['recipe']} on ExecuTorch. {seeded_note(info['name'])}".rstrip(". ")
        return retoucher, {"model": info["name"], "form": form}
    return retoucher, {"model": f"vera-{folder.name}" if not bundle else folder.name,
                       "form": "float32 on PyTorch"}  # fmt: skip
