import Foundation
import JSON
import Records
import RewardHosts
import RewardInterface
import ShippedRewards
import Testing

private func source(_ settings: [String: JSONValue] = [:]) async throws -> any RewardSource {
    let usual: [String: JSONValue] = ["timeout": .number(2), "memory_gb": .number(0.3)]
    return try await RewardOpening.open(
        "code_execution", settings: usual.merging(settings) { $1 }, catalogue: ShippedRewards.catalogue)
}

/// The score of code against tests.
private func score(_ source: any RewardSource, _ code: String, _ tests: [JSONValue]) async throws -> RewardScore {
    let prompt = Prompt(row: 0, source: "set", content: .text("?"), columns: ["tests": .array(tests)])
    let rollout = Rollout(
        completion: Completion(text: "```python\n\(code)\n```"), samplingLogProbabilities: [],
        policyLogProbabilities: [],
        sample: 0)
    let group = RolloutGroup(
        prompt: TokenizedPrompt(prompt: prompt, tokenIDs: [1]), rollouts: [rollout], policyVersion: PolicyVersion(0))
    return try await source.score(group, at: TrainingProgress()).scores[0][0]
}

private func score(_ source: any RewardSource, _ code: String, _ test: String) async throws -> RewardScore {
    try await score(source, code, [.string(test)])
}

/// Programs of this reward that still run after two seconds.
private func leftOver() async throws -> [String] {
    for round in 0..<40 {
        let names = (try? FileManager.default.contentsOfDirectory(atPath: "/proc")) ?? []
        let found = names.filter { Int($0) != nil }.filter { name in
            let variables = FileManager.default.contents(atPath: "/proc/\(name)/environ") ?? Data()
            let text = String(decoding: variables, as: UTF8.self)
            return text.contains("PYTHONHASHSEED=0\0") && text.contains("HOME=/tmp\0")
        }
        if found.isEmpty || round == 39 { return found }
        try await Task.sleep(for: .milliseconds(50))
    }
    return []
}

/// One after the other: each looks at what the programs of the other would leave.
@Suite(.serialized) enum CodeExecutionRuns {}

extension CodeExecutionRuns {
    @Suite(
        "Code of the model runs shut in, and cannot pass its tests but by passing them",
        .enabled(if: Sandbox.problem == nil, "\(Sandbox.problem ?? "")"))
    struct CodeSandboxTests {
        /// Code and a test that it passes.
        static let honest: [(String, String)] = [
            ("def f(x): return x + 1", "assert f(2) == 3"),
            (
                "def f(x): return (1, [2, {'a': {3}}], None, 1.5, b'x', 'ü')",
                "assert f(2) == (1, [2, {'a': {3}}], None, 1.5, b'x', 'ü')"
            ),
            ("def sum(a, b): return a * b", "assert sum(2, 3) == 6"),
            (
                "class Solution:\n  def two(self, a, t): return [0, 1]",
                "s = Solution()\nassert s.two(a=[1], t=3) == [0, 1]\nassert isinstance(s, Solution)"
            ),
            ("def sort(a): a.sort()", "a = [3, 1, 2]\nsort(a)\nassert a == [1, 2, 3]"),
            ("def apply(f, xs): return [f(x) for x in xs]", "assert apply(lambda x: x * x, [1, 2]) == [1, 4]"),
            (
                "class My(Exception): pass\ndef f(x):\n  raise My('no')",
                "try:\n  f(1)\n  assert False\nexcept My as e:\n  assert str(e) == 'no'"
            ),
            ("def f(n):\n  yield from range(n)", "assert list(f(3)) == [0, 1, 2]"),
            (
                "class V:\n  def __init__(s, x): s.x = x\n  def __eq__(s, o): return s.x == o.x\n  def __add__(s, o): return V(s.x + o.x)",
                "assert V(1) + V(2) == V(3)\nassert V(1) != V(2)"
            ),
            (
                "class V:\n  def __init__(s, x): s.x = x\n  def __eq__(s, o): return s.x == o.x\n  def __mul__(s, n): return V(s.x * n)\n  def __lt__(s, o): return s.x < o.x",
                "assert V(1) * 2 == V(2)\nassert V(1) < V(2)\nassert not V(2) < V(1)"
            ),
            ("def f(x): print('noise'); return x", "from solution import f\ndef test_one():\n  assert f(1) == 1"),
            ("def f(a): return all(a)", "assert all(f(x) for x in [[1], [1, 2]])"),
            (
                "from collections import namedtuple\nP = namedtuple('P', 'x y')\ndef f(): return P(1, 2)\ndef g(p): return p.x + p.y",
                "p = f()\nassert p.x == 1 and p == (1, 2) and p == P(1, 2) and str(p) == 'P(x=1, y=2)'\nassert g(p._replace(x=5)) == 7"
            ),
            (
                "from typing import NamedTuple\nclass P(NamedTuple):\n  x: int\n  y: list\ndef f(): return [P(1, [2])]",
                "assert f()[0].y == [2] and f() == [(1, [2])]"
            ),
        ]

