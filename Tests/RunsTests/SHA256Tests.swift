import Foundation
import TestSupport
import Testing

import Runs

@Suite("SHA-256 against published digests")
struct SHA256Tests {
    /// The first four are FIPS 180-4's and NIST CAVP's examples; the others are Python's `hashlib.sha256(...)` on the
    /// text.
    @Test(arguments: [
        ("", "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"),
        ("abc", "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"),
        (
            "abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq",
            "248d6a61d20638b8e5c026930c3e6039a33ce45964ff2167f6ecedd419db06c1"
        ),
        (
            "abcdefghbcdefghicdefghijdefghijkefghijklfghijklmghijklmnhijklmnoijklmnopjklmnopqklmnopqrlmnopqrsmnopqrstnopqrstu",
            "cf5b16a778af8380036ce59e7b0492370b249b11e8f07a51afac45037afee9d1"
        ),
    ])
    func digest(_ message: String, _ expected: String) {
        var hash = SHA256()
        hash.update(Array(message.utf8))
        #expect(hash.hexDigest() == expected)
    }

    /// FIPS 180-2, appendix B.3.
    @Test func aMillionLettersInUnevenPieces() {
        var hash = SHA256()
        var left = 1_000_000
        var piece = 1
        while left > 0 {
            hash.update([UInt8](repeating: UInt8(ascii: "a"), count: min(piece, left)))
            left -= min(piece, left)
            piece = piece % 301 + 1
        }
        #expect(hash.hexDigest() == "cdc76e5c9914fb9281a1c7e284d73e67f1809a48a497200e046d39ccc7112cd0")
    }

    /// `hashlib.sha256(bytes(i * 7 % 256 for i in range(n)))` for the lengths around a block's end, all digests hashed
    /// in turn.
    @Test func everyLengthAroundABlock() {
        var all = SHA256()
        for length in 0...200 {
            var hash = SHA256()
            hash.update((0..<length).map { UInt8($0 * 7 % 256) })
            all.update(hash.digest())
        }
        #expect(all.hexDigest() == "c43614ca86d050b81500ab839e2b7e83381ef396e722c27d3e537ab57268e893")
    }

    @Test func filesAreHashedInPieces() throws {
        let folder = try TemporaryFolder()
        let url = folder.url.appending(path: "weights")
        let bytes = (0..<2_500_001).map { UInt8(truncatingIfNeeded: $0 &* 31) }
        try Data(bytes).write(to: url)
        let (hex, byteCount) = try SHA256.file(url)
        // hashlib.sha256(bytes(i * 31 % 256 for i in range(2500001))).hexdigest()
        #expect(hex == "a0a629e83240555fa5eadb7143761d6e4257ae845f1a64fdb85beb4599142319")
        #expect(byteCount == 2_500_001)
    }
}
