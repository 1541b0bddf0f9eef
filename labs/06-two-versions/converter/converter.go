// Package converter is the conversion webhook of lab 6 less what the learner writes, which
// is how one object becomes the same object of another version.
//
// [Main] is the program. It makes its certificates, takes the ConversionReviews that the
// kube-apiserver sends (review.go), and says in its log which objects it converts.
package converter

import (
	"cmp"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"flag"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"os"
	"os/signal"
	"path/filepath"
	"strconv"
	"syscall"
	"time"

	"portrule.example/lab/compare/certs"
)

// Convert turns an object, as it is in JSON, into the same object of another version, in
// place. desiredAPIVersion has the group and the version that it is to have.
type Convert func(object map[string]any, desiredAPIVersion string) error

const (
	// Path is where ConversionReviews are taken.
	Path = "/convert"
	// CAFile is what the kube-apiserver has to trust, in the directory of the certificates.
	CAFile = "ca.crt"

	certFile, keyFile = "tls.crt", "tls.key"
	// port is what the server listens on, unless --port says otherwise.
	port = 18446
	// Ready is printed when the server can be asked.
	Ready = "serving"
)

// Main is the program: Run with the arguments of the command line, until it is
// interrupted.
func Main(convert Convert) {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := Run(ctx, os.Args[1:], os.Stdout, convert)
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "error:", err)
		os.Exit(1)
	}
}

// Run serves until ctx ends.
func Run(ctx context.Context, args []string, stdout io.Writer, convert Convert) error {
	flags := flag.NewFlagSet("webhook", flag.ContinueOnError)
	host := flags.String("host", cmp.Or(os.Getenv("LAB_HOST"), "localhost"), "the name or the address by which the kube-apiserver reaches this host")
	port := flags.Int("port", port, "where to listen")
	dir := flags.String("certs", "certs", "the directory of the certificates, which are made if they are not there")
	if err := flags.Parse(args); err != nil {
		return err
	}
	pair, err := certificate(*dir, *host)
	if err != nil {
		return err
	}
	bind := "127.0.0.1"
	if net.ParseIP(*host) != nil {
		bind = *host // reached from elsewhere
	}
	listener, err := net.Listen("tcp", net.JoinHostPort(bind, strconv.Itoa(*port)))
	if err != nil {
		return err
	}
	mux := http.NewServeMux()
	mux.Handle("POST "+Path, serve(convert, stdout))
	server := &http.Server{
		Handler:           mux,
		TLSConfig:         &tls.Config{Certificates: []tls.Certificate{pair}, MinVersion: tls.VersionTLS12},
		ReadHeaderTimeout: 10 * time.Second,
		ErrorLog:          log.New(stdout, "", 0),
	}
	ended := make(chan error, 1)
	go func() { ended <- server.ServeTLS(listener, "", "") }()
	fmt.Fprintf(stdout, "%s https://%s%s\n", Ready, net.JoinHostPort(*host, strconv.Itoa(*port)), Path)
	select {
	case err := <-ended:
		return err
	case <-ctx.Done():
		return errors.Join(server.Close(), ignoreClosed(<-ended))
	}
}

func ignoreClosed(err error) error {
	if errors.Is(err, http.ErrServerClosed) {
		return nil
	}
	return err
}

// certificate reads the serving certificate of a directory, and makes it, with a CA of its
// own, if there is none that is valid for the host.
func certificate(dir, host string) (tls.Certificate, error) {
	if pair, err := tls.LoadX509KeyPair(filepath.Join(dir, certFile), filepath.Join(dir, keyFile)); err == nil && valid(pair, dir, host) {
		return pair, nil
	}
	ca, err := certs.NewCA("conversion-ca")
	if err != nil {
		return tls.Certificate{}, err
	}
	serving, err := ca.Serving(host)
	if err != nil {
		return tls.Certificate{}, err
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return tls.Certificate{}, err
	}
	for name, data := range map[string][]byte{CAFile: ca.PEM(), certFile: serving.Cert, keyFile: serving.Key} {
		if err := os.WriteFile(filepath.Join(dir, name), data, 0o600); err != nil {
			return tls.Certificate{}, fmt.Errorf("keep the certificates: %w", err)
		}
	}
	return tls.X509KeyPair(serving.Cert, serving.Key)
}

// valid is whether the CA of the directory says now that the certificate is the host's.
func valid(pair tls.Certificate, dir, host string) bool {
	data, err := os.ReadFile(filepath.Join(dir, CAFile))
	if err != nil {
		return false
	}
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(data)
	_, err = pair.Leaf.Verify(x509.VerifyOptions{Roots: roots, DNSName: host})
	return err == nil
}
