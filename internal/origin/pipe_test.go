package origin

import (
	"bytes"
	"errors"
	"io"
	"testing"

	"pgregory.net/rapid"
)

func TestPipeMovesEveryByteInOrder(t *testing.T) {
	p := newPipe()
	rapid.Check(t, func(rt *rapid.T) {
		sizes := rapid.SliceOf(rapid.IntRange(1, 400_000)).Draw(rt, "reads")
		var sent, got bytes.Buffer
		read := func(b []byte) (int, error) {
			if len(sizes) == 0 {
				return 0, io.EOF
			}
			b = b[:min(len(b), sizes[0])]
			sizes = sizes[1:]
			for i := range b {
				b[i] = byte((sent.Len() + i) * 7 >> 3)
			}
			sent.Write(b)
			return len(b), nil
		}
		write := func(b []byte) error {
			if len(b) > maxWrite {
				rt.Errorf("a write of %d bytes", len(b))
			}
			got.Write(b)
			return nil
		}
		readErr, writeErr := p.run(read, write, nil)
		if !errors.Is(readErr, io.EOF) || writeErr != nil || !bytes.Equal(got.Bytes(), sent.Bytes()) {
			rt.Fatalf("%d bytes of %d, %v, %v", got.Len(), sent.Len(), readErr, writeErr)
		}
	})
}

// A byte that has come is written though the next one does not come.
func TestPipeHoldsNothingBack(t *testing.T) {
	written := make(chan struct{})
	reads := 0
	_, err := newPipe().run(func(b []byte) (int, error) {
		if reads++; reads == 1 {
			return 1, nil
		}
		<-written
		return 0, nil
	}, func([]byte) error {
		close(written)
		return nil
	}, nil)
	if err != nil {
		t.Fatal(err)
	}
}

func TestPipeStopsTheReaderWhenTheDiskFails(t *testing.T) {
	full := errors.New("disk full")
	stopped := make(chan struct{})
	reads := 0
	_, err := newPipe().run(func(b []byte) (int, error) {
		if reads++; reads == 1 {
			return len(b) / 2, nil
		}
		<-stopped
		return 0, io.ErrClosedPipe
	}, func([]byte) error { return full }, func() { close(stopped) })
	if !errors.Is(err, full) {
		t.Fatal(err)
	}
}
