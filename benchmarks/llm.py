"""The 0.5B language part beside llama.cpp, and a whole plan's time and memory: out/bench/llm.json.

Seeded weights of the public shape (benchmarks/seeded.py). Each program runs in a process of its
own, one after the other. llama.cpp (PyPI llama-cpp-python, built natively) gets a random GGUF of
the same shape, Q4_0 with the table in Q4_0 too.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

PROMPT, ANSWER = 320, 120
HIDDEN, LAYERS, HEADS, KV_HEADS, INNER, VOCABULARY = 896, 24, 14, 2, 4864, 151936


def main() -> None:
    """Runs ours and the peer and writes the comparison."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--bundle", type=Path, required=True, help="android-int4 of the 0.5B shape")
    parser.add_argument("--checkpoint", type=Path, help="export the bundle from it first, timed")
    parser.add_argument("--no-vision", action="store_true", help="leave ONNX Runtime out")
    parser.add_argument("--out", type=Path, default=Path("out/bench/llm.json"))
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--llama-python", default=sys.executable, help="has llama_cpp and gguf")
    parser.add_argument("--part", choices=("ours", "gguf", "llama"), help=argparse.SUPPRESS)
    parser.add_argument("--gguf", type=Path, default=Path("build/bench/random-q4_0.gguf"))
    args = parser.parse_args()
    if args.part:
        parts = {"ours": ours, "gguf": write_gguf, "llama": llama}
        print(json.dumps(parts[args.part](args)))
        return
    exported = export(args) if args.checkpoint else {}
    if not args.gguf.is_file():
        run(args, args.llama_python, "gguf")
    rows: dict[str, list[Any]] = {"ours": [], "llama": []}
    for _ in range(args.rounds):
        rows["ours"].append(run(args, sys.executable, "ours"))
        rows["llama"].append(run(args, args.llama_python, "llama"))
    result = {**summary(args, rows), **exported}
    if not args.no_vision:
        result |= vision(args)
    args.out.parent.mkdir(parents=True, exist_ok=True)
    args.out.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")
    print(json.dumps(result, indent=2))


def run(args: argparse.Namespace, python: str, part: str) -> Any:
    """The JSON of one part in a process of its own."""
    command = [
        python, __file__, "--bundle", str(args.bundle), "--threads", str(args.threads),
        "--gguf", str(args.gguf), "--part", part,
    ]  # fmt: skip
    environment = {**os.environ, "OMP_NUM_THREADS": str(args.threads)}
    done = subprocess.run(command, capture_output=True, text=True, env=environment)
    if done.returncode:
        raise SystemExit(f"{part} failed:\n{done.stderr[-2000:]}")
    return json.loads(done.stdout.strip().splitlines()[-1])


def export(args: argparse.Namespace) -> dict[str, float]:
    """Exports the bundle: wall seconds, and the sum of both workers' peaks."""
    command = [
        sys.executable, "-m", "vera_mobile.cli", "export", "--checkpoint", str(args.checkpoint),
        "--recipe", "android-int4", "--out", str(args.bundle), "--overwrite", "--no-verify",
        "--json",
    ]  # fmt: skip
    started = time.perf_counter()
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(f"export failed:\n{done.stderr[-2000:]}")
    seconds = time.perf_counter() - started
    steps = re.findall(r"(\w+) took \d+ s, (\d+) MB", " ".join(json.loads(done.stdout)["steps"]))
    peaks = {name: int(megabytes) for name, megabytes in steps}
    first = peaks.pop("decoder")
    return {"export_seconds": seconds, "export_peak_gb": (first + max(peaks.values())) / 1000}


def vision(args: argparse.Namespace) -> dict[str, Any]:
    """The vision tower beside ONNX Runtime's, runs in turn: see vision_peers.py."""
    peers = Path(__file__).with_name("vision_peers.py")
    command = [sys.executable, str(peers), "--ours", str(args.bundle / "vision.pte")]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(f"vision_peers.py failed:\n{done.stderr[-2000:]}")
    found = json.loads(done.stdout[done.stdout.index("{") :])
    ratios = {key: value for key, value in found.items() if key.startswith("vision_ratio")}
    return {**ratios, "vision": {k: v for k, v in found.items() if k not in ratios}}


