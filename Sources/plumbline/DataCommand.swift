import ArgumentParser
import Job

struct DataCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "data", abstract: "Look at a prompt set before a run does.", subcommands: [Check.self])

    struct Check: AsyncParsableCommand {
        static let configuration = CommandConfiguration(
            abstract: "The detected form, the first rows as the model and the rewards see them, counts and lengths.")

        @Argument(help: "A prompt file or folder.") var prompts: String
        @Option(help: "A model or tokenizer folder, to count tokens with.") var model: String?
        @Option(help: "Rows to show.") var rows = 3
        @Flag(help: "Read rows as demonstrations (prompt and completion).") var demonstrations = false

        func run() async throws {
            let check = PromptSetCheck(path: prompts, model: model, rows: rows, asDemonstrations: demonstrations)
            Terminal.result(try check.text())
        }
    }
}
