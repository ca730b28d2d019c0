package import Records

/// The methods a job may name, one line each.
package struct MethodCatalogue: Sendable {
    package let methods: [any Method.Type]

    package init(_ methods: [any Method.Type] = shipped) { self.methods = methods }

    package static let shipped: [any Method.Type] = [
        SFTMethod.self,
        RewardModelMethod.self,
        GRPOMethod.self,
        ReMaxMethod.self,
        RLOOMethod.self,
        REINFORCEMethod.self,
        REINFORCEPlusPlusMethod.self,
        PPOMethod.self,
        GDCMethod.self,
        BestOfKMethod.self,
        SofTGRPOMethod.self,
        DPOMethod.self,
        AMFTMethod.self,
        LUFFYMethod.self,
        SRFTMethod.self,
        DistillMethod.self,
        BVPOMethod.self,
    ]

    /// Every name that `algorithm:` takes: the methods', then the variants'.
    package var names: [String] {
        methods.map { $0.name } + methods.flatMap { $0.variants.map(\.name) }.sorted()
    }

    /// Every name that `preset:` takes.
    package var presetNames: [String] { methods.flatMap { $0.presets.map(\.name) }.sorted() }

    /// What a name of `algorithm:` stands for.
    package func method(named name: String) -> (method: any Method.Type, variant: Preset?)? {
        for method in methods {
            if method.name == name { return (method, nil) }
            if let variant = method.variants.first(where: { $0.name == name }) { return (method, variant) }
        }
        return nil
    }

    /// What a name of `preset:` stands for.
    package func preset(named name: String) -> (method: any Method.Type, preset: Preset)? {
        for method in methods {
            if let preset = method.presets.first(where: { $0.name == name }) { return (method, preset) }
        }
        return nil
    }

    /// Takes `algorithm:` and `preset:`, and fills in what their names stand for.
    ///
    /// - Returns: GRPO where neither names a method.
    package func choose(_ job: inout SettingsReader) -> any Method.Type {
        let name = job.read(
            "algorithm", default: GRPOMethod.name, .oneOf(names),
            "The method: its loss, credit rule and step recipe, with TRL's defaults. dr_grpo, dapo, gspo and cispo are grpo with their papers' values. plumbline explain NAME lists what a method reads."
        )
        let presetName: String? = job.read(
            "preset", optional: nil, .oneOf(presetNames),
            "A paper's settings, sizes included; keys of the job override them. --dry-run shows every value.")
        let named = method(named: name)
        guard let presetName, let (method, preset) = preset(named: presetName) else {
            if let variant = named?.variant { fill(in: variant, of: named?.method, from: "algorithm: \(name)", &job) }
            job.resolve("algorithm", to: named?.method.name ?? name)
            return named?.method ?? GRPOMethod.self
        }
        if job.isGiven("algorithm"), named?.method.name != method.name {
            job.refuse(
                "preset",
                "preset: \(presetName) is for algorithm \(method.name), the job has \(named?.method.name ?? name)")
        }
        fill(in: preset, of: method, from: "preset: \(presetName)", &job)
        if let variant = named?.variant { fill(in: variant, of: method, from: "algorithm: \(name)", &job) }
        job.resolve("algorithm", to: method.name)
        job.resolve("preset", to: String?.none)
        return method
    }

    func fill(
        in preset: Preset, of method: (any Method.Type)?, from name: String, _ job: inout SettingsReader
    ) {
        let taken = preset.values.filter { !job.isGiven($0.key) }
        for (key, yaml) in taken { job.fill(key, yaml, from: name) }
        job.notice(
            "\(name) is algorithm: \(method?.name ?? "") with "
                + taken.map { "\($0.key): \($0.yaml)" }.joined(separator: ", ") + " (\(preset.source))")
    }
}