def summary(args: argparse.Namespace, rows: dict[str, list[Any]]) -> dict[str, Any]:
    """Ratios of medians over the rounds, and the raw figures."""

    def median(who: str, key: str) -> float:
        return statistics.median(row[key] for row in rows[who])

    size = sum(file.stat().st_size for file in args.bundle.iterdir() if file.is_file())
    return {
        "decode_ratio_vs_llama_cpp_q4_0": median("ours", "decode_tok_s")
        / median("llama", "decode_tok_s"),
        "decode_all_logits_ratio_vs_llama_cpp_q4_0": median("ours", "decode_all_tok_s")
        / median("llama", "decode_tok_s"),
        "prefill_ratio_vs_llama_cpp_q4_0": median("ours", "prefill_tok_s")
        / median("llama", "prefill_tok_s"),
        "peak_rss_mb": median("ours", "peak_rss_mb"),
        "peak_rss_all_loaded_mb": median("ours", "peak_rss_all_loaded_mb"),
        "rss_before_load_mb": median("ours", "rss_before_load_mb"),
        "load_s": median("ours", "load_s"),
        "bundle_mb": size / 1e6,
        "threads": args.threads,
        "prompt": PROMPT,
        "answer": ANSWER,
        "raw": rows,
    }


def ours(args: argparse.Namespace) -> dict[str, float]:
    """A whole plan and bake through the ExecuTorch runtime.

    The first plan begins with nothing loaded, as an app's first photo does: `peak_rss_mb` is its
    peak. `load_s` and the peak with everything loaded at once come after it.
    """
    import numpy as np
    import torch

    from vera_mobile.bundle import Bundle
    from vera_mobile.native import decoder as native
    from vera_mobile.native import load_torch_ops
    from vera_mobile.runtime import ALL_LOGITS, ANSWER_LOGITS, ExecuTorchPlanner

    torch.set_num_threads(args.threads)
    native.set_threads(args.threads)
    load_torch_ops()
    bundle = Bundle.open(args.bundle)
    before = peak_mb()
    planner = ExecuTorchPlanner(bundle)
    random = np.random.Generator(np.random.PCG64(0))
    pixels = random.random((1, 3, planner.image_size, planner.image_size), dtype=np.float32)
    words = random.integers(0, 30000, (1, PROMPT))

    def prompt(image: np.ndarray) -> np.ndarray:
        return np.concatenate((image, planner.embed(words[:, image.shape[1] :])), axis=1)

    def decode(wanted: int) -> np.ndarray:
        token, hidden = 11, np.empty(0)
        for step in range(ANSWER):
            embeds = planner.embed(np.array([[token]]))
            logits, hidden = planner.step(embeds, PROMPT + step, wanted)
            token = int(logits.argmax())
        return np.stack([hidden] * 3)

    axis = np.linspace(0, 1, 33, dtype=np.float32)
    lattice = np.stack(np.meshgrid(axis, axis, axis, indexing="ij"), -1).reshape(-1, 3)
    planner.step(prompt(planner.encode_image(pixels)), 0)
    planner.bake(lattice, planner.head(decode(ANSWER_LOGITS)))
    peak = peak_mb()
    planner.unload()
    load_s, _ = seconds(planner.load)
    vision_s, image = seconds(lambda: planner.encode_image(pixels))
    embeds = prompt(image)
    planner.step(embeds[:, :16], 0)  # touches the weights once
    prefill_s, _ = seconds(lambda: planner.step(embeds, 0))
    decode_s, hidden = seconds(lambda: decode(ANSWER_LOGITS))
    decode_all_s, _ = seconds(lambda: decode(ALL_LOGITS))
    latents = planner.head(hidden)
    bake_s, _ = seconds(lambda: planner.bake(lattice, latents))
    return {
        "load_s": load_s,
        "vision_s": vision_s,
        "prefill_tok_s": PROMPT / prefill_s,
        "decode_tok_s": ANSWER / decode_s,
        "decode_all_tok_s": ANSWER / decode_all_s,
        "bake_s": bake_s,
        "peak_rss_mb": peak,
        "peak_rss_all_loaded_mb": peak_mb(),
        "rss_before_load_mb": before,
    }


