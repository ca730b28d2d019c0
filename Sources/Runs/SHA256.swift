package import Foundation

/// SHA-256 (FIPS 180-4), fed piece by piece.
package struct SHA256: Sendable {
    private var state: SIMD8<UInt32> = [
        0x6a09_e667, 0xbb67_ae85, 0x3c6e_f372, 0xa54f_f53a, 0x510e_527f, 0x9b05_688c, 0x1f83_d9ab, 0x5be0_cd19,
    ]
    private var pending: [UInt8] = []
    private var byteCount: UInt64 = 0

    package init() { pending.reserveCapacity(64) }

    /// Adds bytes to the message.
    package mutating func update(_ bytes: UnsafeRawBufferPointer) {
        byteCount += UInt64(bytes.count)
        var rest = bytes[...]
        if !pending.isEmpty {
            let taken = rest.prefix(64 - pending.count)
            pending.append(contentsOf: taken)
            rest = rest.dropFirst(taken.count)
            guard pending.count == 64 else { return }
            pending.withUnsafeBytes { Self.compress(&state, blocks: $0) }
            pending.removeAll(keepingCapacity: true)
        }
        let whole = rest.count & ~63
        if whole > 0 { Self.compress(&state, blocks: UnsafeRawBufferPointer(rebasing: rest.prefix(whole))) }
        pending.append(contentsOf: rest.dropFirst(whole))
    }

    package mutating func update(_ bytes: [UInt8]) { bytes.withUnsafeBytes { update($0) } }

    /// The 32 bytes of the digest of everything fed so far.
    package func digest() -> [UInt8] {
        var last = self
        let bits = byteCount &* 8
        var padding: [UInt8] = [0x80]
        padding += [UInt8](repeating: 0, count: (119 - pending.count) % 64)
        padding += (0..<8).map { UInt8(truncatingIfNeeded: bits >> (56 - 8 * UInt64($0))) }
        last.update(padding)
        return (0..<8).flatMap { word in
            (0..<4).map { UInt8(truncatingIfNeeded: last.state[word] >> (24 - 8 * UInt32($0))) }
        }
    }

    /// The digest as 64 lower-case hexadecimal digits.
    package func hexDigest() -> String {
        let digits = Array("0123456789abcdef".utf8)
        return String(decoding: digest().flatMap { [digits[Int($0 >> 4)], digits[Int($0 & 15)]] }, as: UTF8.self)
    }

    /// The hexadecimal digest and size of a file, read in pieces of 1 MiB.
    package static func file(_ url: URL) throws(RunError) -> (hex: String, byteCount: Int) {
        let file = try PosixFile.regular(url)
        let buffer = UnsafeMutableRawBufferPointer.allocate(byteCount: 1 << 20, alignment: 16)
        defer { buffer.deallocate() }
        var hash = SHA256()
        var offset = 0
        while true {
            let got = try file.read(into: buffer, at: offset)
            if got == 0 { return (hash.hexDigest(), offset) }
            hash.update(UnsafeRawBufferPointer(rebasing: buffer[..<got]))
            offset += got
        }
    }

    /// Folds whole 64-byte blocks into the state (FIPS 180-4, §6.2.2).
    ///
    /// Weights of gigabytes pass through here, hence unchecked access and rounds whose eight variables
    /// change roles instead of moving.
    private static func compress(_ state: inout SIMD8<UInt32>, blocks: UnsafeRawBufferPointer) {
        withUnsafeTemporaryAllocation(of: UInt32.self, capacity: 64) { schedule in
            roundConstants.withUnsafeBufferPointer { constants in
                let w = schedule.baseAddress!
                let k = constants.baseAddress!
                var block = blocks.baseAddress!
                for _ in 0..<(blocks.count / 64) {
                    fillSchedule(w, k, from: block)
                    rounds(&state, w)
                    block += 64
                }
            }
        }
    }

    /// The message schedule W with the round constants K already added for the rounds.
    @inline(__always)
    private static func fillSchedule(
        _ w: UnsafeMutablePointer<UInt32>, _ k: UnsafePointer<UInt32>, from block: UnsafeRawPointer
    ) {
        for t in 0..<16 { w[t] = UInt32(bigEndian: block.loadUnaligned(fromByteOffset: 4 * t, as: UInt32.self)) }
        for t in 16..<64 {
            let early = w[t &- 15]
            let late = w[t &- 2]
            let sigma0 = rotated(early, 7) ^ rotated(early, 18) ^ (early &>> 3)
            let sigma1 = rotated(late, 17) ^ rotated(late, 19) ^ (late &>> 10)
            w[t] = w[t &- 16] &+ sigma0 &+ w[t &- 7] &+ sigma1
        }
        for t in 0..<64 { w[t] = w[t] &+ k[t] }
    }

    @inline(__always)
    private static func rounds(_ state: inout SIMD8<UInt32>, _ w: UnsafeMutablePointer<UInt32>) {
        var (a, b, c, d) = (state[0], state[1], state[2], state[3])
        var (e, f, g, h) = (state[4], state[5], state[6], state[7])
        var t = 0
        while t < 64 {
            round(a, b, c, &d, e, f, g, &h, w[t])
            round(h, a, b, &c, d, e, f, &g, w[t &+ 1])
            round(g, h, a, &b, c, d, e, &f, w[t &+ 2])
            round(f, g, h, &a, b, c, d, &e, w[t &+ 3])
            round(e, f, g, &h, a, b, c, &d, w[t &+ 4])
            round(d, e, f, &g, h, a, b, &c, w[t &+ 5])
            round(c, d, e, &f, g, h, a, &b, w[t &+ 6])
            round(b, c, d, &e, f, g, h, &a, w[t &+ 7])
            t &+= 8
        }
        state = state &+ SIMD8(a, b, c, d, e, f, g, h)
    }

    /// One round: the new `a` ends up in `h`, the new `e` in `d`.
    @inline(__always)
    private static func round(
        _ a: UInt32, _ b: UInt32, _ c: UInt32, _ d: inout UInt32,
        _ e: UInt32, _ f: UInt32, _ g: UInt32, _ h: inout UInt32, _ wk: UInt32
    ) {
        let sum1 = rotated(e, 6) ^ rotated(e, 11) ^ rotated(e, 25)
        let choice = g ^ (e & (f ^ g))
        let first = h &+ sum1 &+ choice &+ wk
        let sum0 = rotated(a, 2) ^ rotated(a, 13) ^ rotated(a, 22)
        let majority = (a & b) | (c & (a | b))
        d = d &+ first
        h = first &+ sum0 &+ majority
    }

    @inline(__always)
    private static func rotated(_ word: UInt32, _ bits: UInt32) -> UInt32 {
        (word &>> bits) | (word &<< (32 &- bits))
    }

    /// The first 32 bits of the fractional parts of the cube roots of the first 64 primes (FIPS 180-4, §4.2.2).
    private static let roundConstants: [UInt32] = [
        0x428a_2f98, 0x7137_4491, 0xb5c0_fbcf, 0xe9b5_dba5, 0x3956_c25b, 0x59f1_11f1, 0x923f_82a4, 0xab1c_5ed5,
        0xd807_aa98, 0x1283_5b01, 0x2431_85be, 0x550c_7dc3, 0x72be_5d74, 0x80de_b1fe, 0x9bdc_06a7, 0xc19b_f174,
        0xe49b_69c1, 0xefbe_4786, 0x0fc1_9dc6, 0x240c_a1cc, 0x2de9_2c6f, 0x4a74_84aa, 0x5cb0_a9dc, 0x76f9_88da,
        0x983e_5152, 0xa831_c66d, 0xb003_27c8, 0xbf59_7fc7, 0xc6e0_0bf3, 0xd5a7_9147, 0x06ca_6351, 0x1429_2967,
        0x27b7_0a85, 0x2e1b_2138, 0x4d2c_6dfc, 0x5338_0d13, 0x650a_7354, 0x766a_0abb, 0x81c2_c92e, 0x9272_2c85,
        0xa2bf_e8a1, 0xa81a_664b, 0xc24b_8b70, 0xc76c_51a3, 0xd192_e819, 0xd699_0624, 0xf40e_3585, 0x106a_a070,
        0x19a4_c116, 0x1e37_6c08, 0x2748_774c, 0x34b0_bcb5, 0x391c_0cb3, 0x4ed8_aa4a, 0x5b9c_ca4f, 0x682e_6ff3,
        0x748f_82ee, 0x78a5_636f, 0x84c8_7814, 0x8cc7_0208, 0x90be_fffa, 0xa450_6ceb, 0xbef9_a3f7, 0xc671_78f2,
    ]
}
