package blob

import (
	"encoding/binary"
	"errors"
	"hash/crc32"
	"io"

	"github.com/jumpget/jumpget/internal/span"
)

// The list of sums is a header and then 32 bytes for each chunk, zeros for one
// that has no sum yet. The header is
//
//	magic   8 bytes  "JGSUMS1\n"
//	size    8 bytes  of the body, little-endian, -1 if unknown
//	crc     4 bytes  CRC-32C of the 16 bytes before, little-endian
//	zeros  44 bytes
//
// Entries need no checksum of their own: a damaged one does not match its
// chunk, and what does not match is fetched again.
const (
	magic     = "JGSUMS1\n"
	headerLen = 64
	entryLen  = len(Sum{})
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// entry is chunk i's place in a set of chunks.
func entry(i int) span.Span { return span.Span{Start: int64(i), End: int64(i) + 1} }

// sumsLen returns the bytes that the list takes for a body of size bytes.
func sumsLen(size int64) int64 {
	return headerLen + (max(0, size)+ChunkSize-1)/ChunkSize*int64(entryLen)
}

func encodeHeader(size int64) []byte {
	h := make([]byte, headerLen)
	copy(h, magic)
	binary.LittleEndian.PutUint64(h[8:], uint64(size))
	binary.LittleEndian.PutUint32(h[16:], crc32.Checksum(h[:16], castagnoli))
	return h
}

// decodeHeader returns the size, or UnknownSize for anything it can't trust.
func decodeHeader(h []byte) int64 {
	if len(h) < headerLen || string(h[:8]) != magic ||
		binary.LittleEndian.Uint32(h[16:]) != crc32.Checksum(h[:16], castagnoli) {
		return UnknownSize
	}
	return max(UnknownSize, int64(binary.LittleEndian.Uint64(h[8:])))
}

// readSums reads what there is of the list, and never more than can speak of
// dataLen bytes. Only a disk that can't be read is an error; garbage and a
// list cut short are just sums that Verify will forget.
func readSums(f io.ReaderAt, dataLen int64) (size int64, sums []Sum, err error) {
	raw, err := io.ReadAll(io.NewSectionReader(f, 0, sumsLen(dataLen)))
	if err != nil && !errors.Is(err, io.EOF) {
		return 0, nil, err
	}
	size = decodeHeader(raw)
	if len(raw) < headerLen {
		return size, nil, nil
	}
	for raw = raw[headerLen:]; len(raw) >= entryLen; raw = raw[entryLen:] {
		sums = append(sums, Sum(raw[:entryLen]))
	}
	return size, sums, nil
}

// dirtySums is the part of the list that one Sync brings to disk.
type dirtySums struct {
	size    int64 // for the header; UnknownSize: it stays as it is
	chunks  []span.Span
	entries [][]byte // of each span of chunks
}

func (b *Body) takeDirty() dirtySums {
	size, _ := b.Size()
	b.mu.Lock()
	defer b.mu.Unlock()
	list := dirtySums{size: UnknownSize, chunks: b.dirty.Spans()}
	if !b.sized {
		list.size = size
	}
	for _, run := range list.chunks {
		raw := make([]byte, 0, run.Len()*int64(entryLen))
		for _, sum := range b.sums[run.Start:run.End] {
			raw = append(raw, sum[:]...)
		}
		list.entries = append(list.entries, raw)
	}
	b.dirty = span.Set{}
	return list
}

func (b *Body) giveBack(list dirtySums) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, run := range list.chunks {
		b.dirty.Add(run)
	}
}

func (l dirtySums) write(f io.WriterAt) error {
	if l.size != UnknownSize {
		if _, err := f.WriteAt(encodeHeader(l.size), 0); err != nil {
			return err
		}
	}
	for i, run := range l.chunks {
		if _, err := f.WriteAt(l.entries[i], headerLen+run.Start*int64(entryLen)); err != nil {
			return err
		}
	}
	return nil
}
