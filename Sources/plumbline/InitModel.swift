import ArgumentParser
import Job

struct InitModel: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        abstract: "Make a fresh model of a given family and shape, as a Hugging Face folder.")

    @Option(help: "The folder to make.") var output: String
    @Option(help: "llama, mistral, qwen2 or qwen3.") var family = "qwen2"
    @Option(help: "A tokenizer.json or its folder; copied beside the model, and sets the vocabulary.") var tokenizer:
        String?
    @Option(help: "Rows of the embedding; by default the tokenizer's.") var vocabularySize: Int?
    @Option(help: "Width of the residual stream.") var hiddenSize = 128
    @Option(help: "Blocks.") var layers = 4
    @Option(help: "Attention heads.") var heads = 4
    @Option(help: "Key and value heads; by default as many as heads.") var keyValueHeads: Int?
    @Option(help: "Width of the feed-forward layer; by default 8/3 of the hidden size, rounded up to 32.")
    var intermediateSize: Int?
    @Option(help: "Positions the model is meant for.") var contextLength = 2048
    @Flag(inversion: .prefixedNo, help: "Use the embedding as the output head.") var tied = true
    @Option(help: "Seeds the draws: same seed, same weights.") var seed = 0
    @Flag(help: "Replace a model already in the folder.") var overwrite = false

    func run() async throws {
        let maker = ModelMaking(
            output: output, family: family, tokenizer: tokenizer, vocabularySize: vocabularySize,
            hiddenSize: hiddenSize,
            layers: layers, heads: heads, keyValueHeads: keyValueHeads, intermediateSize: intermediateSize,
            contextLength: contextLength, tiesEmbeddings: tied, seed: seed,
            overwrites: overwrite)
        Terminal.progress(try await maker.run())
    }
}
