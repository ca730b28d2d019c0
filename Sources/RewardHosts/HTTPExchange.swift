import Foundation
import RewardInterface

/// One HTTP/1.1 POST over a socket, every wait bounded by a deadline. Plain `http` only.
///
/// FoundationNetworking would do, but it breaks static linking and its time limits cover single waits, not the whole exchange.
/// A reward server is a machine of one's own; for one behind TLS, a local proxy.
struct HTTPExchange: Sendable {
    let host: String
    let port: Int
    let path: String
    private let addresses: [Address]

    private struct Address: Sendable {
        let family: Int32
        let kind: Int32
        let protocolNumber: Int32
        let bytes: [UInt8]
    }

    /// Why an exchange gave no answer.
    struct Problem: Error, Equatable {
        enum Kind { case late, transient, lasting }
        let kind: Kind
        let text: String
    }

    /// Reads the address and looks the host up.
    ///
    /// - Throws: ``RewardError/unusable(reward:problem:)`` for another scheme, a malformed address or an unknown host.
    init(_ url: String, reward: String) throws(RewardError) {
        func unusable(_ problem: String) -> RewardError { .unusable(reward: reward, problem: "\(url): \(problem)") }
        guard let parts = URLComponents(string: url), let scheme = parts.scheme?.lowercased(), let named = parts.host,
            !named.isEmpty
        else { throw unusable("this is no address; expected http://host:port/path") }
        guard scheme == "http" else {
            throw unusable("'\(scheme)' is not spoken here; use http, if need be by a local proxy")
        }
        guard parts.user == nil else { throw unusable("a user in the address is not supported") }
        host = named.trimmingCharacters(in: ["[", "]"])
        port = parts.port ?? 80
        let query = parts.percentEncodedQuery.map { "?\($0)" } ?? ""
        path = (parts.percentEncodedPath.isEmpty ? "/" : parts.percentEncodedPath) + query
        addresses = Self.lookUp(host, port)
        guard !addresses.isEmpty else { throw unusable("no machine is named '\(host)'") }
    }

    private static func lookUp(_ host: String, _ port: Int) -> [Address] {
        var hints = addrinfo()
        hints.ai_socktype = Int32(SOCK_STREAM.rawValue)
        var first: UnsafeMutablePointer<addrinfo>?
        guard getaddrinfo(host, String(port), &hints, &first) == 0 else { return [] }
        defer { freeaddrinfo(first) }
        return sequence(first: first, next: { $0?.pointee.ai_next }).compactMap { entry in
            guard let entry = entry?.pointee, let address = entry.ai_addr else { return nil }
            let bytes = Array(UnsafeRawBufferPointer(start: address, count: Int(entry.ai_addrlen)))
            return Address(
                family: entry.ai_family, kind: entry.ai_socktype, protocolNumber: entry.ai_protocol, bytes: bytes)
        }
    }

    /// Sends `body` as JSON and reads the answer: its status and its body.
    func post(_ body: [UInt8], by deadline: ContinuousClock.Instant) throws(Problem) -> (status: Int, body: [UInt8]) {
        let connection = try connected(by: deadline)
        defer { _ = Glibc.close(connection) }
        let named = host.contains(":") ? "[\(host)]" : host
        let head = """
            POST \(path) HTTP/1.1\r
            Host: \(named):\(port)\r
            Content-Type: application/json\r
            Content-Length: \(body.count)\r
            Accept: application/json\r
            Connection: close\r
            \r

            """
        try write(Array(head.utf8) + body, to: connection, by: deadline)
        return try answer(from: connection, by: deadline)
    }

    // MARK: The socket

    private func connected(by deadline: ContinuousClock.Instant) throws(Problem) -> Int32 {
        var reason = ""
        for address in addresses {
            let connection = socket(address.family, address.kind, address.protocolNumber)
            guard connection >= 0 else { continue }
            _ = fcntl(connection, F_SETFD, FD_CLOEXEC)
            _ = fcntl(connection, F_SETFL, O_NONBLOCK)
            let status = address.bytes.withUnsafeBytes { bytes in
                connect(connection, bytes.baseAddress!.assumingMemoryBound(to: sockaddr.self), socklen_t(bytes.count))
            }
            do throws(Problem) {
                if status != 0 {
                    guard errno == EINPROGRESS else { throw transient(String(cString: strerror(errno))) }
                    try wait(for: Int16(POLLOUT), on: connection, by: deadline)
                    var error: Int32 = 0
                    var size = socklen_t(MemoryLayout<Int32>.size)
                    getsockopt(connection, SOL_SOCKET, SO_ERROR, &error, &size)
                    guard error == 0 else { throw transient(String(cString: strerror(error))) }
                }
                return connection
            } catch {
                _ = Glibc.close(connection)
                guard error.kind == .transient else { throw error }
                reason = error.text
            }
        }
        throw transient("no connection to \(host):\(port): \(reason)")
    }

