import ArgumentParser
import Evaluation
import Job

struct Env: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        abstract: "Print versions, device and memory, ready to paste into a report.")

    @Flag(help: "Print one JSON object.") var json = false

    func run() async throws {
        let facts = try await EnvironmentReport.facts()
        if json {
            try Terminal.exact(JSONText.object(facts.map { ($0.name, JSONText.string($0.value)) }))
        } else {
            try Terminal.result(Table([], facts.map { [$0.name, $0.value] }, textColumns: 2).text)
        }
    }
}
