import ArgumentParser
import Job

struct Explain: ParsableCommand {
    static let configuration = CommandConfiguration(
        abstract: "Say what a key of a job file does: formula, denominator, default, paper.")

    @Argument(help: "The key, such as loss_type. Without one, every key is listed.") var field: String?

    func run() throws {
        guard let field else {
            Terminal.result(JobFields.supported.map { "\($0.name)\n    \($0.summary)" }.joined(separator: "\n"))
            return
        }
        Terminal.result(try JobExplanation.text(of: field))
    }
}
