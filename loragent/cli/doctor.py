"""``loragent doctor``: what is there, what is missing, and how to mend it."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import os
import platform
import shutil
from dataclasses import asdict, dataclass

import torch
import typer
from rich.markup import escape

from ..engine import fastest, speeds
from ..engine.choice import FILE
from ..model import compute, default_folder, ensure_default, home
from ..training.precision import fast_bfloat16
from .console import Json, out, print_json
from .open import open_library


@dataclass(frozen=True, slots=True)
class Finding:
    """One line of the report."""

    what: str
    found: str
    ok: bool = True
    mend: str = ""


def doctor(
    fetch: bool = typer.Option(False, help="Fetch and convert the default base if it is missing."), as_json: bool = Json
) -> None:
    """Check versions, device, base, cache and library; exit 1 if something needed is missing."""
    if fetch:
        compute(ensure_default)  # on this thread it would spoil the measurement below (loragent/model/compute.py)
    findings = [_python(), *_packages(), _device(), _products(), _base(), _disk(), _library()]
    if as_json:
        print_json([asdict(f) for f in findings])
    else:
        for f in findings:
            mark = "[green]ok     [/green]" if f.ok else "[red]missing[/red]"
            told = escape(f"{f.what:<12} {f.found}" + (f" — {f.mend}" if f.mend else ""))
            out.print(f"{mark} {told}", soft_wrap=True)
    if not all(f.ok for f in findings):
        raise typer.Exit(1)


def _python() -> Finding:
    return Finding("python", f"{platform.python_version()}, {platform.machine()}, {os.cpu_count()} cores")


def _packages() -> list[Finding]:
    needed = (
        "torch",
        "transformers",
        "peft",
        "safetensors",
        "pydantic",
        "langchain-core",
        "langgraph",
        "llguidance",
        "gguf",
    )
    found = [Finding(name, importlib.metadata.version(name)) for name in needed]
    plot = importlib.util.find_spec("matplotlib") is not None
    mend = "" if plot else "pip install 'loragent[plot]' for loss plots"
    return [
        *found,
        Finding("matplotlib", importlib.metadata.version("matplotlib") if plot else "not there (optional)", mend=mend),
    ]


def _device() -> Finding:
    if torch.cuda.is_available():
        return Finding("device", f"{torch.cuda.get_device_name()}, bfloat16")
    speed = "bfloat16 in hardware: fast training" if fast_bfloat16() else "no bfloat16 in hardware: training in float32"
    return Finding("device", f"cpu, {torch.get_num_threads()} threads, {speed}")


def _products() -> Finding:
    if torch.cuda.is_available():
        return Finding("answers", "bfloat16")
    found = ", ".join(f"{name} {time:.0f} us" for name, time in speeds().items())
    return Finding("answers", f"{fastest()} (a layer's products: {found}; remembered in {home() / FILE})")


def _base() -> Finding:
    folder = default_folder()
    ready = (folder / ".ready").exists()
    return Finding("base", str(folder), ready, "" if ready else "run `loragent doctor --fetch`")


def _disk() -> Finding:
    place = home()
    while not place.exists():
        place = place.parent
    free = shutil.disk_usage(place).free / 1e9
    return Finding(
        "cache", f"{home()}, {free:.1f} GB free", free > 1, "" if free > 1 else "free some, or set LORAGENT_HOME"
    )


def _library() -> Finding:
    names = open_library(None).names()
    return Finding("plugins", ", ".join(names) or "none yet")
