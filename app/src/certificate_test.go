package main

import (
	"crypto/ecdsa"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"os"
	"path/filepath"
	"testing"
	"time"
)

// writePair writes a new certificate and its key as files, as cert-manager's secret mounts them.
func writePair(t *testing.T, folder string, modified time.Time) {
	t.Helper()
	cert, err := selfSigned(time.Now())
	if err != nil {
		t.Fatal(err)
	}
	key, err := x509.MarshalECPrivateKey(cert.PrivateKey.(*ecdsa.PrivateKey))
	if err != nil {
		t.Fatal(err)
	}
	for name, block := range map[string]*pem.Block{
		"tls.crt": {Type: "CERTIFICATE", Bytes: cert.Certificate[0]},
		"tls.key": {Type: "EC PRIVATE KEY", Bytes: key},
	} {
		path := filepath.Join(folder, name)
		if err := os.WriteFile(path, pem.EncodeToMemory(block), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Chtimes(path, modified, modified); err != nil {
			t.Fatal(err)
		}
	}
}

// shown is the serial number of the certificate that a client sees.
func shown(t *testing.T, addr string) string {
	t.Helper()
	conn, err := tls.Dial("tcp", addr, &tls.Config{InsecureSkipVerify: true})
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	return conn.ConnectionState().PeerCertificates[0].SerialNumber.String()
}

func TestCertificateIsReadAgain(t *testing.T) {
	folder, now := t.TempDir(), time.Now()
	writePair(t, folder, now.Add(-time.Hour))
	s := run(t, func(c *config) {
		c.certFile, c.keyFile = filepath.Join(folder, "tls.crt"), filepath.Join(folder, "tls.key")
	})
	first := shown(t, s.addrTLS)
	if again := shown(t, s.addrTLS); again != first {
		t.Errorf("%s, then %s", first, again)
	}
	writePair(t, folder, now)
	second := shown(t, s.addrTLS)
	if second == first {
		t.Error("the renewed certificate is not shown")
	}
	if err := os.WriteFile(filepath.Join(folder, "tls.crt"), []byte("not a certificate"), 0o600); err != nil {
		t.Fatal(err)
	}
	if third := shown(t, s.addrTLS); third != second {
		t.Error("a file that cannot be read took the certificate away")
	}
}
