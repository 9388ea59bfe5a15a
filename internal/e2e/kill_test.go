package e2e

import (
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/jumpget/jumpget/internal/origintest"
)

const (
	defaultKills = 50
	killsPerFile = 5

	// A file takes about a second and a half undisturbed, so most kills strike
	// in its middle.
	killFileSize = 24<<20 + 4567
	killRate     = 16 << 20
)

// TestKill kills client and relay with SIGKILL at random moments. Then the same
// command has to end with the origin's bytes, every time, and at no moment may
// a file with other bytes stand under the final name.
//
// JUMPGET_TEST_KILLS sets how many; JUMPGET_TEST_SEED repeats a run's choices.
func TestKill(t *testing.T) {
	if testing.Short() {
		t.Skip("kills processes for half a minute")
	}
	kills := int(setting(t, "JUMPGET_TEST_KILLS", defaultKills))
	seed := uint64(setting(t, "JUMPGET_TEST_SEED", time.Now().UnixNano()&0xffffff))
	t.Logf("JUMPGET_TEST_SEED=%d", seed)
	for i, sshd := range []bool{false, true} {
		name := map[bool]string{false: "OwnEndpoint", true: "OpenSSH"}[sshd]
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			k := &killer{world: newWorld(t, sshd), rand: rand.New(rand.NewPCG(seed, uint64(i)))}
			for file := 0; k.kills < (kills+1)/2; file++ {
				k.file(file)
			}
			t.Logf("%d kills of clients, %d of relays, %d files", k.clients, k.relays, k.files)
		})
	}
}

func setting(t *testing.T, name string, fallback int64) int64 {
	t.Helper()
	s := os.Getenv(name)
	if s == "" {
		return fallback
	}
	n, err := strconv.ParseInt(s, 10, 64)
	check(t, err)
	return n
}

// killer brings files through a world and kills on the way.
type killer struct {
	*world
	rand *rand.Rand

	kills, clients, relays, files int
	heard                         int // the length of the relay's log when the client began
}

// file brings one file in spite of several kills.
func (k *killer) file(n int) {
	path := fmt.Sprintf("/%d.bin", n)
	seed := k.rand.Uint64()
	k.origin.Add(origintest.File{
		Path: path, Size: killFileSize, Seed: seed, ETag: fmt.Sprintf("%q", path),
		Faults: []origintest.Fault{origintest.Shared(killRate)},
	})
	want := origintest.Random(killFileSize, seed).SHA256()
	dir := k.t.TempDir()
	target := filepath.Join(dir, "file.bin")
	c := k.fetch(target, path)
	for range killsPerFile {
		if c = k.strike(c, target, path); sumOf(k.t, target) != "" {
			break
		}
	}
	if code := c.wait(k.t); code != 0 {
		k.t.Fatalf("after the kills the same command ended with %d\n%s\n--- relay ---\n%s", code, c.log(), k.relay.log())
	}
	if got := sumOf(k.t, target); got != want {
		k.t.Fatalf("%s has sha256 %s, the origin's is %s", target, got, want)
	}
	if rest := leftovers(k.t, dir); len(rest) > 0 {
		k.t.Errorf("left behind: %v", rest)
	}
	k.files++
}

// strike waits a little, kills the client, the relay or both, checks what
// stands, and returns the client that goes on.
func (k *killer) strike(c *process, target, path string) *process {
	select {
	case <-c.done:
		return c // too late for this one
	case <-time.After(time.Duration(k.rand.Int64N(int64(900 * time.Millisecond)))):
	}
	which := k.rand.IntN(5)
	if which == 3 && !strings.Contains(k.relay.log()[k.heard:], "submit") {
		which = 4 // one that has submitted nothing yet may as well tell that there is no relay
	}
	if which >= 3 { // the relay, and with 4 the client too
		k.relay.kill()
		k.relays++
		k.kills++
	}
	if which != 3 {
		c.kill()
		k.clients++
		k.kills++
	}
	if which >= 3 {
		k.startRelay()
	}
	if which == 3 {
		k.heard = 0
		return c // it has to go on by itself
	}
	return k.fetch(target, path)
}

// fetch starts a client, and remembers what the relay had said by then.
func (k *killer) fetch(target, path string) *process {
	k.heard = len(k.relay.log())
	return k.client("-o", target, k.origin.URL(path))
}
