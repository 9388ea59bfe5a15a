package partial

import (
	"crypto/md5"  //nolint:gosec // the user may have nothing better to compare with
	"crypto/sha1" //nolint:gosec // likewise
	"crypto/sha256"
	"crypto/sha512"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"
	"slices"
	"strings"

	"github.com/jumpget/jumpget/internal/job"
	"github.com/jumpget/jumpget/internal/span"
)

const (
	verifiers = 2 // a core hashes about 2 GB/s; two keep up with any link we serve

	// maxWarm bounds the verified chunks kept in memory so that the whole's hash
	// need not read them again.
	maxWarm = 6
)

// newHash makes the hashes that a person may give a checksum of.
var newHash = map[string]func() hash.Hash{
	"sha256": sha256.New, "sha512": sha512.New, "sha1": sha1.New, "md5": md5.New,
}

// checksum is what the person says the whole must be.
type checksum struct {
	algorithm string
	want      []byte
}

func parseChecksums(given map[string]string) ([]checksum, error) {
	var out []checksum
	for algorithm, text := range given {
		name := strings.ReplaceAll(strings.ToLower(algorithm), "-", "")
		mk, ok := newHash[name]
		if !ok {
			return nil, &Error{
				Kind: KindUsage, Message: fmt.Sprintf("the checksum algorithm %q is not known", algorithm),
				Hint: "use sha256, sha512, sha1 or md5",
			}
		}
		want, err := hex.DecodeString(strings.TrimSpace(text))
		if err != nil || len(want) != mk().Size() {
			return nil, &Error{
				Kind: KindUsage, Err: err, Message: fmt.Sprintf("%q is not a %s checksum", text, algorithm),
				Hint: fmt.Sprintf("it has %d hexadecimal digits", 2*mk().Size()),
			}
		}
		out = append(out, checksum{name, want})
	}
	return out, nil
}

// whole hashes the object from its first byte on, as far as it is verified.
type whole struct {
	next   int // the chunk to hash next; all before are in
	hashes map[string]hash.Hash
	warm   map[int][]byte // verified chunks, at or after next
	free   [][]byte       // buffers to use again
}

func (w *whole) reset(wanted []checksum) {
	w.next, w.warm = 0, map[int][]byte{}
	w.hashes = map[string]hash.Hash{"sha256": sha256.New()}
	for _, c := range wanted {
		w.hashes[c.algorithm] = newHash[c.algorithm]()
	}
}

// trade keeps a verified chunk if it will be needed soon, and returns a buffer
// to go on with.
func (w *whole) trade(i int, buf []byte, n int64) []byte {
	if i < w.next || i >= w.next+maxWarm {
		return buf
	}
	w.warm[i] = buf[:n]
	if k := len(w.free) - 1; k >= 0 {
		buf, w.free = w.free[k], w.free[:k]
		return buf
	}
	return make([]byte, job.ChunkSize)
}

// verify runs in the background and reads back chunks as they become ready.
func (f *File) verify() {
	buf := make([]byte, job.ChunkSize)
	f.mu.Lock()
	defer f.mu.Unlock()
	for {
		for !f.closed && f.err == nil && (f.changing || len(f.ready) == 0) {
			f.wake.Wait()
		}
		if f.closed || f.err != nil {
			return
		}
		i := f.ready[0]
		f.ready = f.ready[1:]
		f.users++
		buf = f.verifyLocked(i, buf)
	}
}

// verifyLocked compares a chunk with its sum, without mu while it reads. Bytes
// that no state claims were perhaps never synced, or in vain, in an earlier run;
// a matching chunk of those is written again, so that the next sync covers it.
func (f *File) verifyLocked(i int, buf []byte) []byte {
	sp, want := f.chunkSpan(i), f.chunks[i].sum
	unsure := overlap(&f.unsure, sp) > 0
	f.mu.Unlock()
	ok, err := f.matches(sp, want, buf)
	if ok && unsure {
		if _, werr := f.h.WriteAt(buf[:sp.Len()], sp.Start); werr != nil {
			err = ioError("writing", f.part, werr)
		}
	}
	f.mu.Lock()
	f.leaveLocked()
	switch {
	case err != nil:
		_ = f.failLocked(err)
	case ok:
		f.good.Add(sp)
		if unsure {
			f.unsure.Remove(sp)
			f.dirty += sp.Len()
		}
		f.resumed += overlap(&f.earlier, sp)
		buf = f.whole.trade(i, buf, sp.Len())
		f.wake.Broadcast()
		f.notifyLocked()
	default:
		f.dropLocked(i, sp)
	}
	return buf
}

