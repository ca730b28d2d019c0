import JSON

/// What an `adapter_config.json` says.
struct AdapterConfigurationFile {
    let baseName: String
    let adapters: LoRAConfiguration
    let isClassifier: Bool

    /// - Throws: ``ModelError/configuration(path:problems:)`` with every member that asks for what is not built.
    init(_ members: [String: JSONValue], _ path: String) throws(ModelError) {
        var reader = ConfigurationReader(members)
        let kind = members["peft_type"] ?? .string("missing")
        if kind != .string("LORA") { reader.note("peft_type", kind, "LORA; other adapters are not built") }
        let task = members["task_type"] ?? .null
        isClassifier = task == .string("SEQ_CLS")
        if !isClassifier, task != .null, task != .string("CAUSAL_LM") {
            reader.note("task_type", task, "CAUSAL_LM or SEQ_CLS")
        }
        baseName = members["base_model_name_or_path"]?.string ?? ""
        if baseName.isEmpty {
            reader.note(
                "base_model_name_or_path", members["base_model_name_or_path"] ?? .null,
                "the model that the adapter was made for, a folder or a name")
        }
        let rank = reader.size("r", absent: 8, limit: 1 << 16)
        let alpha = reader.number("lora_alpha", absent: 8, above: 0)
        let dropout = reader.dropout()
        let isStabilized = reader.flag("use_rslora")
        let targets = reader.targets()
        reader.refuseForeignAdapters(members, isClassifier: isClassifier)
        try reader.throwIfAny(path: path)
        adapters = LoRAConfiguration(
            rank: rank, alpha: alpha, isRankStabilized: isStabilized, targets: targets, dropout: dropout)
    }

    /// The members as peft writes them.
    static func text(
        _ adapters: LoRAConfiguration, projections: [String], baseName: String, isClassifier: Bool
    ) -> String {
        let isWhole = adapters.alpha == adapters.alpha.rounded() && abs(adapters.alpha) < 1e9
        let targets: JSONValue =
            if case .pattern(let pattern) = adapters.targets {
                .string(pattern)
            } else {
                .array(Self.endings(of: projections, adapters.targets).map(JSONValue.string))
            }
        return ConfigurationText.text([
            "peft_type": "LORA", "task_type": .string(isClassifier ? "SEQ_CLS" : "CAUSAL_LM"),
            "base_model_name_or_path": .string(baseName), "revision": .null, "inference_mode": true,
            "r": .number(adapters.rank),
            "lora_alpha": isWhole ? .number(Int(adapters.alpha)) : .number(adapters.alpha),
            "lora_dropout": .fraction(adapters.dropout), "target_modules": targets,
            "use_rslora": .bool(adapters.isRankStabilized), "bias": "none", "fan_in_fan_out": false,
            "init_lora_weights": true, "use_dora": false,
            "modules_to_save": isClassifier ? .array(["classifier", "score"]) : .null,
        ])
    }

    /// The names as they were given, or the last parts of all that are adapted, sorted.
    private static func endings(of projections: [String], _ targets: LoRAConfiguration.Targets) -> [String] {
        if case .names(let names) = targets { return names.sorted() }
        return Set(projections.compactMap { $0.split(separator: ".").last.map(String.init) }).sorted()
    }
}

extension ConfigurationReader {
    fileprivate mutating func targets() -> LoRAConfiguration.Targets {
        let value = value("target_modules") ?? .null
        switch value {
        case .null: return .usual
        case .string("all-linear"): return .allLinear
        case .string(let pattern): return .pattern(pattern)
        default:
            let names = value.elements?.compactMap(\.string) ?? []
            guard !names.isEmpty, names.count == value.elements?.count else {
                note("target_modules", value, "names of modules, or one regular expression")
                return .usual
            }
            return .names(names)
        }
    }

    fileprivate mutating func dropout() -> Double {
        guard let value = value("lora_dropout") else { return 0 }
        guard let share = value.double, (0..<1).contains(share) else {
            note("lora_dropout", value, "a number from 0 to below 1")
            return 0
        }
        return share
    }

    /// Refuses whatever would make the adapted model another one than is computed here: DoRA, biases, whole modules
    /// beside the adapters, chosen layers, and members that nobody here knows.
    fileprivate mutating func refuseForeignAdapters(_ members: [String: JSONValue], isClassifier: Bool) {
        let read: Set<String> = [
            "peft_type", "task_type", "base_model_name_or_path", "r", "lora_alpha", "lora_dropout", "use_rslora",
            "target_modules",
        ]
        let withoutEffect: Set<String> = [
            "revision", "inference_mode", "auto_mapping", "peft_version", "megatron_core", "qalora_group_size",
            "ensure_weight_tying", "layers_pattern",
        ]
        for (key, value) in members.sorted(by: { $0.key < $1.key })
        where !read.contains(key) && !withoutEffect.contains(key) && !Self.saysNothing(value) {
            switch (key, value) {
            case ("bias", .string("none")): continue
            case ("bias", _): note(key, value, "none; trained biases are not built")
            case ("init_lora_weights", .bool), ("init_lora_weights", .string("gaussian")),
                ("init_lora_weights", .string("orthogonal")), ("init_lora_weights", .string("eva")):
                continue
            case ("init_lora_weights", _):
                note(key, value, "a start that leaves the base as it is, such as true: this one changes the base")
            case ("modules_to_save", _) where isClassifier && Self.isHead(value): continue
            case ("modules_to_save", _): note(key, value, "null; whole modules beside adapters are not built")
            case ("use_dora", _): note(key, value, "false; DoRA is not built")
            default: note(key, value, "nothing, or false; it is not built")
            }
        }
    }

    private static func saysNothing(_ value: JSONValue) -> Bool {
        switch value {
        case .null, .bool(false): true
        case .array(let elements): elements.isEmpty
        case .object(let members): members.isEmpty
        default: false
        }
    }

    /// The names that peft gives the head of a classifier, whichever it has.
    private static func isHead(_ value: JSONValue) -> Bool {
        guard let names = value.elements?.compactMap(\.string) else { return false }
        return Set(names).isSubset(of: ["classifier", "score"]) && names.contains("score")
    }
}
