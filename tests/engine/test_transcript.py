"""Text that comes token by token is the text of all tokens."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from transformers import AutoTokenizer

from loragent.engine.transcript import HALF, Transcript
from loragent.model import ChatTemplate


@given(st.lists(st.integers(0, 258), max_size=60))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=200, deadline=None)
def test_any_bytes_read_like_all_of_them(tiny: Path, tokens: list[int]) -> None:
    """Half characters, bytes that are none, and special tokens, which have no text."""
    decode = ChatTemplate(AutoTokenizer.from_pretrained(tiny), [2]).decode
    transcript = Transcript(decode)
    for end, token in enumerate(tokens, start=1):
        assert transcript.add(token) == decode(tokens[:end])


def test_a_character_of_several_tokens_is_half_until_it_is_whole(tiny: Path) -> None:
    template = ChatTemplate(AutoTokenizer.from_pretrained(tiny), [2])
    transcript = Transcript(template.decode)
    seen = [transcript.add(token) for token in template.ids("né")]
    assert seen == ["n", "n" + HALF, "né"]


def test_few_tokens_are_decoded_anew() -> None:
    asked: list[int] = []

    def decode(ids: Sequence[int]) -> str:
        asked.append(len(ids))
        return "".join(chr(97 + i) for i in ids)

    transcript = Transcript(decode)
    for token in range(20):
        text = transcript.add(token)
    assert text == "abcdefghijklmnopqrst"
    assert max(asked) == 2


def test_a_tokenizer_that_writes_a_first_token_otherwise() -> None:
    """SentencePiece: a word's space is dropped where the text begins."""
    words = ["▁red", "▁sea", "s"]

    def decode(ids: Sequence[int]) -> str:
        return "".join(words[i] for i in ids).replace("▁", " ").removeprefix(" ")

    transcript = Transcript(decode)
    assert [transcript.add(token) for token in (0, 1, 2, 1)] == ["red", "red sea", "red seas", "red seas sea"]
