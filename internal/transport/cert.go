package transport

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/hex"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"math/big"
	"os"
	"path/filepath"
	"time"
)

// The certificate's files in the relay's data directory.
const (
	certFile = "tls.crt"
	keyFile  = "tls.key"
)

// certLife is long because clients trust the pin, never the dates: a clock that
// is off by a day, or years, must not lock anybody out.
const certLife = 20 * 365 * 24 * time.Hour

// Pin returns the hex SHA-256 of a certificate's DER form, by which clients
// know the relay.
func Pin(der []byte) string {
	sum := sha256.Sum256(der)
	return hex.EncodeToString(sum[:])
}

// LoadOrCreateCert returns the relay's certificate from dir and its pin. The
// first call makes it: self-signed, ECDSA P-256, the key readable by its owner
// alone. A certificate that is there but can't be read is an error and is never
// replaced, since a new pin would look like an attack to every client.
func LoadOrCreateCert(dir string) (tls.Certificate, string, error) {
	crt, key := filepath.Join(dir, certFile), filepath.Join(dir, keyFile)
	cert, err := tls.LoadX509KeyPair(crt, key)
	if errors.Is(err, fs.ErrNotExist) && !exists(crt) {
		// A key alone is what a crash between the two writes leaves.
		if err := createCert(crt, key); err != nil {
			return tls.Certificate{}, "", fmt.Errorf("make the relay's certificate: %w", err)
		}
		cert, err = tls.LoadX509KeyPair(crt, key)
	}
	if err != nil {
		return tls.Certificate{}, "", fmt.Errorf("read the relay's certificate %s: %w", crt, err)
	}
	return cert, Pin(cert.Certificate[0]), nil
}

// createCert writes the key before the certificate, so that a certificate on
// disk always has its key.
func createCert(crt, key string) error {
	priv, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return err
	}
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 127))
	if err != nil {
		return err
	}
	now := time.Now()
	template := &x509.Certificate{
		SerialNumber:          serial,
		Subject:               pkix.Name{CommonName: "jumpget"},
		DNSNames:              []string{"jumpget"},
		NotBefore:             now.Add(-48 * time.Hour),
		NotAfter:              now.Add(certLife),
		KeyUsage:              x509.KeyUsageDigitalSignature,
		ExtKeyUsage:           []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
		BasicConstraintsValid: true,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &priv.PublicKey, priv)
	if err != nil {
		return err
	}
	secret, err := x509.MarshalPKCS8PrivateKey(priv)
	if err != nil {
		return err
	}
	if err := writePEM(key, "PRIVATE KEY", secret, 0o600); err != nil {
		return err
	}
	return writePEM(crt, "CERTIFICATE", der, 0o644)
}

// writePEM puts a PEM block under path atomically: a crash leaves the old file
// or the new one, never a part.
func writePEM(path, kind string, der []byte, mode fs.FileMode) (err error) {
	f, err := os.CreateTemp(filepath.Dir(path), filepath.Base(path)+".*.tmp")
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			_ = os.Remove(f.Name()) // the error that counts is already there
		}
	}()
	err = pem.Encode(f, &pem.Block{Type: kind, Bytes: der})
	err = errors.Join(err, f.Chmod(mode), f.Sync(), f.Close())
	if err != nil {
		return err
	}
	return os.Rename(f.Name(), path)
}

func exists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}

// ServerTLS is the public door's TLS: 1.3 only, no session tickets (a resumed
// session would skip the certificate that the client pins, and a ticket key is
// one more secret to keep), HTTP/1.1 only, since parallel connections are the point.
func ServerTLS(cert tls.Certificate) *tls.Config {
	return &tls.Config{
		Certificates:           []tls.Certificate{cert},
		MinVersion:             tls.VersionTLS13,
		SessionTicketsDisabled: true,
		NextProtos:             []string{"http/1.1"},
		// Small first records help a browser paint; they cost bulk data.
		DynamicRecordSizingDisabled: true,
	}
}
