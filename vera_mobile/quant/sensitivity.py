"""What each layer costs in each scheme, and the mixed recipe that follows from it.

The trials are run by `vera_mobile.export.sensitivity`; here is what their numbers mean.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from vera_mobile.errors import InvalidArgument

FLOAT = "fp32"


@dataclass(frozen=True)
class Cost:
    """A trial: one layer in one scheme, all others in fp32, the fp32 text given.

    size_bytes: weights and scales of the layer; latent_sqnr_db: of the latents, None where they
    are equal; text_divergence: Kullback-Leibler divergence of the next token from fp32, nats per
    token; token_agreement: share of equal most likely tokens; psnr_db and ciede2000: the photo's
    colours in float before rounding to 8 bits, mean over photos; psnr_db None where equal.
    """

    part: str
    layer: str
    scheme: str
    weights: int
    size_bytes: int
    latent_sqnr_db: float | None
    text_divergence: float
    token_agreement: float
    psnr_db: float | None
    ciede2000: float


@dataclass(frozen=True)
class Budget:
    """What a mixed recipe may cost. ciede2000: of the photo; text_divergence: nats per token."""

    ciede2000: float = 0.3
    text_divergence: float = 0.0003

    def __post_init__(self) -> None:
        for name, value in asdict(self).items():
            if not 0 < value < float("inf"):
                raise InvalidArgument(f"Budget {name} is {value}: use a number above 0.")

    def share(self, cost: Cost) -> float:
        """How much of the budget a trial uses up.

        Errors of layers are taken as independent: squares of colour differences add up, and so do
        divergences.
        """
        colour = (cost.ciede2000 / self.ciede2000) ** 2
        return max(colour, cost.text_divergence / self.text_divergence)


@dataclass(frozen=True)
class Mixed:
    """A scheme for each layer: {"part.layer": scheme}, its size and the share of the budget that
    the trials foretell; ciede2000: foretold for the photo."""

    schemes: Mapping[str, str]
    size_bytes: int
    budget_share: float
    ciede2000: float
    text_divergence: float


def mixed_recipe(costs: Iterable[Cost], budget: Budget) -> Mixed:
    """The smallest recipe that the budget allows, near enough: from the smallest scheme of each
    layer, the step that saves the most of the budget per byte until it holds.

    Every layer may also stay in fp32. Raises InvalidArgument for no costs.
    """
    options = _options(costs, budget)
    if not options:
        raise InvalidArgument("A mixed recipe of no layers: run the trials first.")
    chosen = _within(options, budget)
    picks = {key: options[key][i] for key, i in chosen.items()}
    return Mixed(
        {key: cost.scheme for key, cost in picks.items()},
        sum(cost.size_bytes for cost in picks.values()),
        sum(budget.share(cost) for cost in picks.values()),
        sum(cost.ciede2000**2 for cost in picks.values()) ** 0.5,
        sum(cost.text_divergence for cost in picks.values()),
    )


def report(costs: Sequence[Cost], mixed: Sequence[tuple[Budget, Mixed]]) -> dict[str, Any]:
    """All trials and mixed recipes as JSON values, the dearest layer of each scheme first."""
    ordered = sorted(costs, key=lambda cost: (-cost.ciede2000, -cost.text_divergence))
    return {
        "trials": [asdict(cost) for cost in ordered],
        "mixed": [{"budget": asdict(budget), **asdict(found)} for budget, found in mixed],
    }


def table(costs: Sequence[Cost]) -> str:
    """The trials as lines for people, in the order given."""
    lines = [f"{'layer':<34}{'scheme':<24}{'KB':>8}{'latent dB':>11}{'text kl':>10}{'agree':>8}"
             f"{'PSNR dB':>9}{'dE2000':>8}"]  # fmt: skip
    for cost in costs:
        lines.append(
            f"{cost.part + '.' + cost.layer:<34}{cost.scheme:<24}{cost.size_bytes / 1000:>8.1f}"
            f"{_decibels(cost.latent_sqnr_db):>11}{cost.text_divergence:>10.6f}"
            f"{cost.token_agreement:>8.4f}{_decibels(cost.psnr_db):>9}{cost.ciede2000:>8.4f}"
        )
    return "\n".join(lines)


def _options(costs: Iterable[Cost], budget: Budget) -> dict[str, list[Cost]]:
    """The schemes of each layer, from small to large, without those that a smaller one beats."""
    trials: dict[str, list[Cost]] = {}
    for cost in costs:
        trials.setdefault(f"{cost.part}.{cost.layer}", []).append(cost)
    for key, found in trials.items():
        first = found[0]
        plain = Cost(
            first.part, first.layer, FLOAT, first.weights, 4 * first.weights, None, 0, 1, None, 0
        )
        kept: list[Cost] = []
        for cost in sorted((*found, plain), key=lambda c: (c.size_bytes, budget.share(c))):
            if not kept or budget.share(cost) < budget.share(kept[-1]):
                kept.append(cost)
        trials[key] = kept
    return trials


def _within(options: dict[str, list[Cost]], budget: Budget) -> dict[str, int]:
    """The place of the chosen option of each layer."""
    chosen = dict.fromkeys(options, 0)

    def used() -> float:
        return sum(budget.share(options[key][i]) for key, i in chosen.items())

    while used() > 1:
        steps = [
            (_gain(options[key], i, later, budget), key, later)
            for key, i in chosen.items()
            for later in range(i + 1, len(options[key]))
        ]
        if not steps:
            break
        _, key, later = max(steps)
        chosen[key] = later
    # the last step may have bought more than was needed: give back what the budget allows
    for key, i in sorted(chosen.items(), key=lambda item: -options[item[0]][item[1]].size_bytes):
        for earlier in range(i):
            chosen[key] = earlier
            if used() <= 1:
                break
            chosen[key] = i
    return chosen


def _gain(options: list[Cost], now: int, later: int, budget: Budget) -> float:
    saved = budget.share(options[now]) - budget.share(options[later])
    return saved / max(options[later].size_bytes - options[now].size_bytes, 1)


def _decibels(value: float | None) -> str:
    return "equal" if value is None else f"{value:.1f}"
