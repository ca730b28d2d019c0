import ArgumentParser
import Job

struct Reshard: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        abstract: "Say what moves between the layouts of two calls of a plan, or move a model's weights and compare.")

    @Option(help: "The call whose layout the weights are in, as plan.json:CALL.") var from: String
    @Option(help: "The call whose layout is needed, as plan.json:CALL.") var to: String
    @Option(help: "The model folder to verify with.") var model: String?
    @Flag(help: "Cut the model's tensors, move the shards within this process, and compare every bit.") var verify =
        false

    func validate() throws {
        if verify, model == nil { throw ValidationError("--verify needs --model, the folder whose tensors are moved") }
    }

    func run() async throws {
        let resharding = try Resharding(from: from, to: to)
        if verify, let model {
            try Terminal.result(try await resharding.verify(model))
        } else {
            try Terminal.result(resharding.summary(elementSize: 2))
        }
    }
}
