import JSON
import Runs

/// A Parquet file, read row by row from front to back: memory is a page and a dictionary for each column.
struct ParquetFile {
    private let file: PosixFile
    private let schema: ParquetSchema
    private let rowGroups: [ParquetRowGroup]
    private let dataEnd: Int
    /// The most entries that a column or a dictionary may have.
    private let mostEntries: Int
    /// Memory for the pages of all columns, which are open side by side.
    private static let pageRoom = 1 << 30

    /// Whether a file begins as Parquet files do.
    static func isParquet(_ head: [UInt8]) -> Bool { head.starts(with: magic) }

    private static let magic = Array("PAR1".utf8)
    /// Reads the footer.
    ///
    /// - Throws: ``PromptSetError/file(path:message:)`` for a file that is cut off, encrypted or of a form that is not
    ///   supported.
    init(_ file: PosixFile) throws {
        self.file = file
        do {
            let byteCount = try file.byteCount()
            let tail = try file.bytes(at: max(0, byteCount - 8), count: 8)
            guard byteCount >= 12, tail.count == 8, tail.suffix(4) == Self.magic[...] else {
                throw FormatFault(
                    tail.suffix(4) == Array("PARE".utf8)[...]
                        ? "the file is encrypted; write it without encryption"
                        : "it does not end as a Parquet file does; it seems cut off")
            }
            let length = tail.prefix(4).reversed().reduce(0) { $0 << 8 | Int($1) }
            guard length <= byteCount - 12 else { throw FormatFault("its metadata is longer than the file") }
            dataEnd = byteCount - 8 - length
            var reader = ThriftReader(ByteReader(try file.bytes(at: dataEnd, count: length)))
            let metadata = try ParquetMetadata(&reader)
            schema = try ParquetSchema(metadata.schema)
            rowGroups = metadata.rowGroups
            var rows = 0
            for group in rowGroups {
                guard group.chunks.count == schema.leaves.count else {
                    throw FormatFault(
                        "a row group has \(group.chunks.count) columns, the schema \(schema.leaves.count)")
                }
                let sum = rows.addingReportingOverflow(group.rowCount)
                guard !sum.overflow else { throw FormatFault("its row groups have more rows than it says") }
                rows = sum.partialValue
            }
            // The tightest encodings take a bit for each entry of a column whose values differ.
            mostEntries = 8 * byteCount + 1024
            let entries = rowGroups.flatMap(\.chunks).map(\.entryCount).max() ?? 0
            guard max(rows, entries) <= mostEntries else {
                throw FormatFault("it claims \(max(rows, entries)) rows or values in \(byteCount) bytes")
            }
            guard rows == metadata.rowCount else {
                throw FormatFault("its row groups have \(rows) rows, it says \(metadata.rowCount)")
            }
        } catch let fault as FormatFault {
            throw PromptSetError.file(path: file.path, message: "as a Parquet file: \(fault)")
        }
    }

    /// Hands over every row, its columns in the order of the schema.
    ///
    /// - Throws: ``PromptSetError/record(path:number:column:message:)`` naming row and column, and what `body` throws.
    func forEachRow(_ body: ([JSONValue.Member]) throws -> Void) throws {
        var row = 0
        for group in rowGroups {
            var columns: [ParquetColumn] = []
            let limits = ParquetColumn.Limits(
                pageBytes: min(256 << 20, max(8 << 20, Self.pageRoom / max(1, group.chunks.count))),
                dictionaryEntries: mostEntries)
            for (chunk, leaf) in zip(group.chunks, schema.leaves) {
                columns.append(
                    try located(row, leaf) { try ParquetColumn(chunk, of: leaf, in: file, dataEnd: dataEnd, limits) })
            }
            var assembly = RowAssembly(columns: columns)
            columns = []  // so that the assembly changes them in place
            for _ in 0..<group.rowCount {
                try body(try members(of: row, &assembly))
                row += 1
            }
            for column in assembly.columns where column.levels != nil {
                try located(row, column.leaf) { throw FormatFault("more values than rows") }
            }
        }
    }

