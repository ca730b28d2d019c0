import Foundation
import Runs
import Testing

/// Two hosts on a network of their own, each a network namespace of this machine, while the value lives. The first one's
/// name stands for the loopback address on itself, as on Debian.
private final class Network {
    static let hosts = ["a", "b"]
    private let name = "pl\(getpid())"

    init() throws {
        for (host, address) in zip(Self.hosts, ["127.0.1.1", "192.168.219.1"]) {
            try Self.ip("netns", "add", name + host)
            try FileManager.default.createDirectory(at: settings(host), withIntermediateDirectories: true)
            try "127.0.0.1 localhost\n\(address) first\n".write(
                to: settings(host).appending(path: "hosts"), atomically: true, encoding: .utf8)
        }
        try Self.ip(
            "link", "add", "name", "a", "netns", name + "a", "type", "veth", "peer", "name", "b", "netns", name + "b")
        for (index, host) in Self.hosts.enumerated() {
            try Self.ip("-n", name + host, "address", "add", "192.168.219.\(index + 1)/24", "dev", host)
            for link in ["lo", host] { try Self.ip("-n", name + host, "link", "set", "dev", link, "up") }
        }
    }

    deinit {
        // What is left goes with the machine.
        for host in Self.hosts {
            try? Self.ip("netns", "delete", name + host)
            try? FileManager.default.removeItem(at: settings(host))
        }
    }

    /// What stands there `ip netns exec` puts in the place of the files of /etc.
    private func settings(_ host: String) -> URL { URL(filePath: "/etc/netns/\(name)\(host)") }

    func disconnect() throws { try Self.ip("-n", name + "a", "link", "set", "dev", "a", "down") }

    /// One process a host, each knowing where the first is.
    func start(_ arguments: [String], in place: Workplace) throws -> [Command.Running] {
        try Self.hosts.enumerated().map { rank, host in
            try Command.Running(
                URL(filePath: "/usr/bin/env"),
                ["ip", "netns", "exec", name + host, Command.executable.path, "train"] + arguments, in: place.folder,
                environment: [
                    "RANK": "\(rank)", "WORLD_SIZE": "2", "LOCAL_WORLD_SIZE": "1", "MASTER_ADDR": "first",
                    "MASTER_PORT": "29500",
                ])
        }
    }

    /// Whether this process may make one: root outside of most containers, with iproute2.
    static let isPossible: Bool = (try? Network()) != nil  // a refusal is the answer

    private struct Refused: Error { var message: String }

    private static func ip(_ arguments: String...) throws {
        let outcome = try Command.Running(
            URL(filePath: "/usr/bin/env"), ["ip"] + arguments, in: URL(filePath: "/")
        ).wait()
        guard outcome.status == 0 else { throw Refused(message: outcome.progress) }
    }
}

@Suite(
    "Two hosts", .serialized, .enabled(if: Network.isPossible, "needs the right to make network namespaces, and ip"))
struct TwoHostsTests {
    @Test(arguments: ["", "tensor_parallel_size: 2", "max_staleness: 1\ngeneration_ranks: 1"])
    func theyLearnWhatOneLearns(_ lines: String) throws {
        let place = try Workplace()
        let job = try place.job("grpo", "num_generations: 4\n\(lines)")
        let alone = try place.train(job, "output_dir=alone", "tensor_parallel_size=1", "generation_ranks=0")
        #expect(alone.status == 0, "\(alone.progress)")
        let network = try Network()
        for host in try network.start([job, "output_dir=two"], in: place) {
            let outcome = try host.wait()
            #expect(outcome.status == 0, "\(outcome.progress)")
        }
        try place.expectTheSame(but: ["realloc/bytes"])
        try place.expectTheSameTexts()
    }

    @Test func aLinkThatIsDownEndsBoth() throws {
        let place = try Workplace()
        let job = try place.job(
            "grpo", "num_generations: 4\nmax_steps: 100000\nsave_steps: 2\nlog_completions: false\nddp_timeout: 10")
        let network = try Network()
        let hosts = try network.start([job, "output_dir=run"], in: place)
        let folder = place.folder.appending(path: "run")
        while hosts[0].process.isRunning {
            if place.exists("run"), try CheckpointFolder.latest(in: folder).newest != nil { break }
            usleep(20_000)
        }
        try network.disconnect()
        let disconnected = ContinuousClock.now
        for (rank, host) in hosts.enumerated() {
            let outcome = try host.wait()
            #expect(outcome.status == 65, "\(outcome.progress)")
            #expect(outcome.progress.contains("rank \(rank) of 2: "), "\(outcome.progress)")
        }
        #expect(ContinuousClock.now - disconnected < .seconds(60))
        let newest = try #require(try CheckpointFolder.latest(in: folder).newest)
        try newest.verify()
        let resumed = try place.train(
            job, "output_dir=run", "resume_from_checkpoint=true", "max_steps=\(newest.step + 1)")
        #expect(resumed.status == 0, "\(resumed.progress)")
    }
}
