"""The Python side of a Python reward: the interpreter gets this text with -c, and a configuration as its argument.

It loads one function, says that it is ready, then answers one JSON line per request on a descriptor of its own:
whatever the function prints goes to stderr line by line, and what it reads from stdin is empty. The function runs in
the main thread, so that its own alarms work. When Plumbline is gone the program ends itself and its process group. The
standard library is all it needs.
"""
import asyncio
import copy
import difflib
import hashlib
import importlib
import importlib.util
import inspect
import json
import math
import os
import re
import signal
import sys
import threading
import time
import traceback
import types

# How verl's functions of one completion name it, and its reference; the first of each is what it names them today.
SOLUTIONS = ("solution_str", "model_output", "predict_str", "completion")
REFERENCES = ("ground_truth", "test_cases")
# What older ones have beside `completion`, which alone is verifiers' word.
BESIDE_COMPLETION = {"data_source", "extra_info", *REFERENCES}

# A function has the first style that one of its parameters speaks for.
STYLES = {
    "trl": {"completions", "completion_ids"},
    "verl_batch": {"solution_strs"},
    "verl": set(SOLUTIONS) - {"completion"},
    "openrlhf": {"queries"},
    "verifiers": {"completion"},
}
# What a call fills beside the settings; for TRL's form also every column of the row.
FILLED = {
    "trl": {"prompts", "completions", "completion_ids", "trainer_state", "log_extra", "log_metric"},
    "verl_batch": {"data_sources", "solution_strs", "ground_truths", "extra_infos"},
    "verl": {"data_source", "extra_info", *SOLUTIONS, *REFERENCES},
    "openrlhf": {"queries", "prompts", "labels"},
    "verifiers": {"prompt", "completion", "answer", "state", "task", "info"},
}
# Functions of trainers whose calls are none of these, by what they all name.
STRANGERS = {
    "AReaL's": {"prompt", "prompt_ids", "completion_ids"},
    "slime's": {"args", "sample"},
}
# What the row's prompt and completion are called where they are columns: in TRL's form they come in the plural alone.
PLURALS = {"prompt": "prompts", "completion": "completions"}
# Where a row's reference and its other columns are.
OF_A_ROW = {
    "verl_batch": "ground_truths and extra_infos", "verl": "ground_truth and extra_info", "openrlhf": "labels",
    "verifiers": "answer, task and info",
}
# An environment variable that is read by its name.
VARIABLE = re.compile(r"""\b(?:environ(?:\.get)?|getenv)\s*[\[(]\s*(["'])(\w+)\1(?!\s*\]\s*=(?!=))""")
# What TRL's own command line gives to its functions that make a reward.
USUAL_SETTINGS = {"max_completion_len": 1280, "soft_punish_cache": 256}


class Unusable(Exception):
    pass


def watch_parent(parent):
    while os.getppid() == parent:
        time.sleep(0.5)
    os.killpg(os.getpgrp(), signal.SIGKILL)


def told(error):
    """What Python says of an error, without the frames of this host and of the import machinery in front."""
    report = traceback.TracebackException.from_exception(error)
    frames = list(report.stack)
    while frames and frames[0].filename.startswith(("<string>", "<frozen importlib")):
        frames.pop(0)
    report.stack = traceback.StackSummary.from_list(frames)
    return "".join(report.format() if frames else report.format_exception_only())[-6000:]


def member(module, name, where):
    if hasattr(module, name):
        return getattr(module, name)
    near = difflib.get_close_matches(name, [n for n in dir(module) if callable(getattr(module, n))], 3)
    own = [n for n, value in vars(module).items() if inspect.isfunction(value) and not n.startswith("_")]
    hint = "; it has " + ", ".join(own[:10]) if own else ""
    hint = "; did you mean " + " or ".join(near) + "?" if near else hint
    raise Unusable(f"{where} has no function '{name}'{hint}")


def load(target):
    path, colon, name = target.rpartition(":")
    if colon:
        if not os.path.isfile(path):
            raise Unusable(f"there is no file {os.path.abspath(path)}")
        return member(module_of_file(os.path.abspath(path)), name, path)
    module, dot, name = target.rpartition(".")
    if not dot:
        raise Unusable(f"'{target}' is neither path/file.py:function nor package.module.function")
    return member(importlib.import_module(module), name, f"module {module}")