    private func members(of row: Int, _ assembly: inout RowAssembly) throws -> [JSONValue.Member] {
        do {
            return try assembly.row(schema.columns)
        } catch let fault as FormatFault {
            throw PromptSetError.record(
                path: file.path, number: row + 1, column: schema.leaves[assembly.index].name, message: "\(fault)")
        }
    }

    private func located<Result>(_ row: Int, _ leaf: ParquetLeaf, _ body: () throws -> Result) throws -> Result {
        do {
            return try body()
        } catch let fault as FormatFault {
            throw PromptSetError.record(path: file.path, number: row + 1, column: leaf.name, message: "\(fault)")
        }
    }
}

/// Puts one row together from its columns' entries (Melnik et al. 2010, "Dremel", §4.3).
private struct RowAssembly {
    var columns: [ParquetColumn]
    /// The column read last, for messages.
    private(set) var index = 0
    private var valuesLeft = 0

    /// Values of one row, in all lists together; what is more is a damaged file.
    private static let mostValues = 4 << 20

    init(columns: [ParquetColumn]) { self.columns = columns }

    /// The next row.
    mutating func row(_ nodes: [(name: String, node: ParquetNode)]) throws -> [JSONValue.Member] {
        valuesLeft = Self.mostValues
        var members: [JSONValue.Member] = []
        for (name, node) in nodes { members.append(JSONValue.Member(name, try value(of: node))) }
        try requireEndOfRow()
        return members
    }

    private mutating func value(of node: ParquetNode) throws -> JSONValue {
        switch node {
        case .leaf(let leaf):
            guard try definition(leaf) == columns[leaf].leaf.maximumDefinition else {
                throw FormatFault("no value where one should be")
            }
            try countValue()
            return try columns[leaf].take()
        case .structure(let members):
            return .object(try members.map { JSONValue.Member($0.name, try value(of: $0.node)) })
        case .optional(let inner, let level):
            guard try definition(node.firstLeaf) >= level else {
                try passOver(node, below: level)
                return .null
            }
            return try value(of: inner)
        case .list(let element, let level, let repetition):
            var elements: [JSONValue] = []
            try forEachElement(node, level, repetition) { elements.append(try $0.value(of: element)) }
            return .array(elements)
        case .map(let key, let value, let level, let repetition):
            var members: [JSONValue.Member] = []
            var keys: Set<String> = []
            try forEachElement(node, level, repetition) { assembly in
                guard case .string(let name) = try assembly.value(of: key) else {
                    throw FormatFault("a key of a map that is no text")
                }
                guard keys.insert(name).inserted else {
                    throw FormatFault("a map with the key \"\(name)\" twice")
                }
                members.append(JSONValue.Member(name, try assembly.value(of: value)))
            }
            return .object(members)
        }
    }

    private mutating func forEachElement(
        _ node: ParquetNode, _ level: Int, _ repetition: Int, _ body: (inout RowAssembly) throws -> Void
    ) throws {
        let first = node.firstLeaf
        guard try definition(first) >= level else { return try passOver(node, below: level) }
        repeat { try body(&self) } while columns[first].levels?.repetition == repetition
    }

    /// Every column within has one entry for what is not there.
    private mutating func passOver(_ node: ParquetNode, below level: Int) throws {
        for leaf in node.firstLeaf...node.lastLeaf {
            guard try definition(leaf) < level else { throw FormatFault("a value in a structure that is not there") }
            try countValue()
            try columns[leaf].advance()
        }
    }

    private mutating func definition(_ leaf: Int) throws -> Int {
        index = leaf
        guard let levels = columns[leaf].levels else { throw FormatFault("fewer values than rows") }
        return levels.definition
    }

    private mutating func countValue() throws {
        valuesLeft -= 1
        guard valuesLeft >= 0 else { throw FormatFault("a row of more values than a row can have") }
    }

    /// All columns stand at the beginning of the next row, or at the end.
    private mutating func requireEndOfRow() throws {
        for leaf in columns.indices where columns[leaf].levels.map({ $0.repetition != 0 }) ?? false {
            index = leaf
            throw FormatFault("a list is longer than in the columns beside it")
        }
    }
}
