import ArgumentParser
import Job

struct Explain: ParsableCommand {
    static let configuration = CommandConfiguration(
        abstract: "Say what a key of a job file does, or what a method reads: formula, denominator, default, paper.")

    @Argument(help: "The key, such as loss_type, or the method, such as grpo. Without one, every key is listed.")
    var field: String?

    func run() throws {
        guard let field else {
            try Terminal.result(JobExplanation.all)
            return
        }
        try Terminal.result(JobExplanation.text(of: field))
    }
}
