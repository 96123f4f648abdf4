package main

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"math/big"
	"os"
	"sync"
	"time"
)

// certificateSource says which certificate the next connection gets.
type certificateSource interface {
	get(*tls.ClientHelloInfo) (*tls.Certificate, error)
}

type fixedCertificate struct{ cert *tls.Certificate }

func (f fixedCertificate) get(*tls.ClientHelloInfo) (*tls.Certificate, error) { return f.cert, nil }

func newSelfSigned(now time.Time) (certificateSource, error) {
	cert, err := selfSigned(now)
	return fixedCertificate{&cert}, err
}

// fileCertificate is read again when its file has changed: cert-manager renews it while the process runs. A pair that
// cannot be read leaves the one before in place.
type fileCertificate struct {
	certFile, keyFile string

	mu       sync.Mutex
	modified time.Time
	cert     *tls.Certificate
}

func newFileCertificate(certFile, keyFile string) (certificateSource, error) {
	f := &fileCertificate{certFile: certFile, keyFile: keyFile}
	return f, f.load()
}

// load is called with the mutex held, or before anybody else knows of f.
func (f *fileCertificate) load() error {
	info, err := os.Stat(f.certFile)
	if err != nil {
		return err
	}
	if info.ModTime().Equal(f.modified) {
		return nil
	}
	cert, err := tls.LoadX509KeyPair(f.certFile, f.keyFile)
	if err != nil {
		return err
	}
	f.modified, f.cert = info.ModTime(), &cert
	return nil
}

func (f *fileCertificate) get(*tls.ClientHelloInfo) (*tls.Certificate, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	_ = f.load()
	return f.cert, nil
}

// selfSigned makes a certificate for the way from the load balancer to the pod, which is encrypted and not verified:
// Google's load balancers accept any certificate from a backend. Its key exists only in memory.
func selfSigned(now time.Time) (tls.Certificate, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return tls.Certificate{}, err
	}
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 127))
	if err != nil {
		return tls.Certificate{}, err
	}
	template := &x509.Certificate{
		SerialNumber: serial,
		Subject:      pkix.Name{CommonName: "app"},
		DNSNames:     []string{"app", "localhost"},
		NotBefore:    now.Add(-time.Hour),
		NotAfter:     now.AddDate(10, 0, 0),
		KeyUsage:     x509.KeyUsageDigitalSignature,
		ExtKeyUsage:  []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		return tls.Certificate{}, err
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}, nil
}
