"""In which of a few languages a text is written."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache

from py3langid.langid import MODEL_DIR, MODEL_FILE, LanguageIdentifier

ENGLISH = "en"
NAMES: Mapping[str, tuple[str, ...]] = {
    ENGLISH: ("english", "englisch", "anglais"),
    "de": ("german", "deutsch"),
    "fr": ("french", "français", "francais"),
    "es": ("spanish", "español", "espanol", "castellano"),
    "it": ("italian", "italiano"),
}


def language_of(text: str) -> str:
    """Its two letters."""
    return str(_identifier().classify(text)[0])


@cache
def _identifier() -> LanguageIdentifier:
    found = LanguageIdentifier.from_modelpath(MODEL_DIR / MODEL_FILE)  # one of our own: the module's is everybody's
    found.set_languages(list(NAMES))
    return found