def module_of_file(path):
    """The file as a module: of its package where it lies in one, so that relative imports find what they name."""
    folder, names = os.path.dirname(path), [os.path.splitext(os.path.basename(path))[0]]
    beside = folder
    while os.path.isfile(os.path.join(folder, "__init__.py")):
        folder, package = os.path.split(folder)
        names.insert(0, package)
    if len(names) > 1:
        sys.path.append(beside)  # what lies beside the file can be imported by its plain name too
        return module_of_package(path, folder, [name for name in names if name != "__init__"])
    sys.path.insert(0, folder)
    name = names[0] if names[0] not in sys.modules else "reward_" + names[0]
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None:
        raise Unusable(f"{path} is no Python file")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


def module_of_package(path, folder, names):
    """The module of dotted names below the folder; packages above it whose own files cannot be imported are stood in for."""
    sys.path.insert(0, folder)
    own, above = ".".join(names), names[:-1]
    try:
        if above:
            importlib.import_module(".".join(above))
    except Exception as error:
        print(f"{own} is loaded without the __init__.py above it: {type(error).__name__}: {error}", file=sys.stderr)
        for name in [name for name in sys.modules if name.split(".")[0] == names[0]]:
            del sys.modules[name]
        for count in range(1, len(names)):
            package = types.ModuleType(".".join(names[:count]))
            package.__path__ = [os.path.join(folder, *names[:count])]
            sys.modules[package.__name__] = package
    module = importlib.import_module(own)
    if not os.path.samefile(module.__file__, path):
        raise Unusable(f"{path} is module {own} of its package, and that name is taken by {module.__file__}")
    return module


def parameters(function):
    try:
        kinds = inspect.signature(function).parameters.values()
    except (TypeError, ValueError):
        return set(), True
    names = {p.name for p in kinds if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)}
    return names, any(p.kind == p.VAR_KEYWORD for p in kinds)


def unfilled(function, style, settings):
    """Parameters without a default that neither a call nor the settings fill; in TRL's form they are columns of the row."""
    try:
        kinds = inspect.signature(function).parameters.values()
    except (TypeError, ValueError):
        return []
    named = [p for p in kinds if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY) and p.default is p.empty]
    return [p.name for p in named if p.name not in FILLED[style] and p.name not in settings]


def style_of(function):
    names, _ = parameters(function)
    if "completion" in names and names & BESIDE_COMPLETION:
        return "verl"
    fitting = [style for style, wanted in STYLES.items() if wanted & names]
    return fitting[0] if fitting else None


def made(function, config):
    """What a function gives that makes the reward from its settings."""
    settings = config["settings"]
    try:
        kinds = inspect.signature(function).parameters.values()
        inspect.signature(function).bind(**settings)
    except ValueError:
        pass  # it does not say what it takes
    except TypeError as error:
        needed = [p.name for p in kinds if p.default is p.empty and p.kind not in (p.VAR_POSITIONAL, p.VAR_KEYWORD)]
        line = ", ".join(f"{name}: {settings.get(name, USUAL_SETTINGS.get(name, '…'))}" for name in needed)
        raise Unusable(
            f"'{config['target']}' makes the reward from settings ({error}). In reward_funcs: "
            f"{{path: \"{config['target']}\", settings: {{{line}}}}}") from None
    return function(**settings)


def prepare(config):
    """The function, its style, and the settings each call gets as keyword arguments."""
    function, settings = load(config["target"]), config["settings"]
    if not callable(function):
        raise Unusable(f"'{config['target']}' is a {type(function).__name__}, not a function")
    style = style_of(function)
    makes = getattr(function, "__name__", "").startswith(("get_", "make_", "build_"))
    if style is None and (settings or makes):
        reward = made(function, config)
        if callable(reward):
            function, settings, style = reward, {}, style_of(reward)
    names = parameters(function)[0]
    for family in [family for family, wanted in STRANGERS.items() if wanted <= names and not config["style"]]:
        raise Unusable(
            f"its parameters ({', '.join(sorted(STRANGERS[family]))}) are {family}, whose functions are not called "
            "here; wrap it in a function of verl's form, for one completion: compute_score(data_source, solution_str, "
            "ground_truth, extra_info)" + (
                "; or of TRL's, for all completions of a prompt: f(prompts, completions, completion_ids, **columns)"
                if "completion_ids" in names else ""))
    style = config["style"] or style
    if style is None:
        names = ", ".join(sorted(names)) or "nothing"
        raise Unusable(
            f"its parameters ({names}) are neither TRL's (completions), verl's (solution_str, solution_strs), "
            "OpenRLHF's (queries) nor verifiers' (completion); name the style with style:")
    missing = unfilled(function, style, settings)
    if style == "trl":
        for name in missing:
            if name in PLURALS:
                raise Unusable(
                    f"its parameter '{name}' is neither an argument of TRL's form (did you mean {PLURALS[name]}?) "
                    "nor a column that it is given")
    elif missing:
        line = ", ".join(f"{name}: …" for name in missing)
        raise Unusable(
            f"nothing fills its parameters {', '.join(missing)}; 'settings: {{{line}}}' gives every row the same, and "
            f"what a row has comes as {OF_A_ROW[style]}")
    return function, style, settings


