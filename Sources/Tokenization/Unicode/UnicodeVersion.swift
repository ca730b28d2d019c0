/// How much of Unicode a part of the `tokenizers` library (0.23) knows: its parts were built with different versions of
/// it, and a text must be cut as they cut it, also where this system's Unicode is newer.
enum UnicodeVersion: Int {
    /// Its normalization forms.
    case normalization = 9
    /// The classes of its regular expressions, and what it takes for a word's characters.
    case expressions = 16
    /// What Rust's standard library takes for a number.
    case digits = 17

    func knows(_ scalar: Unicode.Scalar) -> Bool {
        guard scalar.value >= 0x250, let age = scalar.properties.age else { return scalar.value < 0x250 }
        return age.major < rawValue || (age.major == rawValue && age.minor == 0)
    }

    /// The characters this version knows, in order. What is left out, planes 4 to 13 and those for private use, has no
    /// class and no decomposition.
    func characters(from first: UInt32) -> [Unicode.Scalar] {
        var known: [Unicode.Scalar] = []
        for points in [first..<0xD800, 0xF900..<0x34000, 0xE0000..<0xE0200] {
            for point in points {
                if let scalar = Unicode.Scalar(point), knows(scalar) { known.append(scalar) }
            }
        }
        return known
    }
}