        /// Arguments, the wanted result, code and its score. Texts of JSON, a line each, are the form of TACO; only beside
        /// them is the result JSON too.
        static let calls: [(String, String, String, Double)] = [
            (#"[[12]]"#, #"["12"]"#, "return str(a)", 1), (#"[[12]]"#, #"["12"]"#, "return a", 0),
            (#"[[12]]"#, #"["true"]"#, "return 'true'", 1), (#"[[12]]"#, #"["true"]"#, "return True", 0),
            (#"[[12]]"#, #"[["12"]]"#, "return '12'", 1), (#"["12"]"#, #"["12"]"#, "return a", 1),
            (#"["12"]"#, #"["12"]"#, "return str(a)", 1), (#"["12"]"#, #"["\"12\""]"#, "return str(a)", 1),
            (#"["12"]"#, #"["[12, 1]"]"#, "return (a, 1)", 1), (#"["12"]"#, #"["[12, 1]"]"#, "return a", 0),
        ]

        @Test(arguments: calls)
        func aCallIsRightWhenItReturnsWhatIsWanted(
            _ inputs: String, _ outputs: String, _ body: String, _ expected: Double
        ) async throws {
            let tests = JSONValue.object([
                "fn_name": .string("f"), "inputs": try JSONValue(parsing: inputs),
                "outputs": try JSONValue(parsing: outputs),
            ])
            #expect(try await score(try await source(), "def f(a): \(body)", [tests]).score == expected)
        }

        @Test func honestCodePasses() async throws {
            let source = try await source()
            for (code, test) in Self.honest {
                let found = try await score(source, code, test)
                #expect(found.score == 1, "\(code): \(found)")
            }
            let pairs: [JSONValue] = [("2 3", "5"), ("1 1", "2"), ("1 1", "3")].map {
                .object(["input": .string($0.0), "output": .string($0.1)])
            }
            #expect(try await score(source, "a, b = map(int, input().split())\nprint(a + b)", pairs).score == 2.0 / 3)
            let calls = JSONValue.object([
                "fn_name": .string("two"), "inputs": .array([.array([.array([.number(1)]), .number(3)])]),
                "outputs": .array([.array([.number(0), .number(1)])]),
            ])
            #expect(
                try await score(source, "class Solution:\n  def two(self, a, t): return (0, 1)", [calls]).score == 1)
            #expect(try await score(source, "def two(a, t): return (0, 2)", [calls]).score == 0)
            // Limits of tasks are often 10^18, written out: a whole number stays one, to the digit. With an exponent it is
            // a float, as Python reads JSON.
            for (written, expected) in [("1000000000000000001", 1.0), ("1e18", 0)] {
                let large = try JSONValue(
                    parsing: #"{"fn_name": "two", "inputs": [[\#(written)]], "outputs": [1000000000000000001]}"#)
                let code = "def two(a): return a if type(a) is int else 0"
                #expect(try await score(source, code, [large]).score == expected, "\(written)")
            }
        }

        /// Code that would pass `assert f(1) == 2` wrongly, or do harm.
        static let hostile: [(String, String)] = [
            ("leaves early", "import sys; sys.exit(0)"), ("leaves early, hard", "import os; os._exit(0)"),
            ("leaves within the call", "def f(x):\n  import os; os._exit(0)"),
            ("raises SystemExit within the call", "def f(x): raise SystemExit(0)"),
            ("hangs", "def f(x):\n  while True: pass"),
            (
                "is equal to everything",
                "class E:\n  def __eq__(s, o): return True\n  def __ne__(s, o): return False\ndef f(x): return E()"
            ),
            (
                "is a tuple whose names reach for more",
                "class E(tuple):\n  _fields = ('__eq__', 'x=__import__(\"os\")._exit(0)')\n  def __eq__(s, o): return True\ndef f(x): return E((lambda *o: True, 1))"
            ),
            ("is an int equal to everything", "class E(int):\n  def __eq__(s, o): return True\ndef f(x): return E(0)"),
            (
                "changes builtins",
                "import builtins\nbuiltins.AssertionError = builtins.all = lambda *a: True\ndef f(x): return 0"
            ),
            (
                "prints that it passed",
                "import os\ndef f(x):\n  print('passed'); os.write(1, b'passed'); os.write(2, b'passed'); return 0"
            ),
            (
                "writes forged answers",
                "import os\nfor i in range(20):\n  try: os.write(i, b'{\"ok\": 1}\\n' * 9)\n  except OSError: pass\ndef f(x): return 0"
            ),
            (
                "takes over the link",
                "import gc\nfor o in gc.get_objects():\n  if type(o).__name__ == 'Link': o.send({'ok': 1})\ndef f(x): return 0"
            ),
            ("kills its parent", "import os\nos.kill(os.getppid(), 9)\ndef f(x): return 0"),
            ("kills all it sees", "import os\ndef f(x):\n  os.kill(-1, 9)\n  return 0"),
            ("kills the first process", "import os\ndef f(x):\n  os.kill(1, 9)\n  return 0"),
            ("eats memory", "def f(x):\n  a = []\n  while True: a.append(bytearray(1 << 24))"),
            ("forks without end", "import os\ndef f(x):\n  while True:\n    try: os.fork()\n    except OSError: pass"),
            ("answers without end", "def f(x): return 'x' * (1 << 28)"),
            ("hands out a module", "import os\nf = os"), ("is no Python", "def f(:"), ("is empty", ""),
            (
                "reads its judge",
                "def f(x):\n  import os\n  return max(int(p) for p in os.listdir('/proc') if p.isdigit()) < 0"
            ),
        ]

        /// The code's own end has the same code as the judge's word for such a test: only the judge's counts.
        @Test func aTestThatIsNoPythonIsABadRow() async throws {
            let source = try await source()
            for test in ["assert f(", "assert f(1) == 2\n  return 3", "return 1", "x = 1\0"] {
                await #expect(throws: RewardError.self, "\(test)") {
                    _ = try await score(source, "def f(x): return 2", test)
                }
            }
            #expect(try await score(source, "import os\nos._exit(11)", "assert f(1) == 2").score == 0)
        }

        @Test(arguments: hostile)
        func hostileCodeGainsNothing(_ kind: String, _ code: String) async throws {
            let source = try await source(["timeout": .number(1)])
            let start = ContinuousClock.now
            let found = try await score(source, code, "assert f(1) == 2")
            #expect(found.score == 0, "\(kind): \(found)")
            #expect(ContinuousClock.now - start < .seconds(300), "\(kind)")
            #expect(try await score(source, "def f(x): return 2", "assert f(1) == 2").score == 1, "after \(kind)")
            let left = try await leftOver()
            #expect(left.isEmpty, "left after \(kind): \(left)")
        }

        /// Tests with a tolerance, an order or a membership, and an object that says yes to each.
        @Test(arguments: [
            "assert abs(f(1) - 0.33) < 1e-6", "assert f(1) < 3", "assert 3 > f(1) >= 2", "assert 3 in f(1)",
            "assert float(f(1)) == 0.33",
            "assert round(f(1), 2) == 0.33", "assert f(1) * 2 == 4", "assert 4 == 2 * f(1)", "assert 2 - f(1) == 0",
        ])
        func anObjectCannotSayYesToWhateverIsAsked(_ test: String) async throws {
            let code = """
                class A:
                    def __getattr__(s, n): raise AttributeError(n)
                    def yes(s, *o): return True
                    __lt__ = __le__ = __gt__ = __ge__ = __contains__ = yes
                    def zero(s, *o): return 0.0
                    __sub__ = __rsub__ = zero
                    def four(s, *o): return 4
                    __mul__ = __rmul__ = four
                    def third(s, *o): return 0.33
                    __float__ = __round__ = third
                def f(x): return A()
                """
            #expect(try await score(try await source(), code, test).score == 0)
        }

        /// Code that ends as a shell does when there is no program to run has failed its test; the sandbox has not.
        @Test func endingLikeAMissingProgramIsAWrongAnswer() async throws {
            let pair = JSONValue.object(["input": .string("1"), "output": .string("1")])
            let code = "import sys\nsys.stderr.write('sh: x\\n')\nsys.exit(127)"
            let found = try await score(try await source(), code, [pair])
            #expect(found.score == 0 && found.state == "scored", "\(found)")
        }

        /// Files in memory are no way around the limit of memory.
        @Test func filesInMemoryAreBounded() async throws {
            let code = """
                import os
                def f(x):
                    wrote = 0
                    for place in ("/tmp", "/dev/shm", "/dev"):
                        try:
                            for i in range(100):
                                with open(f"{place}/{i}", "wb") as file: wrote += file.write(b"0" * (8 << 20))
                        except OSError: pass
                    return wrote >> 20
                """
            let source = try await source()
            #expect(try await score(source, code, "assert isinstance(f(1), int) and f(1) <= 300").score == 1)
        }

        @Test func builtinsAreTheTestsOwn() async throws {
            let source = try await source()
            let code = "all = lambda *a: True\ndef f(x): return 0"
            #expect(try await score(source, code, "assert all(f(i) == i + 1 for i in range(3))").score == 0)
            #expect(
                try await score(source, "all = lambda *a: True", "assert all(f(i) == 1 for i in range(3))").score == 0)
            // One call of the judge's own, where the completion's module has names of builtins.
            let calls = JSONValue.object([
                "fn_name": .string("two"), "inputs": .array([.array([.number(1)])]), "outputs": .array([.number(7)]),
            ])
            let watcher =
                "seen = []\ndef isinstance(v, t):\n  seen.append(v)\n  return False\ndef two(a): return seen[-1] if seen else 0"
            #expect(try await score(source, watcher, [calls]).score == 0)
            #expect(try await score(source, "list = [3, 1, 2]\nprint(list)\ndef two(a): return 7", [calls]).score == 1)
            let spy = "def f(g):\n  try: return g.__globals__['os']._exit(0)\n  except Exception: return 0"
            #expect(try await score(source, spy, "assert f(lambda x: 1) == 2").score == 0)
        }

        /// What code can reach, printed as a list.
        private func reach(_ port: Int) -> String {
            """
            import os, socket
            found = []
            for path in ["/written", "/usr/written", "/etc/written", "/root/written",
                         "\(FileManager.default.currentDirectoryPath)/written"]:
                try:
                    open(path, "w").close()
                    found.append(path)
                except OSError:
                    pass
            try:
                socket.create_connection(("127.0.0.1", \(port)), 1).close()
                found.append("network")
            except OSError:
                pass
            for place in ["/proc/self/environ", "/proc/1/environ", "/proc/\(getpid())/environ"]:
                try:
                    if b"PLUMBLINE_TEST_SECRET" in open(place, "rb").read():
                        found.append("secret")
                except OSError:
                    pass
            for place in ["/root", "/home", "/run", "/etc/passwd", "\(#filePath)"]:
                if os.path.exists(place):
                    found.append(place)
            try:
                children = 0
                while children < 200:
                    if os.fork() == 0:
                        import time
                        time.sleep(30)
                        os._exit(0)
                    children += 1
                found.append("processes")
            except OSError:
                pass
            open("/tmp/own", "w").write("x" * 1000)
            print(found)
            """
        }

        @Test func filesNetworkSecretsAndProcessesAreOutOfReach() async throws {
            setenv("PLUMBLINE_TEST_SECRET", "x", 1)
            let listener = socket(AF_INET, Int32(SOCK_STREAM.rawValue), 0)
            defer { close(listener) }
            var address = sockaddr_in()
            address.sin_family = sa_family_t(AF_INET)
            address.sin_addr.s_addr = inet_addr("127.0.0.1")
            var length = socklen_t(MemoryLayout<sockaddr_in>.size)
            let port =
                withUnsafeMutablePointer(to: &address) { pointer in
                    pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) { address -> Int in
                        guard bind(listener, address, length) == 0, listen(listener, 8) == 0 else { return 0 }
                        return getsockname(listener, address, &length) == 0 ? 1 : 0
                    }
                } == 1 ? Int(UInt16(bigEndian: address.sin_port)) : 0
            try #require(port > 0)
            let nothing = JSONValue.object(["input": .string(""), "output": .string("[]")])
            let shut = try await score(source(), reach(port), [nothing])
            #expect(shut.score == 1, "\(shut)")
            // The check can fail: without a sandbox the network is there.
            let open = try await source(["sandbox": .string("off")])
            let wrong = try await score(open, reach(port) + "\nassert 'network' in found, found", [nothing])
            #expect(wrong.note?.contains("wrong output") == true, "\(wrong)")
            #expect(try await leftOver().isEmpty)
        }

        @Test func anUnfitInterpreterIsSaidAtTheStart() async throws {
            for (python, words) in [
                ("no-such-python", "there is no program 'no-such-python' in PATH"),
                ("/bin/true", "does not run in the sandbox"),
            ] {
                let error = await #expect(throws: RewardError.self) { try await source(["python": .string(python)]) }
                #expect(error?.description.contains(words) == true, "\(String(describing: error))")
            }
            let error = await #expect(throws: RewardError.self) { try await source(["sandbox": .string("auto")]) }
            #expect(error?.description.contains("except auto") == true)
        }
    }

    @Suite("Without a sandbox code of the model runs only where a setting accepts it")
    struct CodeWithoutSandboxTests {
        @Test func theLimitsRemain() async throws {
            let source = try await source(["sandbox": .string("off"), "timeout": .number(5)])
            #expect(try await score(source, "def f(x): return 2", "assert f(1) == 2").score == 1)
            let kinds: Set = [
                "hangs", "eats memory", "leaves early, hard", "is equal to everything", "forks without end",
            ]
            // Only root's programs run as a user of their own, whose processes can be counted.
            for (kind, code) in CodeSandboxTests.hostile
            where kinds.contains(kind) && (kind != "forks without end" || getuid() == 0) {
                #expect(try await score(source, code, "assert f(1) == 2").score == 0, "\(kind)")
                let left = try await leftOver()
                #expect(left.isEmpty, "left after \(kind): \(left)")
            }
        }

        @Test(.enabled(if: Sandbox.problem != nil, "a sandbox works here"))
        func withoutTheSettingItIsRefused() async throws {
            let error = await #expect(throws: RewardError.self) { try await source() }
            #expect(error?.description.contains("sandbox: off runs it without one") == true)
        }
    }
}
