"""Score and likeness of fixed photos, decoded as a user would: the report of stage 4."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch

from vera_mobile.color.metrics import psnr
from vera_mobile.model.vlm import VeraModel
from vera_mobile.train.batches import Samples
from vera_mobile.train.rewards import form_of, similarity
from vera_mobile.train.rl_draw import draw_answers, made_photos
from vera_mobile.train.rollout import Sampling
from vera_mobile.train.scorer import Scorer

if TYPE_CHECKING:
    from vera_mobile.train.rl import RLConfig

_FAR_STEP = 900_000_000  # beyond any training step
TOLERANCE = 0.002
"""How much the mean similarity may fall before it counts as fallen; of a range of 1."""

Figures = dict[str, float]


@torch.no_grad()
def judge(vera: VeraModel, samples: Samples, config: RLConfig, scorer: Scorer | None) -> Figures:
    """Means over `judged` samples or a few more: score (auto; also of the untouched photos),
    similarity and PSNR in dB per task, share of well-formed answers when nothing is forced."""
    rows: dict[str, list[float]] = {}
    for k in range(-(-config.judged // config.batch)):
        batch = samples.draw(_FAR_STEP + k).to(next(vera.parameters()).device)
        for pictured in (True, False):
            free = Sampling(0.0, config.max_tokens)
            answers, _ = draw_answers(vera, samples, batch, pictured, free)
            tokens = [a.tokens for a in answers]
            forced = Sampling(0.0, config.max_tokens, forced=True)
            answers, kind = draw_answers(vera, samples, batch, pictured, forced)
            draw = made_photos(vera, samples, batch, kind, answers, 1)
            _note(rows, draw.judged, tokens, scorer)
    return {name: sum(values) / len(values) for name, values in rows.items()}


def _note(rows: dict[str, list[float]], judged: Any, free: list[list[int]], scorer: Any) -> None:
    near = similarity(judged.out, judged.target)
    alone = similarity(judged.before, judged.target)
    for i, task in enumerate(judged.tasks):
        rows.setdefault("similarity", []).append(float(near[i]))
        rows.setdefault("similarity_alone", []).append(float(alone[i]))
        rows.setdefault(f"{task}_similarity", []).append(float(near[i]))
        pixels = (judged.out[i].cpu().numpy(), judged.target[i].cpu().numpy())
        rows.setdefault(f"{task}_psnr_db", []).append(min(60.0, float(psnr(*pixels))))
        form = form_of(judged.vocabulary, free[i], task)
        rows.setdefault("well_formed", []).append(float(form == 1.0))
    if scorer is not None and len(judged.pictures[0]):
        before, after = (scorer(p).tolist() for p in judged.pictures)
        rows.setdefault("score", []).extend(after)
        rows.setdefault("score_alone", []).extend(before)


def compare(start: Figures, end: Figures) -> dict[str, Any]:
    """Both, and the two questions: has the score risen, has similarity been held?"""
    held = end["similarity"] >= start["similarity"] - TOLERANCE
    report: dict[str, Any] = {"start": start, "end": end}
    for name in ("score", "similarity", "well_formed"):
        if name in start:
            report[f"{name}_gain"] = end[name] - start[name]
    if "score" in start:
        report["score_rose"] = end["score"] > start["score"]
    return {**report, "similarity_held": held}
