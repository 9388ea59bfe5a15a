package job

import (
	"errors"
	"fmt"
	"io/fs"
	"math"
	"net/netip"
	"testing"
	"time"

	"pgregory.net/rapid"
)

func TestChunks(t *testing.T) {
	for size, want := range map[int64]int{
		UnknownSize: 0, -5: 0, 0: 0, 1: 1, ChunkSize - 1: 1, ChunkSize: 1, ChunkSize + 1: 2, 5 << 30: 5 << 10, math.MaxInt64: 1 << 43,
	} {
		if got := Chunks(size); got != want {
			t.Errorf("Chunks(%d) = %d, want %d", size, got, want)
		}
	}
}

func TestChunksCoverTheSizeAndNoMore(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		size := rapid.Int64Range(1, 1<<50).Draw(t, "size")
		n := int64(Chunks(size))
		if n*ChunkSize < size || (n-1)*ChunkSize >= size {
			t.Fatalf("%d chunks for %d bytes", n, size)
		}
	})
}

func TestIDs(t *testing.T) {
	seen := map[ID]bool{}
	for range 1000 {
		id := NewID()
		if !id.Valid() || seen[id] {
			t.Fatalf("bad or repeated ID %q", id)
		}
		seen[id] = true
	}
	good := string(NewID())
	for _, bad := range []string{"", "a", good + "a", good[:25], good[:25] + "1", good[:25] + "A", good[:25] + "/", "../" + good[3:], good[:24] + "é"} {
		if ID(bad).Valid() {
			t.Errorf("%q is valid", bad)
		}
	}
}

func TestFinalStates(t *testing.T) {
	for s, want := range map[State]bool{Queued: false, Fetching: false, Ready: true, Failed: true, Expired: true} {
		if s.Final() != want {
			t.Errorf("%s.Final() = %v", s, !want)
		}
	}
}

// Only a strong validator may go into If-Range.
func TestStrongValidator(t *testing.T) {
	for etag, want := range map[string]string{
		`"abc"`: `"abc"`, `W/"abc"`: "", "": "", `""`: "", "abc": "", `"abc`: "", `"`: "",
	} {
		if got := (&Object{ETag: etag}).StrongValidator(); got != want {
			t.Errorf("%q gives %q", etag, got)
		}
	}
}

func TestGrantAllows(t *testing.T) {
	now := time.Date(2026, 11, 24, 12, 0, 0, 0, time.UTC)
	addr, id := netip.MustParseAddr("192.0.2.1"), NewID()
	g := Grant{Owner: "ann", Job: id, Addr: addr, Expires: now.Add(time.Second)}
	all := g
	all.Job = ""
	tests := []struct {
		name string
		g    Grant
		o    string
		id   ID
		a    netip.Addr
		at   time.Time
		want bool
	}{
		{"granted", g, "ann", id, addr, now, true},
		{"mapped", g, "ann", id, netip.MustParseAddr("::ffff:192.0.2.1"), now, true},
		{"every job", all, "ann", NewID(), addr, now, true},
		{"another owner", all, "bob", id, addr, now, false},
		{"another job", g, "ann", NewID(), addr, now, false},
		{"another address", g, "ann", id, addr.Next(), now, false},
		{"expired", g, "ann", id, addr, now.Add(time.Second), false},
	}
	for _, tt := range tests {
		if got := tt.g.Allows(tt.o, tt.id, tt.a, tt.at); got != tt.want {
			t.Errorf("%s: %v", tt.name, got)
		}
	}
}

func TestErrors(t *testing.T) {
	e := Errorf(CodeDisk, "can't write %s: %w", "f", fs.ErrPermission)
	if e.Error() != "can't write f: permission denied" || !errors.Is(e, fs.ErrPermission) {
		t.Errorf("%v does not wrap its cause", e)
	}
	wrapped := fmt.Errorf("fetching: %w", e)
	if !errors.Is(wrapped, &Error{Code: CodeDisk}) || errors.Is(wrapped, &Error{Code: CodeQuota}) {
		t.Error("an error is not found by its code")
	}
	var got *Error
	if !errors.As(wrapped, &got) || got != e {
		t.Error("an error is not found by its type")
	}
	hinted := e.WithHint("free %d GB", 3)
	if hinted.Hint != "free 3 GB" || e.Hint != "" || hinted.Message != e.Message || !errors.Is(hinted, fs.ErrPermission) {
		t.Errorf("hinted %+v, before %+v", hinted, e)
	}
	if plain := Errorf(CodeInternal, "no cause"); plain.Unwrap() != nil {
		t.Error("a cause out of nothing")
	}
}