    private func wait(for events: Int16, on connection: Int32, by deadline: ContinuousClock.Instant) throws(Problem) {
        while true {
            let left = deadline - .now
            guard left > .zero else { throw Problem(kind: .late, text: "\(host):\(port) did not answer in time") }
            let milliseconds = left.components.seconds * 1000 + left.components.attoseconds / 1_000_000_000_000_000 + 1
            var polled = pollfd(fd: connection, events: events, revents: 0)
            if poll(&polled, 1, Int32(min(milliseconds, 60_000))) > 0 { return }
        }
    }

    private func write(
        _ bytes: [UInt8], to connection: Int32, by deadline: ContinuousClock.Instant
    ) throws(Problem) {
        var rest = bytes[...]
        while !rest.isEmpty {
            try wait(for: Int16(POLLOUT), on: connection, by: deadline)
            let sent = rest.withUnsafeBytes { send(connection, $0.baseAddress, $0.count, Int32(MSG_NOSIGNAL)) }
            if sent > 0 { rest = rest.dropFirst(sent) }
            guard sent > 0 || errno == EAGAIN || errno == EINTR else {
                throw transient("\(host):\(port) dropped the connection: \(String(cString: strerror(errno)))")
            }
        }
    }

    /// More bytes, or `nil` at the end.
    private func read(from connection: Int32, by deadline: ContinuousClock.Instant) throws(Problem) -> [UInt8]? {
        while true {
            try wait(for: Int16(POLLIN), on: connection, by: deadline)
            var failure: Int32 = 0
            let bytes = [UInt8](unsafeUninitializedCapacity: 1 << 16) { buffer, count in
                let size = recv(connection, buffer.baseAddress, buffer.count, 0)
                failure = size < 0 ? errno : 0
                count = max(size, 0)
            }
            if failure == 0 { return bytes.isEmpty ? nil : bytes }
            guard failure == EAGAIN || failure == EINTR else {
                throw transient("\(host):\(port) dropped the connection: \(String(cString: strerror(failure)))")
            }
        }
    }

    // MARK: The answer

    private static let sizeLimit = 256 << 20

    private func answer(
        from connection: Int32, by deadline: ContinuousClock.Instant
    ) throws(Problem) -> (status: Int, body: [UInt8]) {
        var bytes: [UInt8] = []
        let blank = Array("\r\n\r\n".utf8)
        var head: HTTPHead?
        while true {
            if head == nil, let end = bytes.firstRange(of: blank) {
                head = HTTPHead(bytes[..<end.lowerBound])
                guard head != nil else { throw Problem(kind: .lasting, text: "\(host):\(port) does not speak HTTP") }
                bytes.removeSubrange(..<end.upperBound)
            }
            if let head, let body = head.wholeBody(in: bytes) { return (head.status, body) }
            guard bytes.count <= Self.sizeLimit else {
                throw Problem(kind: .lasting, text: "\(host):\(port) answers more than \(Self.sizeLimit >> 20) MiB")
            }
            guard let more = try read(from: connection, by: deadline) else {
                if let head, head.endsWithConnection { return (head.status, bytes) }
                throw transient("\(host):\(port) closed the connection before its answer was whole")
            }
            bytes += more
        }
    }

    private func transient(_ text: String) -> Problem { Problem(kind: .transient, text: text) }
}

/// The status line and headers of an answer.
struct HTTPHead {
    let status: Int
    private let length: Int?
    private let isChunked: Bool

    init?(_ bytes: ArraySlice<UInt8>) {
        let lines = String(decoding: bytes, as: UTF8.self).split(separator: "\r\n")
        let words = lines.first?.split(separator: " ") ?? []
        guard words.count >= 2, words[0].hasPrefix("HTTP/1."), let status = Int(words[1]) else { return nil }
        self.status = status
        var headers: [String: String] = [:]
        for line in lines.dropFirst() {
            let parts = line.split(separator: ":", maxSplits: 1)
            guard parts.count == 2 else { continue }
            headers[parts[0].lowercased()] = parts[1].trimmingCharacters(in: .whitespaces)
        }
        length = headers["content-length"].flatMap { Int($0) }
        isChunked = headers["transfer-encoding"]?.lowercased().contains("chunked") ?? false
    }

    /// Whether the body has no length of its own.
    var endsWithConnection: Bool { length == nil && !isChunked }

    /// The body when all of it is there.
    func wholeBody(in bytes: [UInt8]) -> [UInt8]? {
        if isChunked { return Self.chunks(in: bytes) }
        guard let length, length >= 0, bytes.count >= length else { return nil }
        return Array(bytes.prefix(length))
    }

    /// `size in hexadecimal CRLF, bytes, CRLF`, until a size of 0.
    private static func chunks(in bytes: [UInt8]) -> [UInt8]? {
        var body: [UInt8] = []
        var at = 0
        while let end = bytes[at...].firstRange(of: Array("\r\n".utf8)) {
            let digits = String(decoding: bytes[at..<end.lowerBound], as: UTF8.self).prefix { $0.isHexDigit }
            guard let size = Int(digits, radix: 16) else { return nil }
            if size == 0 { return body }
            guard size <= bytes.count - end.upperBound - 2 else { return nil }
            body += bytes[end.upperBound..<(end.upperBound + size)]
            at = end.upperBound + size + 2
        }
        return nil
    }
}
