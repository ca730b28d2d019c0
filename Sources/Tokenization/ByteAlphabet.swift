/// The visible stand-in for each byte that byte-level vocabularies write: printable Latin-1 stands for itself, the
/// other 68 bytes take U+0100 and up, in order.
enum ByteAlphabet {
    /// Byte to code point.
    static let points: [UInt32] = {
        var next: UInt32 = 0x100
        return (0..<256).map { byte in
            if (0x21...0x7E).contains(byte) || (0xA1...0xAC).contains(byte) || (0xAE...0xFF).contains(byte) {
                return UInt32(byte)
            }
            defer { next += 1 }
            return next
        }
    }()

    private static let byteOfPoint: [UInt8?] = {
        var bytes = [UInt8?](repeating: nil, count: 0x144)
        for (byte, point) in points.enumerated() { bytes[Int(point)] = UInt8(byte) }
        return bytes
    }()

    /// The bytes a token stands for; nil when it holds a character outside the alphabet.
    static func bytes(of token: String) -> [UInt8]? {
        var bytes: [UInt8] = []
        bytes.reserveCapacity(token.utf8.count)
        for scalar in token.unicodeScalars {
            guard scalar.value < 0x144, let byte = byteOfPoint[Int(scalar.value)] else { return nil }
            bytes.append(byte)
        }
        return bytes
    }

    /// How a vocabulary writes these bytes.
    static func text(of bytes: some Sequence<UInt8>) -> String {
        var text: [UInt8] = []
        for byte in bytes { appendScalar(points[Int(byte)], to: &text) }
        return String(decoding: text, as: UTF8.self)
    }
}

/// A token's text, told apart by its bytes: `String` holds an `é` of one scalar and one of two for equal.
struct TokenText: Hashable, Sendable {
    let text: String

    init(_ text: String) { self.text = text }

    static func == (left: TokenText, right: TokenText) -> Bool { left.text.utf8.elementsEqual(right.text.utf8) }

    func hash(into hasher: inout Hasher) {
        Array(text.utf8).withUnsafeBytes { hasher.combine(bytes: $0) }
    }
}
