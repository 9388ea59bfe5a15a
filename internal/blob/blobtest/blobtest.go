// Package blobtest holds the tests that every implementation of blob.Store
// has to pass.
package blobtest

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"io"
	"testing"

	"github.com/jumpget/jumpget/internal/blob"
	"github.com/jumpget/jumpget/internal/growfile"
	"github.com/jumpget/jumpget/internal/span"
)

// Two ids that a store must take, in order.
const (
	ID      = "abcdefghijklmnopqrstuvwx27"
	OtherID = "zzzzzzzzzzzzzzzzzzzzzzzzzz"
)

// A Reopen opens the same storage anew, as the next process would.
type Reopen func() blob.Store

// Run runs the suite. For each test, fresh gives an empty storage.
func Run(t *testing.T, fresh func(t *testing.T) Reopen) {
	for name, test := range map[string]func(*testing.T, Reopen){
		"ids that are none":                  invalidIDs,
		"create, write, sync, open, verify":  roundTrip,
		"a partial body":                     partial,
		"unknown size":                       unknownSize,
		"empty body":                         emptyBody,
		"unsynced bytes are not claimed":     unsynced,
		"create twice":                       createTwice,
		"not found":                          notFound,
		"an open body is shared":             shared,
		"readers go on after a removal":      removeWhileOpen,
		"list":                               list,
		"free":                               free,
		"sums":                               sums,
		"closed":                             closed,
		"verify stops when told":             verifyCancelled,
		"every reader reads what is written": readWhileWritten,
	} {
		t.Run(name, func(t *testing.T) { test(t, fresh(t)) })
	}
}

// Bytes returns n bytes that look random and are the same each time.
func Bytes(n int) []byte {
	b := make([]byte, n)
	x := uint32(2463534242)
	for i := range b {
		x ^= x << 13
		x ^= x >> 17
		x ^= x << 5
		b[i] = byte(x)
	}
	return b
}

// Fill writes data into b, sets all sums and makes it durable.
func Fill(t *testing.T, b *blob.Body, data []byte) {
	t.Helper()
	_, err := b.WriteAt(data, 0)
	must(t, err)
	must(t, b.Finish())
	for i := 0; i*blob.ChunkSize < len(data); i++ {
		setSum(t, b, data, i)
	}
	must(t, b.Sync(t.Context()))
}

