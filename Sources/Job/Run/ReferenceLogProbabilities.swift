internal import Foundation
internal import Models
internal import Placement
internal import PolicyUpdater
internal import Records
internal import Runs
internal import Synchronization
internal import Tensors

/// The reference policy's log-probs of a set's pairs, worked out once and kept in the run folder.
///
/// The file, `reference_logps/<digest>.f32`, is named by what decides its numbers: the reference's weights and
/// configuration, the element type it is computed in, and every token of the pairs. It begins with that digest; then
/// comes a float32 a completion token, pair by pair, chosen first.
final class ReferenceLogProbabilities: Sendable {
    private let pairs: PairRows
    private let file = Mutex<PosixFile?>(nil)

    init(of pairs: PairRows) { self.pairs = pairs }

    /// Pairs of a forward pass, before it is cut to fit.
    private static let chunk = 32
    private static let folderName = "reference_logps"

    /// Opens the file of an earlier start, or computes it.
    ///
    /// - Parameters:
    ///   - folder: The run folder.
    ///   - plan: What the pairs are learned by.
    ///   - role: Has the reference's weights in memory; for `nil` they are read from the model for as long as the work
    ///     takes, never from a checkpoint.
    ///   - notice: Says what takes long.
    /// - Throws: `StopRequested`, what reading the weights throws, what the engine refuses.
    @TensorActor
    func prepare(
        _ model: ModelSource, _ type: JobElementType, _ plan: PartPlan, _ settings: UpdaterSettings, in folder: URL,
        stop: StopSignal, reading role: ReallocatingActor?, notice: (String) async -> Void
    ) async throws {
        let digest = try Self.digest(model, type, pairs.tokenDigest, plan.temperature)
        let cacheFolder = folder.appending(path: Self.folderName)
        let url = cacheFolder.appending(path: "\(digest.prefix(16)).f32")
        if try !open(url, digest) {
            await notice("reference log-probs of \(pairs.kept.count) pairs: computing them once")
            try FileOperations.system.createFolder(cacheFolder)
            let values =
                if let role {
                    try await role.infer { lease in
                        try await logProbabilities(
                            of: Transformer(configuration: model.configuration, parameters: lease.parameters), plan,
                            settings, stop)
                    }.value
                } else {
                    try await logProbabilities(of: model.load(type), plan, settings, stop)
                }
            var bytes = Self.header(digest)
            values.map(\.bitPattern.littleEndian).withUnsafeBytes { bytes += $0 }
            try FileOperations.system.replaceFile(url, with: bytes)
            guard try open(url, digest) else {
                throw JobError(place: url.path, message: "the file was changed while it was written")
            }
        }
    }

    /// One number a completion token.
    @TensorActor
    private func logProbabilities(
        of reference: Transformer, _ plan: PartPlan, _ settings: UpdaterSettings, _ stop: StopSignal
    ) async throws -> [Float] {
        var values = [Float](repeating: 0, count: pairs.completionTokenCount)
        for chunk in chunks {
            try stop.check()
            let groups = try chunk.map { try pairs.group(ofPair: $0) }
            let found = try await PolicyUpdater.logProbabilities(
                UpdateBatch(.pairs, groups: groups), of: reference, by: plan, settings)
            for (pair, own) in zip(chunk, found.tokens) {
                let all = own.flatMap(\.self)
                values.replaceSubrange(pairs.kept[pair].offset..<pairs.kept[pair].offset + all.count, with: all)
            }
            await Task.yield()
        }
        return values
    }

    /// The pairs of each forward pass: of one form only, so that they read the same whatever other forms the set has.
    private var chunks: [[Int]] {
        (0..<(pairs.forms?.names.count ?? 1)).flatMap { form in
            let own = pairs.kept.indices.filter { pairs.kept[$0].form == form }
            return stride(from: 0, to: own.count, by: Self.chunk).map {
                Array(own[$0..<min($0 + Self.chunk, own.count)])
            }
        }
    }

    /// Puts a pair's log-probs beside its tokens.
    ///
    /// - Parameter pair: Its index among the kept ones.
    func fill(_ group: inout UpdateGroup, pair: Int) throws {
        let kept = pairs.kept[pair]
        let bytes = try file.withLock { file in
            try file?.bytes(at: Self.headerLength + 4 * kept.offset, count: 4 * kept.completionCount) ?? []
        }
        guard bytes.count == 4 * kept.completionCount else {
            throw JobError(place: "reference log-probs", message: "their file was changed while in use")
        }
        let values = bytes.withUnsafeBytes { buffer in
            (0..<kept.completionCount).map {
                Float(bitPattern: UInt32(littleEndian: buffer.loadUnaligned(fromByteOffset: 4 * $0, as: UInt32.self)))
            }
        }
        group.completions[0].referenceLogProbabilities = Array(values[..<kept.chosenCount])
        group.completions[1].referenceLogProbabilities = Array(values[kept.chosenCount...])
    }

    // MARK: The file

    private static let headerLength = 65
    private static func header(_ digest: String) -> [UInt8] { Array((digest + "\n").utf8) }

    /// Takes the file if it is there and whole.
    private func open(_ url: URL, _ digest: String) throws -> Bool {
        guard try FolderEntry(url) != nil else { return false }
        let found = try PosixFile.reading(url)
        let isWhole =
            try found.byteCount() == Self.headerLength + 4 * pairs.completionTokenCount
            && found.bytes(at: 0, count: Self.headerLength) == Self.header(digest)
        if isWhole { file.withLock { $0 = found } }
        return isWhole
    }

    @TensorActor
    private static func digest(
        _ model: ModelSource, _ type: JobElementType, _ tokens: String, _ temperature: Double
    ) throws -> String {
        var hash = SHA256()
        let configuration = Array(try ModelFolder.configurationText(model.baseFolder).utf8)
        hash.update(Array("1 \(type.rawValue) \(temperature) \(tokens) \(configuration.count)\n".utf8))
        hash.update(configuration)
        if model.base != .whole { hash.update(Array("matrices of blocks in \(model.base.rawValue)\n".utf8)) }
        let weights = try ModelFolder.weights(model.baseFolder)
        for name in weights.names {
            let digest = try weights.tensor(named: name).digest(seed: 0)
            hash.update(Array("\(name) \(digest)\n".utf8))
        }
        if let adapter = model.adapter {
            let own = try model.configuration.withoutAdapters.adapted(by: adapter.adapters)
            hash.update(Array("adapters scaled by \(adapter.adapters.scale)\n".utf8))
            for (name, tensor) in try adapter.tensors(for: own).sorted(by: { $0.key < $1.key }) {
                hash.update(Array("\(name) \(try tensor.digest(seed: 0))\n".utf8))
            }
        }
        return hash.hexDigest()
    }
}
