"""Finding a dataset's files on disk, whatever the case of its folder.

Knows folders and file names; opens nothing.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class NeededFile:
    """A file that a split needs: what it may be called, and how to get it.

    Attributes:
        dataset: the dataset's name, which is also its folder's and `surestep data fetch`'s.
        names: allowed file names, best first; each may also end in .gz.
        folder: the folder that the configuration names, or None to search `data_dir`.
        data_dir: where datasets have their folders.
        inner_folders: where within its folder the file may lie too.
    """

    dataset: str
    names: tuple[str, ...]
    folder: Path | None
    data_dir: Path
    inner_folders: tuple[str, ...] = ()

    @property
    def folders(self) -> list[Path]:
        """Where the file may lie: the dataset's folders, each with the layout of its repository."""
        tops = [self.folder] if self.folder is not None else find_folders(self.data_dir, self.dataset)
        inner = ("", *self.inner_folders)
        return [top / part for top in tops for part in inner if (top / part).is_dir()]

    def find(self) -> Path | None:
        """The file, or None."""
        for folder in self.folders:
            names = {entry.name.lower(): entry for entry in sorted(folder.iterdir())}
            for name in self.names:
                for spelling in (name, f"{name}.gz"):
                    if (path := names.get(spelling.lower())) is not None and path.is_file():
                        return path
        return None

    def complaint(self) -> str:
        """Why it was not found, where it was looked for, and the command that gets it."""
        if self.folder is not None:
            where = f"{self.folder} ({self.dataset}_dir)"
        else:
            where = f"{self.data_dir / self.dataset} (any case; data_dir is {self.data_dir})"
        command = f"surestep data fetch {self.dataset}"
        return f"{self.dataset}: no {' or '.join(self.names)} in {where}; get it with `{command}`"


def find_folders(data_dir: Path, name: str) -> list[Path]:
    """Folders of `data_dir` called `name` in any case, in order of name."""
    if not data_dir.is_dir():
        return []
    return sorted(path for path in data_dir.iterdir() if path.name.lower() == name and path.is_dir())
