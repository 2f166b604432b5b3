"""A Python function of the user as a scorer: it runs the user's own code, so it is only ever named on this machine.

    def score(problem: str, steps: list[str]) -> list[float | None]:
        ...

One number from 0 to 1 for each step, None where there is none. Knows no model.
"""

from __future__ import annotations

import hashlib
import inspect
import os
import pkgutil
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from surestep.errors import ConfigError, InputError, SurestepError
from surestep.files import sha256_of
from surestep.scoring.other_scorers.path_scores import checked_scores, mean_over_paths, plain
from surestep.scoring.protocol import TreeScores, Wanted
from surestep.types import ReasoningTree

Function = Callable[[str, list[str]], Any]


@dataclass
class FunctionScorer:
    """A function that scores the steps of one solution.

    Attributes:
        function: takes the problem and the steps.
        name: `module:function`.

    Raises:
        InputError: on `score`: the function fails, or gives something else.
    """

    function: Function
    name: str

    @classmethod
    def named(cls, name: str) -> FunctionScorer:
        """Import `module:function`, from the folder where the command runs too.

        Raises:
            ConfigError: there is no such module or function.
        """
        module_name, colon, function_name = name.partition(":")
        if not colon or not module_name or not function_name:
            raise ConfigError(f"the scorer python:{name} names no function; allowed: python:package.module:function")
        here = os.getcwd()
        sys.path.insert(0, here)
        try:
            module = pkgutil.resolve_name(f"{module_name}:")
        except SurestepError:
            raise
        except Exception as error:  # a user's module fails as it likes
            reason = " ".join(str(error).split())[:200]
            raise ConfigError(
                f"the scorer python:{name}: the module {module_name} cannot be imported ({type(error).__name__}: "
                f"{reason}); it is looked for in {here} and where Python looks"
            ) from error
        finally:
            sys.path.remove(here)
        function = getattr(module, function_name, None)
        if not callable(function) or inspect.iscoroutinefunction(function):
            raise ConfigError(
                f"the scorer python:{name}: {module_name} has no function {function_name}; needed: {function_name}"
                "(problem, steps), no async function, which gives a list of numbers from 0 to 1"
            )
        return cls(function, name)

    def about(self) -> dict[str, Any]:
        """Which function, and the hash of the file that holds it."""
        try:
            source = inspect.getsourcefile(inspect.unwrap(self.function))
        except TypeError:  # made by no source
            source = None
        file_sha256 = None if source is None else sha256_of(Path(source))
        identity = hashlib.sha256(f"{self.name}\n{file_sha256}".encode()).hexdigest()
        return {
            "scorer": {
                "name": self.name,
                "form": "python",
                "function": self.name,
                "file_sha256": file_sha256,
                "sha256": identity,
            }
        }

    def score(
        self, trees: Sequence[ReasoningTree], *, dataset: str | None = None, wanted: Wanted = "all"
    ) -> Iterator[TreeScores]:
        """See `Scorer`: the function is asked for each path; a step on several paths has their mean."""
        for tree in trees:
            problem, steps = plain(tree)
            asked = [(path, self._ask(tree, problem, [steps[node] for node in path])) for path in tree.paths()]
            raw_N = mean_over_paths(len(tree.nodes), asked)
            yield TreeScores(raw_N, raw_N)

    def _ask(self, tree: ReasoningTree, problem: str, steps: list[str]) -> list[float | None]:
        name = self.name
        try:
            values = self.function(problem, list(steps))
        except SurestepError:
            raise
        except Exception as error:
            why = f"{type(error).__name__}: {' '.join(str(error).split())[:200]}"
            raise InputError(f"the function {name}, asked for the solution {tree.id!r}, failed ({why})") from error
        return checked_scores(values, len(steps), f"the function {name}, asked for the solution {tree.id!r},")
