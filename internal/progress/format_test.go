package progress

import (
	"math"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"
)

func TestSize(t *testing.T) {
	for n, want := range map[int64]string{
		-1: "?", 0: "0 B", 1: "1 B", 1023: "1023 B", 1024: "1.0 KiB", 1536: "1.5 KiB", 99 << 10: "99.0 KiB", 100 << 10: "100 KiB",
		1<<20 - 1: "1.0 MiB", 1 << 20: "1.0 MiB", 1 << 30: "1.0 GiB", 5 << 30: "5.0 GiB", math.MaxInt64: "8.0 EiB",
	} {
		if got := Size(n); got != want {
			t.Errorf("Size(%d) = %q, want %q", n, got, want)
		}
	}
}

func TestRate(t *testing.T) {
	for v, want := range map[float64]string{
		0: "0 B/s", 999.4: "999 B/s", 999.6: "1.0 kB/s", 25.3e6: "25.3 MB/s", 99.94e6: "99.9 MB/s", 99.96e6: "100 MB/s", 999.6e6: "1.0 GB/s",
		-1: "?", math.NaN(): "?", math.Inf(1): "+Inf TB/s",
	} {
		if got := Rate(v); got != want {
			t.Errorf("Rate(%v) = %q, want %q", v, got, want)
		}
	}
}

func TestDuration(t *testing.T) {
	for d, want := range map[time.Duration]string{
		-1: "?", 0: "0.0 s", 400 * time.Millisecond: "0.4 s", 9960 * time.Millisecond: "10 s", 41 * time.Second: "41 s",
		59600 * time.Millisecond: "1 min 00 s", 185 * time.Second: "3 min 05 s", time.Hour - 1: "1 h 00 min", 130 * time.Minute: "2 h 10 min",
		24*time.Hour - 1: "1 d 0 h", 76 * time.Hour: "3 d 4 h",
	} {
		if got := Duration(d); got != want {
			t.Errorf("Duration(%v) = %q, want %q", d, got, want)
		}
	}
}

// No number is ever shown as its own unit's end, like "1024 KiB" or "60 s".
func TestNoNumberIsLongerThanItsColumn(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		if s := Size(rapid.Int64Range(0, math.MaxInt64).Draw(t, "n")); len(s) > 8 || strings.HasPrefix(s, "1024") {
			t.Errorf("size %q", s)
		}
		if s := Rate(rapid.Float64Range(0, 1e14).Draw(t, "r")); len(s) > 9 || strings.HasPrefix(s, "1000") {
			t.Errorf("rate %q", s)
		}
		d := time.Duration(rapid.Int64Range(0, int64(longest)).Draw(t, "d"))
		if s := Duration(d); len(s) > 11 || strings.Contains(s, "60 s") || strings.Contains(s, "60 min") {
			t.Errorf("duration %q", s)
		}
	})
}

func TestPercentIsFullOnlyAtTheEnd(t *testing.T) {
	for _, tt := range []struct {
		part, whole int64
		want        string
	}{{0, 100, "0 %"}, {42, 100, "42 %"}, {1<<40 - 1, 1 << 40, "99 %"}, {5, 5, "100 %"}, {6, 5, "100 %"}, {0, 0, ""}, {3, Unknown, ""}} {
		if got := percent(tt.part, tt.whole); got != tt.want {
			t.Errorf("percent(%d, %d) = %q, want %q", tt.part, tt.whole, got, tt.want)
		}
	}
}

func TestSummary(t *testing.T) {
	base := Done{
		File: "f.iso", Size: 1 << 30, SHA256: "ab12" + strings.Repeat("0", 60), Rate: 25.3e6, Duration: 41 * time.Second,
		Paths: []PathUse{{PathTCP, 1 << 30, 8}}, LengthVerified: true,
	}
	change := func(f func(*Done)) Done { d := base; f(&d); return d }
	tests := map[string]Done{
		"f.iso  1.0 GiB in 41 s, 25.3 MB/s over 8 TLS connections, verified sha256 ab1200000000…": base,
		"f.iso  1.0 GiB in 41 s, 25.3 MB/s over 8 TLS connections (97 %) and the ssh tunnel (3 %), verified sha256 ab1200000000…": change(func(d *Done) {
			d.Paths = []PathUse{{PathTCP, 975, 8}, {PathSSH, 31, 1}}
		}),
		"f.iso  1.0 GiB in 41 s, 25.3 MB/s over one plain HTTP connection, 300 MiB of it from before, verified sha256 ab1200000000…": change(func(d *Done) {
			d.Paths, d.Resumed = []PathUse{{PathHTTP, 9, 1}, {PathSSH, 0, 1}}, 300<<20
		}),
		"f.iso  1.0 GiB, already here, verified sha256 ab1200000000…": change(func(d *Done) { d.Paths, d.Resumed = nil, 1<<30 }),
		"f.iso  1.0 GiB in 41 s, 25.3 MB/s over 8 TLS connections, verified sha256 ab1200000000…, length unverified (the origin gave none)": change(func(d *Done) {
			d.LengthVerified = false
		}),
		"standard output  1.0 GiB, already here, verified sha256 ab1200000000…": change(func(d *Done) { d.Paths, d.File = nil, "-" }),
		`\u202efoe  1.0 GiB, already here, verified sha256 ab1200000000…`:       change(func(d *Done) { d.Paths, d.File = nil, "\u202efoe" }),
		"f.iso  1.0 GiB in 41 s, 25.3 MB/s over UDP (over 99 %), one connection straight to the origin (under 1 %) and odd\\x1b (under 1 %), verified sha256 ab1200000000…": change(func(d *Done) {
			d.Paths = []PathUse{{PathUDP, 9980, 1}, {PathDirect, 10, 1}, {"odd\x1b", 10, 1}}
		}),
	}
	for want, d := range tests {
		if got := Summary(d); got != want {
			t.Errorf("\n got %s\nwant %s", got, want)
		}
	}
}

func TestErrorIsTwoLines(t *testing.T) {
	got := Error("f\x1b.iso", "the origin answers 404\nNot Found", "check the URL")
	want := "jumpget: f\\x1b.iso: the origin answers 404\\nNot Found\n         check the URL\n"
	if got != want {
		t.Errorf("got %q, want %q", got, want)
	}
	if got := Error("", "no relay is set", ""); got != "jumpget: no relay is set\n" {
		t.Errorf("got %q", got)
	}
}
