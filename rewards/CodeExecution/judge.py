"""Runs the tests, which ask the subject for values. Follows link.py in one program."""
import ast
import builtins
import traceback
import types


class Serve:
    """The program of the tests: the completion may call functions it is handed, and no more."""

    def exports(self, value):
        return isinstance(value, (types.FunctionType, types.BuiltinFunctionType, types.MethodType)) \
            or type(value).__module__ == "tests"

    def callable(self, value):
        if isinstance(value, (types.FunctionType, types.BuiltinFunctionType, types.MethodType)):
            return value
        raise TypeError("not a function of the tests")

    def perform(self, link, request):
        target, name = link.objects[request["of"]], request["name"]
        if type(target).__module__ != "tests" or name.startswith("_"):
            raise TypeError("not an object of the tests")
        if request["do"] == "attribute":
            return getattr(target, name)
        if request["do"] == "set":
            return setattr(target, name, link.decode(request["value"]))
        raise TypeError("not an object of the tests")


def outside_names(tree):
    """Names that the tests read and do not make; and the builtins they call, where they do not import the completion."""
    read, made = set(), set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Name):
            (read if isinstance(node.ctx, ast.Load) else made).add(node.id)
        elif isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
            made.add(node.name)
        elif isinstance(node, ast.arg):
            made.add(node.arg)
        elif isinstance(node, ast.alias):
            made.add((node.asname or node.name).split(".")[0])
        elif isinstance(node, ast.ExceptHandler) and node.name:
            made.add(node.name)
    outside = read - made
    own = {name for name in outside if hasattr(builtins, name)}
    imports = any(alias.name == "solution" for node in ast.walk(tree) if isinstance(node, ast.Import)
                  for alias in node.names) \
        or any(isinstance(node, ast.ImportFrom) and node.module == "solution" for node in ast.walk(tree))
    called = {node.func.id for node in ast.walk(tree) if isinstance(node, ast.Call) and isinstance(node.func, ast.Name)}
    return sorted(outside - own), [] if imports else sorted(own & called)


def namespace(link, tree):
    names, shadowed = outside_names(tree)
    # A completion may be asked for a function named as a builtin (`sum`), where it is the only thing that the tests ask
    # of it and the only builtin they call. Else a builtin is the builtin: `all` or `isinstance` could be made to say
    # yes.
    asked = names or (shadowed if len(shadowed) == 1 else [])
    found = link.ask({"do": "names", "names": asked})
    return {name: link.ask({"do": "get", "name": name}) for name in found if name in asked}


class Solution(types.ModuleType):
    """What `import solution` gives to tests."""

    def __getattr__(self, name):
        if name.startswith("__"):
            raise AttributeError(name)
        try:
            return self.link.ask({"do": "get", "name": name})
        except KeyError:
            raise AttributeError(f"the completion defines no {name}") from None


def parsed(test):
    try:
        tree = ast.parse(test, "tests.py")
        compile(tree, "tests.py", "exec")
        return tree
    except (SyntaxError, ValueError) as error:
        sys.stderr.write(f"{type(error).__name__}: {error}"[:500] + "\n")
        sys.stderr.flush()
        os._exit(11)


def run(job):
    tree = parsed(job["test"])
    link = Link(os.fdopen(3, "rb"), 4, Serve())
    link.ask({"do": "load", "code": job["code"]})
    sys.modules["solution"] = module = Solution("solution")
    module.link = link
    own = {"__name__": "tests", **namespace(link, tree)}
    exec(compile(tree, "tests.py", "exec"), own)
    for name, test in list(own.items()):
        if name.startswith("test_") and isinstance(test, types.FunctionType) and test.__code__.co_argcount == 0:
            test()


try:
    job = json.load(sys.stdin.buffer)
    run(job)
except Ended:
    sys.stderr.write("the completion's program ended\n")
    sys.stderr.flush()
    os._exit(10)
except BaseException as error:
    frames = [frame for frame in traceback.extract_tb(error.__traceback__) if frame.filename == "tests.py"]
    lines = job["test"].splitlines() if "job" in globals() else []
    number = frames[-1].lineno if frames else 0
    where = f" at: {lines[number - 1].strip()[:200]}" if 0 < number <= len(lines) else ""
    sys.stderr.write(f"{type(error).__name__}: {error}"[:500] + where + "\n")
    sys.stderr.flush()
    os._exit(10)
os._exit(0)