// matches reads sp back into buf and compares it. A file that has become too
// short does not match; only a failing disk is an error.
func (f *File) matches(sp span.Span, want [32]byte, buf []byte) (bool, error) {
	n, err := f.h.ReadAt(buf[:sp.Len()], sp.Start)
	if err != nil && !errors.Is(err, io.EOF) {
		return false, ioError("reading back", f.part, err)
	}
	return int64(n) == sp.Len() && sha256.Sum256(buf[:n]) == want, nil
}

// dropLocked forgets a chunk's bytes, so that they are fetched again.
func (f *File) dropLocked(i int, sp span.Span) {
	c := &f.chunks[i]
	c.busy = false
	c.drops++
	m := Mismatch{Chunk: i, Resumed: overlap(&f.earlier, sp) > 0, Times: c.drops}
	f.have.Remove(sp)
	f.earlier.Remove(sp)
	f.unsure.Remove(sp)
	f.notifyLocked()
	if f.o.OnMismatch != nil {
		f.mu.Unlock()
		f.o.OnMismatch(m)
		f.mu.Lock()
	}
}

// overlap returns how many bytes of sp are in set.
func overlap(set *span.Set, sp span.Span) int64 {
	n := sp.Len()
	for _, m := range set.Missing(sp) {
		n -= m.Len()
	}
	return n
}

// hashWhole runs in the background and follows the verified prefix.
func (f *File) hashWhole() {
	spare := make([]byte, job.ChunkSize)
	f.mu.Lock()
	defer f.mu.Unlock()
	for {
		for !f.closed && f.err == nil && (f.changing || !f.nextVerified()) {
			f.wake.Wait()
		}
		if f.closed || f.err != nil {
			return
		}
		f.users++
		f.hashNextLocked(spare)
	}
}

// nextVerified reports whether there is a chunk for the whole's hash.
func (f *File) nextVerified() bool {
	sp := f.chunkSpan(f.whole.next)
	return sp.Len() > 0 && f.good.Contains(sp)
}

// hashNextLocked adds one chunk to the whole's hash, without mu meanwhile.
func (f *File) hashNextLocked(spare []byte) {
	i, sp := f.whole.next, f.chunkSpan(f.whole.next)
	buf, warm := f.whole.warm[i]
	hashes := f.whole.hashes
	f.mu.Unlock()
	var err error
	if !warm {
		buf = spare[:sp.Len()]
		_, err = f.h.ReadAt(buf, sp.Start)
	}
	if err == nil {
		for _, h := range hashes {
			_, _ = h.Write(buf) // a hash never fails
		}
	}
	f.mu.Lock()
	f.leaveLocked()
	if err != nil {
		_ = f.failLocked(ioError("reading back", f.part, err))
		return
	}
	if warm {
		delete(f.whole.warm, i)
		f.whole.free = append(f.whole.free, buf[:cap(buf)])
	}
	f.whole.next++
	if f.hashedLocked() {
		f.notifyLocked()
	}
}

// hashedLocked reports whether the whole is known, verified and hashed.
func (f *File) hashedLocked() bool {
	return f.size != job.UnknownSize && f.whole.next == job.Chunks(f.size)
}

// sumLocked returns the whole's hash once hashedLocked.
func (f *File) sumLocked() string { return hex.EncodeToString(f.whole.hashes["sha256"].Sum(nil)) }

// wrongChecksumLocked returns the first checksum of the person's that differs.
func (f *File) wrongChecksumLocked() (c checksum, got string, wrong bool) {
	for _, c := range f.wanted {
		if sum := f.whole.hashes[c.algorithm].Sum(nil); !slices.Equal(sum, c.want) {
			return c, hex.EncodeToString(sum), true
		}
	}
	return checksum{}, "", false
}
