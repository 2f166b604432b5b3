"""The production checklist, from files and figures to probes."""
