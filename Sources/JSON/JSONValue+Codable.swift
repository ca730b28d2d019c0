extension JSONValue: Codable {
    public init(from decoder: any Decoder) throws {
        let container = try decoder.singleValueContainer()
        if container.decodeNil() {
            self = .null
        } else if let value = try? container.decode(Bool.self) {  // tries the next form: a mismatch is no failure here
            self = .bool(value)
        } else if let value = try? container.decode(Double.self) {  // as above
            let whole = abs(value) < 0x1p53 ? nil : try? container.decode(Int128.self)  // as above
            self = whole.map { .number($0) } ?? .number(value)
        } else if let value = try? container.decode(String.self) {  // as above
            self = .string(value)
        } else if let value = try? container.decode([JSONValue].self) {  // as above
            self = .array(value)
        } else {
            self = .object(sorting: try container.decode([String: JSONValue].self))
        }
    }

    public func encode(to encoder: any Encoder) throws {
        var container = encoder.singleValueContainer()
        switch self {
        case .null: try container.encodeNil()
        case .bool(let value): try container.encode(value)
        case .number(let value):
            if let whole = value.int128 { try container.encode(whole) } else { try container.encode(value.double) }
        case .string(let value): try container.encode(value)
        case .array(let value): try container.encode(value)
        case .object(let members):
            try container.encode(Dictionary(members.map { ($0.key, $0.value) }) { first, _ in first })
        }
    }
}
