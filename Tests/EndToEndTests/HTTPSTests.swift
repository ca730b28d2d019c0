import Foundation
import JSON
import TestSupport
import Testing

/// Certificates made by openssl: an authority, two of its certificates, and one of nobody's.
private struct Certificates {
    /// The machine's authorities.
    static let list = "/etc/ssl/certs/ca-certificates.crt"

    static let problem: String? = {
        let tried = "openssl version && python3 -V && unshare -rm mount --bind \(list) \(list)"
        let process = Process()
        process.executableURL = URL(filePath: "/bin/sh")
        process.arguments = ["-c", "(\(tried)) >/dev/null 2>&1"]
        // Not started: not there.
        guard (try? process.run()) != nil else { return "there is no shell" }
        process.waitUntilExit()
        return process.terminationStatus == 0
            ? nil : "openssl, python3, and a list of authorities to put another in place of"
    }()

    private let folder: TemporaryFolder
    let authorities: String
    let trusted: [String]
    /// Of the authority, for another machine.
    let misnamed: [String]
    let unknown: [String]

    init() throws {
        folder = try TemporaryFolder()
        let path = folder.url.path
        let key = "-newkey rsa:2048 -nodes -days 2"
        func make(_ name: String, _ arguments: String) throws {
            let line = "req -x509 \(key) -keyout \(path)/\(name).key -out \(path)/\(name).pem \(arguments)"
            let process = Process()
            process.executableURL = URL(filePath: "/usr/bin/env")
            process.arguments = ["openssl"] + line.split(separator: " ").map(String.init)
            process.standardError = FileHandle.nullDevice
            try process.run()
            process.waitUntilExit()
            try #require(process.terminationStatus == 0, "openssl \(line)")
        }
        try make("ca", "-subj /CN=Authority")
        let ours = "-CA \(path)/ca.pem -CAkey \(path)/ca.key -addext basicConstraints=critical,CA:FALSE"
        try make("trusted", "\(ours) -subj /CN=trusted -addext subjectAltName=IP:127.0.0.1")
        try make("misnamed", "\(ours) -subj /CN=misnamed -addext subjectAltName=DNS:elsewhere.test")
        try make("unknown", "-subj /CN=127.0.0.1 -addext subjectAltName=IP:127.0.0.1")
        func pair(_ name: String) -> [String] { ["\(path)/\(name).pem", "\(path)/\(name).key"] }
        authorities = "\(path)/ca.pem"
        (trusted, misnamed, unknown) = (pair("trusted"), pair("misnamed"), pair("unknown"))
    }
}

/// A server of RewardHostsTests that speaks TLS; gone with this value.
private final class Server {
    let port: String
    private let process = Process()
    private let input = Pipe()

    init(_ certificate: [String]) throws {
        let output = Pipe()
        process.executableURL = URL(filePath: "/usr/bin/env")
        process.arguments =
            ["python3", Command.root.appending(path: "Tests/RewardHostsTests/server.py").path] + certificate
        process.standardInput = input
        process.standardOutput = output
        try process.run()
        port = String(decoding: output.fileHandleForReading.availableData, as: UTF8.self)
            .trimmingCharacters(in: .whitespacesAndNewlines)
    }

    deinit {
        kill(process.processIdentifier, SIGKILL)
        process.waitUntilExit()
    }
}

/// The command sees a machine that trusts the authority: in a mount namespace of its own the list of authorities is
/// another one.
@Suite("Rewards behind HTTPS", .serialized, .enabled(if: Certificates.problem == nil, "\(Certificates.problem ?? "")"))
struct HTTPSTests {
    private struct Outcome {
        var state: String
        var note: String
        var seconds: Double
    }

    private func outcome(
        _ server: Server, _ path: String, _ authorities: String, timeoutSeconds: Int = 60
    ) throws -> Outcome {
        let folder = try TemporaryFolder()
        let rows = try folder.file("c.jsonl", #"{"prompt": "p", "completion": "a"}"# + "\n").path
        let check = [
            Command.executable.path, "reward", "check", "--reward", "url:https://127.0.0.1:\(server.port)/\(path)",
            "--file", rows, "--json", "--setting", "timeout=\(timeoutSeconds)", "--setting",
            "tries=2",
        ]
        let start = ContinuousClock.now
        let running = try Command.Running(
            URL(filePath: "/usr/bin/env"),
            ["unshare", "-rm", "sh", "-c", "mount --bind \"$0\" \(Certificates.list) && exec \"$@\"", authorities]
                + check,
            in: folder.url)
        let ended = try running.wait()
        let seconds = (ContinuousClock.now - start) / .seconds(1)
        let object = try JSONSerialization.jsonObject(with: Data(ended.output.utf8)) as? [String: Any]
        let line = try #require(object, "\(ended.output)\(ended.progress)")
        let outcome = Outcome(
            state: line["state"] as? String ?? "", note: line["note"] as? String ?? "", seconds: seconds)
        print("| https /\(path) | \(outcome.state) | \(seconds) s | \(outcome.note) |")
        return outcome
    }

    @Test func certificatesAreHeldToAndBrokenAnswersNamed() throws {
        let certificates = try Certificates()
        let server = try Server(certificates.trusted)
        for path in ["ok", "chunks"] {
            #expect(try outcome(server, path, certificates.authorities).state == "scored", "\(path)")
        }
        for (path, words) in [
            ("half", "dropped the connection in the middle of its answer"),
            ("drop", "closed the connection without an answer"), ("refuse", "answered 403: not you"),
            ("bad", "instead of a JSON object with 'rewards'"),
        ] {
            let found = try outcome(server, path, certificates.authorities)
            #expect(found.state == "failed" && found.note.contains(words), "\(path): \(found)")
        }
        let stalled = try outcome(server, "stall", certificates.authorities, timeoutSeconds: 3)
        #expect(stalled.state == "timedOut" && (3...300).contains(stalled.seconds), "\(stalled)")

        for (pair, words) in [
            (certificates.unknown, "is not trusted"), (certificates.misnamed, "is of another machine"),
        ] {
            let found = try outcome(try Server(pair), "ok", certificates.authorities)
            #expect(found.state == "failed" && found.note.contains(words), "\(found)")
        }
        // The machine as it is does not know the authority.
        let strange = try outcome(server, "ok", Certificates.list)
        #expect(strange.state == "failed" && strange.note.contains("is not trusted"), "\(strange)")
    }
}
