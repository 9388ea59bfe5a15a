package bulk

import (
	"bytes"
	"net/netip"
	"testing"

	"github.com/jumpget/jumpget/internal/span"
)

func FuzzFromClient(f *testing.F) {
	want := wantFrame{seq: 3, last: true, limit: 7, ranges: []wireRange{{1, 0, 10}, {2, 100, 1 << 40}}}
	f.Add(want.append(nil))
	open := openFrame{largest: 1472, object: []byte("object")}
	f.Add(want.append(open.append(nil)))
	r := &receiver{stride: 1}
	for i := range uint64(300) {
		if i%3 > 0 {
			r.add(i, int64(i))
		}
	}
	f.Add(r.appendAck(appendToken(nil, framePing, 9), 1000, 5000, 1000))
	f.Add(r.appendAck(nil, 1000, -1, 200))
	f.Add(append(appendToken(nil, frameResponse, 9), frameBye, 0, framePad, 0, 0))
	heard := streamAck{next: 5, limit: 1000, runs: []span.Span{{Start: 7, End: 9}, {Start: 300, End: 400}}}
	f.Add(append(streamHead(heard.append(nil), 1000, 3), 1, 2, 3, framePad))
	f.Fuzz(func(t *testing.T, plain []byte) {
		var p fromClient
		if p.parse(plain) != nil {
			return
		}
		if p.has.has(frameWant) {
			checkWant(t, &p.want)
		}
		if p.has.has(frameOpen) && (len(p.open.object) > maxObjectID || p.open.largest < basePacket) {
			t.Errorf("%+v", p.open)
		}
		if p.has.has(frameAck) {
			checkParsedAck(t, &p.ack)
		}
		checkStream(t, p.has, &p.stream, &p.heard)
	})
}

func checkStream(t *testing.T, has set, s *streamFrame, a *streamAck) {
	if has.has(frameStream) && (len(s.data) == 0 || s.off < 0 || s.end() > maxOffset) {
		t.Errorf("%d bytes at %d", len(s.data), s.off)
	}
	if !has.has(frameStreamAck) {
		return
	}
	at := a.next
	for _, r := range a.runs {
		if r.Start <= at || r.Len() == 0 {
			t.Errorf("runs %v beyond %d", a.runs, a.next)
		}
		at = r.End
	}
	if len(a.runs) > mostRuns || a.next < 0 || at > a.limit || a.limit > maxOffset {
		t.Errorf("%+v", a)
	}
	var again fromRelay
	if err := again.parse(a.append(nil)); err != nil || !bytes.Equal(again.heard.append(nil), a.append(nil)) {
		t.Errorf("%+v is read again as %+v, %v", a, again.heard, err)
	}
}

func checkWant(t *testing.T, w *wantFrame) {
	if len(w.ranges) > maxRanges {
		t.Errorf("%d ranges", len(w.ranges))
	}
	for i, r := range w.ranges {
		if r.off < 0 || r.n < 0 || r.end() < 0 || r.end() > maxOffset {
			t.Errorf("range %+v", r)
		}
		for _, o := range w.ranges[:i] {
			if o.id == r.id || o.n > 0 && r.n > 0 && o.off < r.end() && r.off < o.end() {
				t.Errorf("%+v and %+v", o, r)
			}
		}
	}
	var again fromClient
	if err := again.parse(w.append(nil)); err != nil || !bytes.Equal(again.want.append(nil), w.append(nil)) {
		t.Errorf("%+v is read again as %+v, %v", w, again.want, err)
	}
}

func checkParsedAck(t *testing.T, a *ackFrame) {
	before, total := a.newest+1, uint64(0)
	for _, run := range a.received {
		if run.low > run.high || run.high >= before {
			t.Fatalf("runs %v below %d", a.received, a.newest)
		}
		before = run.low
		total += run.high - run.low + 1
	}
	if total > maxCoverage || len(a.samples) > maxSamples {
		t.Errorf("%d packets, %d samples", total, len(a.samples))
	}
	for i, s := range a.samples {
		if s.number > a.newest || i > 0 && s.number >= a.samples[i-1].number {
			t.Errorf("samples %v", a.samples)
		}
	}
}

func FuzzFromRelay(f *testing.F) {
	meta := metaFrame{size: 100, object: []byte("object")}
	f.Add(meta.append(nil))
	pace := paceFrame{interval: 5000, packets: 16, longest: 25000, rtt: 100000}
	f.Add(append(pace.append([]byte{frameTaken, 3}), frameData, 5, 'x'))
	e := errorFrame{code: CodeAddress, addr: netip.MustParseAddr("192.0.2.1")}
	f.Add(e.append(append(appendToken(nil, framePong, 9), 1)))
	f.Add(appendToken(nil, frameChallenge, 9))
	heard := streamAck{next: 5, limit: 1000}
	f.Add(append(streamHead(heard.append(nil), 1<<40, 2), 1, 2))
	f.Fuzz(func(t *testing.T, plain []byte) {
		var p fromRelay
		if p.parse(plain) != nil {
			return
		}
		if p.has.has(frameData) && (len(p.data) == 0 || p.off < 0 || p.off+int64(len(p.data)) > maxOffset) {
			t.Errorf("%d bytes at %d", len(p.data), p.off)
		}
		if p.has.has(frameMeta) && (p.meta.size < -1 || len(p.meta.object) == 0 || len(p.meta.object) > maxObjectID) {
			t.Errorf("%+v", p.meta)
		}
		checkStream(t, p.has, &p.stream, &p.heard)
	})
}

func FuzzPackets(f *testing.F) {
	key := NewKey([32]byte{1})
	f.Add(helloOf(f, key))
	f.Add(appendAnswer(nil, 7, make([]byte, msg2Len), 5))
	f.Add(append(appendAnswer(nil, 7, nil, 5), make([]byte, 50)...))
	f.Add(append(appendClient(nil, 7, 5), make([]byte, 50)...))
	f.Add(sealCookie([]byte{typeCookie, 0, 0, 0, 7}, &key, make([]byte, ephemeralLen), [cookieLen]byte{3}))
	f.Fuzz(func(t *testing.T, p []byte) {
		if h, ok := parseHello(p); ok {
			if len(h.ephemeral()) != ephemeralLen || len(h.mac) != macLen || len(h.signed)+macLen != len(p) || len(h.firsts)+2*macLen != len(p) {
				t.Errorf("%+v", h)
			}
			h.authentic(&key)
			if hs, err := newHandshake(&key, h.suite, h.head, false); err == nil {
				if payload, err := hs.hear(h.msg1); err == nil {
					var f fromClient
					_ = f.parse(payload) // must not panic
				}
			}
		}
		if a, ok := parseAnswer(p, 7); ok && (len(p) < a.head+tagLen || a.msg2 != nil && len(a.msg2) != msg2Len) {
			t.Errorf("%+v of %d bytes", a, len(p))
		}
		if _, _, ok := parseClient(p); ok && len(p) < clientHead+tagLen {
			t.Errorf("%d bytes", len(p))
		}
		openCookie(p, &key, 7, make([]byte, ephemeralLen)) // must not panic
	})
}
