internal import CTorch

// Making tensors. Values are given in row-major order; without a shape they form one axis.
extension Tensor {
    /// float32.
    package init(_ values: [Float], shape: [Int]? = nil, device: Device = .cpu) throws(TensorError) {
        self = try Self.copying(values, .float32, shape, device)
    }

    /// float64.
    package init(_ values: [Double], shape: [Int]? = nil, device: Device = .cpu) throws(TensorError) {
        self = try Self.copying(values, .float64, shape, device)
    }

    /// int64.
    package init(_ values: [Int], shape: [Int]? = nil, device: Device = .cpu) throws(TensorError) {
        self = try Self.copying(values, .int64, shape, device)
    }

    /// int32.
    package init(_ values: [Int32], shape: [Int]? = nil, device: Device = .cpu) throws(TensorError) {
        self = try Self.copying(values, .int32, shape, device)
    }

    /// uint8.
    package init(_ values: [UInt8], shape: [Int]? = nil, device: Device = .cpu) throws(TensorError) {
        self = try Self.copying(values, .uint8, shape, device)
    }

    package init(_ values: [Bool], shape: [Int]? = nil, device: Device = .cpu) throws(TensorError) {
        self = try Self.copying(values, .bool, shape, device)
    }

    /// Copies raw elements, as a file holds them in this machine's byte order.
    ///
    /// - Throws: ``TensorError/shape(operation:expected:got:)`` when the bytes do not fill the shape exactly.
    package init(
        bytes: UnsafeRawBufferPointer, shape: [Int], elementType: ElementType, device: Device = .cpu
    ) throws(TensorError) {
        let count = bytes.count / elementType.byteCount
        guard bytes.count == count * elementType.byteCount else {
            throw .shape(
                operation: "Tensor(bytes:)", expected: "whole elements of \(elementType) in \(bytes.count) bytes",
                got: shape)
        }
        self = try Self.copying(bytes.baseAddress, count: count, elementType, shape, device)
    }

    package static func zeros(
        _ shape: [Int], _ type: ElementType = .float32, device: Device = .cpu
    ) throws(TensorError) -> Tensor {
        try full(shape, 0, type, device: device)
    }

    /// Elements that nobody has written yet, for who reads none before it has written it: on the CPU memory is taken page
    /// by page as it is written.
    package static func unwritten(
        _ shape: [Int], _ type: ElementType = .float32, device: Device = .cpu
    ) throws(TensorError) -> Tensor {
        try make("unwritten") { ctorch_empty(shape, shape.count, type.code, device.code, $0) }
    }

    package static func ones(
        _ shape: [Int], _ type: ElementType = .float32, device: Device = .cpu
    ) throws(TensorError) -> Tensor {
        try full(shape, 1, type, device: device)
    }

    /// Every element is `value`; the shape `[]` makes a single number.
    package static func full(
        _ shape: [Int], _ value: Double, _ type: ElementType = .float32, device: Device = .cpu
    ) throws(TensorError) -> Tensor {
        try make("full") { ctorch_full(shape, shape.count, value, type.code, device.code, $0) }
    }

    /// 0, 1, …, `count` − 1 as int64.
    package static func arange(_ count: Int, device: Device = .cpu) throws(TensorError) -> Tensor {
        try make("arange") { ctorch_arange(count, device.code, $0) }
    }

    private static func copying<Element: BitwiseCopyable>(
        _ values: [Element], _ type: ElementType, _ shape: [Int]?, _ device: Device
    ) throws(TensorError) -> Tensor {
        precondition(MemoryLayout<Element>.stride == type.byteCount)
        return try copying(values, count: values.count, type, shape ?? [values.count], device)
    }

    private static func copying(
        _ values: UnsafeRawPointer?, count: Int, _ type: ElementType, _ shape: [Int], _ device: Device
    ) throws(TensorError) -> Tensor {
        var product = 1
        for size in shape {
            let (next, overflows) = product.multipliedReportingOverflow(by: size)
            product = overflows || size < 0 ? -1 : next
            if product < 0 { break }
        }
        guard product == count else {
            throw .shape(operation: "Tensor", expected: "a shape of \(count) elements", got: shape)
        }
        return try make("Tensor") {
            ctorch_from_values(values, count, type.code, shape, shape.count, device.code, $0)
        }
    }
}