func setSum(t *testing.T, b *blob.Body, data []byte, i int) {
	t.Helper()
	must(t, b.SetSum(i, sha256.Sum256(data[i*blob.ChunkSize:min(len(data), (i+1)*blob.ChunkSize)])))
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func wantErr(t *testing.T, got, want error) {
	t.Helper()
	if !errors.Is(got, want) {
		t.Fatalf("error is %v, want %v", got, want)
	}
}

func create(t *testing.T, s blob.Store, id string, size int64) *blob.Body {
	t.Helper()
	b, err := s.Create(t.Context(), id, size)
	must(t, err)
	return b
}

// verified opens a body and verifies it.
func verified(t *testing.T, s blob.Store, id string) (*blob.Body, span.Set) {
	t.Helper()
	b, err := s.Open(t.Context(), id)
	must(t, err)
	t.Cleanup(func() { _ = b.Close() })
	have, err := b.Verify(t.Context())
	must(t, err)
	return b, have
}

func wantBytes(t *testing.T, b *blob.Body, want []byte) {
	t.Helper()
	got, err := io.ReadAll(b.Reader(t.Context(), span.Span{End: int64(len(want)) + 1}))
	must(t, err)
	if !bytes.Equal(got, want) {
		t.Fatalf("read %d bytes that are not the %d written", len(got), len(want))
	}
}

func invalidIDs(t *testing.T, reopen Reopen) {
	s, ctx := reopen(), t.Context()
	for _, id := range []string{
		"", "a", "../../../../../../etc/passwd", "abcdefghijklmnopqrstuvwx2", ID + "a",
		"ABCDEFGHIJKLMNOPQRSTUVWX27", "abcdefghijklmnopqrstuvwx18", "abcdefghijkl/nopqrstuvwx27", "abcdefghijkl\x00nopqrstuvwx27",
	} {
		_, err := s.Create(ctx, id, 1)
		wantErr(t, err, blob.ErrInvalidID)
		_, err = s.Open(ctx, id)
		wantErr(t, err, blob.ErrInvalidID)
		wantErr(t, s.Remove(ctx, id), blob.ErrInvalidID)
	}
	infos, err := s.List(ctx)
	must(t, err)
	if len(infos) != 0 {
		t.Errorf("something was made: %v", infos)
	}
}

func roundTrip(t *testing.T, reopen Reopen) {
	data := Bytes(2*blob.ChunkSize + 77)
	b := create(t, reopen(), ID, int64(len(data)))
	Fill(t, b, data)
	wantBytes(t, b, data)
	must(t, b.Close())

	b, err := reopen().Open(t.Context(), ID)
	must(t, err)
	defer func() { _ = b.Close() }()
	if have := b.Have(); have.Len() != 0 {
		t.Error("bytes are there before anybody verified them")
	}
	if size, known := b.Size(); !known || size != int64(len(data)) {
		t.Errorf("size is %d, %v", size, known)
	}
	_, err = b.Verify(t.Context())
	must(t, err)
	if !b.Complete() {
		t.Error("not complete after Verify")
	}
	wantBytes(t, b, data)
	if got := b.Sums(0, 0); len(got) != 3 || got[2] != sha256.Sum256(data[2*blob.ChunkSize:]) {
		t.Errorf("%d sums", len(got))
	}
}

func partial(t *testing.T, reopen Reopen) {
	data := Bytes(3 * blob.ChunkSize)
	b := create(t, reopen(), ID, int64(len(data)))
	for _, i := range []int{0, 2} {
		_, err := b.WriteAt(data[i*blob.ChunkSize:(i+1)*blob.ChunkSize], int64(i)*blob.ChunkSize)
		must(t, err)
		setSum(t, b, data, i)
	}
	must(t, b.Sync(t.Context()))
	must(t, b.Close())

	b, have := verified(t, reopen(), ID)
	want := span.Span{Start: blob.ChunkSize, End: 2 * blob.ChunkSize}
	if gaps := have.Missing(span.Span{End: int64(len(data))}); len(gaps) != 1 || gaps[0] != want {
		t.Fatalf("missing %v, want %v", gaps, want)
	}
	Fill(t, b, data) // a resumed fetch may bring again what is there
	wantBytes(t, b, data)
}

func unknownSize(t *testing.T, reopen Reopen) {
	data := Bytes(blob.ChunkSize + 5)
	b := create(t, reopen(), ID, blob.UnknownSize)
	_, err := b.WriteAt(data[:blob.ChunkSize], 0)
	must(t, err)
	setSum(t, b, data, 0)
	must(t, b.Sync(t.Context()))
	if _, known := b.Size(); known {
		t.Error("the size is known")
	}
	Fill(t, b, data)
	must(t, b.Close())
	b, _ = verified(t, reopen(), ID)
	if size, known := b.Size(); !known || size != int64(len(data)) {
		t.Errorf("size is %d, %v", size, known)
	}
	wantBytes(t, b, data)
}

func emptyBody(t *testing.T, reopen Reopen) {
	b := create(t, reopen(), ID, 0)
	Fill(t, b, nil)
	must(t, b.Close())
	b, _ = verified(t, reopen(), ID)
	if !b.Complete() {
		t.Error("not complete")
	}
	wantBytes(t, b, nil)
}

func unsynced(t *testing.T, reopen Reopen) {
	data := Bytes(2 * blob.ChunkSize)
	b := create(t, reopen(), ID, int64(len(data)))
	_, err := b.WriteAt(data, 0)
	must(t, err)
	setSum(t, b, data, 0)
	must(t, b.Sync(t.Context()))
	setSum(t, b, data, 1) // never synced
	must(t, b.Close())
	_, have := verified(t, reopen(), ID)
	if have.Len() != blob.ChunkSize {
		t.Errorf("%d bytes are claimed, want one chunk", have.Len())
	}
}

func createTwice(t *testing.T, reopen Reopen) {
	s := reopen()
	b := create(t, s, ID, 10)
	defer func() { _ = b.Close() }()
	_, err := s.Create(t.Context(), ID, 10)
	wantErr(t, err, blob.ErrExists)
	_, err = reopen().Create(t.Context(), ID, 10)
	wantErr(t, err, blob.ErrExists)
	if _, err := s.Create(t.Context(), OtherID, -2); err == nil {
		t.Error("a body of -2 bytes was made")
	}
}

func notFound(t *testing.T, reopen Reopen) {
	s := reopen()
	_, err := s.Open(t.Context(), ID)
	wantErr(t, err, blob.ErrNotFound)
	wantErr(t, s.Remove(t.Context(), ID), blob.ErrNotFound)
}

func shared(t *testing.T, reopen Reopen) {
	s := reopen()
	b := create(t, s, ID, 4)
	c, err := s.Open(t.Context(), ID)
	must(t, err)
	if b != c {
		t.Fatal("two bodies of one id")
	}
	must(t, b.Close())
	_, err = c.WriteAt([]byte("data"), 0)
	must(t, err)
	wantBytes(t, c, []byte("data"))
	must(t, c.Close())
	wantErr(t, c.Close(), blob.ErrClosed)
}

func removeWhileOpen(t *testing.T, reopen Reopen) {
	s := reopen()
	data := Bytes(1000)
	b := create(t, s, ID, 1000)
	defer func() { _ = b.Close() }()
	Fill(t, b, data)
	must(t, s.Remove(t.Context(), ID))
	wantBytes(t, b, data)
	_, err := s.Open(t.Context(), ID)
	wantErr(t, err, blob.ErrNotFound)
	infos, err := s.List(t.Context())
	must(t, err)
	if len(infos) != 0 {
		t.Errorf("still listed: %v", infos)
	}
}

func list(t *testing.T, reopen Reopen) {
	s := reopen()
	for _, id := range []string{OtherID, ID} {
		b := create(t, s, id, 5000)
		Fill(t, b, Bytes(5000))
		must(t, b.Close())
	}
	infos, err := reopen().List(t.Context())
	must(t, err)
	if len(infos) != 2 || infos[0].ID != ID || infos[1].ID != OtherID {
		t.Fatalf("listed %v", infos)
	}
	if infos[0].Used < 5000 || infos[0].ModTime.IsZero() {
		t.Errorf("info is %+v", infos[0])
	}
}

func free(t *testing.T, reopen Reopen) {
	n, err := reopen().Free()
	must(t, err)
	if n <= 0 {
		t.Errorf("%d bytes free", n)
	}
}

func sums(t *testing.T, reopen Reopen) {
	data := Bytes(3*blob.ChunkSize + 1)
	b := create(t, reopen(), ID, int64(len(data)))
	defer func() { _ = b.Close() }()
	if err := b.SetSum(0, blob.Sum{1}); err == nil {
		t.Error("a sum was taken for a chunk that is not there")
	}
	_, err := b.WriteAt(data, 0)
	must(t, err)
	for _, i := range []int{3, 0, 1} {
		setSum(t, b, data, i)
	}
	if err := b.SetSum(0, blob.Sum{1}); err == nil {
		t.Error("a second sum was taken")
	}
	for _, i := range []int{-1, 4} {
		if err := b.SetSum(i, blob.Sum{1}); err == nil {
			t.Errorf("a sum was taken for chunk %d", i)
		}
	}
	if _, ok := b.Sum(2); ok {
		t.Error("chunk 2 has a sum")
	}
	for _, c := range []struct{ from, limit, want int }{{0, 0, 2}, {0, 1, 1}, {1, 9, 1}, {2, 0, 0}, {3, 0, 1}, {4, 0, 0}} {
		if got := len(b.Sums(c.from, c.limit)); got != c.want {
			t.Errorf("Sums(%d, %d) gives %d, want %d", c.from, c.limit, got, c.want)
		}
	}
}

func closed(t *testing.T, reopen Reopen) {
	b := create(t, reopen(), ID, 10)
	must(t, b.Close())
	wantErr(t, b.Sync(t.Context()), blob.ErrClosed)
	_, err := b.WriteAt([]byte("x"), 0)
	wantErr(t, err, blob.ErrClosed)
	_, err = b.ReadAt(t.Context(), make([]byte, 1), 0)
	wantErr(t, err, blob.ErrClosed)
	wantErr(t, b.Close(), blob.ErrClosed)
}

func verifyCancelled(t *testing.T, reopen Reopen) {
	b := create(t, reopen(), ID, 1000)
	Fill(t, b, Bytes(1000))
	must(t, b.Close())
	b, err := reopen().Open(t.Context(), ID)
	must(t, err)
	defer func() { _ = b.Close() }()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err = b.Verify(ctx)
	wantErr(t, err, context.Canceled)
	wantErr(t, b.Sync(ctx), context.Canceled)
}

func readWhileWritten(t *testing.T, reopen Reopen) {
	data := Bytes(blob.ChunkSize)
	b := create(t, reopen(), ID, growfile.UnknownSize)
	defer func() { _ = b.Close() }()
	got := make(chan []byte)
	for range 4 {
		go func() {
			all, _ := io.ReadAll(b.Reader(t.Context(), span.Span{End: 1 << 40}))
			got <- all
		}()
	}
	for off := 0; off < len(data); off += 1 << 16 {
		_, err := b.WriteAt(data[off:off+1<<16], int64(off))
		must(t, err)
	}
	must(t, b.Finish())
	for range 4 {
		if !bytes.Equal(<-got, data) {
			t.Error("a reader got something else")
		}
	}
}
