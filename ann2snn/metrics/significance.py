"""Exact paired tests for accuracies that were measured on the same images."""

from collections.abc import Iterable, Sequence


def mcnemar_exact(a_correct: Iterable[bool], b_correct: Iterable[bool]) -> tuple[int, int, float]:
    """Exact two-sided McNemar test of two classifiers on the same images, in the same order.

    Returns:
        (b, c, p): b images that only the first has right, c images that only the second has right, and the probability
        that b + c tosses of a fair coin are at least as uneven; 1 if b + c = 0.

    Source: McNemar 1947, with the binomial distribution in place of its chi-squared approximation, which is the sign
    test on the discordant pairs.
    """
    b = c = 0
    for first, second in zip(a_correct, b_correct, strict=True):
        b += bool(first) and not second
        c += bool(second) and not first
    tail = term = 1  # binomial coefficients, each from the one before
    for k in range(min(b, c)):
        term = term * (b + c - k) // (k + 1)
        tail += term
    return b, c, min(1.0, 2 * tail / 2 ** (b + c))


def holm(pvalues: Sequence[float]) -> list[float]:
    """Step-down adjusted p-values (Holm 1979), in the given order.

    If all hypotheses with a value <= alpha are rejected, the probability of any false rejection is at most alpha,
    whatever the dependence between the tests.
    """
    adjusted, largest = [0.0] * len(pvalues), 0.0
    for rank, i in enumerate(sorted(range(len(pvalues)), key=pvalues.__getitem__)):
        largest = max(largest, min(1.0, (len(pvalues) - rank) * pvalues[i]))
        adjusted[i] = largest
    return adjusted
