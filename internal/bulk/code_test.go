package bulk

import (
	"bytes"
	"math/rand/v2"
	"testing"

	"pgregory.net/rapid"
)

// sentPacket is a packet of a test: number i, with or without data.
type sentPacket struct {
	off  int64
	data []byte
}

// symbolsOf writes symbols as a relay does.
func symbolsOf(sent []sentPacket, length int) []byte {
	all := make([]byte, len(sent)*length)
	for i, s := range sent {
		var k kept
		r := restorer{}
		k = *r.put(0, s.off, s.data)
		if len(k.symbol) <= length {
			copy(all[i*length:], k.symbol)
		}
	}
	return all
}

// Whatever is lost, as many sums as packets are missing, and a few, restore it;
// and nothing that is restored is wrong.
func TestSumsRestoreWhatIsLost(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		seed := rapid.Uint64().Draw(t, "seed")
		rnd := rand.New(rand.NewPCG(seed, 1))
		count := rapid.IntRange(codeLeast, 600).Draw(t, "packets")
		loss := rapid.Float64Range(0.01, 0.6).Draw(t, "loss")
		const first, length = 1000, 200
		sent := make([]sentPacket, count)
		for i := range sent {
			sent[i].off = int64(i) * 1000
			switch n := rnd.IntN(20); n {
			case 0: // control frames alone
			case 1:
				sent[i].data = make([]byte, length) // its symbol does not fit
			default:
				sent[i].data = make([]byte, 1+rnd.IntN(length-symbolHead))
				sent[i].data[0] = byte(1 + rnd.IntN(255))
			}
		}
		relay := repairs{first: first, end: first + uint64(count), length: length, symbols: symbolsOf(sent, length)}
		relay.plan(float64(count), 0, &ledger{missed: loss * 1000, arrived: (1 - loss) * 1000, runs: loss * 1000})
		var client restorer
		lost := map[uint64]bool{}
		restorable := 0
		for i, s := range sent {
			if rnd.Float64() >= loss {
				client.keep(first+uint64(i), s.off, s.data)
				continue
			}
			lost[first+uint64(i)] = true
			if len(s.data) > 0 && len(s.data)+symbolHead <= length {
				restorable++
			}
		}
		client.keep(relay.end, 0, nil) // there is a packet at least
		most := len(lost) + 40
		needed, number := 0, relay.end
		for ; restorable > 0 && needed < most; needed++ {
			number++
			client.keep(number, 0, nil) // as of the REPAIR's own number
			b := relay.append(nil, number)
			var f fromRelay
			if err := f.parse(b); err != nil {
				t.Fatalf("a REPAIR is %v", err)
			}
			client.take(number, &f.repair, func(n uint64, off int64, data []byte) {
				s := sent[n-first]
				if !lost[n] || off != s.off || !bytes.Equal(data, s.data) {
					t.Fatalf("packet %d came out as %d bytes at %d, it had %d at %d", n, len(data), off, len(s.data), s.off)
				}
				delete(lost, n)
				restorable--
			})
		}
		if restorable > 0 {
			t.Fatalf("after %d sums of 2^-%d %d packets are missing", needed, relay.thin+1, restorable)
		}
	})
}

// A packet that comes late makes one sum less necessary.
func TestLatePacketsCountAsSums(t *testing.T) {
	const first, count, length = 50, 64, 100
	sent := make([]sentPacket, count)
	for i := range sent {
		sent[i] = sentPacket{int64(i), []byte{byte(i), 1}}
	}
	relay := repairs{first: first, end: first + count, length: length, symbols: symbolsOf(sent, length)}
	var client restorer
	for i := 10; i < count; i++ {
		client.keep(first+uint64(i), sent[i].off, sent[i].data)
	}
	restored, number := 0, relay.end
	sum := func() {
		number++
		var f fromRelay
		if err := f.parse(relay.append(nil, number)); err != nil {
			t.Fatal(err)
		}
		client.take(number, &f.repair, func(n uint64, off int64, data []byte) {
			if off != int64(n-first) || !bytes.Equal(data, sent[n-first].data) {
				t.Errorf("packet %d comes out wrong", n)
			}
			restored++
		})
	}
	for range 8 {
		sum()
	}
	if restored > 0 {
		t.Errorf("8 sums restore %d of 10", restored)
	}
	for i := range 8 {
		client.keep(first+uint64(i), sent[i].off, sent[i].data)
	}
	sum()
	sum()
	if restored != 2 {
		t.Errorf("%d packets were restored, 2 were missing", restored)
	}
}

func TestBadRepairsAreRefused(t *testing.T) {
	good := repairFrame{back: 20, count: 20, thin: 3}
	for name, f := range map[string]repairFrame{
		"of nothing":          {back: 20},
		"of too many":         {back: codeMost + 1, count: codeMost + 1},
		"of itself":           {back: 19, count: 20},
		"too thin":            {back: 20, count: 20, thin: thinMost + 1},
		"without any content": good,
	} {
		sum := make([]byte, 40)
		if name == "without any content" {
			sum = sum[:symbolHead]
		}
		var r fromRelay
		if r.parse(append(f.appendHead(nil), sum...)) == nil {
			t.Errorf("a REPAIR %s is taken", name)
		}
	}
	var r fromRelay
	if err := r.parse(append(good.appendHead(nil), make([]byte, 40)...)); err != nil {
		t.Errorf("a good one gives %v", err)
	}
}