def seconds(work: Callable[[], Any]) -> tuple[float, Any]:
    """Wall seconds of `work` and what it gave."""
    started = time.perf_counter()
    result = work()
    return time.perf_counter() - started, result


def llama(args: argparse.Namespace) -> dict[str, float]:
    """The same prompt and answer lengths in llama.cpp, greedy."""
    import numpy as np
    from llama_cpp import Llama

    model = Llama(
        str(args.gguf), n_ctx=1024, n_batch=512, n_ubatch=512, n_threads=args.threads,
        n_threads_batch=args.threads, verbose=False, logits_all=False,
    )  # fmt: skip
    ids = np.random.default_rng(0).integers(300, 30000, PROMPT).tolist()
    model.eval(ids[:16])
    model.reset()
    started = time.perf_counter()
    model.eval(ids)
    prefill_s = time.perf_counter() - started
    started = time.perf_counter()
    for _ in range(ANSWER):
        model.eval([int(model.sample(temp=0.0))])
    decode_s = time.perf_counter() - started
    return {
        "prefill_tok_s": PROMPT / prefill_s,
        "decode_tok_s": ANSWER / decode_s,
        "peak_rss_mb": peak_mb(),
    }


def write_gguf(args: argparse.Namespace) -> dict[str, str]:
    """A random model of the shape in Q4_0, norms and biases in float."""
    import gguf
    import numpy as np

    args.gguf.parent.mkdir(parents=True, exist_ok=True)
    random = np.random.default_rng(0)
    writer = gguf.GGUFWriter(str(args.gguf), "qwen2")
    writer.add_block_count(LAYERS)
    writer.add_context_length(2048)
    writer.add_embedding_length(HIDDEN)
    writer.add_feed_forward_length(INNER)
    writer.add_head_count(HEADS)
    writer.add_head_count_kv(KV_HEADS)
    writer.add_layer_norm_rms_eps(1e-6)
    writer.add_rope_freq_base(1e6)
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("qwen2")
    writer.add_token_list([f"t{i}" for i in range(VOCABULARY)])
    writer.add_token_types([1] * VOCABULARY)
    writer.add_token_merges(["t1 t2"])
    writer.add_eos_token_id(VOCABULARY - 1)

    def matrix(name: str, rows: int, columns: int) -> None:
        values = random.standard_normal((rows, columns), dtype=np.float32) * 0.02
        kind = gguf.GGMLQuantizationType.Q4_0
        writer.add_tensor(name, gguf.quants.quantize(values, kind), raw_dtype=kind)

    def vector(name: str, size: int, value: float) -> None:
        writer.add_tensor(name, np.full(size, value, np.float32))

    matrix("token_embd.weight", VOCABULARY, HIDDEN)
    vector("output_norm.weight", HIDDEN, 1.0)
    for i in range(LAYERS):
        for name, rows in (("attn_q", HIDDEN), ("attn_k", 128), ("attn_v", 128)):
            matrix(f"blk.{i}.{name}.weight", rows, HIDDEN)
            vector(f"blk.{i}.{name}.bias", rows, 0.0)
        matrix(f"blk.{i}.attn_output.weight", HIDDEN, HIDDEN)
        matrix(f"blk.{i}.ffn_gate.weight", INNER, HIDDEN)
        matrix(f"blk.{i}.ffn_up.weight", INNER, HIDDEN)
        matrix(f"blk.{i}.ffn_down.weight", HIDDEN, INNER)
        vector(f"blk.{i}.attn_norm.weight", HIDDEN, 1.0)
        vector(f"blk.{i}.ffn_norm.weight", HIDDEN, 1.0)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return {"gguf": str(args.gguf)}


def peak_mb() -> float:
    """Peak resident memory of this process."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


if __name__ == "__main__":
    main()
