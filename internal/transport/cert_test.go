package transport

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/tls"
	"crypto/x509"
	"os"
	"path/filepath"
	"runtime"
	"testing"
	"time"
)

func TestCertIsMadeOnceAndKept(t *testing.T) {
	dir := t.TempDir()
	cert, pin, err := LoadOrCreateCert(dir)
	if err != nil {
		t.Fatal(err)
	}
	again, pin2, err := LoadOrCreateCert(dir)
	if err != nil || pin2 != pin || len(again.Certificate) != 1 {
		t.Fatalf("second load: pin %s, %v; want the first pin %s", pin2, err, pin)
	}
	if len(pin) != 64 || pin != Pin(cert.Certificate[0]) {
		t.Errorf("pin %q is not the hex SHA-256 of the certificate", pin)
	}
	x, err := x509.ParseCertificate(cert.Certificate[0])
	if err != nil {
		t.Fatal(err)
	}
	key, ok := x.PublicKey.(*ecdsa.PublicKey)
	if !ok || key.Curve != elliptic.P256() {
		t.Errorf("key is %T, want ECDSA P-256", x.PublicKey)
	}
	if left := time.Until(x.NotAfter); left < 19*365*24*time.Hour {
		t.Errorf("the certificate ends in %v, want 20 years", left)
	}
	if runtime.GOOS != "windows" {
		st, err := os.Stat(filepath.Join(dir, keyFile))
		if err != nil || st.Mode().Perm() != 0o600 {
			t.Errorf("key's mode %v, %v; want 0600", st.Mode(), err)
		}
	}
	left, err := filepath.Glob(filepath.Join(dir, "*.tmp"))
	if err != nil || len(left) > 0 {
		t.Errorf("temporary files stay: %v, %v", left, err)
	}
}

func TestCertAfterCrashBetweenKeyAndCertificate(t *testing.T) {
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, keyFile), []byte("half"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, _, err := LoadOrCreateCert(dir); err != nil {
		t.Errorf("a key without its certificate: %v; want a new pair", err)
	}
}

func TestDamagedCertIsNeverReplaced(t *testing.T) {
	dir := t.TempDir()
	if _, _, err := LoadOrCreateCert(dir); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{certFile, keyFile} {
		path := filepath.Join(dir, name)
		whole, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte("garbage"), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, _, err := LoadOrCreateCert(dir); err == nil {
			t.Errorf("garbage in %s was accepted or replaced", name)
		}
		if err := os.WriteFile(path, whole, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Remove(filepath.Join(dir, keyFile)); err != nil {
		t.Fatal(err)
	}
	if _, _, err := LoadOrCreateCert(dir); err == nil {
		t.Error("a certificate whose key is gone was replaced: every client's pin would break")
	}
}

func TestServerTLSRefusesOlderVersionsAndTickets(t *testing.T) {
	cert, _, err := LoadOrCreateCert(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	c := ServerTLS(cert)
	if c.MinVersion != tls.VersionTLS13 || !c.SessionTicketsDisabled || len(c.NextProtos) != 1 || c.NextProtos[0] != "http/1.1" {
		t.Errorf("server TLS is %d, tickets disabled %v, protocols %v", c.MinVersion, c.SessionTicketsDisabled, c.NextProtos)
	}
}
