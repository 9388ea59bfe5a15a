package bulk

import (
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// link50 is 50 Mbps at 40 ms, with a queue of one bandwidth-delay product.
func link50(n *network) {
	n.down = lane{rate: 50e6 / 8, delay: 20 * time.Millisecond, queue: 250e3}
	n.up = lane{rate: 50e6 / 8, delay: 20 * time.Millisecond, queue: 250e3}
}

func TestWholeFile(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, 5<<20, ServerConfig{})
		defer w.stop()
		link50(w.net)
		took, s := w.fetch(time.Minute)
		t.Logf("%v %+v down %d dropped %d", took, s, w.net.down.passed, w.net.down.dropped)
	})
}
