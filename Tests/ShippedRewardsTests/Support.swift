import Foundation
import JSON
import Records
import RewardInterface
import ShippedRewards
import Testing

/// A prompt with the given columns, as a test set would hold it.
func prompt(_ columns: [String: JSONValue]) -> Prompt {
    Prompt(row: 17, source: "cases", content: .text("How many?"), columns: columns)
}

/// What the shipped reward `name` says of a text.
func score(
    _ name: String, _ text: String, _ columns: [String: JSONValue] = [:], tokens: Int = 0,
    settings: [String: JSONValue] = [:]
) throws -> RewardScore {
    let function = try ShippedRewards.catalogue.function(named: name, settings: settings)
    let completion = Completion(text: text, tokenIDs: Array(0..<tokens))
    return try FunctionSource(function).score(completion, for: prompt(columns))
}

/// A file beside the tests.
func fileBesideTests(_ name: String, _ here: String = #filePath) throws -> Data {
    try Data(contentsOf: URL(fileURLWithPath: here).deletingLastPathComponent().appendingPathComponent(name))
}
