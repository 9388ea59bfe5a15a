package bulk

import (
	"testing"
	"testing/synctest"
	"time"
)

func TestStream(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, x := newStreamWorld(t, echo, ServerConfig{})
		defer w.stop()
		s := w.stream(x)
		defer func() { s.Close(); <-s.Done() }()
		if took := ask(t, s, 1000); took > 45*time.Millisecond {
			t.Errorf("the first answer took %v at 40 ms", took)
		}
		for i := range 5 {
			if took := ask(t, s, 300); took > 45*time.Millisecond {
				t.Errorf("answer %d took %v at 40 ms", i, took)
			}
		}
	})
}
