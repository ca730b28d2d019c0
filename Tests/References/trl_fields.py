#!/usr/bin/env python3
"""Names of every field of TRL's configuration classes, for Tests/JobTests/TRLKeysTests.swift.

    python Tests/References/trl_fields.py > Tests/JobTests/trl_fields.json

Made with trl 1.16.0.
"""
import dataclasses
import json

import trl
from trl.scripts.grpo import GRPOScriptArguments

CLASSES = [trl.GRPOConfig, trl.SFTConfig, trl.DPOConfig, trl.ModelConfig, GRPOScriptArguments]

fields = {kind.__name__: [field.name for field in dataclasses.fields(kind)] for kind in CLASSES}
print(json.dumps({"trl": trl.__version__, "fields": fields}, indent=0))
