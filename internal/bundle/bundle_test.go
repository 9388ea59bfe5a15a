package bundle

import (
	"bytes"
	"crypto/rand"
	"errors"
	"io"
	"slices"
	"strings"
	"testing"
	"testing/iotest"
	"time"

	"github.com/jumpget/jumpget/internal/job"
	"github.com/jumpget/jumpget/internal/wire"
)

func random(n int) []byte {
	b := make([]byte, n)
	_, _ = rand.Read(b)
	return b
}

// sample returns files of every kind.
func sample() []File {
	when := time.Date(2020, 2, 3, 4, 5, 6, 0, time.UTC)
	return []File{
		{Header{Index: 2, URL: "https://h/a", Name: "a", ModTime: when, Type: "text/plain", Verified: true}, random(1000)},
		{Header{Index: 0, URL: "https://h/empty", Name: "empty"}, []byte{}},
		{Header{Index: 1, URL: "https://h/large", Name: "large", Alone: true}, nil},
		{Header{Index: 7, URL: "https://h/gone", Error: &wire.Error{Code: job.CodeOriginStatus, Message: "404", Hint: "check", Status: 404}}, nil},
		{Header{Index: 3, URL: "https://h/full", Name: "full"}, random(MaxFile)},
		{Header{Index: 4, URL: "https://h/zeros", Name: "zeros"}, make([]byte, 300)},
	}
}

func write(t testing.TB, files []File) []byte {
	t.Helper()
	b := []byte(Magic)
	for _, f := range files {
		var err error
		if b, err = Append(b, f.Header, f.Data); err != nil {
			t.Fatal(err)
		}
	}
	return b
}

func readAll(r io.Reader) (files []File, err error) {
	for in := NewReader(r); ; {
		f, err := in.Next()
		if err != nil {
			return files, err
		}
		files = append(files, *f)
	}
}

func same(a, b File) bool {
	return a.Index == b.Index && a.URL == b.URL && a.Name == b.Name && a.ModTime.Equal(b.ModTime) && a.Type == b.Type &&
		a.Verified == b.Verified && a.Alone == b.Alone && bytes.Equal(a.Data, b.Data) &&
		(a.Error == nil) == (b.Error == nil) && (a.Error == nil || *a.Error == *b.Error)
}

func TestRoundTrip(t *testing.T) {
	want := sample()
	got, err := readAll(iotest.HalfReader(bytes.NewReader(write(t, want))))
	if !errors.Is(err, io.EOF) || !slices.EqualFunc(got, want, same) {
		t.Errorf("%d files of %d, %v", len(got), len(want), err)
	}
}

// Wherever a relay dies, its successor can go on: what it adds makes the bundle
// whole again, and no file is lost or there twice.
func TestScanFindsWhereToGoOn(t *testing.T) {
	files := sample()
	files[4].Data = random(5000) // a whole one would have a million places to cut at
	whole := write(t, files)
	for n := len(Magic); n <= len(whole); n++ {
		indices, fill, err := Scan(bytes.NewReader(whole), int64(n))
		if err != nil {
			t.Fatalf("cut at %d: %v", n, err)
		}
		rest := write(t, slices.DeleteFunc(slices.Clone(files), func(f File) bool { return slices.Contains(indices, f.Index) }))
		stream := slices.Concat(whole[:n], fill, rest[len(Magic):])
		got, err := readAll(bytes.NewReader(stream))
		if !errors.Is(err, io.EOF) {
			t.Fatalf("cut at %d: %v", n, err)
		}
		seen := map[int]int{}
		for _, f := range got {
			seen[f.Index]++
			if i := slices.IndexFunc(files, func(w File) bool { return w.Index == f.Index }); i < 0 || !same(f, files[i]) {
				t.Fatalf("cut at %d: file %d is another", n, f.Index)
			}
		}
		for _, f := range files {
			// One whose last bytes are the very zeros that fill it up is complete.
			if seen[f.Index] == 0 || seen[f.Index] > 1 && f.Name != "zeros" {
				t.Fatalf("cut at %d: file %d is there %d times", n, f.Index, seen[f.Index])
			}
		}
	}
}

