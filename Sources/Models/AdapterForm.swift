/// What decides how the numbers of adapters are read: a checkpoint that is gone on from must have the job's.
package struct AdapterForm: Sendable, Equatable, Codable {
    package let rank: Int
    /// s, see ``LoRAConfiguration/scale``.
    package let scale: Double
    /// Which projections have one, by name, without `.weight`.
    package let projections: [String]

    /// - Returns: `nil` for a model without adapters.
    package init?(of configuration: ModelConfiguration) {
        guard let adapters = configuration.adapters else { return nil }
        (rank, scale, projections) = (adapters.rank, adapters.scale, configuration.adaptedProjections)
    }

    /// In what these adapters, a checkpoint's, differ from a job's, in words that name the keys; `nil` where they do not.
    package func difference(from job: AdapterForm) -> String? {
        if rank != job.rank {
            return "adapters have rank \(rank), those of the job \(job.rank): set lora_r as it was"
        }
        if scale != job.scale {
            return "adapters are scaled by \(scale), those of the job by \(job.scale): set lora_r, lora_alpha and "
                + "use_rslora as they were"
        }
        let (own, others) = (Set(projections), Set(job.projections))
        if let name = (job.projections.first { !own.contains($0) } ?? projections.first { !others.contains($0) }) {
            return "adapters are \(own.contains(name) ? "also" : "not") on \(name), those of the job are"
                + "\(own.contains(name) ? " not" : ""): set lora_target_modules as it was"
        }
        return nil
    }
}
