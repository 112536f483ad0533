"""Making a role folder from data, or from a long prompt and its teacher's answers."""

from __future__ import annotations

import json
import random
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ..base import Base
from ..core import DataError, RoleError
from ..learning import DialogueCurriculum
from ..plugin import check_name
from ..training import TrainSettings, read_examples
from .distil import answered
from .queries import read_queries
from .spec import RoleSpec, load_role, write_role


def role_folder(
    base: Base,
    folder: str | Path | None,
    data: str | Path | None,
    prompt: str | Path | None,
    queries: str | Path | None,
    name: str | None,
    out: str | Path | None,
) -> RoleSpec:
    """The role folder to train, made from data or a prompt if it isn't there yet."""
    if folder is not None:
        if data or prompt or queries:
            raise RoleError(
                "a role folder brings its own data", "give either the folder, or data, or prompt and queries"
            )
        return load_role(folder)
    if name is None:
        raise RoleError("a new role needs a name", "pass name=...")
    place = Path(out) if out is not None else Path("roles") / check_name(name)
    if data is not None:
        examples = read_examples(data)
        most, context = TrainSettings().max_tokens, base.context_length
        checked = DialogueCurriculum(Path(data), examples, base.template, max_tokens=most, context=context)
        checked.rows()  # names the user's own file and line
        return _write_split(place, name, "", [dict(e.raw) for e in examples], Path(data))
    if prompt is None or queries is None:
        raise RoleError("nothing to train from", "pass a role folder, or data, or prompt and queries")
    return _from_prompt(base, place, name, Path(prompt), Path(queries))


def _from_prompt(base: Base, place: Path, name: str, prompt: Path, queries: Path) -> RoleSpec:
    try:
        text = prompt.read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(prompt, f"can't be read ({error})", "name a text file with the prompt") from error
    asked = read_queries(queries)
    dialogues = answered(base, text, asked)
    rows = [{"messages": [m.to_wire() for m in d], "distilled": True} for d in dialogues]
    return _write_split(place, name, text, rows, queries)


def _write_split(place: Path, name: str, prompt: str, raw: Sequence[dict[str, Any]], source: Path) -> RoleSpec:
    """Write a role folder with a tenth of the rows held out; files with other rows are never overwritten."""
    if len(raw) < 2:
        raise DataError(source, "one row can't be both trained and held out", "bring more rows")
    spec = write_role(place, name, prompt=prompt)
    order = list(range(len(raw)))
    random.Random(13).shuffle(order)
    held = set(order[: max(1, round(0.1 * len(raw)))])
    parts = {
        spec.train_file: [r for i, r in enumerate(raw) if i not in held],
        spec.eval_file: [r for i, r in enumerate(raw) if i in held],
    }
    texts = {path: "".join(json.dumps(r, ensure_ascii=False) + "\n" for r in rows) for path, rows in parts.items()}
    for path, text in texts.items():
        if path.exists() and path.read_text(encoding="utf-8") != text:
            raise RoleError(f"{path} holds other rows already", "choose another out, or train that folder as it is")
    for path, text in texts.items():
        temporary = path.with_suffix(".new")
        temporary.write_text(text, encoding="utf-8")
        temporary.replace(path)
    return spec
