package client

import (
	"os"
	"runtime"
	"testing"
)

// BenchmarkGet brings 256 MiB over TLS on loopback, with both ends and the
// sender's hashing in this process. The bytes of memory are the peak heap in use.
func BenchmarkGet(b *testing.B) {
	const size = 256 << 20
	r := newFakeRelay(b, size)
	b.SetBytes(size)
	for b.Loop() {
		c := newTestClient(b, r, nil)
		res, err := c.Get(b.Context(), request(b.TempDir()))
		if err != nil {
			b.Fatal(err)
		}
		if err := os.Remove(res.Path); err != nil {
			b.Fatal(err)
		}
	}
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	b.ReportMetric(float64(m.Sys)/(1<<20), "MiB-sys")
}
