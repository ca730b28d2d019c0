import Foundation
import JSON
import Records
import RewardInterface

/// One test of a prompt's row.
enum CodeTest: Equatable {
    /// Python code that passes when it comes to its end.
    case assertions(String)
    /// A program that is to answer this input with this output.
    case run(input: String, output: String)

    private static let usualColumns = ["tests", "test_list", "test", "test_cases"]

    /// Every test of a row, at least one.
    ///
    /// - Throws: ``RewardError`` for a row without tests, or with tests of no known form.
    static func all(of prompt: Prompt, column: String?) throws(RewardError) -> [CodeTest] {
        let (name, value) = try slot(in: prompt, column)
        guard let tests = read(unwrapped(value)), !tests.isEmpty else {
            throw .wrongColumn(
                name, expected: "a list of Python tests or of {input, output}, or {\"inputs\": […], \"outputs\": […]}",
                in: prompt)
        }
        return tests.map { $0.completed(by: prompt) }
    }

    /// That a row's test is no Python: a fault of the row, not of the completion.
    ///
    /// - Parameter words: Python's own.
    static func noPython(_ words: String, in prompt: Prompt, column: String?) throws(RewardError) -> RewardError {
        let (name, value) = try slot(in: prompt, column)
        return .wrongColumn(
            name: name, found: "\(value.shortDescription), which Python refuses: \(words)",
            expected: "tests that are Python", prompt: prompt.id)
    }

    private static func slot(in prompt: Prompt, _ column: String?) throws(RewardError) -> (String, JSONValue) {
        if let column {
            guard let value = prompt.columns[column] else { throw .missingColumn(column, in: prompt) }
            return (column, value)
        }
        for name in usualColumns {
            if let value = prompt.columns[name], value != .null { return (name, value) }
        }
        if let value = prompt.columns["reward_model"]?["ground_truth"] { return ("reward_model", value) }
        if let value = prompt.columns["ground_truth"] { return ("ground_truth", value) }
        throw .missingColumn(
            wanted: usualColumns + ["ground_truth"], found: prompt.columns.keys.sorted(), prompt: prompt.id)
    }

    /// A text that holds JSON as what it holds.
    private static func unwrapped(_ value: JSONValue) -> JSONValue {
        guard case .string(let text) = value, let first = text.first(where: { !$0.isWhitespace }), "[{".contains(first),
            let held = try? JSONValue(parsing: text)  // no JSON: a Python text
        else { return value }
        return held
    }

    private static func read(_ value: JSONValue) -> [CodeTest]? {
        switch value {
        case .string(let text): return text.allSatisfy(\.isWhitespace) ? nil : [.assertions(text)]
        case .array(let elements):
            var tests: [CodeTest] = []
            for element in elements {
                guard let more = read(element) else { return nil }
                tests += more
            }
            return tests
        case .object:
            if let asserts = value["assert_case"] ?? value["assertions"] { return read(asserts) }
            if let input = value["input"]?.lines, let output = value["output"]?.lines {
                return [.run(input: input, output: output)]
            }
            guard let inputs = value["inputs"]?.elements, let outputs = value["outputs"]?.elements,
                inputs.count == outputs.count
            else { return nil }
            return pairs(inputs, outputs, function: value["fn_name"]?.text)
        default: return nil
        }
    }

    private static func pairs(_ inputs: [JSONValue], _ outputs: [JSONValue], function: String?) -> [CodeTest]? {
        var tests: [CodeTest] = []
        for (input, output) in zip(inputs, outputs) {
            if let function {
                tests.append(call(function, input, output))
            } else if let input = input.lines, let output = output.lines {
                tests.append(.run(input: input, output: output))
            } else {
                return nil
            }
        }
        return tests
    }

    /// A call with an expected value, as APPS and TACO have them: arguments in a list, or one JSON value a line, and then
    /// the expected value as JSON too; the expected value alone or in a list of one; tuples as lists; a method of
    /// `Solution` or a function.
    private static func call(_ function: String, _ input: JSONValue, _ output: JSONValue) -> CodeTest {
        let job = JSONValue.object(["name": .string(function), "input": input, "output": output]).serialized
        return .assertions(CodePrograms.call.replacingOccurrences(of: "JOB", with: JSONValue.string(job).serialized))
    }

    /// Code that the row wants before its tests, MBPP's imports and set-up, and the call of HumanEval's `check`.
    private func completed(by prompt: Prompt) -> CodeTest {
        guard case .assertions(var text) = self else { return self }
        if text.contains("def check("), let entry = prompt.columns["entry_point"]?.text {
            text += "\ncheck(\(entry))\n"
        }
        let imports = prompt.columns["test_imports"].flatMap { Self.unwrapped($0).lines }
        let before = [imports, prompt.columns["test_setup_code"]?.text].compactMap(\.self).filter { !$0.isEmpty }
        return .assertions((before + [text]).joined(separator: "\n"))
    }

    /// Whether an output is the wanted one: line by line, white space at line ends and empty lines at the end apart.
    static func agree(_ output: String, _ wanted: String) -> Bool { lines(of: output) == lines(of: wanted) }

    private static func lines(of text: String) -> [Substring] {
        var lines = text.split(omittingEmptySubsequences: false, whereSeparator: { $0 == "\n" || $0 == "\r\n" }).map {
            line in
            line.prefix(upTo: line.lastIndex { !$0.isWhitespace }.map(line.index(after:)) ?? line.startIndex)
        }
        while lines.last?.isEmpty == true { lines.removeLast() }
        return lines
    }
}

extension JSONValue {
    /// A text, or a list of texts as lines.
    fileprivate var lines: String? {
        guard let elements else { return text }
        let texts = elements.compactMap(\.text)
        return texts.count == elements.count ? texts.joined(separator: "\n") : nil
    }
}
