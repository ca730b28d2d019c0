import Foundation
import FoundationNetworking
import RewardInterface
import Synchronization

/// POSTs of JSON to one address, each under one deadline of ours; over TLS for `https`, with the authorities that the
/// machine trusts.
///
/// Proxies are those that `http_proxy`, `https_proxy` and `no_proxy` name; this machine is reached without one.
final class HTTPExchange: Sendable {
    /// Why an exchange gave no answer.
    struct Problem: Error, Equatable {
        enum Kind {
            case late, transient, lasting
            /// Nobody is there, or who was there has gone.
            case away
        }

        let kind: Kind
        let text: String
    }

    struct Answer: Sendable {
        let status: Int
        let body: Data
        /// Where an answer that is none says it has moved.
        let location: String?
    }

    private let url: URL
    private let session: URLSession
    private let receiver = Receiver()

    /// Reads the address and looks the host up.
    ///
    /// - Parameter concurrency: Exchanges at once.
    /// - Throws: ``RewardError/unusable(reward:problem:)`` for another scheme, a malformed address or an unknown host.
    init(_ address: String, reward: String, concurrency: Int) throws(RewardError) {
        func unusable(_ problem: String) -> RewardError { .unusable(reward: reward, problem: "\(address): \(problem)") }
        guard let parts = URLComponents(string: address), let scheme = parts.scheme?.lowercased(),
            let host = parts.host,
            !host.isEmpty, let url = parts.url
        else { throw unusable("this is no address; expected http://host:port/path or https://host:port/path") }
        guard scheme == "http" || scheme == "https" else {
            throw unusable("'\(scheme)' is not spoken here; use http or https")
        }
        guard parts.user == nil else { throw unusable("a user in the address is not supported") }
        guard Self.isKnown(host.trimmingCharacters(in: ["[", "]"]), scheme) else {
            throw unusable("no machine is named '\(host)'")
        }
        self.url = url
        Self.reachThisMachineDirectly()
        let settings = URLSessionConfiguration.ephemeral
        settings.httpMaximumConnectionsPerHost = concurrency
        settings.timeoutIntervalForRequest = 1e7  // the deadline is ours
        settings.httpShouldSetCookies = false
        settings.urlCache = nil
        session = URLSession(configuration: settings, delegate: receiver, delegateQueue: nil)
    }

    deinit { session.invalidateAndCancel() }

    /// Whether the name can be looked up, or a proxy does that.
    private static func isKnown(_ host: String, _ scheme: String) -> Bool {
        var first: UnsafeMutablePointer<addrinfo>?
        guard getaddrinfo(host, nil, nil, &first) != 0 else {
            freeaddrinfo(first)
            return true
        }
        let proxies = ["\(scheme)_proxy", "all_proxy", "ALL_PROXY"] + (scheme == "https" ? ["HTTPS_PROXY"] : [])
        return proxies.contains { ProcessInfo.processInfo.environment[$0]?.isEmpty == false }
    }

    /// Names this machine in `no_proxy`, which libcurl below FoundationNetworking reads.
    private static func reachThisMachineDirectly() {
        let variables = ProcessInfo.processInfo.environment
        let direct = variables["no_proxy"] ?? variables["NO_PROXY"] ?? ""
        let here = "localhost,127.0.0.1,::1"
        if direct != "*" && !direct.hasSuffix(here) {
            setenv("no_proxy", direct.isEmpty ? here : "\(direct),\(here)", 1)
        }
    }

    /// Sends `body` as JSON and reads the answer.
    ///
    /// - Throws: ``Problem``; `CancellationError` when the task is cancelled, the connection being dropped then.
    func post(_ body: [UInt8], by deadline: ContinuousClock.Instant) async throws -> Answer {
        var request = URLRequest(url: url)
        request.httpMethod = "POST"
        request.setValue("application/json", forHTTPHeaderField: "Content-Type")
        request.setValue("application/json", forHTTPHeaderField: "Accept")
        request.httpBody = Data(body)
        let task = session.dataTask(with: request)
        let host = "\(url.host ?? ""):\(url.port ?? (url.scheme == "https" ? 443 : 80))"
        let receiver = receiver
        let timer = Task {
            try await Task.sleep(until: deadline, clock: .continuous)
            receiver.finish(task, .failure(Problem(kind: .late, text: "\(host) did not answer in time")))
        }
        defer { timer.cancel() }
        return try await withTaskCancellationHandler {
            try await withCheckedThrowingContinuation { continuation in
                receiver.begin(task, host, continuation)
                if Task.isCancelled { receiver.finish(task, .failure(CancellationError())) } else { task.resume() }
            }
        } onCancel: {
            receiver.finish(task, .failure(CancellationError()))
        }
    }

