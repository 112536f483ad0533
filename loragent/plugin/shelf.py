"""A shelf: all versions of one plugin in one folder, with a pointer to the one in use.

    shelf/
      pointer.json      {"current": 2, "next": 4}; replaced atomically
      1/ 2/ 3/          immutable: plugin.json, adapter_model.safetensors, adapter_config.json, evidence;
                        but for the scores in plugin.json, which are of held-out rows that may have changed since

A version is written into a scratch folder, flushed to disk, renamed into place, and only then does the
pointer move; so a process killed at any instant leaves the old version in use.
"""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from filelock import FileLock, Timeout

from ..core import PluginBusy, PluginError, PluginNotFound, PluginRefused
from .manifest import FILE as MANIFEST
from .manifest import Manifest, sha256_of
from .weights import CONFIG, WEIGHTS

POINTER = "pointer.json"
NONE = 0  # as the version in use: none is
EVIDENCE = ("metrics.jsonl", "loss.png", "samples.json", "registry.json", "README.md")


@dataclass(frozen=True, slots=True)
class Plugin:
    """A version on disk: where it lies and what its manifest says."""

    path: Path
    manifest: Manifest

    @property
    def name(self) -> str:
        return self.manifest.name

    @property
    def version(self) -> int:
        return self.manifest.version

    @property
    def key(self) -> str:
        """Identifies exactly what it computes: the weights and the scaling that the config asks for."""
        weights = self.manifest.sha256 or sha256_of(self.path / WEIGHTS)
        return f"{weights}:{self.manifest.config_sha256 or sha256_of(self.path / CONFIG)}"

    def __str__(self) -> str:
        return f"{self.name}@{self.version}"


