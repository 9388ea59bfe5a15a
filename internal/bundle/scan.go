package bundle

import (
	"encoding/binary"
	"errors"
	"io"
	"math"
)

// Scan reads the first n bytes of a bundle that somebody else will not finish.
// It returns the indices of the files that are in it, and the bytes that fill up
// a frame that is there only in part. With those appended, the bundle can go on.
func Scan(r io.Reader, n int64) (indices []int, fill []byte, err error) {
	s := &tail{r: io.LimitReader(r, n)}
	in := NewReader(s)
	for {
		s.begin(in.off)
		f, err := in.Next()
		switch {
		case err == nil:
			indices = append(indices, f.Index)
		case errors.Is(err, io.EOF):
			return indices, nil, nil
		case errors.Is(err, io.ErrUnexpectedEOF) && in.off == n:
			fill, err := s.rest()
			return indices, fill, err
		default:
			return nil, nil, err
		}
	}
}

// tail is a reader that remembers what it has read since the last file.
type tail struct {
	r    io.Reader
	kept []byte
}

// begin forgets what was read of earlier frames.
func (t *tail) begin(off int64) {
	if off > 0 {
		t.kept = t.kept[:0]
	}
}

func (t *tail) Read(p []byte) (int, error) {
	n, err := t.r.Read(p)
	t.kept = append(t.kept, p[:n]...)
	return n, err
}

// rest returns what the last frame lacks. Zeros do: as bytes of the length they
// make it one that is allowed, as a header they are none, and a file that they
// happen to complete rightly is right.
func (t *tail) rest() ([]byte, error) {
	left := t.kept
	if len(left) >= len(Magic) && string(left[:len(Magic)]) == Magic {
		left = left[len(Magic):]
	}
	for {
		size := frameLen(left)
		switch {
		case size > lengthLen+maxHeader+MaxFile:
			return nil, ErrMalformed
		case size > len(left):
			return make([]byte, size-len(left)), nil
		}
		left = left[size:] // a void one
	}
}

// frameLen returns how long the frame is that begins with b, as far as b tells,
// with zeros for what is missing.
func frameLen(b []byte) int {
	var length [lengthLen]byte
	copy(length[:], b)
	size := binary.BigEndian.Uint32(length[:])
	if size > maxHeader {
		return math.MaxInt
	}
	head := lengthLen + int(size)
	if len(b) < head {
		return head // cut within the header, which zeros will make void
	}
	if h, ok := decode(b[lengthLen:head]); ok {
		return head + int(h.Size)
	}
	return head
}