func TestWhatIsNoBundle(t *testing.T) {
	good := write(t, sample())
	for name, c := range map[string]struct {
		in   []byte
		want error
	}{
		"empty":           {nil, io.EOF},
		"another magic":   {[]byte("JUMPGET-BUNDLE 2\n...."), ErrMalformed},
		"cut in magic":    {good[:5], ErrMalformed},
		"a long header":   {[]byte(Magic + "\x00\x02\x00\x00"), ErrMalformed},
		"a large file":    {[]byte(Magic + "\x00\x00\x00\x0e" + `{"size":9e999}` + "\x00\x00\x00\x11" + `{"size":10000000}`), ErrMalformed},
		"a negative size": {[]byte(Magic + "\x00\x00\x00\x0b" + `{"size":-1}`), ErrMalformed},
		"a bad index":     {[]byte(Magic + "\x00\x00\x00\x0c" + `{"index":-1}`), ErrMalformed},
		"cut in a length": {good[:len(Magic)+2], io.ErrUnexpectedEOF},
		"cut in a header": {good[:len(Magic)+20], io.ErrUnexpectedEOF},
		"cut in a file":   {good[:len(good)-1], io.ErrUnexpectedEOF},
	} {
		if _, err := readAll(bytes.NewReader(c.in)); !errors.Is(err, c.want) {
			t.Errorf("%s: %v, want %v", name, err, c.want)
		}
	}
	broken := errors.New("broken")
	if _, err := readAll(iotest.ErrReader(broken)); !errors.Is(err, broken) {
		t.Errorf("a failing reader: %v", err)
	}
}

// A frame whose bytes are not those of its header is passed over.
func TestFlippedBytesMakeAFileVoid(t *testing.T) {
	files := sample()
	b := write(t, files)
	b[bytes.Index(b, files[0].Data)] ^= 1
	got, err := readAll(bytes.NewReader(b))
	if !errors.Is(err, io.EOF) || !slices.EqualFunc(got, files[1:], same) {
		t.Errorf("%d files, %v", len(got), err)
	}
}

func TestAppendRefusesWhatNobodyWouldRead(t *testing.T) {
	if _, err := Append(nil, Header{}, make([]byte, MaxFile+1)); err == nil {
		t.Error("a file that is too large")
	}
	if _, err := Append(nil, Header{URL: strings.Repeat("x", maxHeader)}, nil); err == nil {
		t.Error("a header that is too long")
	}
}

func TestList(t *testing.T) {
	want := []job.File{{URL: "https://h/a"}, {URL: "https://h/b", Mirrors: []string{"https://m/b", "https://n/b"}}, {URL: "https://h/a"}}
	got, err := DecodeList(EncodeList(want))
	equal := func(a, b job.File) bool { return a.URL == b.URL && slices.Equal(a.Mirrors, b.Mirrors) }
	if err != nil || !slices.EqualFunc(got, want, equal) {
		t.Errorf("%v, %v", got, err)
	}
	n := 0
	for _, f := range want {
		n += ListLen(f)
	}
	if n != len("https://h/a\nhttps://h/b\thttps://m/b\thttps://n/b\nhttps://h/a\n") {
		t.Errorf("its length is said to be %d", n)
	}
}

func TestListsThatAreRefused(t *testing.T) {
	many := make([]job.File, MaxFiles+1)
	for i := range many {
		many[i].URL = "u"
	}
	long := []job.File{{URL: strings.Repeat("x", MaxList)}}
	for name, files := range map[string][]job.File{"too many files": many, "too many bytes": long, "none": nil} {
		if _, err := DecodeList(EncodeList(files)); err == nil {
			t.Errorf("%s: it is decoded", name)
		}
	}
	if _, err := DecodeList([]byte("https://h/")); err == nil {
		t.Error("what is not compressed is decoded")
	}
	b := EncodeList(many[:100])
	if _, err := DecodeList(b[:len(b)-5]); err == nil {
		t.Error("a cut list is decoded")
	}
}

// Whatever comes, reading ends, with no more memory than the limits say, and what
// Scan fills up can be read.
func FuzzReader(f *testing.F) {
	files := sample()
	files[4].Data = random(100)
	whole := write(f, files)
	f.Add(whole)
	f.Add(whole[:len(whole)-7])
	f.Add([]byte(Magic))
	f.Add([]byte(Magic + "0")) // the beginning of a length that is not allowed
	f.Add([]byte(Magic + "\x00\x00\x00\x02{}\x00\x00\x00\x00"))
	f.Fuzz(func(t *testing.T, b []byte) {
		got, err := readAll(bytes.NewReader(b))
		if err == nil {
			t.Fatal("it ended without an error")
		}
		indices, fill, err := Scan(bytes.NewReader(b), int64(len(b)))
		if err != nil {
			return
		}
		if len(indices) != len(got) {
			t.Fatalf("Scan finds %d files, Next %d", len(indices), len(got))
		}
		again, err := readAll(bytes.NewReader(append(slices.Clone(b), fill...)))
		if !errors.Is(err, io.EOF) || len(again) < len(got) {
			t.Fatalf("filled up: %d files of %d, %v", len(again), len(got), err)
		}
	})
}

func FuzzList(f *testing.F) {
	b := EncodeList([]job.File{{URL: "https://h/a", Mirrors: []string{"https://m/a"}}})
	f.Add(b)
	f.Fuzz(func(t *testing.T, b []byte) {
		files, err := DecodeList(b)
		if err == nil && (len(files) == 0 || len(files) > MaxFiles) {
			t.Fatalf("%d files", len(files))
		}
	})
}
