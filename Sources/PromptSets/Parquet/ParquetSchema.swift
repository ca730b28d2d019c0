/// A column of a Parquet file, or a part of one: a value, a structure, a list or a map.
indirect enum ParquetNode {
    /// One stored column, by its index among ``ParquetSchema/leaves``.
    case leaf(Int)
    case structure([(name: String, node: ParquetNode)])
    /// `nil` below `level`: a value that need not be there is there from this definition level on.
    case optional(ParquetNode, level: Int)
    /// An element is there from definition level `level` on; entries of repetition level `repetition` go on with the
    /// same list.
    case list(ParquetNode, level: Int, repetition: Int)
    /// A list of keys and values that becomes an object; `key` is a leaf with texts.
    case map(key: ParquetNode, value: ParquetNode, level: Int, repetition: Int)

    /// The first leaf within.
    var firstLeaf: Int {
        switch self {
        case .leaf(let leaf): leaf
        case .structure(let members): members[0].node.firstLeaf
        case .optional(let node, _), .list(let node, _, _), .map(let node, _, _, _): node.firstLeaf
        }
    }

    /// The last leaf within; those between belong to it too.
    var lastLeaf: Int {
        switch self {
        case .leaf(let leaf): leaf
        case .structure(let members): members[members.count - 1].node.lastLeaf
        case .optional(let node, _), .list(let node, _, _), .map(_, let node, _, _): node.lastLeaf
        }
    }
}

/// One stored column.
struct ParquetLeaf {
    /// The names from the row down to the column.
    let path: [String]
    let type: ParquetType
    /// Bytes of a value of ``ParquetType/fixedBytes``.
    let typeLength: Int
    let conversion: ParquetConversion
    /// The definition level of a value that is there.
    let maximumDefinition: Int
    let maximumRepetition: Int

    /// What messages call it.
    var name: String { path.joined(separator: ".") }
}

/// The columns of a row as a tree, from the flat list of the footer (LogicalTypes.md, "Nested Types").
struct ParquetSchema {
    private(set) var columns: [(name: String, node: ParquetNode)] = []
    private(set) var leaves: [ParquetLeaf] = []

    private static let maximumDepth = 48

    init(_ elements: [ParquetSchemaElement]) throws {
        guard let root = elements.first, root.type == nil else { throw FormatFault("its schema has no root") }
        var rest = elements.dropFirst()
        columns = try members(of: root, &rest, Nesting())
        guard rest.isEmpty else { throw FormatFault("its schema has more columns than its groups count") }
    }

    /// Where in the tree a node stands.
    private struct Nesting {
        var path: [String] = []
        var definition = 0
        var repetition = 0

        func inside(_ element: ParquetSchemaElement) -> Nesting {
            Nesting(
                path: path + [element.name], definition: definition + (element.repetition == 0 ? 0 : 1),
                repetition: repetition + (element.repetition == 2 ? 1 : 0))
        }

        var name: String { path.joined(separator: ".") }
    }

    private mutating func members(
        of group: ParquetSchemaElement, _ rest: inout ArraySlice<ParquetSchemaElement>, _ nesting: Nesting
    ) throws -> [(name: String, node: ParquetNode)] {
        guard nesting.path.count < Self.maximumDepth else {
            throw FormatFault("column \(nesting.name): nested too deep")
        }
        guard group.childCount > 0 else {
            throw FormatFault(
                nesting.path.isEmpty ? "it has no columns" : "column \(nesting.name): a structure of nothing")
        }
        var members: [(name: String, node: ParquetNode)] = []
        var names: Set<String> = []
        for _ in 0..<group.childCount {
            guard let element = rest.popFirst() else { throw FormatFault("its schema is cut off") }
            let inner = nesting.inside(element)
            guard names.insert(element.name).inserted else {
                throw FormatFault("the column \(inner.name) stands twice")
            }
            members.append((element.name, try node(element, &rest, inner)))
        }
        return members
    }

