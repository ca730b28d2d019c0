"""What the judge and the subject have in common: values and calls over two pipes.

One JSON object a line. A request is {"do": "call", "of": 3, "arguments": […]} and the like, an answer {"ok": value} or
{"raise": […]}. Plain data is copied, as the plain type it is, a named tuple with its names; everything else stays in its
program and is spoken to from the other.
"""
import json
import os
import sys

sys.set_int_max_str_digits(0)


class Ended(Exception):
    """The other program is gone."""


class Failure(Exception):
    """An exception of the completion's own kind."""


class Remote:
    """An object that lives in the other program: what is asked of it is asked there."""

    __slots__ = ("_link", "_id")

    def __init__(self, link, number):
        object.__setattr__(self, "_link", link)
        object.__setattr__(self, "_id", number)

    def __call__(self, *arguments, **named):
        return self._link.call(self._id, arguments, named)

    def __getattr__(self, name):
        return self._link.ask({"do": "attribute", "of": self._id, "name": name})

    def __setattr__(self, name, value):
        self._link.ask({"do": "set", "of": self._id, "name": name, "value": self._link.encode(value)})

    def __eq__(self, other):
        # Nothing that is not the other program's own compares equal: else it could say so of everything.
        return isinstance(other, Remote) and bool(self._link.method(self._id, "__eq__", other))

    def __ne__(self, other):
        return not self == other

    def __hash__(self):
        return hash(self._id)

    def __bool__(self):
        return True

    def __instancecheck__(self, other):
        return isinstance(other, Remote) and bool(self._link.ask(
            {"do": "isinstance", "of": self._id, "value": self._link.encode(other)}))


def forwarded(name, absent):
    def method(self, *arguments):
        try:
            return self._link.method(self._id, name, *arguments)
        except AttributeError as error:
            if absent is NotImplemented:
                return absent
            raise TypeError(f"{error}") from None
    return method


def compared(name):
    """A comparison of two objects of the other program; one with a value of ours could be answered with yes whatever it is."""
    method = forwarded(name, NotImplemented)
    def comparison(self, other):
        if isinstance(other, Remote):
            return method(self, other)
        raise TypeError(f"{name} of an object of the completion and a {type(other).__name__} of the tests")
    return comparison


def reckoned(name, absent):
    """Arithmetic of an object of the other program gives such an object: a plain number could be any, the wanted one too."""
    method = forwarded(name, absent)
    def operation(self, *arguments):
        value = method(self, *arguments)
        if value is NotImplemented or isinstance(value, Remote):
            return value
        raise TypeError(f"{name} of an object of the completion gave a {type(value).__name__}")
    return operation


for name in "len iter next getitem setitem delitem str repr enter exit".split():
    setattr(Remote, f"__{name}__", forwarded(f"__{name}__", None))
for name in "lt le gt ge contains".split():
    setattr(Remote, f"__{name}__", compared(f"__{name}__"))
for name in "int float index neg abs round".split():
    setattr(Remote, f"__{name}__", reckoned(f"__{name}__", None))
for name in ("add sub mul truediv floordiv mod pow radd rsub rmul rtruediv rfloordiv rmod rpow and or xor rand ror "
             "rxor").split():
    setattr(Remote, f"__{name}__", reckoned(f"__{name}__", NotImplemented))

# Modules of functions on plain data: where both programs have one, each uses its own.
MODULES = ("bisect cmath collections copy datetime decimal fractions functools heapq itertools json math numpy "
           "operator random re statistics string typing").split()
SHAPES = {"l": list, "t": tuple, "s": set, "f": frozenset}


