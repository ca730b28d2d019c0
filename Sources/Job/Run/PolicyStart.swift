internal import Foundation
internal import Models
internal import Placement
internal import PolicyUpdater
internal import Tensors

/// What a policy starts from: the weights of its model, or of a checkpoint, apart into what is trained and what is not.
@TensorActor
struct PolicyStart {
    let parameters: ParameterSet
    /// Of the trained model, adapted where it has adapters; without a head for a reward model.
    let configuration: ModelConfiguration
    /// The fingerprint of those wholes of which this rank keeps a part; `nil` where it keeps no parts.
    let cutWholes: WeightFingerprint?
    private let model: ModelSource
    private let type: JobElementType

    /// - Parameters:
    ///   - weights: The folder the weights come from: the model's, or a checkpoint's. Adapters alone come from it where
    ///     there are some.
    ///   - heads: The names of a reward model's heads; `nil` for a language model.
    ///   - criticHeads: How many value heads share the trunk.
    ///   - seed: Addresses the draws of fresh adapters.
    ///   - shards: How several ranks share what is trained: of that these are then this rank's parts. What is not trained
    ///     is whole on each.
    /// - Throws: ``JobError`` for a checkpoint of another kind or another model's, `ModelError` for weights that do not
    ///   fit.
    init(
        _ model: ModelSource, weights: URL, heads labels: [String]?, criticHeads: Int?, _ type: JobElementType,
        seed: UInt64, shards: ParameterShards? = nil
    ) throws {
        (self.model, self.type) = (model, type)
        let saved = try AdapterFolder(weights)
        let configuration = labels == nil ? model.configuration : try model.configuration.withoutHead
        self.configuration = configuration
        if weights != model.folder {
            try Self.requireConfiguration(configuration, of: weights, isRewardModel: labels != nil)
        }
        var heads: [String: Tensor] = [:]
        let loaded: Transformer
        // A base that nobody writes needs no masters.
        let own = model.isAdapted ? type.elementType : type.masterType
        if let labels {
            let start = try RewardModelStart(
                model.isAdapted ? model.baseFolder : weights, heads: labels, own, headType: type.masterType,
                device: model.device, storage: model.base)
            loaded = start.trunk
            heads[Critic.headName] =
                try saved.flatMap { try $0.head(of: labels.count)?.to(type.masterType).to(model.device) } ?? start.head
        } else {
            loaded = try ModelFolder.load(
                model.isAdapted ? model.baseFolder : weights, elementType: own, device: model.device,
                storage: model.base)
        }
        if let criticHeads {
            heads[Critic.headName] = try Tensor.zeros(
                [criticHeads, loaded.configuration.hiddenSize], type.masterType, device: loaded.device)
        }
        let trainable: [String: Tensor]
        var frozen: [String: Tensor] = [:]
        var updates: [LowRankUpdate] = []
        switch model.trained {
        case .all: trainable = loaded.parametersByName
        case .matching, .half:
            let trained = Set(model.trainedNames)
            trainable = loaded.parametersByName.filter { trained.contains($0.key) }
            frozen = loaded.parametersByName.filter { !trained.contains($0.key) }
        case .adapters:
            if saved == nil, weights != model.folder {
                throw JobError(
                    place: weights.path,
                    message: "the checkpoint holds a whole model, and use_peft trains adapters: it is another job's")
            }
            trainable =
                try saved.map { saved in try Self.adapters(of: saved, configuration, type.masterType, model.device) }
                ?? configuration.freshAdapters(seed: seed, elementType: type.masterType, device: model.device)
            frozen = loaded.parametersByName
            updates = configuration.lowRankUpdates
        }
        // No other rank of a group has the same part: only what parts are cut from can be compared.
        cutWholes = try shards.map { shards in
            try WeightFingerprint(of: trainable.filter { shards.isCut($0.key) })
        }
        parameters = ParameterSet(
            trainable: try Self.parts(of: trainable, shards), frozen: frozen, heads: heads, adapters: updates)
        if saved != nil, !model.isAdapted, weights != model.folder {
            throw JobError(
                place: weights.path,
                message: "the checkpoint holds adapters, and the job trains the model itself: set use_peft")
        }
    }

    /// Refuses a checkpoint whose weights another model's configuration would make something else of.
    private static func requireConfiguration(
        _ job: ModelConfiguration, of checkpoint: URL, isRewardModel: Bool
    ) throws {
        let saved: ModelConfiguration
        if isRewardModel {
            saved =
                try SequenceClassifier.isIn(checkpoint)
                ? ClassifierConfiguration(folder: checkpoint).trunk
                : ModelFolder.readConfiguration(checkpoint).withoutHead
        } else {
            saved = try ModelFolder.readConfiguration(checkpoint)
        }
        guard let difference = saved.difference(from: job) else { return }
        throw JobError(
            place: checkpoint.path,
            message: "its config.json says \(difference); go on with the model that the run began with")
    }

    private static func parts(
        of wholes: [String: Tensor], _ shards: ParameterShards?
    ) throws -> [String: Tensor] {
        var parts = wholes
        if let shards { for (name, whole) in wholes { parts[name] = try shards.part(of: whole, named: name) } }
        return parts
    }

    private static func adapters(
        of saved: AdapterFolder, _ configuration: ModelConfiguration, _ type: ElementType, _ device: Device
    ) throws -> [String: Tensor] {
        let own = try AdapterForm(of: configuration.withoutAdapters.adapted(by: saved.adapters))
        if let job = AdapterForm(of: configuration), let difference = own?.difference(from: job) {
            throw JobError(place: saved.folder.path, message: "its \(difference)")
        }
        return try saved.tensors(for: configuration, elementType: type, device: device)
    }

    /// The frozen reference: the model as the job names it. With adapters it shares their base, and where the model
    /// named is an adapter, has a copy of that as it was.
    ///
    /// - Parameter moves: Whether it will follow the policy: then what training moves is memory of its own, else the pages
    ///   of the model's files where these can stand for it.
    func reference(moves: Bool) throws -> FrozenWeights {
        guard model.isAdapted else {
            let loaded =
                moves
                ? FrozenWeights(ParameterSet(frozen: try model.load(type).parametersByName))
                : try model.loadFrozen(type)
            // What training leaves alone is the same for both.
            let frozen = loaded.parameters.frozen.merging(parameters.frozen) {
                $0.elementType == $1.elementType ? $1 : $0
            }
            return FrozenWeights(ParameterSet(frozen: frozen), files: loaded.files)
        }
        var frozen = parameters.frozen
        let updates = configuration.lowRankUpdates
        if let adapter = model.adapter {
            frozen.merge(try adapter.tensors(for: configuration, elementType: type.masterType, device: model.device)) {
                $1
            }
        }
        guard moves else {
            return FrozenWeights(ParameterSet(frozen: frozen, adapters: model.adapter == nil ? [] : updates))
        }
        for update in updates {
            frozen[update.weight] =
                try model.adapter == nil ? frozen[update.weight]?.clone() : update.merged(in: frozen)
        }
        let own = Set(configuration.adapterShapes.map(\.name))
        return FrozenWeights(ParameterSet(frozen: frozen.filter { !own.contains($0.key) }))
    }
}
