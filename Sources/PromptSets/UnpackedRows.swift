import Foundation
import JSON
import Runs

/// Unpacks files into files without a name, of plain text, whose rows can be read in any order.
///
/// A compressed or columnar file can be read from front to back only, and a run asks for rows in every order. So it is
/// unpacked once, when it is opened: memory stays bounded by a piece of the file (Parquet: a page of each column), the
/// disk holds the text until the file is closed. It lies in the system's folder for temporary files, `TMPDIR`.
enum UnpackedRows {
    /// The file itself, or the text of a gzip file.
    ///
    /// - Throws: ``PromptSetError/file(path:message:)`` when it is damaged or the disk is full.
    static func text(of file: PosixFile) throws -> PosixFile {
        guard Gzip.isGzip(try file.bytes(at: 0, count: 2)) else { return file }
        return try unpacking(file) { text in
            var offset = 0
            do {
                try Gzip.unpack(
                    {
                        let piece = try file.bytes(at: offset, count: RowScanner.pieceBytes)
                        offset += piece.count
                        return piece
                    }, write: { try text.write($0) })
            } catch let fault as FormatFault {
                throw PromptSetError.file(path: file.path, message: "as a gzip file: \(fault)")
            }
        }
    }

    /// The rows of a Parquet file as JSON Lines, and where each of them is.
    static func rows(ofParquet file: PosixFile) throws -> (PosixFile, RowIndex) {
        let parquet = try ParquetFile(file)
        var index = RowIndex()
        let text = try unpacking(file) { text in
            var (pending, written): ([UInt8], Int) = ([], 0)
            try parquet.forEachRow { members in
                let row = JSONValue.object(members).serializedBytes
                let start = written + pending.count
                try index.append(from: start, to: start + row.count, line: index.count + 1, path: file.path)
                pending += row
                pending.append(0x0a)
                guard pending.count >= RowScanner.pieceBytes else { return }
                try text.write(pending)
                written += pending.count
                pending.removeAll(keepingCapacity: true)
            }
            try text.write(pending)
        }
        return (text, index)
    }

    private static func unpacking(_ file: PosixFile, _ body: (PosixFile) throws -> Void) throws -> PosixFile {
        let folder = FileManager.default.temporaryDirectory
        do {
            let text = try PosixFile.unnamed(in: folder, standingFor: file.path)
            try body(text)
            return text
        } catch let error as RunError where error.isDiskFull {
            throw PromptSetError.file(
                path: file.path,
                message: "unpacked it does not fit on the disk of \(folder.path); make room there, or set TMPDIR to a "
                    + "folder with more")
        }
    }
}
