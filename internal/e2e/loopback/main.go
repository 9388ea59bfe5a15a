//go:build linux

// Command loopback measures the program on one machine, where no link is in the
// way: what TLS, hashing and the disk cost, against curl from nginx over TLS, in
// turns; and how much memory client and relay take for a large file. It
// prints a Markdown table. `make bench-loopback` runs it.
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"slices"
	"syscall"
	"time"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx); err != nil {
		fmt.Fprintln(os.Stderr, "loopback:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context) error {
	n := flag.Int("n", 5, "measure each `TIMES`")
	size := flag.Int64("size", 1<<30, "`BYTES` of the file that is timed")
	large := flag.Int64("large", 5_000_000_000, "`BYTES` of the file that memory is measured with; 0: none")
	dir := flag.String("dir", "", "work in `DIR`, whose disk is measured (default: the system's temporary directory)")
	flag.Parse()
	b, err := newBench(ctx, *dir)
	if err != nil {
		return err
	}
	defer b.close()
	if err := b.addFile("timed", *size, false); err != nil {
		return err
	}
	if err := b.rates(ctx, *n, *size); err != nil {
		return err
	}
	if *large == 0 {
		return nil
	}
	if err := b.addFile("large", *large, true); err != nil {
		return err
	}
	return b.memory(ctx, *large)
}

// rates runs the contestants in turns.
func (b *bench) rates(ctx context.Context, n int, size int64) error {
	contestants := []struct {
		name string
		prep func(context.Context) error
		run  func(context.Context) (time.Duration, error)
	}{
		{"curl from nginx, TLS, to disk", nil, b.curl},
		{"the same, then sync and sha256sum", nil, b.curlChecked},
		{"jumpget, the file is on the relay", b.fill, b.jumpget("timed")},
		{"jumpget, the relay still fetches it", b.empty, b.jumpget("timed")},
	}
	took := make([][]time.Duration, len(contestants))
	for range n {
		for i, c := range contestants {
			if c.prep != nil {
				if err := c.prep(ctx); err != nil {
					return fmt.Errorf("%s: %w", c.name, err)
				}
			}
			d, err := c.run(ctx)
			if err != nil {
				return fmt.Errorf("%s: %w", c.name, err)
			}
			took[i] = append(took[i], d)
		}
	}
	fmt.Printf("%d MiB, n = %d, in turns\n\n| | median | slowest to fastest |\n|---|---|---|\n", size>>20, n)
	for i, c := range contestants {
		slices.Sort(took[i])
		rate := func(d time.Duration) float64 { return float64(size) / d.Seconds() / 1e6 }
		fmt.Printf("| %s | %.0f MB/s | %.0f to %.0f |\n", c.name, rate(took[i][n/2]), rate(took[i][n-1]), rate(took[i][0]))
	}
	return nil
}

// memory carries a large file through a relay that has carried nothing before.
func (b *bench) memory(ctx context.Context, size int64) error {
	if err := b.restartRelay(ctx); err != nil {
		return err
	}
	client, err := b.jumpgetMemory(ctx, "large")
	if err != nil {
		return err
	}
	relay, err := b.relayMemory()
	if err != nil {
		return err
	}
	fmt.Printf("\n%.1f GB through a fresh relay: peak resident memory of the client %.1f MiB, of the relay %.1f MiB.\n",
		float64(size)/1e9, float64(client)/1024, float64(relay)/1024)
	return nil
}
