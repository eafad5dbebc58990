"""Answer texts as token ids, framed as each family frames them, and whether one is well formed."""

from __future__ import annotations

import re
from collections.abc import Sequence

from vera_mobile.model.tokens import NANO, Vocabulary

MAX_ANSWER = 110  # tokens of vera-nano's answers; its rows hold 384
GROUP_WORDS = ("Light", "Color", "Hues")
_LINES = re.compile(r"Light: (.*?)\. Color: (.*?)\. Hues: (.*?)\.(?:\s|$)", re.S)
# llava/constants.py of the public repository: an interface of its weights
_FRAMES = ("light", "globalcolor", "specificcolor")
_SECTIONS = ("problem", "plan")


def answer_ids(vocabulary: Vocabulary, text: str) -> list[int]:
    """Token ids of what `words.describe` wrote, as the vocabulary's family says it.

    vera-nano says the text as it is. The 0.5B model frames each part with two special tokens
    (<problem_light_start> ... <problem_light_end>), where its tokenizer has them.
    """
    if vocabulary.format.family == NANO.family:
        return vocabulary.encode(text)[:MAX_ANSWER]
    found = _LINES.findall(text)
    sections = _SECTIONS[-len(found) :] if found else ()
    ids: list[int] = []
    for section, parts in zip(sections, found, strict=True):
        for frame, part in zip(_FRAMES, parts, strict=True):
            start, end = frame_tokens(vocabulary, section, frame)
            ids += [*start, *vocabulary.encode(part), *end]
    return ids or vocabulary.encode(text)


def frame_tokens(
    vocabulary: Vocabulary, section: str, frame: str
) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """The tokens before and after one part; empty where the tokenizer lacks them."""
    found = [vocabulary.tokenizer.token_to_id(f"<{section}_{frame}_{end}>")
             for end in ("start", "end")]  # fmt: skip
    if None in found:
        return (), ()
    return (found[0],), (found[1],)


def is_well_formed(vocabulary: Vocabulary, tokens: Sequence[int], task: str) -> bool:
    """True when an answer's tags stand in order and the three retouch tokens end it, in order.

    tokens: all that was generated. The auto task has problems and a plan, the others a plan.
    """
    retouch = list(vocabulary.retouch)
    text = list(tokens[:-3])
    if list(tokens[-3:]) != retouch or set(text) & set(retouch):
        return False
    sections = _SECTIONS if task == "auto" else _SECTIONS[1:]
    if vocabulary.format.family == NANO.family:
        said = vocabulary.decode(text)
        wanted = [f"{word}:" for _ in sections for word in GROUP_WORDS]
        return re.findall(r"(?:Light|Color|Hues):", said) == wanted
    marks = [m for section in sections for frame in _FRAMES
             for m in sum(frame_tokens(vocabulary, section, frame), ())]  # fmt: skip
    known = {m for section in _SECTIONS for frame in _FRAMES
             for m in sum(frame_tokens(vocabulary, section, frame), ())}  # fmt: skip
    return [t for t in text if t in known] == marks
