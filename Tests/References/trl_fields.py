#!/usr/bin/env python3
"""Every field of TRL's configuration classes with its default, for Tests/JobTests/TRLKeysTests.swift.

    python Tests/References/trl_fields.py > Tests/JobTests/trl_fields.json

Made with trl 1.16.0.
"""
import dataclasses
import json

import trl
from trl.scripts.grpo import GRPOScriptArguments

CLASSES = [trl.GRPOConfig, trl.SFTConfig, trl.RLOOConfig, trl.DPOConfig, trl.ModelConfig, GRPOScriptArguments]


def default(field):
    """A default as a job file can give it; what a class works out for itself counts as nothing."""
    if field.default is not dataclasses.MISSING:
        value = field.default
    elif field.default_factory is not dataclasses.MISSING:
        value = field.default_factory()
    else:
        value = None
    value = getattr(value, "value", value)
    return value if isinstance(value, (bool, int, float, str, list, dict, type(None))) else str(value)


fields = {kind.__name__: {field.name: default(field) for field in dataclasses.fields(kind)} for kind in CLASSES}
print(json.dumps({"trl": trl.__version__, "fields": fields}, indent=0))