class Link:
    """Values and calls over two pipes, one JSON line each. Plain data is copied; everything else stays where it is."""

    def __init__(self, reader, writer, serve):
        self.reader, self.writer, self.serve = reader, writer, serve
        self.objects, self.numbers, self.kinds = [], {}, {}

    # Values

    def encode(self, value, depth=0):
        if depth > 100:
            raise ValueError("a value nested more than 100 deep, or within itself")
        kind = type(value)
        if value is None or kind is bool:
            return value
        # A subclass could compare as it likes: what crosses is what the plain type holds.
        if isinstance(value, str):
            return str.__str__(value)
        if isinstance(value, int):
            return int.__int__(value)
        if isinstance(value, float):
            return float.__float__(value)
        if isinstance(value, tuple):
            fields = getattr(kind, "_fields", None)
            if isinstance(fields, tuple) and len(fields) == tuple.__len__(value):
                return {"u": [kind.__name__, [str(field) for field in fields],
                              [self.encode(item, depth + 1) for item in tuple.__iter__(value)]]}
        for tag, shape in SHAPES.items():
            if isinstance(value, shape):
                return {tag: [self.encode(item, depth + 1) for item in shape.__iter__(value)]}
        if isinstance(value, dict):
            return {"d": [[self.encode(key, depth + 1), self.encode(item, depth + 1)]
                          for key, item in dict.items(value)]}
        if isinstance(value, (bytes, bytearray)):
            return {"b" if isinstance(value, bytes) else "B": bytes(memoryview(value)).hex()}
        if isinstance(value, complex):
            return {"c": [value.real, value.imag]} if kind is complex else self.mine(value)
        if kind is range:
            return {"g": [value.start, value.stop, value.step]}
        if kind.__module__ in ("decimal", "fractions") and kind.__name__ in ("Decimal", "Fraction"):
            return {"q": [kind.__name__, str(value)]}
        if kind.__module__ == "datetime" and kind.__name__ in ("date", "time", "datetime"):
            return {"T": [kind.__name__, value.isoformat()]}
        if kind.__module__ == "datetime" and kind.__name__ == "timedelta":
            return {"D": [value.days, value.seconds, value.microseconds]}
        if kind.__module__ == "numpy" and hasattr(value, "tolist") and hasattr(value, "dtype"):
            return {"n": [self.encode(value.tolist(), depth + 1), str(value.dtype)]}
        if kind is type(os):
            return {"m": value.__name__}
        if value is NotImplemented:
            return {"N": 0}
        if isinstance(value, Remote):
            return {"y": value._id}
        if isinstance(value, type):
            import builtins
            if getattr(builtins, value.__name__, None) is value:
                return {"k": value.__name__}
            if issubclass(value, BaseException):
                return {"e": self.exception(value)}
        if not self.serve.exports(value) and hasattr(kind, "__next__") or kind.__name__ in ("dict_keys", "dict_values",
                                                                                           "dict_items"):
            return {"l": [self.encode(item, depth + 1) for item in value]}
        return self.mine(value)

    def mine(self, value):
        if not self.serve.exports(value):
            raise TypeError(f"a {type(value).__name__} of the tests cannot be handed to the completion")
        number = self.numbers.get(id(value))
        if number is None or self.objects[number] is not value:
            number = self.numbers[id(value)] = len(self.objects)
            self.objects.append(value)
        return {"r": number}

    def decode(self, value, depth=0):
        if not isinstance(value, dict):
            return value
        if depth > 110 or len(value) != 1:
            raise ValueError("the other program wrote a value that is none")
        (tag, held), = value.items()
        if tag in SHAPES:
            return SHAPES[tag]([self.decode(item, depth + 1) for item in held])
        if tag == "u":
            return self.named_tuple(held[0], held[1])._make([self.decode(item, depth + 1) for item in held[2]])
        if tag == "d":
            return {self.decode(key, depth + 1): self.decode(item, depth + 1) for key, item in held}
        if tag in "bB":
            return (bytes if tag == "b" else bytearray).fromhex(held)
        if tag == "c":
            return complex(*held)
        if tag == "g":
            return range(*held)
        if tag == "q":
            import decimal, fractions
            return {"Decimal": decimal.Decimal, "Fraction": fractions.Fraction}[held[0]](held[1])
        if tag in "TD":
            import datetime
            if tag == "D":
                return datetime.timedelta(*held)
            return {"date": datetime.date, "time": datetime.time, "datetime": datetime.datetime}[
                held[0]].fromisoformat(held[1])
        if tag == "n":
            import numpy
            items = numpy.array(self.decode(held[0], depth + 1), dtype=held[1])
            return items if items.ndim else items[()]
        if tag == "m":
            import importlib
            if held in MODULES:
                return importlib.import_module(held)
            raise ValueError(f"module {held} stays in the completion's program")
        if tag == "k":
            import builtins
            kind = getattr(builtins, held)
            if isinstance(kind, type):
                return kind
        if tag == "e":
            return self.exception_kind(held)
        if tag == "N":
            return NotImplemented
        if tag == "y":
            return self.objects[held]
        if tag == "r":
            return Remote(self, held)
        raise ValueError("the other program wrote a value that is none")

    def named_tuple(self, name, fields):
        """A tuple whose items have these names and that is else plain: no method of the other program's comes along."""
        import collections
        key = (name, *fields)
        if key not in self.kinds:
            # Renamed is what is no name of a field, one with an underscore first too: `__eq__` cannot be one.
            self.kinds[key] = collections.namedtuple(name, fields, rename=True)
        return self.kinds[key]

    # Exceptions

    def exception(self, kind):
        import builtins
        known = next((base.__name__ for base in kind.__mro__ if getattr(builtins, base.__name__, None) is base),
                     "Exception")
        return [kind.__name__, known]

    def exception_kind(self, held):
        """The builtin exception of this name, or one made for the other program's own of this name and base."""
        import builtins
        name, known = held
        kind = getattr(builtins, known, None)
        usual = isinstance(kind, type) and issubclass(kind, Exception)
        if name == known:
            return kind if usual else Failure
        if name not in self.kinds:
            self.kinds[name] = type(name, (kind if usual else Failure,), {})
        return self.kinds[name]

    # Messages

    def send(self, message):
        line = memoryview((json.dumps(message) + "\n").encode())
        while line:
            try:
                line = line[os.write(self.writer, line):]
            except OSError:
                raise Ended from None

    def receive(self):
        line = self.reader.readline()
        if not line.endswith(b"\n"):
            raise Ended
        return json.loads(line)

    def ask(self, message):
        """Sends a request and waits for its answer; requests that come meanwhile are served."""
        return self.decode(self.outcome(message)["ok"])

    def outcome(self, message):
        self.send(message)
        while True:
            answer = self.receive()
            if "do" in answer:
                self.answer(answer)
            elif "raise" in answer:
                kind, text = answer["raise"]
                raise self.exception_kind(kind)(text)
            else:
                return answer

    def call(self, number, arguments, named):
        """A call; lists, dicts and sets that the call changed are changed here too."""
        outcome = self.outcome({
            "do": "call", "of": number, "arguments": [self.encode(one) for one in arguments],
            "named": [[name, self.encode(one)] for name, one in named.items()]})
        for index, changed in outcome.get("changed", []):
            replace(arguments[index], self.decode(changed))
        return self.decode(outcome["ok"])

    def method(self, number, name, *arguments):
        return self.ask({"do": "method", "of": number, "name": name, "arguments": [self.encode(a) for a in arguments]})

    def answer(self, request):
        try:
            reply = self.perform(request)
        except Ended:
            raise
        except BaseException as error:
            reply = {"raise": [self.exception(type(error)), f"{error}"[:2000]]}
        self.send(reply)

    def perform(self, request):
        if request["do"] != "call":
            return {"ok": self.encode(self.serve.perform(self, request))}
        given = request["arguments"]
        arguments = [self.decode(one) for one in given]
        function = self.serve.callable(self.objects[request["of"]])
        value = self.encode(function(*arguments, **{name: self.decode(one) for name, one in request["named"]}))
        after = [(index, self.encode(one)) for index, one in enumerate(arguments)
                 if isinstance(one, (list, dict, set, bytearray))]
        return {"ok": value, "changed": [[index, one] for index, one in after if one != given[index]]}


def replace(container, content):
    if isinstance(container, (list, bytearray)):
        container[:] = content
    elif isinstance(container, (dict, set)):
        container.clear()
        container.update(content)
