"""The one way to read JSON and YAML that others wrote: bounded in every direction, checked against a schema.

    bounds       how much is read, each bound with the environment variable that raises it
    places       a file, never a pipe or a device; a name from a manifest that stays inside its folder
    encodings    texts that are no UTF-8, by name
    json_text    JSON files, logs and records
    fast_json    records that orjson is sure to read alike
    yaml_text    YAML files
    schema       values of a schema's types and ranges

Whatever a file holds, the answer is a value or one `OSError` or `ValueError` of one line, soon and in little memory;
the caller says whose file it is and how to mend it. Knows no format of ours.
"""

from __future__ import annotations

from surestep.untrusted.json_text import has_lone_surrogate, parse_json, read_document, read_json, read_json_lines
from surestep.untrusted.places import open_regular, place_inside, relative_name
from surestep.untrusted.schema import NAME, SHA256, Matching, checked, checked_record
from surestep.untrusted.yaml_text import parse_yaml

__all__ = [
    "NAME",
    "SHA256",
    "Matching",
    "checked",
    "checked_record",
    "has_lone_surrogate",
    "open_regular",
    "parse_json",
    "parse_yaml",
    "place_inside",
    "read_document",
    "read_json",
    "read_json_lines",
    "relative_name",
]