    /// A node with what its own repetition adds; the element has been taken from `rest`.
    private mutating func node(
        _ element: ParquetSchemaElement, _ rest: inout ArraySlice<ParquetSchemaElement>, _ nesting: Nesting
    ) throws -> ParquetNode {
        let inner = try content(element, &rest, nesting)
        switch element.repetition {
        case 0: return inner
        case 1: return .optional(inner, level: nesting.definition)
        case 2: return .list(inner, level: nesting.definition, repetition: nesting.repetition)
        default: throw FormatFault("column \(nesting.name) has the repetition \(element.repetition), which is none")
        }
    }

    private mutating func content(
        _ element: ParquetSchemaElement, _ rest: inout ArraySlice<ParquetSchemaElement>, _ nesting: Nesting
    ) throws -> ParquetNode {
        let logical = element.logical ?? element.convertedType.flatMap { .init(converted: $0, scale: element.scale) }
        if let type = element.type { return try leaf(type, logical, element, nesting) }
        switch logical {
        case .list: return try list(element, &rest, nesting)
        case .map: return try map(element, &rest, nesting)
        case .unsupported(let name):
            throw FormatFault("column \(nesting.name) is of type \(name), which is not supported")
        default: return .structure(try members(of: element, &rest, nesting))
        }
    }

    private mutating func leaf(
        _ type: ParquetType, _ logical: ParquetLogicalType?, _ element: ParquetSchemaElement, _ nesting: Nesting
    ) throws -> ParquetNode {
        let conversion: ParquetConversion
        do {
            conversion = try ParquetConversion(type, logical, length: element.typeLength)
        } catch let fault as FormatFault {
            throw FormatFault("column \(nesting.name) \(fault)")
        }
        leaves.append(
            ParquetLeaf(
                path: nesting.path, type: type, typeLength: element.typeLength, conversion: conversion,
                maximumDefinition: nesting.definition, maximumRepetition: nesting.repetition))
        return .leaf(leaves.count - 1)
    }

    /// A list's group holds one repeated node. It is the element itself in files of older writers, otherwise the
    /// element stands in it.
    private mutating func list(
        _ group: ParquetSchemaElement, _ rest: inout ArraySlice<ParquetSchemaElement>, _ nesting: Nesting
    ) throws -> ParquetNode {
        guard group.childCount == 1, let repeated = rest.popFirst(), repeated.repetition == 2 else {
            throw FormatFault("column \(nesting.name): a list that does not hold one repeated column")
        }
        let inner = nesting.inside(repeated)
        guard inner.path.count < Self.maximumDepth else { throw FormatFault("column \(nesting.name): nested too deep") }
        let isElement =
            repeated.type != nil || repeated.childCount != 1 || repeated.name == "array"
            || repeated.name == "\(group.name)_tuple"
        if isElement { return try node(repeated, &rest, inner) }
        guard let element = rest.popFirst() else { throw FormatFault("its schema is cut off") }
        let node = try node(element, &rest, inner.inside(element))
        return .list(node, level: inner.definition, repetition: inner.repetition)
    }

    private mutating func map(
        _ group: ParquetSchemaElement, _ rest: inout ArraySlice<ParquetSchemaElement>, _ nesting: Nesting
    ) throws -> ParquetNode {
        guard group.childCount == 1, let pair = rest.popFirst(), pair.repetition == 2, pair.childCount == 2 else {
            throw FormatFault("column \(nesting.name): a map that does not hold one repeated pair")
        }
        let inner = nesting.inside(pair)
        let members = try members(of: pair, &rest, inner)
        guard case .leaf(let key) = members[0].node, leaves[key].conversion.isText else {
            throw FormatFault("column \(nesting.name): a map whose keys are no texts")
        }
        return .map(
            key: members[0].node, value: members[1].node, level: inner.definition, repetition: inner.repetition)
    }
}
