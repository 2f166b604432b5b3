"""AgentProcessBench: runs of agents that call tools, every message of the assistant judged by people.

    {"question": "...", "messages": [{"role": "user", ...}, {"role": "assistant", "content": "", "tool_calls": [...]},
     {"role": "tool", ...}, ...], "tools": [...], "step_labels": {"1": 1, "3": -1}, "final_label": -1,
     "data_source": "...", "query_index": 0, "sample_index": 1}

A step is a message of the assistant: its text, then its tool calls. `step_labels` is keyed by the message's index, from
0, in `messages`: +1 is right, -1 wrong, 0 neutral (0.5, as PRM800K's neutral ratings). What users and tools say before
a step is shown in front of it as its context; what stands before the first step, and the tools, are the problem. A
message of the assistant without a label is a step that nobody judged. Layout: https://github.com/RUCBM/AgentProcessBench.
"""

from __future__ import annotations

from collections.abc import Iterator

from surestep.data.datasets.dataset import Dataset, RemoteFile, RowKeys
from surestep.data.datasets.published.transcript import as_text, described, message_text, spoken
from surestep.data.records.bad_rows import BadRows, read_rows
from surestep.data.records.labels import as_integer, read_name
from surestep.data.records.reading_report import ReadReport
from surestep.data.records.record import PathOrPaths, Record
from surestep.data.trees.tree_builder import TreeBuilder, finish
from surestep.types import ROOT, ReasoningTree
from surestep.untrusted.bounds import shown
from surestep.untrusted.whole_numbers import whole_number

VERSION = 1
"""Changes whenever the trees made from the same file change."""

CONFIDENCES = {1: 1.0, 0: 0.5, -1: 0.0}
"""A label to how likely the step is right."""


def read_agent_process_bench(
    paths: PathOrPaths, *, report: ReadReport, bad_rows: BadRows = "stop"
) -> Iterator[ReasoningTree]:
    """One tree (a single path) for each run.

    Args:
        paths: .jsonl, .json, or either gzipped.
        report: counts unlabelled steps and runs that are left out.
        bad_rows: see `read_rows`.

    Raises:
        DataError: naming file and line: a broken file; where rows are not skipped, a message or a label of another
            kind, or a label of a message that is none of the assistant's.
    """
    for tree in read_rows(paths, _parse, report=report, bad_rows=bad_rows):
        if tree is not None:
            yield tree


def _parse(record: Record, report: ReadReport) -> ReasoningTree | None:
    given = enumerate(record.items("messages"))
    messages = [record.inner(value, f"message {index}") for index, value in given]
    is_step = [message.get("role") == "assistant" for message in messages]
    labels = _labels(record, is_step)
    if not any(is_step):
        report.count("no_steps", where=record.place)
        return None
    first = is_step.index(True)
    tools = "\n".join(as_text(record, tool, "a tool") for tool in record.items("tools"))
    asked = "\n\n".join(text for message in messages[:first] if (text := spoken(message)))
    problem = described([("", asked or record.optional_text("question") or ""), ("Tools", tools)])
    if not problem:
        raise record.error("there is no question and no message before the first of the assistant; give one")
    builder = TreeBuilder(problem, id=_name(record), group=_group(record))
    parent, heard = ROOT, ""
    for index, message in enumerate(messages[first:], start=first):
        if not is_step[index]:
            heard += ("\n\n" if heard else "") + spoken(message)
            continue
        text = message_text(message)
        if not text.strip():
            report.count("empty_step", where=record.place)
            break
        report.count("missing_label", int(index not in labels))
        parent = builder.add(text, parent, confidence=labels.get(index), context=heard or None)
        heard = ""
    return finish(builder, report) if len(builder) else None


def _labels(record: Record, is_step: list[bool]) -> dict[int, float]:
    """Confidence by the index of the message."""
    given = record.get("step_labels")
    values = record.inner({} if given is None else given, "'step_labels'").values
    found = {}
    for key, value in values.items():
        if value is None:
            continue
        number = as_integer(value)
        place = whole_number(key) if isinstance(key, str) else None
        index = -1 if place is None else place
        if number not in CONFIDENCES:
            raise record.error(f"the label of message {shown(key)} is {shown(value)}; allowed: 1, 0, -1 or null")
        if not 0 <= index < len(is_step) or not is_step[index]:
            raise record.error(f"'step_labels' has {shown(key)}, which is no message of the assistant")
        found[index] = CONFIDENCES[number]
    return found


def _group(record: Record) -> str:
    """The runs of one question are not independent."""
    name, source = read_name(record, "query_index"), record.optional_text("data_source")
    return f"{source or ''}/{name}" if name else ""


def _name(record: Record) -> str:
    parts = [record.path.name.split(".")[0], read_name(record, "query_index"), read_name(record, "sample_index")]
    if all(parts):
        return "/".join(parts)
    return read_name(record, "id") or f"{parts[0]}:{record.number or record.line}"


_FILES = (
    "https://raw.githubusercontent.com/RUCBM/AgentProcessBench/96bcf8a11edef0131e41b5a8340918016e454c82/data/"
    "AgentProcessBench/"
)

DATASET = Dataset(
    name="agent_process_bench",
    title="runs of agents that call tools, every message of the assistant judged",
    spelling="AgentProcessBench",
    licence="none stated in its repository: ask its authors before you pass it on",
    use="a test",
    page="https://github.com/RUCBM/AgentProcessBench",
    read=read_agent_process_bench,
    rows=(RowKeys(("messages", "step_labels")),),
    version=str(VERSION),
    language="en",
    files=tuple(
        RemoteFile(f"{name}.jsonl", f"{_FILES}{name}.jsonl") for name in ("hotpotqa", "gaia_dev", "bfcl", "tau2")
    ),
)
