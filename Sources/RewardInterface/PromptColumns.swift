public import Records

/// Columns of a prompt's row as rewards read them. A missing or unfit column throws, with the row's name.
extension Prompt {
    /// The number in column `name`, also when it is written as a text; the nearest `Double` to it.
    public func number(_ name: String) throws(RewardError) -> Double {
        guard let value = columns[name] else { throw .missingColumn(name, in: self) }
        guard let number = value.number, number.isFinite else {
            throw .wrongColumn(name, expected: "a number", in: self)
        }
        return number
    }

    /// The whole number in column `name`, to the digit, also when it is written as a text.
    public func integer(_ name: String) throws(RewardError) -> Int {
        guard let value = columns[name] else { throw .missingColumn(name, in: self) }
        guard let whole = value.integer else { throw .wrongColumn(name, expected: "a whole number", in: self) }
        return whole
    }

    /// The text in column `name`; a number is written out.
    public func text(_ name: String) throws(RewardError) -> String {
        guard let value = columns[name] else { throw .missingColumn(name, in: self) }
        guard let text = value.text else { throw .wrongColumn(name, expected: "a text", in: self) }
        return text
    }

    /// The whole numbers in column `name`.
    public func integers(_ name: String) throws(RewardError) -> [Int] {
        guard let value = columns[name] else { throw .missingColumn(name, in: self) }
        let whole = value.elements?.compactMap(\.integer)
        guard let whole, whole.count == value.elements?.count else {
            throw .wrongColumn(name, expected: "a list of whole numbers", in: self)
        }
        return whole
    }
}
