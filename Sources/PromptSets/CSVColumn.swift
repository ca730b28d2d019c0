import JSON

/// What every field of a CSV column can be read as; a column that can be neither is one of texts.
///
/// A function in Python that compares an answer with an `int` is right under `datasets`, which finds types too. Here a
/// field is a number only in the one spelling that the number is written out in: `007` and `1.50` are no less than they
/// say, and what reads the column as texts reads what stands in the file.
struct CSVColumn: OptionSet {
    let rawValue: UInt8

    /// A whole number of 64 bits, with a sign or without.
    static let whole = CSVColumn(rawValue: 1)
    static let fraction = CSVColumn(rawValue: 2)

    /// What one field can be; one that is left out says nothing of its column.
    private init(of field: CSVField) {
        guard !field.isLeftOut else {
            self = [.whole, .fraction]
            return
        }
        self = []
        // No number is spelled longer.
        guard let first = field.text.utf8.first, first == 0x2d || (0x30...0x39).contains(first),
            field.text.utf8.count <= 24
        else { return }
        if let value = Int128(field.text), value >= Int128(Int64.min), value <= Int128(UInt64.max),
            String(value) == field.text
        {
            insert(.whole)
        }
        if let value = Double(field.text), JSONNumber(value)?.text == field.text { insert(.fraction) }
    }

    init(rawValue: UInt8) { self.rawValue = rawValue }

    /// The columns of a file, found from the fields of its rows.
    ///
    /// - Parameter row: The fields of a row; `nil` for one that cannot be read, which is told of where it is asked for.
    static func all(_ count: Int, rows: Range<Int>, _ row: (Int) throws -> [CSVField]?) rethrows -> [CSVColumn] {
        var columns = [CSVColumn](repeating: [.whole, .fraction], count: count)
        for index in rows {
            guard let fields = try row(index), fields.count == count else { continue }
            var isDone = true
            for (slot, field) in fields.enumerated() where columns[slot] != [] {
                columns[slot].formIntersection(CSVColumn(of: field))
                if columns[slot] != [] { isDone = false }
            }
            if isDone { break }
        }
        return columns
    }

    /// A field of this column as a reward gets it.
    func value(of field: CSVField) -> JSONValue {
        if field.isLeftOut { return .null }
        if contains(.whole), let value = Int128(field.text) { return .number(value) }
        if contains(.fraction), let value = Double(field.text) { return .fraction(value) }
        return .string(field.text)
    }
}
