package transport

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"math/big"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/jumpget/jumpget/internal/job"
)

// greeter is a TLS listener that greets every connection with one line.
func greeter(t *testing.T, cfg *tls.Config) job.Endpoint {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			if cfg != nil {
				c = tls.Server(c, cfg)
			}
			_, _ = io.WriteString(c, "hello\n")
			_ = c.Close()
		}
	}()
	t.Cleanup(func() { _ = l.Close(); <-done })
	return job.Endpoint{Scheme: "https", Host: "127.0.0.1", Port: l.Addr().(*net.TCPAddr).Port}
}

func relayCert(t *testing.T) (tls.Certificate, string) {
	t.Helper()
	cert, pin, err := LoadOrCreateCert(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	return cert, pin
}

func hello(t *testing.T, c net.Conn) {
	t.Helper()
	defer c.Close()
	b, err := io.ReadAll(c)
	if string(b) != "hello\n" || err != nil {
		t.Fatalf("read %q, %v", b, err)
	}
}

func TestDialChecksThePin(t *testing.T) {
	cert, pin := relayCert(t)
	e := greeter(t, ServerTLS(cert))

	e.Pin = strings.ToUpper(pin)
	c, err := (&Dialer{}).Dial(t.Context(), e)
	if err != nil {
		t.Fatal(err)
	}
	if rtt := Inspect(c).RTT; rtt < 0 || rtt > time.Minute {
		t.Errorf("round trip %v", rtt)
	}
	hello(t, c)

	_, other := relayCert(t) // the relay's certificate was swapped
	e.Pin = other
	_, err = (&Dialer{}).Dial(t.Context(), e)
	var mismatch *PinMismatchError
	if !errors.As(err, &mismatch) || mismatch.Got != pin || mismatch.Want != other {
		t.Fatalf("got %v", err)
	}
}

func TestDialWaitsForThePin(t *testing.T) {
	cert, pin := relayCert(t)
	e := greeter(t, ServerTLS(cert))
	asked, known := make(chan struct{}), make(chan struct{})
	reached := make(chan Socket, 1)
	d := &Dialer{Timeout: 5 * time.Second, Reached: func(s Socket) { reached <- s }, Pin: func(ctx context.Context) (string, error) {
		close(asked)
		<-known
		return pin, nil
	}}
	got := make(chan error, 1)
	go func() {
		c, err := d.Dial(t.Context(), e)
		if err == nil {
			_ = c.Close()
		}
		got <- err
	}()
	<-asked // the certificate is here already, only the pin is missing
	if s := <-reached; s.RTT < 0 || s.RTT > time.Minute {
		t.Errorf("round trip %v", s.RTT)
	}
	select {
	case err := <-got:
		t.Fatalf("finished without a pin: %v", err)
	default:
	}
	close(known)
	if err := <-got; err != nil {
		t.Fatal(err)
	}
}

func TestDialTellsWhatThePinPromiseCameTo(t *testing.T) {
	cert, _ := relayCert(t)
	e := greeter(t, ServerTLS(cert))
	broken := errors.New("no ssh")
	d := &Dialer{Pin: func(context.Context) (string, error) { return "", broken }}
	if _, err := d.Dial(t.Context(), e); !errors.Is(err, broken) {
		t.Fatalf("got %v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	d.Pin = func(ctx context.Context) (string, error) {
		cancel()
		<-ctx.Done()
		return "", ctx.Err()
	}
	if _, err := d.Dial(ctx, e); !errors.Is(err, context.Canceled) {
		t.Fatalf("got %v", err)
	}
}

func TestDialWithoutPinAsksTheTrustStore(t *testing.T) {
	cert, _ := relayCert(t)
	e := greeter(t, ServerTLS(cert))
	var tlsErr *TLSError
	if _, err := (&Dialer{}).Dial(t.Context(), e); !errors.As(err, &tlsErr) {
		t.Fatalf("a self-signed certificate was trusted: %v", err)
	}
	leaf, err := x509.ParseCertificate(cert.Certificate[0])
	if err != nil {
		t.Fatal(err)
	}
	roots := x509.NewCertPool()
	roots.AddCert(leaf)
	if _, err := (&Dialer{Roots: roots}).Dial(t.Context(), e); !errors.As(err, &tlsErr) {
		t.Fatalf("the name was not checked: %v", err)
	}
}

func TestDialRefusesOldTLSWithAPin(t *testing.T) {
	cert, pin := relayCert(t)
	cfg := ServerTLS(cert)
	cfg.MinVersion, cfg.MaxVersion = tls.VersionTLS12, tls.VersionTLS12
	e := greeter(t, cfg)
	e.Pin = pin
	var tlsErr *TLSError
	if _, err := (&Dialer{}).Dial(t.Context(), e); !errors.As(err, &tlsErr) {
		t.Fatalf("got %v", err)
	}
}

func TestDialErrorsByKind(t *testing.T) {
	var unreachable *UnreachableError
	var tlsErr *TLSError

	plain := greeter(t, nil) // answers, but not in TLS
	if _, err := (&Dialer{}).Dial(t.Context(), plain); !errors.As(err, &tlsErr) {
		t.Errorf("no TLS there: %v", err)
	}
	plain.Scheme = "http"
	c, err := (&Dialer{}).Dial(t.Context(), plain)
	if err != nil {
		t.Fatal(err)
	}
	hello(t, c)

	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	silent := job.Endpoint{Scheme: "https", Host: "127.0.0.1", Port: l.Addr().(*net.TCPAddr).Port}
	if _, err := (&Dialer{Timeout: 50 * time.Millisecond}).Dial(t.Context(), silent); !errors.As(err, &unreachable) {
		t.Errorf("a door that says nothing: %v", err)
	}
	_ = l.Close()
	if _, err := (&Dialer{}).Dial(t.Context(), silent); !errors.As(err, &unreachable) {
		t.Errorf("a closed port: %v", err)
	}
}

// A clock that is off by a day makes a certificate one of tomorrow, or of
// yesterday. The pin alone decides.
func TestDialWithAClockThatIsOff(t *testing.T) {
	for name, off := range map[string]time.Duration{"not valid yet": 24 * time.Hour, "expired": -48 * time.Hour} {
		t.Run(name, func(t *testing.T) {
			key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
			if err != nil {
				t.Fatal(err)
			}
			from := time.Now().Add(off)
			template := &x509.Certificate{SerialNumber: big.NewInt(1), NotBefore: from, NotAfter: from.Add(time.Hour)}
			der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
			if err != nil {
				t.Fatal(err)
			}
			e := greeter(t, ServerTLS(tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}))
			e.Pin = Pin(der)
			c, err := (&Dialer{}).Dial(t.Context(), e)
			if err != nil {
				t.Fatal(err)
			}
			hello(t, c)
		})
	}
}
