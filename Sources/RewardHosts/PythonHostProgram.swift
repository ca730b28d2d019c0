/// The Python side of a Python reward: one program of the standard library, given to the interpreter with `-c`.
///
/// It loads one function, says that it is ready, then answers one JSON line per request on a descriptor of its own: whatever the
/// function prints goes to stderr line by line, and what it reads from stdin is empty. The function runs in the main thread, so that its own
/// alarms work. When Plumbline is gone the program ends itself and its process group.
enum PythonHostProgram {
    static let source = #"""
        import asyncio, difflib, hashlib, importlib, importlib.util, inspect, json, math, os, signal, sys, threading
        import time, traceback, types

        STYLES = {
            "trl": {"completions", "completion_ids"},
            "verl": {"solution_str"},
            "openrlhf": {"queries"},
        }


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
                sys.path.insert(0, os.path.dirname(os.path.abspath(path)))
                stem = os.path.splitext(os.path.basename(path))[0]
                spec = importlib.util.spec_from_file_location(stem, path)
                if spec is None:
                    raise Unusable(f"{path} is no Python file")
                module = importlib.util.module_from_spec(spec)
                sys.modules[stem] = module
                spec.loader.exec_module(module)
                return member(module, name, path)
            module, dot, name = target.rpartition(".")
            if not dot:
                raise Unusable(f"'{target}' is neither path/file.py:function nor package.module.function")
            return member(importlib.import_module(module), name, f"module {module}")


        def parameters(function):
            try:
                kinds = inspect.signature(function).parameters.values()
            except (TypeError, ValueError):
                return set(), True
            names = {p.name for p in kinds if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)}
            return names, any(p.kind == p.VAR_KEYWORD for p in kinds)


        def columns_of(function, settings):
            """Parameters without a default that neither the trainer nor the settings fill: columns of the prompt's row."""
            given = {"prompts", "completions", "completion_ids", "trainer_state", "log_extra", "log_metric", *settings}
            try:
                kinds = inspect.signature(function).parameters.values()
            except (TypeError, ValueError):
                return []
            named = [p for p in kinds if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY) and p.default is p.empty]
            return [p.name for p in named if p.name not in given]


        def style_of(function):
            names, _ = parameters(function)
            fitting = [style for style, wanted in STYLES.items() if wanted & names]
            return fitting[0] if fitting else None


        def prepare(config):
            """The function, its style, and the settings each call gets as keyword arguments."""
            function, settings = load(config["target"]), config["settings"]
            if not callable(function):
                raise Unusable(f"'{config['target']}' is a {type(function).__name__}, not a function")
            style = style_of(function)
            makes = getattr(function, "__name__", "").startswith(("get_", "make_", "build_"))
            if style is None and (settings or makes):
                made = function(**settings)  # a function that makes the reward from its settings
                if callable(made):
                    function, settings, style = made, {}, style_of(made)
            style = config["style"] or style
            if style is None:
                names = ", ".join(sorted(parameters(function)[0])) or "nothing"
                raise Unusable(
                    f"its parameters ({names}) are neither TRL's (completions), verl's (solution_str) nor OpenRLHF's "
                    "(queries); name the style with style:")
            return function, style, settings


        def source_hash(function, config):
            function = inspect.unwrap(function)
            try:
                path = inspect.getsourcefile(function if hasattr(function, "__code__") else type(function))
                with open(path, "rb") as file:
                    content = file.read()
            except (TypeError, OSError):
                content = repr(function).encode()
            settings = json.dumps([config["target"], config["settings"]], sort_keys=True).encode()
            return hashlib.sha256(content + b"\0" + settings).hexdigest()


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


        def judged(value):
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
            if not math.isfinite(score):
                return None, "error", f"the reward returned {score}, not a finite number"
            return score, "ok", None


        def listed(values, count):
            """The values of a batch function as a list of the right length."""
            values = values.tolist() if hasattr(values, "tolist") else values
            if not isinstance(values, (list, tuple)):
                if count != 1 or not isinstance(values, (int, float)):
                    raise TypeError(f"the reward returned a {type(values).__name__}, not a list of {count} scores")
                values = [values]
            if len(values) != count:
                raise ValueError(f"the reward returned {len(values)} scores for {count} completions")
            return list(values)


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
                elif self.style == "openrlhf":
                    self.guarded(request, 0, count, lambda: self.openrlhf(request, count))
                else:
                    self.guarded(request, 0, count, lambda: self.trl(request, count))

            def guarded(self, request, index, count, work):
                start = time.perf_counter()
                try:
                    values, extra, metrics = work()
                    parts = [judged(value) for value in values]
                except BaseException as error:
                    parts, extra, metrics = [(None, "error", told(error))] * count, {}, {}
                self.reply({
                    "id": request["id"], "index": index, "scores": [p[0] for p in parts],
                    "states": [p[1] for p in parts], "errors": [p[2] for p in parts], "extra": plain(extra),
                    "metrics": plain(metrics), "ms": (time.perf_counter() - start) * 1000,
                })

            def trl(self, request, count):
                extra, metrics = {}, {}
                arguments = dict(request["columns"])
                arguments.update(self.settings)
                arguments.update(
                    prompts=request["prompts"], completions=request["completions"],
                    completion_ids=request["completion_ids"],
                    trainer_state=types.SimpleNamespace(**request["trainer_state"]),
                    log_extra=lambda name, values: extra.__setitem__(name, list(values)),
                    log_metric=lambda name, value: metrics.__setitem__(name, float(value)))
                return listed(self.call(arguments), count), extra, metrics

            def verl(self, request, index):
                result = self.call(dict(
                    self.settings, data_source=request["data_source"], solution_str=request["completions"][index],
                    ground_truth=request["ground_truth"], extra_info=dict(request["extra_info"] or {})))
                if isinstance(result, dict):
                    extra = {key: [value] for key, value in result.items() if key != "score"}
                    return [result["score"]], extra, {}
                if isinstance(result, (list, tuple)) and result:
                    result = result[0]  # verl takes the first of several
                return [result], {}, {}

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
                return reply({"ready": 0, "error": "loading it failed:\n" + told(error) + hint})
            host = Host(function, style, settings, reply)
            asyncio.set_event_loop(host.loop)
            reply({
                "ready": 1, "name": getattr(function, "__name__", type(function).__name__), "style": style,
                "async": inspect.iscoroutinefunction(function), "source": source_hash(function, config),
                "columns": columns_of(function, settings),
            })
            for line in requests:
                host.answer(json.loads(line))


        main()
        """#
}
