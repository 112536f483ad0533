"""Measures in metric or imperial units: put into a text, and recognised in one."""

from __future__ import annotations

import re
from collections.abc import Mapping

METRIC, IMPERIAL = "metric", "imperial"
PLACE = re.compile(r"\{(-?\d+(?:\.\d+)?) (km|m|cm|kg|g|l|°C)\}")  # where a measure stands in a text
_IMPERIAL: Mapping[str, tuple[float, str]] = {  # how many of what unit a metric one is
    "km": (0.6214, "miles"), "m": (3.281, "feet"), "cm": (0.3937, "inches"),
    "kg": (2.205, "pounds"), "g": (0.03527, "ounces"), "l": (2.113, "pints"),
}  # fmt: skip
_NAMES: Mapping[str, Mapping[str, str]] = {  # of the imperial ones, in other languages
    "de": {
        "miles": "Meilen", "feet": "Fuß", "inches": "Zoll", "pounds": "Pfund", "ounces": "Unzen", "pints": "Pints",
    },
    "fr": {
        "miles": "milles", "feet": "pieds", "inches": "pouces", "pounds": "livres", "ounces": "onces",
        "pints": "pintes",
    },
    "es": {
        "miles": "millas", "feet": "pies", "inches": "pulgadas", "pounds": "libras", "ounces": "onzas",
        "pints": "pintas",
    },
    "it": {
        "miles": "miglia", "feet": "piedi", "inches": "pollici", "pounds": "libbre", "ounces": "once",
        "pints": "pinte",
    },
}  # fmt: skip
_WORDS = {
    METRIC: (
        r"km|m|cm|mm|kg|g|l|ml|°\s?C|kilomet\w+|kilóm\w+|chilom\w+|met(?:er|re)s?|m[èe]tres?|metros?|metr[io]|Metern?|"
        r"centim\w+|Zentim\w+|milli[ml]\w+|Milli[ml]\w+|kilos?|kilogr\w+|chilogr\w+|gram(?:me|o)?s?|grammi|Gramm|"
        r"lit(?:er|re|ro)s?|litri|degrees? Celsius|Celsius"
    ),
    IMPERIAL: (
        r"miles?|mi|feet|foot|ft|inch(?:es)?|pounds?|lbs?|ounces?|oz|pints?|gallons?|yards?|°\s?F|degrees? Fahrenheit|"
        r"Fahrenheit|" + "|".join(name for names in _NAMES.values() for name in names.values())
    ),
}
_NAMED = {system: re.compile(rf"\d\s?-?(?:{words})(?!\w)") for system, words in _WORDS.items()}


def measured(text: str, system: str, language: str) -> str:
    """A text with its measures in a system, to three digits; metric, where none is asked for."""
    return PLACE.sub(lambda found: _measure(float(found[1]), found[2], system, language), text)


def systems(text: str) -> list[str]:
    """The systems that the measures of a text are in."""
    return [system for system, form in _NAMED.items() if form.search(text)]


def _measure(number: float, unit: str, system: str, language: str) -> str:
    if system != IMPERIAL:
        return f"{_rounded(number)} {unit}"
    if unit == "°C":
        return f"{number * 9 / 5 + 32:.0f} °F"
    factor, name = _IMPERIAL[unit]
    return f"{_rounded(number * factor)} {_NAMES.get(language, {}).get(name, name)}"


def _rounded(number: float) -> str:
    if abs(number) >= 10:
        return f"{float(f'{number:.3g}'):.0f}"
    return f"{number:.1f}".removesuffix(".0")
