r"""The table of theorems whose hypotheses the preconditions oracle looks for, as data.

Contract: each row names a theorem, the words that say it is used, the words that state its hypothesis, and the words
that contradict it. Texts are searched, never understood: a hypothesis that is not found is ``undecided``; only words
that contradict it, with none that state it, make ``wrong``. Rows with an empty `denied` never give ``wrong``.
To add a theorem, add a row. Not here: hypotheses that need calculation (`preconditions.py`).
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True, slots=True)
class Theorem:
    """One row.

    Attributes:
        name: part of the reason, ``preconditions:<name>_...``.
        hypothesis: for people.
        used: words in the step that say the theorem is used.
        stated: words in problem, prefix or step that state the hypothesis (or make it plain).
        denied: words there that contradict it; empty where words cannot.
    """

    name: str
    hypothesis: str
    used: str
    stated: str
    denied: str = ""

    def says(self, kind: Literal["used", "stated", "denied"], text: str) -> bool:
        """Whether a text holds the words of one kind."""
        pattern: str = getattr(self, kind)
        return bool(pattern) and re.search(pattern, text, re.IGNORECASE) is not None


THEOREMS = (
    Theorem(
        "pythagoras", "the triangle has a right angle", r"\bpythag",
        r"right|perpendicular|altitude|height|\\perp|90|square|rectang|legs?\b|hypotenuse|coordinate|distance|tangent|radius|"
        r"midpoint|rhomb|isosceles|equilateral|kite|cone|cube|box|prism|pyramid|cylinder|sphere|circle|\\sin|\\cos|triple|diameter",
        r"\b(?:obtuse|acute)(?:-angled)? triangle|not a right triangle|no right angle",
    ),
    Theorem(
        "am_gm", "all terms are nonnegative", r"\bam\s*[-–]\s*gm\b|arithmetic[- ](?:mean )?(?:and )?geometric mean",
        r"positive|non-?negative|>\s*0|\\ge(?:q)?\s*0|≥\s*0|length|squares?\b|\^\{?2",
        r"\b(?:all|any) real (?:numbers|values)\b[^.]{0,40}(?:positive or negative|including negative)|\bnegative (?:real )?numbers\b",  # noqa: E501
    ),
    Theorem("vieta", "a polynomial whose degree and leading coefficient are used", r"\bvieta", r"polynomial|quadratic|cubic|roots?|x\^|equation"),  # noqa: E501
    Theorem(
        "geometric_series", "the ratio lies between -1 and 1",
        r"infinite geometric (?:series|sum)|sum (?:of|to) (?:an? )?infin|\\frac\{a[^}]*\}\{1\s*-\s*r\}",
        r"\|r\|\s*<\s*1|between|converge|ratio",
        r"diverg|common ratio (?:of|is|=|r =)\s*\$?(?:[2-9]|-[2-9]|1\d)(?![\d/.])",
    ),
    Theorem("inscribed_angle", "the vertex lies on the circle", r"\binscribed angle", r"circle|circum|\barc\b|cyclic|inscribed"),  # noqa: E501
    Theorem("lhopital", "the quotient has the form 0/0 or infinity/infinity", r"l['’]?h[oô]pital",
            r"0/0|\\frac\{0\}\{0\}|indeterminate|\\infty|∞|infinity|both[^.]*(?:zero|0|infin)",
            r"(?:numerator|denominator)[^.]{0,40}(?:approaches|tends to|goes to|is)\s*\$?(?:-?[1-9]\d*)\b(?!/)"),
    Theorem("triangle_inequality", "the three lengths are sides of one triangle", r"\btriangle inequality", r"triangle|sides?|\|"),  # noqa: E501
    Theorem("discriminant", "a quadratic with real coefficients", r"\bdiscriminant", r"quadratic|x\^|real|roots?|parabola|\^2",  # noqa: E501
            r"\blinear equation|\b(?:complex|imaginary|non-?real) coefficients"),
    Theorem("rational_root", "integer coefficients", r"\brational root", r"integer|polynomial|\d\s*x", r"irrational coefficients"),  # noqa: E501
    Theorem("product_rule", "the events are independent", r"multiply the probabilities|product of (?:the|their) probabilities",  # noqa: E501
            r"independent|each|replace|coin|dice|die|rolls?|flips?", r"not independent|dependent events"),
    Theorem("intermediate_value", "the function is continuous", r"intermediate value theorem", r"continuous|polynomial", r"discontinu|not continuous"),  # noqa: E501
    Theorem("mean_value", "continuous and differentiable", r"\bmean value theorem", r"differentiable|polynomial|smooth", r"not differentiable"),  # noqa: E501
    Theorem("similar_triangles", "two equal angles, or proportional sides", r"similar triangles|triangles? (?:are|is) similar|by similarity",  # noqa: E501
            r"similar|parallel|angle|\\sim|∼|ratio"),
    Theorem("fermat_little", "the modulus is prime and does not divide the base", r"fermat['’]?s little", r"prime|\bp\b",
            r"\bmodulus[^.]{0,20}(?:is )?(?:composite|not prime)"),
    Theorem("chinese_remainder", "the moduli are coprime", r"chinese remainder", r"coprime|relatively prime|prime|gcd", r"not (?:coprime|relatively prime)"),  # noqa: E501
)  # fmt: skip
"""Every theorem that is looked for."""
