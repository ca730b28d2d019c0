import ArgumentParser
import Job

struct Convert: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        abstract: "Convert a model between a Hugging Face folder and a GGUF file, or merge an adapter into its base.",
        discussion: """
            The ending of --output decides: .gguf writes a file that llama.cpp runs, anything else a folder.

                plumbline convert --model model.Q4_1.gguf --output model
                plumbline convert --model runs/adapters --output whole --merge
                plumbline convert --model whole --output whole.gguf --type q8_0
            """)

    @Option(help: ModelArgument.help) var model: String
    @Option(help: "A file that ends in .gguf, or a folder.") var output: String
    @Option(
        help: "f32, f16 or bf16; for a GGUF file also q8_0 or q4_0. By default f16 in a GGUF file, f32 in a folder.")
    var type: String?
    @Option(help: "What the GGUF file calls the model; by default the name of its folder or file.") var name: String?
    @Flag(help: "Merge an adapter and its base into one model folder.") var merge = false
    @Flag(help: "Replace an existing model.") var overwrite = false

    func run() async throws {
        if merge {
            let merging = try AdapterMerging(model: model, output: output, type: type, overwrites: overwrite)
            return Terminal.progress(try await merging.run())
        }
        let conversion = try ModelConversion(
            model: model, output: output, type: type, name: name, overwrites: overwrite)
        for line in try await conversion.run() { Terminal.progress(line) }
    }
}

/// What the commands that read a model say of its option.
enum ModelArgument {
    static let help: ArgumentHelp =
        "A folder with config.json and safetensors files or an adapter, a GGUF file, or a name in the Hugging Face cache."
}
