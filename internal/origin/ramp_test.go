package origin

import (
	"context"
	"runtime"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jumpget/jumpget/internal/job"
	"github.com/jumpget/jumpget/internal/origintest"
	"github.com/jumpget/jumpget/internal/span"
)

// fastRamp makes growth happen within a test's patience.
func fastRamp(c *Config) { c.RampInterval = 40 * time.Millisecond }

var smallSegments = segments{least: 32 << 10, most: 256 << 10, time: 80 * time.Millisecond}

// fetchSmall is Fetch with segments that fit a small file. A gain of 0 keeps
// all connections, whatever is measured.
func fetchSmall(t *testing.T, f *Fetcher, s *origintest.Server, m Sink, gain float64) (Result, error) {
	t.Helper()
	targets, err := f.targets(&job.Request{URL: s.URL("")})
	if err != nil {
		t.Fatal(err)
	}
	r := &run{f: f, target: targets[0], sink: m, segments: smallSegments, gain: gain}
	res, err := r.fetch(t.Context(), nil)
	if err != nil {
		return res, final(t.Context(), err)
	}
	return res, nil
}

// ordered is a sink that also notes how far writes run ahead of the front.
type ordered struct {
	*memory
	ahead atomic.Int64
}

func (o *ordered) WriteAt(p []byte, off int64) (int, error) {
	o.mu.Lock()
	o.ahead.Store(max(o.ahead.Load(), off-o.have.From(0)))
	o.mu.Unlock()
	return o.memory.WriteAt(p, off)
}

func TestMoreConnectionsWhereOneIsTheBottleneck(t *testing.T) {
	file := origintest.File{Size: 2 * mib, Seed: 3, ETag: `"v1"`, Faults: faults(origintest.Slow(600_000))}
	s := origintest.New(t, file)
	o := &ordered{memory: sink(t)}
	res, err := fetchSmall(t, fetcher(t, fastRamp), s, o, defaultGain)
	check(t, res, err, o.memory, file)
	if res.Conns < 2 || s.MaxParallel() < 2 {
		t.Errorf("%d connections, %d at the origin", res.Conns, s.MaxParallel())
	}
	if o.ahead.Load() > 3*mib/2 {
		t.Errorf("written %d bytes ahead of the front", o.ahead.Load())
	}
	if len(o.metas) != 1 || s.Conns() > 2*res.Conns {
		t.Errorf("%d versions, %d connections made for %d in use", len(o.metas), s.Conns(), res.Conns)
	}
}

func TestOneConnectionWhereTheLinkIsFull(t *testing.T) {
	file := origintest.File{Size: 1 << 20, ETag: `"v1"`, Faults: faults(origintest.Shared(1 << 20))}
	s := origintest.New(t, file)
	m := sink(t)
	res, err := fetchSmall(t, fetcher(t, fastRamp), s, m, defaultGain)
	check(t, res, err, m, file)
	if s.Count() > 40 {
		t.Errorf("%d connections, %d requests", res.Conns, s.Count())
	}
}

func TestNoMoreConnections(t *testing.T) {
	for name, file := range map[string]origintest.File{
		"no ranges":    {ETag: `"v1"`, NoRanges: true},
		"weak ETag":    {ETag: `W/"v1"`},
		"no validator": {},
		"no length":    {ETag: `"v1"`, Faults: faults(origintest.NoLength())},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			file.Size = 400_000
			file.Faults = append(file.Faults, origintest.Slow(1_000_000))
			s := origintest.New(t, file)
			m := sink(t)
			res, err := fetchSmall(t, fetcher(t, fastRamp), s, m, defaultGain)
			check(t, res, err, m, file)
			if s.Count() != 1 {
				t.Errorf("%d requests", s.Count())
			}
		})
	}
}

// busy answers 429 when more than n requests are under way.
func busy(n int64) origintest.Fault {
	var active atomic.Int64
	return func(r *origintest.Reply) {
		if active.Add(1) > n {
			origintest.Status(429, "Retry-After", "60")(r)
		}
		go func() {
			<-r.Request.Context().Done()
			active.Add(-1)
		}()
	}
}

func TestFaultsOfParallelRanges(t *testing.T) {
	next := &origintest.File{Size: mib + 3, Seed: 8, ETag: `"v2"`}
	for name, file := range map[string]origintest.File{
		"two connections at most": {Faults: faults(busy(2))},
		"resets":                  {Faults: faults(origintest.Reset(100_000))},
		"others refused":          {Faults: faults(origintest.From(2, origintest.First(5, origintest.Status(403))))},
		"others stall":            {Faults: faults(origintest.From(2, origintest.First(4, origintest.Stall(1000))))},
		"wrong ranges":            {Faults: faults(origintest.From(3, origintest.Shift(5)))},
		"whole answers":           {Faults: faults(origintest.From(2, origintest.Whole()))},
		"by date":                 {LastModified: time.Unix(1e9, 0)},
		"changes at a request":    {Then: next, ThenAt: 4},
		"changes at a byte":       {Then: next, ThenAtByte: 700_000},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			file.Size, file.Seed = 1400<<10, 7
			if file.LastModified.IsZero() {
				file.ETag = `"v1"`
			}
			file.Faults = append(faults(origintest.Slow(1_600_000)), file.Faults...)
			s := origintest.New(t, file)
			m := sink(t)
			f := fetcher(t, fastRamp, func(c *Config) { c.StallTimeout = 200 * time.Millisecond })
			want := file
			if file.Then != nil {
				want = *file.Then
			}
			res, err := fetchSmall(t, f, s, m, 0)
			check(t, res, err, m, want)
			if s.Count() < 2 {
				t.Error("there were no parallel ranges")
			}
		})
	}
}

// discard takes bytes and forgets them.
type discard struct{}

func (discard) Begin(context.Context, Meta) (span.Set, error) { return span.Set{}, nil }
func (discard) WriteAt(p []byte, _ int64) (int, error)        { return len(p), nil }
func (discard) SetSize(int64) error                           { return nil }

func TestMemoryIsBounded(t *testing.T) {
	if testing.Short() {
		t.Skip("moves 256 MiB")
	}
	s := origintest.New(t, origintest.File{Size: 256 * mib, ETag: `"v1"`})
	var before, after runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	if _, err := fetcher(t).Fetch(t.Context(), &job.Request{URL: s.URL("")}, nil, discard{}); err != nil {
		t.Fatal(err)
	}
	runtime.ReadMemStats(&after)
	// The origin's own buffers are in this, too.
	if n := after.TotalAlloc - before.TotalAlloc; n > 8*mib {
		t.Errorf("%d bytes allocated for 256 MiB", n)
	}
}

func BenchmarkFetch(b *testing.B) {
	s := origintest.New(b, origintest.File{Size: 256 * mib, ETag: `"v1"`})
	f := New(Config{Guard: loopback})
	defer f.Close()
	b.SetBytes(256 * mib)
	for b.Loop() {
		if _, err := f.Fetch(b.Context(), &job.Request{URL: s.URL("")}, nil, discard{}); err != nil {
			b.Fatal(err)
		}
	}
}