    // MARK: What comes back

    /// Collects the answers of the exchanges under way.
    private final class Receiver: NSObject, URLSessionDataDelegate, Sendable {
        private struct Exchange {
            let host: String
            let continuation: CheckedContinuation<Answer, any Error>
            var body = Data()
        }

        /// A longer answer is none.
        private static let sizeLimit = 256 << 20

        private let exchanges = Mutex<[Int: Exchange]>([:])

        func begin(_ task: URLSessionTask, _ host: String, _ continuation: CheckedContinuation<Answer, any Error>) {
            exchanges.withLock { $0[task.taskIdentifier] = Exchange(host: host, continuation: continuation) }
        }

        /// Ends an exchange, once; what comes of it later is nobody's.
        func finish(_ task: URLSessionTask, _ result: Result<Answer, any Error>) {
            let exchange = exchanges.withLock { $0.removeValue(forKey: task.taskIdentifier) }
            if case .failure = result { task.cancel() }
            exchange?.continuation.resume(with: result)
        }

        func urlSession(_ session: URLSession, dataTask: URLSessionDataTask, didReceive data: Data) {
            let size = exchanges.withLock { exchanges in
                exchanges[dataTask.taskIdentifier]?.body.append(data)
                return exchanges[dataTask.taskIdentifier]?.body.count ?? 0
            }
            guard size > Self.sizeLimit else { return }
            finish(
                dataTask,
                .failure(Problem(kind: .lasting, text: "the server answers more than \(Self.sizeLimit >> 20) MiB")))
        }

        /// A POST that is sent elsewhere becomes a GET on the way, by the habit of the web: the user is told of the new
        /// address instead.
        func urlSession(
            _ session: URLSession, task: URLSessionTask, willPerformHTTPRedirection response: HTTPURLResponse,
            newRequest request: URLRequest, completionHandler: @escaping (URLRequest?) -> Void
        ) { completionHandler(nil) }

        func urlSession(_ session: URLSession, task: URLSessionTask, didCompleteWithError error: (any Error)?) {
            let (host, body) = exchanges.withLock { exchanges in
                (exchanges[task.taskIdentifier]?.host ?? "", exchanges[task.taskIdentifier]?.body ?? Data())
            }
            if let error { return finish(task, .failure(Self.problem(error, host, task.response != nil))) }
            guard let response = task.response as? HTTPURLResponse else {
                return finish(task, .failure(Problem(kind: .lasting, text: "\(host) does not speak HTTP")))
            }
            let location = response.value(forHTTPHeaderField: "Location")
            finish(task, .success(Answer(status: response.statusCode, body: body, location: location)))
        }

        /// In words, by what libcurl says: FoundationNetworking has one code for most of it.
        private static func problem(_ error: any Error, _ host: String, _ hasAnswered: Bool) -> Problem {
            let words = (error as NSError).localizedDescription
            func says(_ pieces: String...) -> Bool { pieces.contains { words.localizedCaseInsensitiveContains($0) } }
            if says("no alternative certificate", "does not match target host") {
                return Problem(kind: .lasting, text: "the certificate of \(host) is of another machine: \(words)")
            }
            if says("certificate") {
                return Problem(
                    kind: .lasting,
                    text:
                        "the certificate of \(host) is not trusted: \(words). Its authority must be among those of "
                        + "this machine (Debian: /usr/local/share/ca-certificates and update-ca-certificates)")
            }
            if says("wrong version number", "SSL", "TLS") && !hasAnswered {
                return Problem(
                    kind: .lasting, text: "\(host) does not speak TLS; is its address one with http? (\(words))")
            }
            if says("resolve") { return Problem(kind: .away, text: "no machine is named '\(host)': \(words)") }
            if says("connect") && says("refused", "couldn't connect", "could not connect", "failed to connect") {
                return Problem(kind: .away, text: "\(host) refused the connection: \(words)")
            }
            if hasAnswered {
                return Problem(
                    kind: .away, text: "\(host) dropped the connection in the middle of its answer: \(words)")
            }
            if says("empty reply", "reset", "closed", "eof") {
                return Problem(kind: .away, text: "\(host) closed the connection without an answer: \(words)")
            }
            return Problem(kind: .transient, text: "\(host): \(words)")
        }
    }
}