def source_file(function):
    try:
        return inspect.getsourcefile(function if hasattr(function, "__code__") else type(function))
    except TypeError:
        return ""  # it is written in C


def source_hash(function, config):
    function = inspect.unwrap(function)
    try:
        with open(source_file(function), "rb") as file:
            content = file.read()
    except (TypeError, OSError):
        content = repr(function).encode()
    settings = json.dumps([config["target"], config["settings"]], sort_keys=True).encode()
    return hashlib.sha256(content + b"\0" + settings).hexdigest()


def variables(path):
    """The environment variables that a source file reads by their names."""
    try:
        with open(path, encoding="utf-8") as file:
            return sorted({name for _, name in VARIABLE.findall(file.read())})
    except (TypeError, OSError, ValueError):
        return []


def plain(value):
    """Tensors and arrays as lists, numbers of any library as Python's, what is not finite as None."""
    if hasattr(value, "tolist"):
        value = value.tolist()
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, dict):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple, set)):
        return [plain(item) for item in value]
    return value if value is None or isinstance(value, (str, int, bool)) else str(value)


def judged(value, style):
    """Score, state and error of what a function returned for one completion."""
    if value is None:
        return None, "na", None
    if hasattr(value, "item") and not isinstance(value, (int, float)):
        try:
            value = value.item()
        except Exception:
            return None, "error", f"the reward returned a {type(value).__name__} of several numbers, not one"
    if not isinstance(value, (int, float)):
        return None, "error", f"the reward returned {value!r:.80} ({type(value).__name__}), not a number"
    try:
        score = float(value)
    except OverflowError:
        score = math.inf
    if style == "trl" and math.isnan(score):
        return None, "na", "the reward returned nan, which is TRL's word for no score"  # its trainer makes it of None
    if not math.isfinite(score):
        return None, "error", f"the reward returned {score}, not a finite number"
    return score, "ok", None


def listed(values, count):
    """The values of a batch function as a list of the right length."""
    values = values.tolist() if hasattr(values, "tolist") else values
    if not isinstance(values, (list, tuple)):
        raise TypeError(f"the reward returned a {type(values).__name__}, not a list of {count} scores")
    if len(values) != count:
        raise ValueError(f"the reward returned {len(values)} scores for {count} completions")
    return list(values)


def scored(result):
    """The score of what a function in verl's form returns for one completion, and what stands beside it."""
    if isinstance(result, dict):
        return result["score"], {str(key): value for key, value in result.items() if key != "score"}
    if isinstance(result, (list, tuple)) and result:
        return result[0], {}  # verl takes the first of several
    return result, {}


class Remarks:
    """What a function logs in one call: TRL's log_extra and log_metric."""

    def __init__(self):
        self.columns, self.numbers = {}, {}

    def log_extra(self, column, values):
        self.columns.setdefault(str(column), []).extend(values)

    def log_metric(self, name, value):
        self.numbers.setdefault(str(name), []).append(float(value))

    def taken(self, count):
        """The columns, and the mean of each metric."""
        for column, values in self.columns.items():
            if len(values) != count:
                raise ValueError(f"log_extra('{column}', …) got {len(values)} values for {count} completions")
        return self.columns, {name: sum(values) / len(values) for name, values in self.numbers.items()}


