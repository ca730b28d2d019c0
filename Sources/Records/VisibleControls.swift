extension String {
    /// The text with every control character but line breaks and tabs made visible, for a terminal: `\u{1B}` stands
    /// there as seven characters. Marks that turn the direction of writing around are shown too.
    package var withVisibleControls: String {
        guard unicodeScalars.contains(where: \.isHiddenControl) else { return self }
        var text = ""
        for scalar in unicodeScalars {
            if scalar.isHiddenControl {
                text += "\\u{\(String(scalar.value, radix: 16, uppercase: true))}"
            } else {
                text.unicodeScalars.append(scalar)
            }
        }
        return text
    }
}

extension Unicode.Scalar {
    fileprivate var isHiddenControl: Bool {
        switch value {
        case 0x09, 0x0A: false
        case 0..<0x20, 0x7F..<0xA0: true  // C0, DEL and C1
        case 0x202A...0x202E, 0x2066...0x2069: true  // directions
        default: false
        }
    }
}
