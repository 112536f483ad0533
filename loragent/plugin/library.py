"""The library: plugins by name, on disk, with versions."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path

from ..core import PluginError, PluginNotFound, PluginRefused
from ..model import compute
from .manifest import Manifest, check_name, sha256_of
from .shelf import EVIDENCE, POINTER, Plugin, Shelf
from .weights import CONFIG, WEIGHTS, LoraWeights, Shapes, load_weights

SHOWN = 12  # names that an error lists at most


@dataclass(frozen=True, slots=True)
class Difference:
    """What changed between two versions: fields (old, new), and by layer ``|dW_b - dW_a| / |dW_a|``."""

    fields: dict[str, tuple[object, object]]
    layers: dict[str, float]


class Library:
    """A folder of shelves, one for each plugin name.

    Args:
        root: the folder; made at the first publish.
    """

    def __init__(self, root: str | Path) -> None:
        self.root = Path(root).expanduser()
        self._attached: dict[str, Shelf] = {}

    def attach(self, shelf: str | Path, *, replace: bool = True) -> str:
        """Make a shelf that lies elsewhere (a role folder's) known here by its plugin's name.

        Only in this process; nothing is copied.

        Args:
            replace: False keeps a plugin that is known by that name already.

        Returns:
            The name.
        """
        found = Shelf(Path(shelf))
        name = found.get().name
        if replace or not self.shelf(name).exists():
            self._attached[name] = found
        return name

    def names(self) -> list[str]:
        """Names of all plugins, in order."""
        on_disk = {p.name for p in self.root.iterdir() if Shelf(p).exists()} if self.root.is_dir() else set()
        return sorted(on_disk | self._attached.keys())

    def shelf(self, name: str) -> Shelf:
        """The shelf of a name, whether or not anything is on it yet."""
        return self._attached.get(name) or Shelf(self.root / check_name(name))

    def list(self) -> list[Plugin]:
        """The version in use of every plugin."""
        return [self.shelf(name).get() for name in self.names()]

    def resolve(self, entry: str | Path) -> Plugin:
        """Find a plugin by ``name``, ``name@version``, or the path of a PEFT folder or a shelf.

        Raises:
            PluginNotFound: nothing there.
            PluginRefused: something there that is no plugin.
        """
        text = str(entry)
        if isinstance(entry, Path) or "/" in text or text.startswith((".", "~")):
            return _from_path(Path(text).expanduser())
        name, _, version = text.partition("@")
        if version and not version.isdigit():
            raise PluginNotFound(f"{text!r} has no version number behind @", "write name@2, for instance")
        shelf = self.shelf(name)
        if not shelf.exists():
            if Path(text).is_dir() and not version:
                return _from_path(Path(text))
            raise self._not_found(name)
        return shelf.get(int(version) if version else None)

    def publish(
        self, source: str | Path, manifest: Manifest, *, shapes: Shapes | None = None, shelf: Shelf | None = None
    ) -> Plugin:
        """Check a PEFT folder and publish it as the next version of ``manifest.name``.

        Killed at any instant, the library still resolves the old version.

        Args:
            shapes: the base's linear layers; the weights must fit them.
            shelf: one that lies elsewhere (a role folder's) in place of the library's own.
        """
        load_weights(Path(source), shapes)
        return (shelf or self.shelf(manifest.name)).publish(Path(source), manifest)

    def rollback(self, name: str, to: int | None = None) -> Plugin:
        """Put an earlier version in use again, by default the one before."""
        return self._known(name).rollback(to)

    def remove(self, entry: str) -> None:
        """Remove ``name@version``, or a plugin with all its versions."""
        name, _, version = entry.partition("@")
        shelf = self._known(name)
        if version:
            shelf.remove(self.resolve(entry).version)
            return
        # The pointer goes first, so that a half-removed plugin is not found any more.
        (shelf.path / POINTER).unlink()
        shutil.rmtree(shelf.path)
        self._attached.pop(name, None)

    def gc(self, keep: int = 2) -> dict[str, Sequence[int]]:
        """Remove all but the newest versions of every plugin; returns what was removed."""
        return {name: self.shelf(name).gc(keep) for name in self.names()}

    def export(self, entry: str, target: str | Path) -> Path:
        """Copy a version into a new folder that stock PEFT loads."""
        plugin, folder = self.resolve(entry), Path(target)
        if folder.exists() and any(folder.iterdir()):
            raise PluginError(f"{folder} is not empty", "name a new folder")
        folder.mkdir(parents=True, exist_ok=True)
        for path in plugin.path.iterdir():
            if path.is_file():
                shutil.copyfile(path, folder / path.name)
        return folder

    def import_(
        self, source: str | Path, name: str | None = None, *, base: str = "", shapes: Shapes | None = None
    ) -> Plugin:
        """Publish a folder that loragent, PEFT, TRL, axolotl or Unsloth wrote.

        Args:
            source: the folder.
            name: the plugin's name here; by default the manifest's or the folder's.
            base: fingerprint of the base it is for; a folder made for another base is refused.
            shapes: that base's linear layers; the weights must fit them.
        """
        folder = Path(source).expanduser()
        if not folder.is_dir():
            raise PluginNotFound(f"{folder} is no folder")
        found = _from_path(folder)
        if found.manifest.base and base and found.manifest.base != base:
            raise PluginRefused(
                "base", f"made for {found.manifest.base}, this base is {base}", "load the base it was trained on"
            )
        load_weights(found.path, shapes, found.manifest)
        update = {"name": check_name(name or found.name), "base": found.manifest.base or base}
        with tempfile.TemporaryDirectory() as tmp:
            for file in (WEIGHTS, CONFIG, *EVIDENCE):
                if (found.path / file).is_file():
                    shutil.copyfile(found.path / file, Path(tmp) / file)
            return self.shelf(update["name"]).publish(Path(tmp), found.manifest.model_copy(update=update))

    def diff(self, old: str, new: str) -> Difference:
        """Compare two versions, field by field and layer by layer."""
        a, b = self.resolve(old), self.resolve(new)
        left, right = a.manifest.model_dump(), b.manifest.model_dump()
        fields = {key: (left[key], right[key]) for key in left if left[key] != right[key]}
        before, after = load_weights(a.path), load_weights(b.path)
        layers = compute(lambda: _changes(before, after))
        return Difference(fields, dict(sorted(layers.items())))

    def _known(self, name: str) -> Shelf:
        shelf = self.shelf(name)
        if not shelf.exists():
            raise self._not_found(name)
        return shelf

    def _not_found(self, name: str) -> PluginNotFound:
        names = self.names()
        shown = names if len(names) <= SHOWN else get_close_matches(name, names, SHOWN, 0.5)
        more = f" (of {len(names)}: `loragent plugins ls`)" if len(names) > SHOWN else ""
        there = (", ".join(shown) or "none like it") + more if names else "the library is empty"
        return PluginNotFound(f"no plugin {name!r} in {self.root}", f"there: {there}")


def _changes(old: LoraWeights, new: LoraWeights) -> dict[str, float]:
    """``|dW_new - dW_old| / |dW_old|`` of the layers that both touch."""
    found = {}
    for name in old.pairs.keys() & new.pairs.keys():
        x, y = (p.scaling * (p.b @ p.a) for p in (old.pairs[name], new.pairs[name]))
        found[name] = float((y - x).norm() / x.norm().clamp_min(1e-12))
    return found


def _from_path(folder: Path) -> Plugin:
    if Shelf(folder).exists():
        return Shelf(folder).get()
    if not (folder / CONFIG).is_file():
        raise PluginNotFound(f"{folder} is no plugin: it has no {CONFIG}", "name a PEFT folder")
    manifest = Manifest.read(folder)
    if manifest is None:
        weights = folder / WEIGHTS
        digest = sha256_of(weights) if weights.is_file() else ""
        safe = "".join(c if c.isalnum() or c in "_-" else "-" for c in folder.resolve().name).strip("-_") or "plugin"
        manifest = Manifest(name=safe[:64], kind="skill", sha256=digest)
    return Plugin(folder, manifest)
