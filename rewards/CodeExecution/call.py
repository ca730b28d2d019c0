"""A test that calls a function with arguments and compares the result. The text it reads has name, input and output as JSON."""
import json

job = json.loads(JOB)
given, expected = job["input"], job["output"]
if isinstance(given, str):
    given = [json.loads(line) for line in given.split("\n") if line.strip()]
if isinstance(expected, str):
    try:
        expected = json.loads(expected)
    except ValueError:
        pass
if not isinstance(given, list):
    given = [given]
import solution

try:
    function = getattr(solution.Solution(), job["name"])
except AttributeError:
    function = getattr(solution, job["name"])


def plain(value):
    if isinstance(value, (list, tuple)):
        return [plain(item) for item in value]
    if isinstance(value, dict):
        return {str(key): plain(item) for key, item in value.items()}
    return value


found = plain(function(*given))
assert found == expected or (isinstance(expected, list) and len(expected) == 1 and found == expected[0]), \
    f"returned {found!r}"