class Shelf:
    """Versions of one plugin.

    Args:
        path: the shelf's folder; made at the first publish.
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    def exists(self) -> bool:
        """True once something was published."""
        return (self.path / POINTER).is_file()

    def versions(self) -> list[int]:
        """Version numbers on the shelf, ascending."""
        if not self.path.is_dir():
            return []
        return sorted(int(p.name) for p in self.path.iterdir() if p.name.isdigit() and (p / MANIFEST).is_file())

    def current(self) -> int:
        """The version in use.

        Raises:
            PluginNotFound: nothing was published here, or it was withdrawn.
            PluginRefused: the pointer is unreadable.
        """
        current = self._pointer()["current"]
        if current == NONE:
            known = ", ".join(map(str, self.versions())) or "none"
            raise PluginNotFound(
                f"no version of {self.path.name} is in use", f"roll back to one of those there: {known}"
            )
        return current

    def get(self, version: int | None = None) -> Plugin:
        """A version, by default the one in use."""
        number = self.current() if version is None else version
        folder = self.path / str(number)
        manifest = Manifest.read(folder) if folder.is_dir() else None
        if manifest is None:
            known = ", ".join(map(str, self.versions())) or "none"
            raise PluginNotFound(f"{self.path.name} has no version {number}", f"there: {known}")
        return Plugin(folder, manifest)

    def publish(self, source: Path, manifest: Manifest) -> Plugin:
        """Copy a PEFT folder onto the shelf as the next version and make it the one in use.

        Raises:
            PluginBusy: another process publishes here right now.
            PluginError: the disk is full or read-only; the old version stays.
        """
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            with self._locked():
                return self._publish(source, manifest)
        except OSError as error:
            raise PluginError(
                f"can't publish into {self.path} ({error.strerror or error})",
                "the old version stays; mend the disk and try again",
            ) from error

    def rollback(self, to: int | None = None) -> Plugin:
        """Move the pointer back, by default to the version before the one in use."""
        with self._locked():
            if to is not None:  # works without a readable pointer too, and so mends one
                plugin = self.get(to)
                self._point(to, self._next())
                return plugin
            current = self.current()
            earlier = [v for v in self.versions() if v < current]
            if not earlier:
                raise PluginNotFound(f"{self.path.name} has no version before {current}", "publish another one first")
            plugin = self.get(earlier[-1])
            self._point(plugin.version, self._next())
            return plugin

    def note_scores(self, before: Mapping[str, float], after: Mapping[str, float]) -> Plugin:
        """Replace the scores, without and with the plugin, in the manifest of the version in use; atomically."""
        with self._locked():
            plugin = self.get()
            manifest = plugin.manifest.model_copy(update={"before": dict(before), "after": dict(after)})
            with tempfile.TemporaryDirectory(prefix=".part-", dir=self.path) as part:
                manifest.write(Path(part))
                _flush_one(Path(part) / MANIFEST)
                (Path(part) / MANIFEST).replace(plugin.path / MANIFEST)
            _flush_one(plugin.path)
            return Plugin(plugin.path, manifest)

    def withdraw(self) -> None:
        """Take the version in use out of use, and no other in; what is published next counts on."""
        with self._locked():
            self._point(NONE, self._next())

    def gc(self, keep: int = 2) -> list[int]:
        """Remove leftovers of killed runs and all but the newest ``keep`` versions; never the one in use."""
        with self._locked():
            for leftover in self.path.glob(".part-*"):
                shutil.rmtree(leftover, ignore_errors=True)
            versions, current = self.versions(), self._pointer()["current"]
            doomed = [v for v in versions[: max(0, len(versions) - keep)] if v != current]
            for version in doomed:
                self._remove(version)
            return doomed

    def remove(self, version: int) -> None:
        """Remove one version that is not in use."""
        with self._locked():
            if version == self._pointer()["current"]:
                raise PluginError(
                    f"{self.path.name}@{version} is in use", "roll back first, or remove the whole plugin"
                )
            self.get(version)
            self._remove(version)

    def _publish(self, source: Path, manifest: Manifest) -> Plugin:
        number = self._next()
        part = Path(tempfile.mkdtemp(prefix=".part-", dir=self.path))
        try:
            for name in (WEIGHTS, CONFIG, *EVIDENCE):
                if (source / name).is_file() and not (source / name).is_symlink():
                    shutil.copyfile(source / name, part / name)
            stamped = manifest.model_copy(
                update={
                    "version": number,
                    "sha256": sha256_of(part / WEIGHTS),
                    "config_sha256": sha256_of(part / CONFIG),
                    "created": datetime.now(UTC).isoformat(timespec="seconds"),
                }
            )
            stamped.write(part)
            part.chmod(0o755)
            _flush(part)
            part.rename(self.path / str(number))
        finally:
            shutil.rmtree(part, ignore_errors=True)
        self._point(number, number + 1)
        return Plugin(self.path / str(number), stamped)

    def _remove(self, version: int) -> None:
        # The manifest goes first: a half-removed version is not a version any more.
        folder = self.path / str(version)
        (folder / MANIFEST).unlink()
        shutil.rmtree(folder)

    def _pointer(self) -> dict[str, int]:
        path = self.path / POINTER
        try:
            raw = json.loads(path.read_text())
            return {"current": int(raw["current"]), "next": int(raw["next"])}
        except FileNotFoundError:
            raise PluginNotFound(f"no plugin was published in {self.path}", "train or import one") from None
        except (ValueError, KeyError, TypeError) as error:
            way_out = "roll back to a version (`rollback NAME --to N`) to write it anew"
            raise PluginRefused(POINTER, f"{path} is unreadable", way_out) from error

    def _next(self) -> int:
        """A number that no version has or had."""
        try:
            noted = self._pointer()["next"]
        except PluginError:
            noted = 1
        return max(noted, *(v + 1 for v in self.versions()), 1)

    def _point(self, current: int, following: int) -> None:
        temporary = self.path / f".{POINTER}.new"
        temporary.write_text(json.dumps({"current": current, "next": following}) + "\n")
        _flush_one(temporary)
        temporary.replace(self.path / POINTER)
        _flush_one(self.path)

    @contextmanager
    def _locked(self) -> Iterator[None]:
        self.path.mkdir(parents=True, exist_ok=True)
        try:
            with FileLock(self.path / ".lock", timeout=10):
                yield
        except Timeout:
            raise PluginBusy(f"another process writes into {self.path}", "wait until it is done") from None


def _flush(folder: Path) -> None:
    for path in folder.iterdir():
        _flush_one(path)
    _flush_one(folder)


def _flush_one(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
