package bulkd

import (
	"bufio"
	"bytes"
	"encoding/json"
	"log/slog"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/jumpget/jumpget/internal/congestion"
)

func TestTraceIsAFileOfJSONLines(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "made", "when needed")
	cfg := Config{Trace: dir, Log: slog.New(slog.DiscardHandler), Clock: time.Now}
	remote := netip.MustParseAddrPort("[2001:db8::1]:4242")
	tracer := cfg.trace()(remote)
	tracer.Round(congestion.Round{At: 1500 * time.Millisecond, State: congestion.Up, Capacity: 1e6})
	tracer.Round(congestion.Round{At: 2 * time.Second, State: congestion.Down})
	if err := tracer.Close(); err != nil {
		t.Fatal(err)
	}
	files, err := filepath.Glob(filepath.Join(dir, "*.jsonl"))
	if err != nil || len(files) != 1 {
		t.Fatalf("%d files, %v", len(files), err)
	}
	text, err := os.ReadFile(files[0])
	if err != nil {
		t.Fatal(err)
	}
	lines := bufio.NewScanner(bytes.NewReader(text))
	var head traceHead
	if lines.Scan(); json.Unmarshal(lines.Bytes(), &head) != nil || head.Remote != remote.String() {
		t.Errorf("it begins with %s", lines.Bytes())
	}
	var round traceRound
	if lines.Scan(); json.Unmarshal(lines.Bytes(), &round) != nil || round.At != 1.5 || round.State != "up" || round.Capacity != 1e6 {
		t.Errorf("then has %s", lines.Bytes())
	}
	if !lines.Scan() || lines.Scan() {
		t.Error("not one line for each round")
	}
}

// A relay that can't write traces serves all the same.
func TestTraceThatCannotBeWritten(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(dir, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	var log strings.Builder
	cfg := Config{Trace: dir, Log: slog.New(slog.NewTextHandler(&log, nil)), Clock: time.Now}
	if tracer := cfg.trace()(netip.AddrPort{}); tracer != nil {
		t.Errorf("got %v", tracer)
	}
	if !strings.Contains(log.String(), "trace") {
		t.Errorf("the log says %q", log.String())
	}
	if open := (Config{}).trace(); open != nil {
		t.Error("traces that nobody asked for")
	}
}
