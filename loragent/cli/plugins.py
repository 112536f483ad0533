"""``loragent plugins``: the library from the command line."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from .console import Json, out, print_json, table
from .open import open_base, open_library

app = typer.Typer(no_args_is_help=True)
LibraryOption = Annotated[
    Path | None, typer.Option("--library", help="By default the one in LORAGENT_HOME, and ./roles.")
]


@app.command("ls")
def ls(library: LibraryOption = None, as_json: bool = Json) -> None:
    """List plugins with the version in use."""
    found = open_library(library)
    rows = [(p, found.shelf(p.name).versions()) for p in found.list()]
    if as_json:
        print_json([p.manifest.model_dump(mode="json") | {"versions": v, "path": str(p.path)} for p, v in rows])
        return
    table(
        "",
        ["plugin", "kind", "versions", "nll before", "nll after", "trained"],
        [
            [
                str(p),
                p.manifest.kind,
                ", ".join(map(str, v)),
                f"{p.manifest.before.get('nll', float('nan')):.3f}",
                f"{p.manifest.after.get('nll', float('nan')):.3f}",
                p.manifest.created[:10],
            ]
            for p, v in rows
        ],
    )


@app.command("show")
def show(entry: str, library: LibraryOption = None, as_json: bool = Json) -> None:
    """Print a plugin's manifest, which is JSON already."""
    del as_json
    plugin = open_library(library).resolve(entry)
    print_json(plugin.manifest.model_dump(mode="json") | {"path": str(plugin.path)})


@app.command("diff")
def diff(old: str, new: str, library: LibraryOption = None, as_json: bool = Json) -> None:
    """Compare two versions: manifest fields, and how far the weights moved."""
    found = open_library(library).diff(old, new)
    if as_json:
        print_json({"fields": found.fields, "layers": found.layers})
        return
    table("", ["field", old, new], [[k, str(a), str(b)] for k, (a, b) in found.fields.items()])
    mean = sum(found.layers.values()) / max(1, len(found.layers))
    out.print(f"\nweights: {len(found.layers)} layers moved by {mean:.3f} of their norm on average")


@app.command("rollback")
def rollback(
    name: str, to: Annotated[int | None, typer.Option(help="A version.")] = None, library: LibraryOption = None
) -> None:
    """Put an earlier version in use."""
    out.print(f"in use: {open_library(library).rollback(name, to)}")


@app.command("rm")
def rm(entry: str, library: LibraryOption = None) -> None:
    """Remove NAME@VERSION, or NAME with all its versions."""
    open_library(library).remove(entry)
    out.print(f"removed {entry}")


@app.command("gc")
def gc(keep: Annotated[int, typer.Option(min=1)] = 2, library: LibraryOption = None) -> None:
    """Remove all but the newest versions, and what killed runs left."""
    for name, versions in open_library(library).gc(keep).items():
        out.print(f"{name}: removed {', '.join(map(str, versions)) or 'nothing'}")


@app.command("import")
def import_(
    folder: Path,
    name: Annotated[str | None, typer.Option(help="Its name here.")] = None,
    base: Annotated[str | None, typer.Option("--base", help="The base it is for.")] = None,
    library: LibraryOption = None,
) -> None:
    """Publish a folder that PEFT, TRL, axolotl, Unsloth or loragent wrote."""
    with open_base(base, library) as loaded:
        out.print(f"imported {loaded.library.import_(folder, name, base=loaded.fingerprint, shapes=loaded.shapes)}")


@app.command("export")
def export(entry: str, folder: Path, library: LibraryOption = None) -> None:
    """Copy a version into a new folder that stock PEFT loads."""
    out.print(f"exported to {open_library(library).export(entry, folder)}")