class Host:
    def __init__(self, function, style, settings, reply):
        self.function, self.style, self.settings, self.reply = function, style, settings, reply
        self.names, self.takes_all = parameters(function)
        self.loop = asyncio.new_event_loop()
        self.pid = os.getpid()

    def call(self, arguments):
        if not self.takes_all and self.names:
            arguments = {key: value for key, value in arguments.items() if key in self.names}
        try:
            result = self.function(**arguments)
            if inspect.isawaitable(result):
                result = self.loop.run_until_complete(self.awaited(result))
        finally:
            if os.getpid() != self.pid:
                os._exit(0)  # a fork of the function came back here: only the first process answers
        return result

    @staticmethod
    async def awaited(result):
        return await result

    def answer(self, request):
        count = len(request["completions"])
        if self.style == "verl":
            for index in range(count):
                self.guarded(request, index, 1, lambda: self.verl(request, index))
        elif self.style == "verifiers":
            for index in range(count):
                self.guarded(request, index, 1, lambda: self.verifiers(request, index))
        elif self.style == "verl_batch":
            self.guarded(request, 0, count, lambda: self.verl_batch(request, count))
        elif self.style == "openrlhf":
            self.guarded(request, 0, count, lambda: self.openrlhf(request, count))
        else:
            self.guarded(request, 0, count, lambda: self.trl(request, count))

    def guarded(self, request, index, count, work):
        start = time.perf_counter()
        try:
            values, extra, metrics = work()
            parts = [judged(value, self.style) for value in values]
        except BaseException as error:
            parts, extra, metrics = [(None, "error", told(error))] * count, {}, {}
        self.reply({
            "id": request["id"], "index": index, "scores": [p[0] for p in parts],
            "states": [p[1] for p in parts], "errors": [p[2] for p in parts], "extra": plain(extra),
            "metrics": plain(metrics), "ms": (time.perf_counter() - start) * 1000,
        })

    def trl(self, request, count):
        remarks = Remarks()
        arguments = dict(request["columns"])
        arguments.update(self.settings)
        arguments.update(
            prompts=request["prompts"], completions=request["completions"],
            completion_ids=request["completion_ids"],
            trainer_state=types.SimpleNamespace(**request["trainer_state"]),
            log_extra=remarks.log_extra, log_metric=remarks.log_metric)
        return listed(self.call(arguments), count), *remarks.taken(count)

    def verl(self, request, index):
        arguments = dict(
            self.settings, data_source=request["data_source"], ground_truth=request["ground_truth"],
            extra_info=dict(request["extra_info"] or {}))
        solution = next((name for name in SOLUTIONS if name in self.names), SOLUTIONS[0])
        arguments[solution] = request["completions"][index]
        for name in self.names & set(REFERENCES):
            arguments[name] = request["ground_truth"]
        score, extra = scored(self.call(arguments))
        return [score], {name: [value] for name, value in extra.items()}, {}

    def verifiers(self, request, index):
        # Its own: what a function changes in them must not reach the next completion.
        row = copy.deepcopy({name: request[name] for name in ("prompt", "answer", "task", "info")})
        row["completion"] = request["completions"][index]
        return [self.call(dict(self.settings, **row, state=dict(row)))], {}, {}

    def verl_batch(self, request, count):
        values = listed(self.call(dict(
            self.settings, data_sources=[request["data_source"]] * count, solution_strs=request["completions"],
            ground_truths=[request["ground_truth"]] * count,
            extra_infos=[dict(request["extra_info"] or {}) for _ in range(count)])), count)
        scores = [scored(value) for value in values]
        names = sorted({name for _, extra in scores for name in extra})
        return [score for score, _ in scores], {n: [extra.get(n) for _, extra in scores] for n in names}, {}

    def openrlhf(self, request, count):
        arguments = dict(
            self.settings, queries=request["queries"], prompts=request["prompts"], labels=request["labels"])
        result = self.call(arguments)
        if not isinstance(result, dict):
            return listed(result, count), {}, {}
        extra, metrics = {}, {}
        logs = dict(plain(result.get("extra_logs") or {}))
        if result.get("scores") is not None:
            logs["scores"] = plain(result["scores"])
        for name, value in logs.items():
            if isinstance(value, list) and len(value) == count:
                extra[name] = value
            elif isinstance(value, (int, float)):
                metrics[name] = value
        return listed(result["rewards"], count), extra, metrics


def main():
    config = json.loads(sys.argv[1])
    requests = os.fdopen(os.dup(0), "rb")
    out = os.dup(1)
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    os.dup2(2, 1)
    sys.stdout.reconfigure(line_buffering=True)  # what was printed before a crash must not be lost
    threading.Thread(target=watch_parent, args=(os.getppid(),), daemon=True).start()

    def reply(message):
        line = memoryview((json.dumps(message) + "\n").encode())
        while line:
            line = line[os.write(out, line):]

    try:
        function, style, settings = prepare(config)
    except Unusable as problem:
        return reply({"ready": 0, "error": str(problem)})
    except BaseException as error:
        hint = f"the interpreter is {sys.executable}; 'python:' names another one, such as a virtual environment's"
        hint = hint if isinstance(error, ImportError) else ""
        return reply({
            "ready": 0, "error": "loading it failed:\n" + told(error) + hint,
            "variables": variables(config["target"].rpartition(":")[0])})
    host = Host(function, style, settings, reply)
    asyncio.set_event_loop(host.loop)
    reply({
        "ready": 1, "name": getattr(function, "__name__", type(function).__name__), "style": style,
        "async": inspect.iscoroutinefunction(function), "source": source_hash(function, config),
        "columns": unfilled(function, style, settings), "variables": variables(source_file(inspect.unwrap(function))),
        "readsTokenIDs": style == "trl" and "completion_ids" in host.names,
    })
    for line in requests:
        host.answer(json.loads(line))


main()
