package sshdial

import (
	"testing"
	"time"
)

func TestStaleAfter(t *testing.T) {
	for rtt, want := range map[time.Duration]time.Duration{
		0: DefaultStaleAfter, 10 * time.Millisecond: 700 * time.Millisecond, 200 * time.Millisecond: 1600 * time.Millisecond, 3 * time.Second: 4 * time.Second,
	} {
		if got := StaleAfter(rtt); got != want {
			t.Errorf("%v: %v, want %v", rtt, got, want)
		}
	}
}
