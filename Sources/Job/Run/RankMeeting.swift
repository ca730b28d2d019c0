package import Coordinator
internal import Foundation
internal import Planning
package import Records
internal import Tensors

/// The processes of a run and where they meet, as the launcher's variables say: those of `plumbline launch` and
/// torchrun, else SLURM's.
package struct RankMeeting: Sendable, Equatable {
    package let rank: Int
    package let size: Int
    private let localSize: Int
    private let meeting: ProcessGroup.Meeting

    /// - Parameter environment: `RANK`, `WORLD_SIZE`, `LOCAL_WORLD_SIZE`, `MASTER_ADDR` and `MASTER_PORT`; without
    ///   `RANK`, `SLURM_PROCID`, `SLURM_NTASKS` and the machine of the first task.
    /// - Returns: `nil` for a process alone.
    /// - Throws: ``JobError`` with the variable that is missing or no number.
    package init?(_ environment: [String: String]) throws(JobError) {
        func number(_ name: String, _ range: ClosedRange<Int>) throws(JobError) -> Int {
            let text = environment[name]
            guard let text, let value = Int(text), range.contains(value) else {
                throw JobError(
                    place: "the environment variable \(name)",
                    message: "\(text.map { "is '\($0)'" } ?? "is missing"); expected a whole number from "
                        + "\(range.lowerBound) to \(range.upperBound), as plumbline launch and torchrun set it")
            }
            return value
        }
        let most = 1 << 16
        let isSlurm = environment["RANK"] == nil && environment["SLURM_PROCID"] != nil
        guard environment["RANK"] != nil || isSlurm else { return nil }
        size = try number(isSlurm ? "SLURM_NTASKS" : "WORLD_SIZE", 1...most)
        guard size > 1 else { return nil }
        rank = try number(isSlurm ? "SLURM_PROCID" : "RANK", 0...size - 1)
        var (host, port) = (environment["MASTER_ADDR"], environment["MASTER_PORT"].flatMap(UInt16.init))
        if isSlurm {
            host = host ?? environment["SLURM_LAUNCH_NODE_IPADDR"]
            // A job's own, in the range that nobody else is given by the system.
            port = port ?? environment["SLURM_JOB_ID"].flatMap(Int.init).map { UInt16(15_000 + $0 % 10_000) }
        }
        guard let host, !host.isEmpty else {
            throw JobError(
                place: "the environment variable MASTER_ADDR",
                message: "is missing: the \(size) processes of the run must know the machine of rank 0")
        }
        guard let port, port > 0 else {
            throw JobError(
                place: "the environment variable MASTER_PORT",
                message: "is missing or no port: the \(size) processes of the run meet at one of rank 0's machine")
        }
        localSize = environment["LOCAL_WORLD_SIZE"].flatMap(Int.init) ?? (isSlurm ? 1 : size)
        let restart = environment["TORCHELASTIC_RESTART_COUNT"] ?? environment["SLURM_RESTART_COUNT"] ?? "0"
        meeting = ProcessGroup.Meeting(
            rank: rank, size: size, host: host, port: port,
            isStoreServed: environment["TORCHELASTIC_USE_AGENT_STORE"] == "True", name: "plumbline/\(restart)")
    }

    /// Overrides of the job on another rank than the first, which alone writes what a run leaves behind.
    ///
    /// - Parameter scratch: A folder for what is written all the same; it is to be removed with the process.
    package static func overrides(scratch: String) -> [String] {
        ["output_dir=\(scratch.yaml)", "overwrite_output_dir=true", "report_to=none", "log_completions=false"]
    }

    /// Waits for the other ranks.
    ///
    /// - Parameters:
    ///   - asked: Set when somebody asks this process to stop.
    ///   - timeout: What this and every later exchange waits for the others.
    ///   - generationRanks: How many of the ranks, the last of them, only sample.
    ///   - tensorParallel: How many of the ranks, one after the other, compute each layer of a training pass together.
    ///   - decoding: How many of them, one after the other, decode together.
    ///   - planHash: Of the plan that this rank carries out; `nil` without one.
    ///   - settings: What of this rank's job must be that of all.
    /// - Throws: ``JobError`` where they do not come or none would be left to train, and on every rank where they have
    ///   not all the same plan and settings.
    package func team(
        asked: StopSignal, timeout: Duration, generationRanks: Int = 0, tensorParallel: Int = 1,
        decoding: Int = 1, planHash: String? = nil, settings: [SharedSetting]
    ) async throws -> RankTeam {
        precondition(
            size.isMultiple(of: tensorParallel) && size.isMultiple(of: decoding),
            "the job was held to the number of processes")
        try require(generationRanks: generationRanks)
        let all = try await met(meeting, timeout)
        try await requireOnePlan(planHash, among: all)
        try await requireOneJob(settings, among: all)
        // Further groups are in the store that rank 0 serves by now.
        func part(_ name: String, rank: Int, of size: Int) async throws -> ProcessGroup? {
            guard size > 1 else { return nil }
            return try await met(
                ProcessGroup.Meeting(
                    rank: rank, size: size, host: meeting.host, port: meeting.port, isStoreServed: true,
                    name: "\(meeting.name)/\(name)"), timeout)
        }
        guard generationRanks > 0 else {
            let (shard, replica) = (rank % tensorParallel, rank / tensorParallel)
            let layers = try await part("tensor/\(replica)", rank: shard, of: tensorParallel)
            let replicas =
                layers == nil
                ? nil : try await part("replicas/\(shard)", rank: replica, of: size / tensorParallel)
            var decoders = decoding == tensorParallel ? layers : nil
            if decoders == nil {
                decoders = try await part("decoding/\(rank / decoding)", rank: rank % decoding, of: decoding)
            }
            // The fewest ranks that both kinds of groups divide.
            let movers = TransferPlan.ranks(from: tensorParallel, to: decoding)
            var moving = [layers, decoders].compactMap(\.self).first { $0.size == movers }
            if moving == nil { moving = try await part("moving/\(rank / movers)", rank: rank % movers, of: movers) }
            return RankTeam(
                all, tensorPeers: layers, decodingPeers: decoders,
                reallocatingPeers: decoders == nil ? nil : moving, replicas: replicas, localSize: localSize,
                asked: asked)
        }
        let samples = rank >= size - generationRanks
        let count = samples ? generationRanks : size - generationRanks
        let peers = try await part(
            samples ? "sampling" : "training", rank: samples ? rank - (size - generationRanks) : rank, of: count)
        return RankTeam(
            all, peers: peers, side: samples ? .sampling : .training, localSize: localSize, asked: asked)
    }

    /// - Throws: ``JobError`` where none of the ranks would be left to train.
    package func require(generationRanks: Int) throws(JobError) {
        guard generationRanks >= size else { return }
        throw JobError(
            place: "generation_ranks",
            message: "is \(generationRanks), and the run has \(size) processes; expected at most \(size - 1), so "
                + "that one of them trains")
    }

    private func met(_ meeting: ProcessGroup.Meeting, _ timeout: Duration) async throws -> ProcessGroup {
        do {
            return try await ProcessGroup(meeting, timeout: timeout)
        } catch TensorError.engine(_, let message) {
            // Behind what happened the store names its own keys.
            let words = message.split(separator: ", keys:").first.map(String.init) ?? message
            throw JobError(
                place: "rank \(rank) of \(size)",
                message: "the others were not met at \(meeting.host):\(meeting.port): \(words); ddp_timeout is "
                    + "\(timeout.components.seconds) s")
        }
    }

    private func requireOnePlan(_ planHash: String?, among group: ProcessGroup) async throws {
        let plans = try await group.exchange(planHash ?? "")
        guard let other = plans.indices.first(where: { plans[$0] != plans[0] }) else { return }
        func words(_ hash: String) -> String { hash.isEmpty ? "no plan" : "the plan \(hash.prefix(12))" }
        throw JobError(
            place: "rank \(rank) of \(size)",
            message: "placement: rank \(other) has \(words(plans[other])), rank 0 has \(words(plans[0])); expected "
                + "one plan for all")
    }

    /// The place of the error is the key: so every rank says the same.
    private func requireOneJob(_ settings: [SharedSetting], among group: ProcessGroup) async throws {
        let jobs = try await group.exchange(settings)
        guard let other = jobs.indices.first(where: { jobs[$0] != jobs[0] }) else { return }
        func value(of key: String, on rank: Int) -> String {
            jobs[rank].first { $0.key == key }?.value ?? "no such key"
        }
        let keys = (jobs[0] + jobs[other]).map(\.key)
        let key = keys.first { value(of: $0, on: other) != value(of: $0, on: 0) } ?? "the job"
        throw JobError(
            place: key,
            message: "rank \(other) has \(value(of: key, on: other)), rank 0 has \(value(of: key, on: 0)); expected "
                + "one job for all")
    }
}

extension ProcessGroup: Ranks {}
